//! Data directory, initial cluster, IDs as etcd computes them; first start
//! and restart.

mod ask;
mod data_dir;
mod first;
mod ids;
mod join;
mod observe;

pub use data_dir::DataDir;
pub use ids::added_member_id;

use crate::{
    config::{ClusterState, Config},
    member::Standing,
    metrics::Metrics,
    peer,
};
use observe::Reporter;
use std::sync::Arc;
use sternpost_raft::{NodeOptions, RaftNode};
use sternpost_storage::{Durability, StorageOptions};

/// Opens the node in a data directory. The error is one sentence.
pub fn open_node(
    config: &Config,
    dir: &DataDir,
    metrics: &Metrics,
    standing: &Arc<Standing>,
) -> Result<RaftNode, String> {
    let bootstrap = match config.initial_cluster_state {
        _ if dir.initialized => first::restart(config),
        ClusterState::New => first::new_cluster(config)?,
        ClusterState::Existing => join::existing_cluster(config)?,
    };
    let durability = if config.unsafe_no_fsync {
        Durability::UnsafeNoFsync
    } else {
        Durability::Synced
    };
    let options = NodeOptions {
        wal_dir: dir.wal.clone(),
        storage: StorageOptions {
            durability,
            ..StorageOptions::at(&dir.state)
        },
        bootstrap,
        force_new_cluster: config.force_new_cluster,
        heartbeat_interval: config.heartbeat_interval,
        election_timeout: config.election_timeout,
        snapshot_entries: config.snapshot_count,
        catchup_entries: config.snapshot_catchup_entries,
        unsafe_no_fsync: config.unsafe_no_fsync,
        compaction_batch: config.compaction_batch(),
        compaction_sleep: config.compaction_sleep(),
        transport: Arc::new(peer::transport(config, metrics)),
        observer: Arc::new(Reporter::new(
            metrics.clone(),
            config.warning_apply_duration,
            standing.clone(),
        )),
    };
    RaftNode::open(options).map_err(|error| error.to_string())
}
