//! Delivery on a real state machine in memory, step by step: what the hub and
//! the clients do in their own time, a test does in any order it likes.

mod golden;
mod handover;

use super::{
    delivery::{CreateRequest, Delivery, Limits, SessionKey},
    encode::Head,
    session::End,
};
use prost::{Message, bytes::BufMut};
use std::{collections::VecDeque, sync::Arc, task::Waker};
use sternpost_proto::etcdserverpb as pb;
use sternpost_raft::Published;
use sternpost_storage::{
    Entry, EntryPayload, LogMark, ReadHandle, ReadView, RevisionEvents, StateMachine,
    StorageOptions,
};

/// A store, a feed and the delivery that follows it.
struct World {
    machine: StateMachine,
    reads: ReadHandle,
    index: u64,
    feed: VecDeque<Published>,
    delivery: Delivery,
}

/// A turn of history that was read but not yet served.
struct Turn {
    from: i64,
    view: Arc<ReadView>,
    history: Vec<RevisionEvents>,
}

impl World {
    fn new(limits: Limits) -> Self {
        let machine = StateMachine::in_memory();
        let reads = machine.read_handle();
        let mut delivery = Delivery::new(limits);
        delivery.skip_to(reads.view().revision());
        Self {
            machine,
            reads,
            index: 0,
            feed: VecDeque::new(),
            delivery,
        }
    }

    fn revision(&self) -> i64 {
        self.reads.view().revision()
    }

    /// Applies one chunk; the feed has it, the hub not yet.
    fn apply(&mut self, payloads: Vec<EntryPayload>) -> Vec<Arc<RevisionEvents>> {
        let entries: Vec<Entry> = payloads
            .into_iter()
            .map(|payload| {
                self.index += 1;
                Entry {
                    mark: LogMark {
                        term: 1,
                        index: self.index,
                    },
                    payload,
                }
            })
            .collect();
        let batch = self
            .machine
            .apply_batch(&entries)
            .expect("the store in memory has no faults");
        let changes = batch
            .outcomes
            .iter()
            .flat_map(|applied| applied.changes.clone())
            .collect();
        let revisions: Vec<_> = batch
            .outcomes
            .into_iter()
            .filter_map(|applied| applied.events)
            .collect();
        self.feed.push_back(Published {
            sequence: self.index,
            revisions: revisions.clone(),
            changes,
            view: batch.view,
        });
        revisions
    }

    /// The hub takes the next chunk.
    fn publish(&mut self) -> bool {
        let Some(published) = self.feed.pop_front() else {
            return false;
        };
        self.delivery.publish(&published);
        true
    }

    /// The feed drops what the hub has not taken.
    fn lag(&mut self) {
        self.feed.clear();
        let revision = self.revision();
        self.delivery.skip_to(revision);
    }

    /// The member goes on with a copy of the state, as if it had been away for
    /// all that the hub has not taken.
    fn install(&mut self) {
        if self.machine.applied().is_none() {
            return;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let copy = dir.path().join("copy");
        let flusher = self.machine.flusher();
        flusher.checkpoint(&copy).expect("no faults");
        let other = StateMachine::open_snapshot(&StorageOptions::at(&copy));
        self.machine.switch_to(other.expect("a whole copy"));
        self.lag();
    }

    fn create(&mut self, key: SessionKey, request: CreateRequest) -> bool {
        let revision = self.revision();
        self.delivery.create(key, request, revision)
    }

    /// Reads history for the watcher whose turn it is.
    fn read_history(&mut self, revisions_max: usize) -> Option<Turn> {
        let view = self.reads.view();
        self.delivery.cancel_compacted(view.compact_revision());
        let from = self.delivery.next_turn()?;
        let history = view
            .history(from, revisions_max, usize::MAX)
            .expect("not compacted");
        Some(Turn {
            from,
            view,
            history,
        })
    }

    fn serve(&mut self, turn: &Turn) {
        self.delivery
            .cancel_compacted(self.reads.view().compact_revision());
        self.delivery.catch_up(turn.from, &turn.history, &turn.view);
    }

    /// The next response of a stream, from the bytes a client would get.
    fn receive(&mut self, key: SessionKey) -> Option<Result<pb::WatchResponse, End>> {
        let response = match self.delivery.poll(key, Waker::noop())? {
            Ok((response, _)) => response,
            Err(end) => return Some(Err(end)),
        };
        let (header, fields, events) = response.into_parts(Head {
            cluster_id: 1,
            member_id: 2,
            raft_term: 3,
        });
        let mut bytes = fields.encode_to_vec();
        bytes.put_slice(&events);
        let fields = pb::WatchResponse::decode(bytes.as_slice()).expect("a response");
        Some(Ok(pb::WatchResponse {
            header: Some(header),
            ..fields
        }))
    }
}
