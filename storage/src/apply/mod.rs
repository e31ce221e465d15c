//! What goes into the state machine and what comes out.

use crate::{
    error::Rejection,
    event::RevisionEvents,
    ids::{LeaseId, LogMark},
    read::LeaseInfo,
};
use bytes::Bytes;
use std::sync::Arc;
use sternpost_proto::{etcdserverpb as pb, internal::Command};

/// One committed log entry.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its position in the raft log; strictly growing.
    pub mark: LogMark,
    /// What it holds.
    pub payload: EntryPayload,
}

/// The three kinds of log entry.
#[derive(Clone, Debug)]
pub enum EntryPayload {
    /// A leader's first entry of its term: only the mark moves.
    Blank,
    /// A client's or the server's own request, decoded.
    Command(Arc<Command>),
    /// A change of membership (`internal::StoredMembership`, encoded). The
    /// store keeps the bytes beside the mark and reads the members from them.
    Membership(Bytes),
}

/// The outcome of one entry.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Where it was in the log.
    pub mark: LogMark,
    /// The store's revision after it.
    pub revision: i64,
    /// The answer. `Ok` for blank and membership entries.
    pub response: Result<Response, Rejection>,
    /// Its events, if it changed keys.
    pub events: Option<Arc<RevisionEvents>>,
    /// What else it changed, for those who keep clocks or caches.
    pub changes: Vec<StateChange>,
}

/// A change of the replicated state beside the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateChange {
    /// A lease came to be.
    LeaseGranted(LeaseInfo),
    /// A lease is gone.
    LeaseRevoked(LeaseId),
    /// A lease got a checkpoint, or lost it (`remaining_secs` 0).
    LeaseCheckpointed(LeaseInfo),
    /// The set of alarms changed.
    Alarms,
    /// Members or their attributes changed.
    Members,
    /// The compact revision moved.
    Compacted(i64),
}

/// The answers, without outer header: the server fills that. Inner headers of
/// a transaction's answers carry the revision alone, as etcd's do.
#[derive(Clone, Debug)]
pub enum Response {
    /// Nothing to say: blank, membership, checkpoints, attributes.
    Empty,
    /// A put.
    Put(pb::PutResponse),
    /// A delete.
    DeleteRange(pb::DeleteRangeResponse),
    /// A transaction.
    Txn(pb::TxnResponse),
    /// A compaction was marked; rows go later, by scrub steps.
    Compaction,
    /// A lease was granted.
    LeaseGrant,
    /// A lease is gone, and its keys with it.
    LeaseRevoke,
    /// The alarm in question, if it exists.
    Alarm(Vec<pb::AlarmMember>),
}
