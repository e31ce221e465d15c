//! What the parts of a running member share.

use crate::{config::Config, metrics::Metrics};
use sternpost_raft::RaftNode;

/// A running member. One per process.
pub struct Member {
    /// Flags as given.
    pub config: Config,
    /// Consensus and state.
    pub node: RaftNode,
    /// Where everything is counted.
    pub metrics: Metrics,
}
