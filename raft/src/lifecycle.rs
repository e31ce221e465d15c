//! How a node begins and ends.
//!
//! Threads: `raft` (openraft and its tasks), `apply` (owns the state
//! machine), `housekeeper` (flush, purge, scrub, defragment) and the log's
//! writer. All are started here and joined here, in the order in which they
//! need each other; nothing runs on after the end.

use crate::{
    applied::Feed,
    apply_worker::{JobSender, Turns},
    assembly::{Common, Doors, Parts, prepare},
    error::OpenError,
    flow::{FaultLine, Flow},
    force,
    housekeeper::{
        DEFRAGMENT_WAITERS_MAX, DefragmentWaiter, Housekeeper, PURGE_ENTRIES_MIN, Purge, Rules,
    },
    lanes::Returns,
    log_store::{LogStore, SEGMENT_BYTES, WalOptions},
    node::Inner,
    nudge::{Nudge, Wakes, nudge},
    observer::Observer as _,
    opening::{State, open_state},
    options::{Bootstrap, Identity, NodeOptions},
    runtime::{RaftThread, Setup},
};
use std::{io, sync::Arc, thread::JoinHandle, time::Instant};
use sternpost_storage::Flusher;
use tokio::sync::{mpsc, watch};

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
    flusher: Flusher,
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
            .inspect_err(|_| ends.log.close())
            .map_err(no_thread)?;
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
    /// What is left to do without the threads.
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

/// A node whose threads have not been started.
pub(crate) struct Assembly {
    pub(crate) setup: Setup,
    pub(crate) house: HouseParts,
    pub(crate) doors: Doors,
}

fn start(assembly: Assembly) -> Result<Inner, OpenError> {
    let Assembly {
        setup,
        house,
        doors,
    } = assembly;
    let house = house.start()?;
    match RaftThread::start(setup) {
        Ok((raft, opened)) => Ok(doors.open(opened, Some(Threads { raft, house }))),
        Err(error) => {
            house.stop();
            Err(error)
        }
    }
}

/// Puts together what [`start`] starts.
pub(crate) fn assemble(
    options: NodeOptions,
    log: LogStore,
    identity: Identity,
    state: State,
    common: Common,
) -> Assembly {
    let (defragments, defragmenting) = mpsc::channel(DEFRAGMENT_WAITERS_MAX);
    let (purges, purging) = watch::channel(None);
    let (scrubbed, scrubbing) = watch::channel(-1);
    let (nudge, wakes) = nudge();
    let keeping = Keeping {
        purges,
        defragmenting,
        scrubbed,
        nudge: nudge.clone(),
        wakes,
    };
    let house = house_parts(&options, log.clone(), state, &common, keeping);
    let parts = Parts {
        worker: house.ends.worker.clone(),
        options,
        log,
        identity,
        purging,
        scrubbing,
        defragments,
        nudge,
    };
    let (setup, doors) = prepare(parts, common);
    Assembly {
        setup,
        house,
        doors,
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
