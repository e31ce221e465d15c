//! Two kinds of failure, never mixed.
//!
//! A [`Rejection`] is an answer: every member computes the same one for the
//! same entry, and the client gets it. A [`Fault`] is the end of this
//! process: an I/O error, damaged data, a broken invariant. Going on after a
//! fault could let replicas diverge.

use thiserror::Error;

/// Why a request was not carried out; a variant per etcd error. Codes and
/// texts are the server's business (`server/src/status.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Rejection {
    /// `ignore_value` or `ignore_lease` on a key that does not exist.
    #[error("key not found")]
    KeyNotFound,
    /// The revision lies below the last compaction.
    #[error("required revision has been compacted")]
    Compacted,
    /// The revision has not been reached yet.
    #[error("required revision is a future revision")]
    FutureRevision,
    /// No such lease.
    #[error("requested lease not found")]
    LeaseNotFound,
    /// A lease with this ID exists.
    #[error("lease already exists")]
    LeaseExists,
    /// The NOSPACE alarm is on.
    #[error("database space exceeded")]
    NoSpace,
    /// The CORRUPT alarm is on.
    #[error("corrupt cluster")]
    Corrupt,
    /// An expiry decided in an earlier term than the entry's.
    #[error("expiry was decided in an earlier term")]
    StaleExpiry,
    /// Proposed by a follower to the leader of another term: no client sees it.
    #[error("proposed in another term")]
    StaleProposal,
}

/// What stops the node. Each text names the file, key or entry at fault.
#[derive(Debug, Error)]
pub enum Fault {
    /// The storage engine failed.
    #[error("storage engine: {0}")]
    Backend(String),
    /// The disk is full. Nothing was changed: the same can be tried again.
    #[error("storage engine: {0}. Make room on this disk: what is acknowledged is safe")]
    NoRoom(String),
    /// Stored bytes can't be what was written.
    #[error("corrupt data in {place}: {detail}")]
    Corrupt {
        /// Column family and key, or file and offset.
        place: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The data was written by a version with another format.
    #[error("data has format {found}, this version reads up to {supported}")]
    Format {
        /// The format found.
        found: u32,
        /// The newest one this version reads.
        supported: u32,
    },
    /// A log entry that this version can't carry out.
    #[error("log entry {index}: {detail}")]
    Entry {
        /// Its raft index.
        index: u64,
        /// Why it can't be applied.
        detail: String,
    },
}

/// What a read can end in.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The client's request can't be answered.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The data can't be read.
    #[error(transparent)]
    Fault(#[from] Fault),
}
