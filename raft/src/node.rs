//! The node: open, propose, read, watch, shut down.

use crate::{
    applied::Feed,
    error::{OpenError, ProposeError, ReadIndexError},
    options::{Identity, NodeOptions},
};
use sternpost_proto::internal::Command;
use sternpost_storage::{Applied, Fault, ReadHandle};
use tokio::sync::watch;

/// One member's consensus, log and state machine. Cheap to clone; the threads
/// behind it end with [`RaftNode::shutdown`].
#[derive(Clone)]
pub struct RaftNode {
    _private: (),
}

/// Who leads, as this member sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The current term.
    pub term: u64,
    /// The leader, if one is known and (when it is this member) still backed by a quorum.
    pub leader: Option<u64>,
    /// This member leads and has applied the first entry of its term.
    pub leads: bool,
}

/// A member's position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeStatus {
    /// Term and leader.
    pub leadership: Leadership,
    /// The committed index.
    pub committed_index: u64,
    /// The applied index.
    pub applied_index: u64,
    /// This member does not vote.
    pub is_learner: bool,
}

impl RaftNode {
    /// Opens log and state machine, replays what a crash left unapplied, and
    /// starts the node's threads. Returns before a leader is elected.
    pub fn open(_options: NodeOptions) -> Result<Self, OpenError> {
        unimplemented!()
    }

    /// Who this node is, as its log says.
    pub fn identity(&self) -> Identity {
        unimplemented!()
    }

    /// Proposes a command and waits until it is applied here. Call from a
    /// task of any current-thread runtime: proposals and answers cross
    /// threads in batches. The caller sets the deadline; dropping the future
    /// leaves the outcome open.
    pub async fn propose(&self, _command: Command) -> Result<Applied, ProposeError> {
        unimplemented!()
    }

    /// Returns once the local view holds everything that was acknowledged
    /// anywhere before the call.
    pub async fn read_index(&self) -> Result<(), ReadIndexError> {
        unimplemented!()
    }

    /// The published state.
    pub fn reads(&self) -> &ReadHandle {
        unimplemented!()
    }

    /// The feed of applied changes.
    pub fn feed(&self) -> &Feed {
        unimplemented!()
    }

    /// The current term; cheap, for response headers.
    pub fn term(&self) -> u64 {
        unimplemented!()
    }

    /// Where this member stands.
    pub fn status(&self) -> NodeStatus {
        unimplemented!()
    }

    /// Changes of leadership.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        unimplemented!()
    }

    /// Waits until no row is left that the compact revision made dead.
    pub async fn wait_scrubbed(&self) {
        unimplemented!()
    }

    /// Gives freed space back to the file system, beside the traffic.
    pub async fn defragment(&self) -> Result<(), Fault> {
        unimplemented!()
    }

    /// Flushes the state and ends all threads. Proposals in flight end with
    /// `OutcomeUnknown`.
    pub async fn shutdown(&self) {
        unimplemented!()
    }
}
