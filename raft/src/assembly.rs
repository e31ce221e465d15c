//! Puts a node together: what its threads have in common, what connects its
//! callers to the raft thread, and openraft's settings.

use crate::{
    applied::Feed,
    apply_worker::{ApplyWorker, JobSender, Views},
    changer::{CHANGES_MAX, ChangeRequest},
    flow::{FaultLine, Flow},
    forward::Pending,
    heard::Heard,
    housekeeper::{DefragmentWaiter, FLUSH_ENTRIES_MAX, Purge},
    lanes::{BATCHES_MAX, Lanes, Returns},
    lifecycle::Threads,
    log_store::LogStore,
    network::Peers,
    node::{Inner, Leadership},
    nudge::Nudge,
    opening::State,
    options::{Identity, NodeOptions},
    peer::{Endpoint, EndpointParts},
    runtime::{Engine, Opened, Requests, Setup},
    snapshot::Snapshots,
    state_machine::{Applier, Position, Positions},
    status::Standing,
};
use openraft::{Config, SnapshotPolicy};
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use sternpost_storage::ReadHandle;
use tokio::sync::{mpsc, watch};

/// Entries in one message to a peer. Its bytes are bounded by the log store.
const PAYLOAD_ENTRIES_MAX: u64 = 1024;

/// Entries that openraft drops from the log at once.
const PURGE_BATCH: u64 = 1024;

/// How long a peer may take to install a snapshot.
const INSTALL_SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(60);

/// Groups of reads that may wait for a round. A thread has a few on their way
/// at most: one for each turn while a round is under way.
const READ_GROUPS_MAX: usize = 1024;

/// What the threads have in common.
pub(crate) struct Common {
    pub(crate) reads: ReadHandle,
    pub(crate) positions: Arc<Positions>,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) feed: Feed,
    pub(crate) returns: Arc<Returns>,
    pub(crate) pending: Arc<Pending>,
    pub(crate) flow: Arc<Flow>,
    pub(crate) faults: FaultLine,
}

impl Common {
    pub(crate) fn of(member: u64, state: &State, flow: Arc<Flow>, faults: FaultLine) -> Self {
        let machine = &state.machine;
        // What is found at the start came from disk: it is flushed.
        let found = Position {
            mark: machine.applied(),
            membership: machine.membership(),
        };
        if let Some(mark) = found.mark {
            flow.set_applied(mark.index);
        }
        let positions = Positions {
            applied: Mutex::new(found.clone()),
            flushed: Mutex::new(found),
        };
        let reads = machine.read_handle();
        Self {
            feed: Feed::new(reads.view()),
            reads,
            positions: Arc::new(positions),
            snapshots: Arc::new(Snapshots::new(
                state.stores.clone(),
                machine.flusher(),
                Arc::new(faults.clone()),
            )),
            returns: Arc::default(),
            pending: Arc::new(Pending::new(member)),
            flow,
            faults,
        }
    }

    pub(crate) fn worker(&self, state: State, nudge: Nudge) -> ApplyWorker {
        ApplyWorker {
            machine: state.machine,
            reads: self.reads.clone(),
            feed: self.feed.clone(),
            flow: self.flow.clone(),
            positions: self.positions.clone(),
            returns: self.returns.clone(),
            pending: self.pending.clone(),
            nudge,
            faults: self.faults.clone(),
            views: Views::default(),
            snapshots: self.snapshots.clone(),
            storage: state.storage,
        }
    }
}

/// What the raft thread and the node's callers are connected by.
pub(crate) struct Parts {
    pub(crate) options: NodeOptions,
    pub(crate) log: LogStore,
    pub(crate) identity: Identity,
    pub(crate) worker: JobSender,
    pub(crate) purging: watch::Receiver<Option<Purge>>,
    pub(crate) scrubbing: watch::Receiver<i64>,
    pub(crate) defragments: mpsc::Sender<DefragmentWaiter>,
    pub(crate) nudge: Nudge,
}

/// What callers have of a node that is about to run.
pub(crate) struct Doors {
    identity: Identity,
    log: LogStore,
    election_timeout: Duration,
    common: Common,
    lanes: Lanes,
    heard: Arc<Heard>,
    changes: mpsc::Sender<ChangeRequest>,
    standing: watch::Receiver<Standing>,
    leadership: watch::Receiver<Leadership>,
    scrubbing: watch::Receiver<i64>,
    defragments: mpsc::Sender<DefragmentWaiter>,
    nudge: Nudge,
}

/// Connects the two sides.
pub(crate) fn prepare(parts: Parts, common: Common) -> (Setup, Doors) {
    let Parts {
        options,
        log,
        identity,
        ..
    } = parts;
    let (proposals, proposed) = mpsc::channel(BATCHES_MAX);
    let (reads, reading) = mpsc::channel(READ_GROUPS_MAX);
    let (changes, changing) = mpsc::channel(CHANGES_MAX);
    let (standing, following) = watch::channel(Standing::default());
    let (leadership, leading) = watch::channel(Leadership::default());
    let heard = Arc::new(Heard::new(options.election_timeout));
    let setup = Setup {
        member: identity.member_id,
        peers: Peers {
            identity,
            transport: options.transport.clone(),
            reads: common.reads.clone(),
            observer: Arc::new(common.faults.clone()),
        },
        engine: Engine {
            config: config(&options),
            bootstrap: options.bootstrap,
            applier: Applier {
                worker: parts.worker,
                durable: log.durable(),
                positions: common.positions.clone(),
                snapshots: common.snapshots.clone(),
            },
        },
        requests: Requests {
            returns: common.returns.clone(),
            pending: common.pending.clone(),
            resubmit: proposals.clone(),
            proposals: proposed,
            reads: reading,
            purges: parts.purging,
        },
        log: log.clone(),
        flow: common.flow.clone(),
        faults: common.faults.clone(),
        heard: heard.clone(),
        view: common.reads.clone(),
        changes: changing,
        standing,
        leadership,
        election_timeout: options.election_timeout,
    };
    let lanes = Lanes::new(
        common.flow.clone(),
        proposals,
        reads,
        common.returns.clone(),
    );
    let doors = Doors {
        identity,
        log,
        election_timeout: options.election_timeout,
        common,
        lanes,
        heard,
        changes,
        standing: following,
        leadership: leading,
        scrubbing: parts.scrubbing,
        defragments: parts.defragments,
        nudge: parts.nudge,
    };
    (setup, doors)
}

impl Doors {
    /// The node, now that it runs.
    pub(crate) fn open(self, opened: Opened, threads: Option<Threads>) -> Inner {
        let common = self.common;
        let endpoint = Endpoint::new(EndpointParts {
            identity: self.identity,
            raft: opened.raft.clone(),
            reads: common.reads.clone(),
            flow: common.flow.clone(),
            leadership: self.leadership.clone(),
            snapshots: common.snapshots,
            heard: self.heard,
        });
        Inner {
            identity: self.identity,
            raft: opened.raft,
            runtime: opened.runtime,
            endpoint,
            log: self.log,
            election_timeout: self.election_timeout,
            lanes: self.lanes,
            flow: common.flow,
            reads: common.reads,
            feed: common.feed,
            standing: self.standing,
            leadership: self.leadership,
            scrubbed: self.scrubbing,
            defragments: self.defragments,
            changes: self.changes,
            nudge: self.nudge,
            threads: Mutex::new(threads),
            stopped: watch::Sender::new(false),
        }
    }
}

/// openraft's settings from etcd's.
fn config(options: &NodeOptions) -> Config {
    let millis = |duration: Duration| {
        u64::try_from(duration.as_millis())
            .unwrap_or(u64::MAX)
            .max(1)
    };
    let heartbeat = millis(options.heartbeat_interval);
    let election = millis(options.election_timeout);
    // A follower waits for the leader's lease (the maximum) and then for a
    // random time between the two before it campaigns: as with etcd not before
    // an election timeout of silence, and mostly before 1.2 of them. etcd
    // draws from 1 to 2.
    let election_min = (election * 2 / 5).max(heartbeat + 1);
    let election_max = (election * 3 / 5).max(election_min + 1);
    let snapshot_entries = options.snapshot_entries.max(FLUSH_ENTRIES_MAX);
    Config {
        cluster_name: "sternpost".into(),
        heartbeat_interval: heartbeat,
        election_timeout_min: election_min,
        election_timeout_max: election_max,
        enable_pre_vote: Some(true),
        // The state is not flushed when it is applied: a restarted leader is elected anew.
        enable_leader_restore: Some(false),
        // A leader without a quorum must not keep a follower from voting for
        // another: it pauses its heartbeats now and then.
        quorum_loss_probe_interval: Some(election_max * 3),
        // Snapshots are marks of the housekeeper's flushes, and it purges by them.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        purge_batch_size: PURGE_BATCH,
        max_payload_entries: PAYLOAD_ENTRIES_MAX,
        // A follower gets entries as long as there are any.
        replication_lag_threshold: snapshot_entries
            .saturating_mul(4)
            .saturating_add(options.catchup_entries),
        install_snapshot_timeout: millis(INSTALL_SNAPSHOT_TIMEOUT),
        ..Config::default()
    }
}
