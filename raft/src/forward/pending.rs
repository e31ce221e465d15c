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

#[cfg(test)]
mod tests {
    use super::*;
    use sternpost_proto::{etcdserverpb::PutRequest, internal::command::Verb};
    use sternpost_storage::{LogMark, Response};
    use tokio::sync::oneshot;

    type Outcome = oneshot::Receiver<Result<Applied, ProposeError>>;

    fn proposal(id: u64) -> (Data, Outcome) {
        let (sender, outcome) = oneshot::channel();
        let command = Command {
            header: Some(CommandHeader {
                id,
                member_id: 5,
                feature_level: 1,
                ..CommandHeader::default()
            }),
            verb: Some(Verb::Put(PutRequest::default())),
        };
        let reply = Reply { thread: 0, sender };
        (Data::propose(&command, Some(reply)).unwrap(), outcome)
    }

    fn applied(term: u64, response: Result<Response, Rejection>) -> Applied {
        Applied {
            mark: LogMark { term, index: 1 },
            revision: 1,
            response,
            events: None,
            changes: Vec::new(),
        }
    }

    #[test]
    fn a_fence_is_a_part_of_the_header() {
        let (data, _outcome) = proposal(9);
        let fenced = Pending::new(5).fenced(&data, u64::MAX);
        let command = Data::forwarded(fenced.clone(), u64::MAX).unwrap();
        let command = command.command().unwrap();
        let mut expected = Command::clone(data.command().unwrap());
        expected.header.as_mut().unwrap().proposed_in_term = u64::MAX;
        assert_eq!(**command, expected);
        assert!(Data::forwarded(fenced, 3).is_none(), "another term");
        assert!(
            Data::forwarded(data.encoded().clone(), 0).is_none(),
            "no fence"
        );
        assert!(Data::forwarded(Bytes::from_static(&[255; 9]), 3).is_none());
    }

    #[test]
    fn only_the_entry_that_counts_is_the_answer() {
        let pending = Pending::new(5);
        let (data, _outcome) = proposal(9);
        assert_eq!(pending.enter(&data, 3), Some(9));
        assert_eq!(pending.enter(&proposal(9).0, 3), None, "the same again");
        let entry = |term| Data::from_encoded(pending.fenced(&data, term));
        let stale = applied(4, Err(Rejection::StaleProposal));
        assert!(pending.answered(&entry(3), &stale).is_none());
        let other = Pending::new(6).fenced(&data, 3);
        let empty = || applied(3, Ok(Response::Empty));
        assert!(
            pending
                .answered(&Data::from_encoded(other), &empty())
                .is_none()
        );
        let answered = pending.answered(&entry(3), &empty());
        assert_eq!(answered.unwrap().1, data.encoded().len());
        assert!(pending.is_empty());
        assert!(pending.answered(&entry(3), &empty()).is_none());
    }

    #[test]
    fn a_later_term_frees_what_was_sent_before() {
        let pending = Pending::new(5);
        let outcomes: Vec<Outcome> = (1..4)
            .map(|term| {
                let (data, outcome) = proposal(term);
                pending.enter(&data, term);
                outcome
            })
            .collect();
        pending.applied(1);
        assert!(pending.take_released().is_empty());
        pending.applied(3);
        let mut released: Vec<u64> = pending
            .take_released()
            .iter()
            .map(|data| data.command().unwrap().header.as_ref().unwrap().id)
            .collect();
        released.sort_unstable();
        assert_eq!(released, [1, 2]);
        assert!(
            pending.take_back(3, 2).is_none(),
            "refused by another leader"
        );
        assert!(!pending.is_empty());
        let flow = Flow::default();
        flow.depart(1, proposal(3).0.encoded().len());
        drop(outcomes);
        pending.sweep(&flow);
        assert!(pending.is_empty());
        assert_eq!(flow.admit(), Ok(()));
    }
}
