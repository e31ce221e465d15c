//! How a node is opened.

use std::{path::PathBuf, sync::Arc, time::Duration};
use sternpost_proto::internal::Node;
use sternpost_storage::StorageOptions;

use crate::{observer::Observer, peer::Transport};

/// Who this node is. Written into the log when it is created, and checked at
/// each later start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The member ID as etcd computes it.
    pub member_id: u64,
    /// The cluster ID as etcd computes it.
    pub cluster_id: u64,
}

/// What to do when there is no log yet. Ignored otherwise.
#[derive(Clone, Debug)]
pub enum Bootstrap {
    /// Found a cluster of these members; every one of them starts with the same list.
    New {
        /// Who this node will be.
        identity: Identity,
        /// All founding members, this one included.
        members: Vec<Node>,
    },
    /// Wait to be told by the leader of a running cluster.
    Join {
        /// Who this node will be.
        identity: Identity,
    },
}

impl Bootstrap {
    /// Who the node will be.
    pub fn identity(&self) -> Identity {
        match self {
            Self::New { identity, .. } | Self::Join { identity } => *identity,
        }
    }
}

/// What a node needs to know when it is opened.
#[derive(Clone)]
pub struct NodeOptions {
    /// Directory of the log segments.
    pub wal_dir: PathBuf,
    /// The state machine's store.
    pub storage: StorageOptions,
    /// For a first start.
    pub bootstrap: Bootstrap,
    /// etcd's `--force-new-cluster`: a member with data goes on alone.
    pub force_new_cluster: bool,
    /// etcd's `--heartbeat-interval`.
    pub heartbeat_interval: Duration,
    /// etcd's `--election-timeout`.
    pub election_timeout: Duration,
    /// Entries after which the state is flushed and the log before it may go
    /// (etcd's `--snapshot-count`, as an upper bound).
    pub snapshot_entries: u64,
    /// Entries kept in the log for slow followers.
    pub catchup_entries: u64,
    /// etcd's `--unsafe-no-fsync`.
    pub unsafe_no_fsync: bool,
    /// Rows a scrub step removes at most, and how long it then rests.
    pub compaction_batch: usize,
    /// The rest between scrub steps.
    pub compaction_sleep: Duration,
    /// How to reach the other members.
    pub transport: Arc<dyn Transport>,
    /// Who measures, and who stops the process.
    pub observer: Arc<dyn Observer>,
}
