//! What goes into the state machine and what comes out, and the one place
//! that knows which verb of a command is whose.

mod alarm;
mod cluster;
mod kv;
mod lease;
mod txn;

use crate::{
    error::{Fault, ReadError, Rejection},
    event::RevisionEvents,
    ids::{LeaseId, LogMark},
    mvcc::{write_txn::WriteTxn, writer::Writer},
    read::LeaseInfo,
};
use bytes::Bytes;
use std::sync::Arc;
use sternpost_proto::{
    etcdserverpb as pb,
    internal::{Command, command::Verb},
};

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
    /// Members, their attributes or the cluster version changed.
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

/// The newest rules this version knows to apply by.
const FEATURE_LEVEL_MAX: u32 = 1;

/// Carries one entry out. Rejections change nothing.
pub(crate) fn entry(writer: &mut Writer, entry: &Entry) -> Result<Applied, Fault> {
    if let EntryPayload::Command(command) = &entry.payload
        && let Some(Verb::Txn(request)) = &command.verb
        && txn::reads_the_past(request)
        && writer.overlay.changes().len() > 0
    {
        // Reads at an old revision see what is written, not what is pending.
        writer.write_out()?;
    }
    let mut txn = WriteTxn::begin(writer);
    let response = match payload(&mut txn, entry) {
        Ok(response) => Ok(response),
        Err(ReadError::Rejected(rejection)) => Err(rejection),
        Err(ReadError::Fault(fault)) => return Err(fault),
    };
    let done = txn.finish();
    Ok(Applied {
        mark: entry.mark,
        revision: done.revision,
        response,
        events: done.events.map(Arc::new),
        changes: done.changes,
    })
}

fn payload(txn: &mut WriteTxn<'_>, entry: &Entry) -> Result<Response, ReadError> {
    match &entry.payload {
        EntryPayload::Blank => Ok(Response::Empty),
        EntryPayload::Membership(bytes) => Ok(cluster::membership(txn, entry.mark, bytes)?),
        EntryPayload::Command(command) => {
            let (level, fence) = command.header.as_ref().map_or((0, 0), |header| {
                (header.feature_level, header.proposed_in_term)
            });
            // Its proposer was told "not accepted", or will be: it must not happen here.
            if fence != 0 && fence != entry.mark.term {
                return Err(Rejection::StaleProposal.into());
            }
            if level > FEATURE_LEVEL_MAX {
                return Err(unknown(
                    entry,
                    format!("feature level {level} is beyond {FEATURE_LEVEL_MAX}"),
                )
                .into());
            }
            verb(txn, entry, command)
        }
    }
}

fn verb(txn: &mut WriteTxn<'_>, entry: &Entry, command: &Command) -> Result<Response, ReadError> {
    let Some(verb) = &command.verb else {
        return Err(unknown(entry, "no verb that this version knows".to_owned()).into());
    };
    alarm::admit(&txn.writer().cluster, verb)?;
    match verb {
        Verb::Put(request) => kv::put(txn, request),
        Verb::DeleteRange(request) => kv::delete_range(txn, request),
        Verb::Txn(request) => txn::apply(txn, request),
        Verb::Compaction(request) => kv::compact(txn, request),
        Verb::LeaseGrant(grant) => lease::grant(txn, grant),
        Verb::LeaseRevoke(revoke) => lease::revoke(txn, revoke, entry.mark.term),
        Verb::LeaseCheckpoints(checkpoints) => lease::checkpoint(txn, checkpoints),
        Verb::Alarm(change) => Ok(alarm::change(txn, change)),
        Verb::MemberAttributes(attributes) => Ok(cluster::attributes(txn, attributes)),
        Verb::ClusterVersion(version) => Ok(cluster::version(txn, version)),
    }
}

fn unknown(entry: &Entry, detail: String) -> Fault {
    Fault::Entry {
        index: entry.mark.index,
        detail,
    }
}

#[cfg(test)]
#[cfg(feature = "rocksdb")]
mod tests;
