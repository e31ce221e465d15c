//! What can go wrong between a request and its answer.

use sternpost_storage::{Fault, Rejection};
use thiserror::Error;

/// Why a proposal has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProposeError {
    /// Applied, and refused: the same answer on every member.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// No leader took it as long as anybody waited. Not accepted: may be retried.
    #[error("no leader")]
    NoLeader,
    /// Too many committed entries wait to be applied. Not accepted.
    #[error("too many requests")]
    Overloaded,
    /// The node is stopping. Not accepted.
    #[error("stopped")]
    Stopped,
    /// Proposed, but what became of it is not known: it may still be applied.
    #[error("outcome unknown")]
    OutcomeUnknown,
    /// The command is nested more deeply than members can decode. Not accepted.
    #[error("request is nested too deeply")]
    TooDeep,
}

/// Why a linearizable read can't be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReadIndexError {
    /// No leader is known.
    #[error("no leader")]
    NoLeader,
    /// Leadership changed while the read waited.
    #[error("leader changed")]
    LeaderChanged,
    /// No quorum answered in time.
    #[error("timed out")]
    TimedOut,
    /// The node is stopping.
    #[error("stopped")]
    Stopped,
}

/// Why a change of the membership is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MembershipError {
    /// Another member leads, or none does.
    #[error("not the leader")]
    NotLeader(Option<u64>),
    /// A change before this one is not done yet.
    #[error("another change is in progress")]
    InFlight,
    /// The member was removed: its ID never comes back.
    #[error("the member was removed")]
    Removed,
    /// There is such a member already.
    #[error("the member exists")]
    Exists,
    /// There is no such member.
    #[error("no such member")]
    NotFound,
    /// Another member has one of the peer URLs.
    #[error("a peer URL is taken")]
    PeerUrlExists,
    /// There are as many learners as there may be.
    #[error("too many learners")]
    TooManyLearners,
    /// Only a learner can be promoted.
    #[error("not a learner")]
    NotLearner,
    /// A cluster without a voter could decide nothing any more.
    #[error("the last voter")]
    LastVoter,
    /// Proposed, but it may come to nothing.
    #[error("outcome unknown")]
    OutcomeUnknown,
    /// The node is stopping.
    #[error("stopped")]
    Stopped,
}

/// Why leadership was not handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TransferError {
    /// This member does not lead.
    #[error("not leader")]
    NotLeader,
    /// The target is no voter of the cluster.
    #[error("not a voter")]
    NotVoter,
    /// There was no other leader in time. It may still come to it.
    #[error("timed out")]
    TimedOut,
    /// The node is stopping.
    #[error("stopped")]
    Stopped,
}

/// Why a node can't start. Each text names the flag or file and what to do.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The log can't be read or written.
    #[error("raft log: {0}")]
    Log(String),
    /// The state machine can't be opened.
    #[error(transparent)]
    Storage(#[from] Fault),
    /// The data directory belongs to another member or cluster.
    #[error("{0}")]
    Identity(String),
    /// Consensus refused to start.
    #[error("consensus: {0}")]
    Consensus(String),
    /// A file or directory can't be used.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
}
