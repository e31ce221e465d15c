//! Commands that were sent to a leader and wait for this member's own apply.

use crate::{error::ProposeError, flow::Flow, lanes::refuse, reply::Reply, types::Data};
use bytes::{BufMut as _, Bytes, BytesMut};
use parking_lot::Mutex;
use prost::Message as _;
use std::{
    collections::{HashMap, hash_map::Entry},
    sync::atomic::{AtomicUsize, Ordering},
};
use sternpost_proto::internal::{Command, CommandHeader};
use sternpost_storage::{Applied, Rejection};
use tokio::sync::Notify;

/// The commands, by the ID in their headers.
pub(crate) struct Pending {
    member: u64,
    /// How many there are: a member that leads looks at nothing else.
    count: AtomicUsize,
    table: Mutex<Table>,
    released: Notify,
}

#[derive(Default)]
struct Table {
    sent: HashMap<u64, Sent>,
    /// Never to be applied as they were sent.
    released: Vec<Data>,
}

struct Sent {
    /// As the client gave it: without a fence.
    data: Data,
    term: u64,
}

impl Pending {
    /// None yet.
    pub(crate) fn new(member: u64) -> Self {
        Self {
            member,
            count: AtomicUsize::new(0),
            table: Mutex::default(),
            released: Notify::new(),
        }
    }

    /// There is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    fn count(&self, table: &Table) {
        self.count.store(table.sent.len(), Ordering::Release);
    }

    /// Enters a command before it is sent to the leader of `term`, and says
    /// its ID; `None` if another of the same ID is under way.
    pub(super) fn enter(&self, data: &Data, term: u64) -> Option<u64> {
        let id = data.command().ok()?.header.as_ref()?.id;
        let mut table = self.table.lock();
        let Entry::Vacant(vacant) = table.sent.entry(id) else {
            return None;
        };
        vacant.insert(Sent {
            data: data.clone(),
            term,
        });
        self.count(&table);
        Some(id)
    }

    /// The bytes of a command for the leader of `term`: a second header, whose
    /// fields count as if they were in the first.
    pub(super) fn fenced(&self, data: &Data, term: u64) -> Bytes {
        let fence = Command {
            header: Some(CommandHeader {
                member_id: self.member,
                proposed_in_term: term,
                ..CommandHeader::default()
            }),
            verb: None,
        };
        let encoded = data.encoded();
        let mut bytes = BytesMut::with_capacity(encoded.len() + fence.encoded_len());
        bytes.put_slice(encoded);
        fence.encode_raw(&mut bytes);
        bytes.freeze()
    }

    /// Takes a command back that the leader of `term` has refused.
    pub(super) fn take_back(&self, id: u64, term: u64) -> Option<Data> {
        let mut table = self.table.lock();
        let Entry::Occupied(entry) = table.sent.entry(id) else {
            return None;
        };
        let data = (entry.get().term == term).then(|| entry.remove().data);
        self.count(&table);
        data
    }

    /// Who waits for this entry, and the bytes of the proposal. For the apply thread.
    pub(crate) fn answered(&self, entry: &Data, outcome: &Applied) -> Option<(Reply, usize)> {
        if self.is_empty() || matches!(outcome.response, Err(Rejection::StaleProposal)) {
            return None;
        }
        let header = entry.command().ok()?.header.as_ref()?;
        if header.member_id != self.member || header.proposed_in_term != outcome.mark.term {
            return None;
        }
        let data = self.take_back(header.id, outcome.mark.term)?;
        let reply = data.take_reply()?;
        Some((reply, data.encoded().len()))
    }

    /// Entries up to this term have been applied, and their answers taken:
    /// what was sent to an earlier leader will not happen any more.
    pub(crate) fn applied(&self, term: u64) {
        if self.is_empty() {
            return;
        }
        let mut table = self.table.lock();
        let Table { sent, released } = &mut *table;
        let before = released.len();
        released.extend(
            sent.extract_if(|_, sent| sent.term < term)
                .map(|(_, sent)| sent.data),
        );
        let more = released.len() > before;
        self.count(&table);
        drop(table);
        if more {
            self.released.notify_one();
        }
    }

    /// Returns once something may have been released.
    pub(super) async fn released(&self) {
        self.released.notified().await;
    }

    pub(super) fn take_released(&self) -> Vec<Data> {
        std::mem::take(&mut self.table.lock().released)
    }

    /// Entries were skipped, because a whole state was installed: nobody knows
    /// which of these were among them. Also for the end of the node.
    pub(crate) fn give_up(&self, flow: &Flow) {
        self.remove(flow, |_| true);
    }

    /// Removes those that nobody waits for any more.
    pub(super) fn sweep(&self, flow: &Flow) {
        self.remove(flow, Data::is_abandoned);
    }

    fn remove(&self, flow: &Flow, which: impl Fn(&Data) -> bool) {
        let mut table = self.table.lock();
        let gone: Vec<Data> = table
            .sent
            .extract_if(|_, sent| which(&sent.data))
            .map(|(_, sent)| sent.data)
            .collect();
        self.count(&table);
        drop(table);
        refuse(flow, gone, ProposeError::OutcomeUnknown);
    }
}
