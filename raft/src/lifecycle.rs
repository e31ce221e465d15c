//! How a node begins and ends.
//!
//! Threads: `raft` (openraft and its tasks), `apply` (owns the state
//! machine), `housekeeper` (flush, purge, scrub, defragment) and the log's
//! writer. All are started here and joined here, in the order in which they
//! need each other; nothing runs on after the end.

use crate::{
    applied::Feed,
    apply_worker::{ApplyWorker, JobSender, Turns, Views},
    changer::CHANGES_MAX,
    error::OpenError,
    flow::{FaultLine, Flow},
    force,
    forward::Pending,
    heard::Heard,
    housekeeper::{
        DEFRAGMENT_WAITERS_MAX, DefragmentWaiter, FLUSH_ENTRIES_MAX, Housekeeper,
        PURGE_ENTRIES_MIN, Purge, Rules,
    },
    lanes::{BATCHES_MAX, Lanes, Returns},
    log_store::{LogStore, SEGMENT_BYTES, WalOptions},
    network::Peers,
    node::{Inner, Leadership},
    nudge::{Nudge, Wakes, nudge},
    observer::Observer as _,
    opening::{State, open_state},
    options::{Bootstrap, Identity, NodeOptions},
    peer::{Endpoint, EndpointParts},
    runtime::{Opened, RaftThread, Setup},
    snapshot::Snapshots,
    state_machine::{Applier, Position, Positions},
    status::Standing,
};
use openraft::{Config, SnapshotPolicy};
use parking_lot::Mutex;
use std::{
    io,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};
use sternpost_storage::{Flusher, ReadHandle};
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

/// The node's threads, the raft thread first to end.
pub(crate) struct Threads {
    raft: RaftThread,
    house: House,
}

impl Threads {
    /// Ends all threads. Blocks until they have.
    pub(crate) fn stop(self) {
        self.raft.stop();
        self.house.stop();
    }
}

/// What is started before the raft thread, and ends after it.
struct House {
    ends: Ends,
    worker_thread: JoinHandle<()>,
    housekeeper: JoinHandle<()>,
}

/// By what the house is ended.
pub(crate) struct Ends {
    worker: JobSender,
    nudge: Nudge,
    pub(crate) flusher: Flusher,
    log: LogStore,
    flow: Arc<Flow>,
    faults: FaultLine,
    feed: Feed,
    returns: Arc<Returns>,
}

/// The house before its threads are started.
pub(crate) struct HouseParts {
    pub(crate) turns: Turns,
    pub(crate) housekeeper: Housekeeper,
    pub(crate) ends: Ends,
}

impl HouseParts {
    fn start(self) -> Result<House, OpenError> {
        let no_thread =
            |error: io::Error| OpenError::Consensus(format!("can't start a thread: {error}"));
        let Self {
            turns,
            housekeeper,
            ends,
        } = self;
        let started = turns.start(ends.faults.clone());
        let worker_thread = started
            .map_err(no_thread)
            .inspect_err(|_| ends.log.close())?;
        let housekeeper = housekeeper.start().inspect_err(|_| {
            ends.worker.stop();
            ends.log.close();
        });
        Ok(House {
            housekeeper: housekeeper.map_err(no_thread)?,
            worker_thread,
            ends,
        })
    }
}

impl House {
    /// The housekeeper asks the worker for steps, so it ends first. With both
    /// gone the state is flushed a last time: the next start replays nothing.
    fn stop(self) {
        self.ends.nudge.stop();
        // Panics have been reported as faults already.
        let _ = self.housekeeper.join();
        self.ends.worker.stop();
        let _ = self.worker_thread.join();
        self.ends.finish();
    }
}

impl Ends {
    /// The rest, without the threads.
    pub(crate) fn finish(self) {
        let begun = Instant::now();
        if !self.flow.has_failed() {
            match self.flusher.flush() {
                Ok(()) => self.faults.state_flushed(begun.elapsed()),
                Err(fault) => self.faults.raise(&fault.to_string()),
            }
        }
        self.log.close();
        self.feed.close();
        self.returns.close();
    }
}

/// Opens log and state machine, and starts the threads.
pub(crate) fn open(mut options: NodeOptions) -> Result<Inner, OpenError> {
    let flow = Arc::new(Flow::default());
    let faults = FaultLine::new(flow.clone(), options.observer.clone());
    let wal = WalOptions {
        dir: options.wal_dir.clone(),
        segment_bytes: SEGMENT_BYTES,
        identity: Some(options.bootstrap.identity()),
        unsafe_no_fsync: options.unsafe_no_fsync,
    };
    let (log, recovered) = LogStore::open(&wal, Arc::new(faults.clone()))?;
    if recovered.identity != options.bootstrap.identity() {
        // A log that belongs elsewhere must not begin with what the flags say.
        let identity = recovered.identity;
        options.bootstrap = Bootstrap::Join { identity };
    }
    let opened = open_state(&options, &log).and_then(|state| {
        if options.force_new_cluster {
            force::alone(&log, &recovered, &state.machine)?;
        }
        Ok(state)
    });
    match opened {
        Ok(state) => {
            let member = recovered.identity.member_id;
            let common = Common::of(member, &state, flow, faults);
            let identity = recovered.identity;
            start(assemble(options, log, identity, state, common))
        }
        Err(error) => {
            log.close();
            Err(error)
        }
    }
}

/// A node over files and a state of the caller's, who starts it without threads.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn assemble_over(
    options: NodeOptions,
    files: Arc<dyn crate::wal::files::Files>,
    segment_bytes: u64,
    machine: sternpost_storage::StateMachine,
) -> Result<(Assembly, LogStore, crate::log_store::Recovered), OpenError> {
    let flow = Arc::new(Flow::default());
    let faults = FaultLine::new(flow.clone(), options.observer.clone());
    let wal = WalOptions {
        dir: options.wal_dir.clone(),
        segment_bytes,
        identity: Some(options.bootstrap.identity()),
        unsafe_no_fsync: false,
    };
    let (log, recovered) = LogStore::open_idle(files, &wal, Arc::new(faults.clone()))?;
    let state = crate::opening::given_state(&options, &log, machine)?;
    let identity = recovered.identity;
    let common = Common::of(identity.member_id, &state, flow, faults);
    let assembly = assemble(options, log.clone(), identity, state, common);
    Ok((assembly, log, recovered))
}

/// What the threads have in common.
struct Common {
    reads: ReadHandle,
    positions: Arc<Positions>,
    snapshots: Arc<Snapshots>,
    feed: Feed,
    returns: Arc<Returns>,
    pending: Arc<Pending>,
    flow: Arc<Flow>,
    faults: FaultLine,
}

impl Common {
    fn of(member: u64, state: &State, flow: Arc<Flow>, faults: FaultLine) -> Self {
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
            snapshots: Arc::new(Snapshots::new(state.stores.clone(), machine.flusher())),
            returns: Arc::default(),
            pending: Arc::new(Pending::new(member)),
            flow,
            faults,
        }
    }

    fn worker(&self, state: State, nudge: Nudge) -> ApplyWorker {
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

/// A node without threads.
pub(crate) struct Assembly {
    pub(crate) setup: Setup,
    pub(crate) house: HouseParts,
    /// Makes the node, once openraft has been started.
    pub(crate) finish: Box<dyn FnOnce(Opened, Option<Threads>) -> Inner + Send>,
}

fn start(assembly: Assembly) -> Result<Inner, OpenError> {
    let Assembly {
        setup,
        house,
        finish,
    } = assembly;
    let house = house.start()?;
    match RaftThread::start(setup) {
        Ok((raft, opened)) => Ok(finish(opened, Some(Threads { raft, house }))),
        Err(error) => {
            house.stop();
            Err(error)
        }
    }
}

/// Puts together what [`start`] starts.
fn assemble(
    options: NodeOptions,
    log: LogStore,
    identity: Identity,
    state: State,
    common: Common,
) -> Assembly {
    let (proposals, proposed) = mpsc::channel(BATCHES_MAX);
    let (reads, reading) = mpsc::channel(READ_GROUPS_MAX);
    let (defragments, defragmenting) = mpsc::channel(DEFRAGMENT_WAITERS_MAX);
    let (changes, changing) = mpsc::channel(CHANGES_MAX);
    let (purges, purging) = watch::channel(None);
    let (scrubbed, scrubbing) = watch::channel(-1);
    let (standing, following) = watch::channel(Standing::default());
    let (leadership, leading) = watch::channel(Leadership::default());
    let (nudge, wakes) = nudge();
    let keeping = Keeping {
        purges,
        defragmenting,
        scrubbed,
        nudge: nudge.clone(),
        wakes,
    };
    let heard = Arc::new(Heard::new(options.election_timeout));
    let house = house_parts(&options, log.clone(), state, &common, keeping);
    let own_log = log.clone();
    let setup = Setup {
        member: identity.member_id,
        peers: Peers {
            identity,
            transport: options.transport.clone(),
            reads: common.reads.clone(),
            observer: Arc::new(common.faults.clone()),
        },
        config: config(&options),
        bootstrap: options.bootstrap,
        applier: Applier {
            worker: house.ends.worker.clone(),
            durable: log.durable(),
            positions: common.positions.clone(),
            snapshots: common.snapshots.clone(),
        },
        log: log.clone(),
        flow: common.flow.clone(),
        faults: common.faults.clone(),
        returns: common.returns.clone(),
        pending: common.pending.clone(),
        heard: heard.clone(),
        resubmit: proposals.clone(),
        proposals: proposed,
        reads: reading,
        view: common.reads.clone(),
        changes: changing,
        purges: purging,
        standing,
        leadership,
        election_timeout: options.election_timeout,
    };
    let finish = move |opened: Opened, threads| {
        let endpoint = Endpoint::new(EndpointParts {
            identity,
            raft: opened.raft.clone(),
            reads: common.reads.clone(),
            flow: common.flow.clone(),
            leadership: leading.clone(),
            snapshots: common.snapshots.clone(),
            heard,
        });
        Inner {
            identity,
            raft: opened.raft,
            runtime: opened.runtime,
            endpoint,
            election_timeout: options.election_timeout,
            log: own_log,
            lanes: Lanes::new(common.flow.clone(), proposals, reads, common.returns),
            flow: common.flow,
            reads: common.reads,
            feed: common.feed,
            standing: following,
            leadership: leading,
            scrubbed: scrubbing,
            defragments,
            changes,
            nudge,
            threads: Mutex::new(threads),
            stopped: watch::Sender::new(false),
        }
    };
    Assembly {
        setup,
        house,
        finish: Box::new(finish),
    }
}

/// The housekeeper's ends of its channels.
struct Keeping {
    purges: watch::Sender<Option<Purge>>,
    defragmenting: mpsc::Receiver<DefragmentWaiter>,
    scrubbed: watch::Sender<i64>,
    nudge: Nudge,
    wakes: Wakes,
}

fn house_parts(
    options: &NodeOptions,
    log: LogStore,
    state: State,
    common: &Common,
    keeping: Keeping,
) -> HouseParts {
    let flusher = state.machine.flusher();
    let nudge = keeping.nudge.clone();
    let (worker, turns) = common.worker(state, nudge.clone()).parts();
    let housekeeper = Housekeeper {
        rules: Rules {
            snapshot_entries: options.snapshot_entries,
            catchup_entries: options.catchup_entries,
            purge_entries_min: PURGE_ENTRIES_MIN,
            compaction_batch: options.compaction_batch,
            compaction_sleep: options.compaction_sleep,
        },
        flusher: flusher.clone(),
        reads: common.reads.clone(),
        feed: common.feed.clone(),
        worker: worker.clone(),
        positions: common.positions.clone(),
        snapshots: common.snapshots.clone(),
        log: log.clone(),
        flow: common.flow.clone(),
        faults: common.faults.clone(),
        purges: keeping.purges,
        defragments: keeping.defragmenting,
        scrubbed: keeping.scrubbed,
        nudge: keeping.nudge,
        wakes: keeping.wakes,
    };
    HouseParts {
        turns,
        housekeeper,
        ends: Ends {
            worker,
            nudge,
            flusher,
            log,
            flow: common.flow.clone(),
            faults: common.faults.clone(),
            feed: common.feed.clone(),
            returns: common.returns.clone(),
        },
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
