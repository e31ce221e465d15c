//! A node without threads: the same parts, and whoever opens it gives each of
//! them its turns on the thread and the runtime of its choice. For simulation.

use crate::{
    apply_worker,
    assembly::{Common, Doors},
    error::OpenError,
    flow::{FaultLine, Flow},
    housekeeper::Keeping,
    lifecycle::{Assembly, Ends, HouseParts, assemble},
    log_store::{LogStore, Recovered, WalOptions},
    node::RaftNode,
    opening::given_state,
    options::NodeOptions,
    runtime::{self, Opened},
    wal::files::Files,
};
use std::{
    sync::{
        Arc,
        mpsc::{Receiver, TryRecvError, sync_channel},
    },
    time::Duration,
};
use sternpost_storage::{Fault, StateMachine};
use tokio::sync::watch;

/// How often an opening is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// On what a node stands, and what is smaller than in production.
pub struct Ground {
    /// The log's files.
    pub files: Arc<dyn Files>,
    /// The size of the log's segments.
    pub segment_bytes: u64,
    /// The state, as it was found.
    pub machine: StateMachine,
    /// Entries that must be purgeable before it is worth telling the log.
    pub purge_entries_min: u64,
}

/// The parts of a node that is being opened. All of them must have turns
/// from the start: openraft waits for its log.
pub struct Parts {
    /// What was found in the log.
    pub recovered: Recovered,
    /// The log's writer.
    pub log: LogTurns,
    /// The apply worker.
    pub apply: ApplyTurns,
    /// The housekeeper.
    pub house: HouseTurns,
    /// Becomes the node.
    pub opening: Opening,
    /// Ends it in good order.
    pub stop: Stop,
}

/// Opens a node. Its raft task is spawned on the current runtime.
pub fn open(options: NodeOptions, ground: Ground) -> Result<Parts, OpenError> {
    let Ground {
        files,
        segment_bytes,
        machine,
        purge_entries_min,
    } = ground;
    let flow = Arc::new(Flow::default());
    let faults = FaultLine::new(flow.clone(), options.observer.clone());
    let wal = WalOptions {
        dir: options.wal_dir.clone(),
        segment_bytes,
        identity: Some(options.bootstrap.identity()),
        unsafe_no_fsync: false,
    };
    let (log, recovered) = LogStore::open_idle(files, &wal, Arc::new(faults.clone()))?;
    let state = given_state(&options, &log, machine)?;
    let identity = recovered.identity;
    let common = Common::of(identity.member_id, &state, flow, faults);
    let Assembly {
        setup,
        house,
        doors,
    } = assemble(options, log.clone(), identity, state, common);
    let HouseParts {
        turns,
        mut housekeeper,
        ends,
    } = house;
    housekeeper.rules.purge_entries_min = purge_entries_min;
    let (stop, stopping) = watch::channel(false);
    let (opened, opening) = sync_channel(1);
    tokio::spawn(async move { runtime::run(setup, &opened, stopping).await });
    Ok(Parts {
        recovered,
        log: LogTurns(log),
        apply: ApplyTurns(turns),
        house: HouseTurns(housekeeper.keeping()),
        opening: Opening {
            opened: opening,
            doors,
        },
        stop: Stop { stop, ends },
    })
}

/// Turns of the log's writer.
#[derive(Clone)]
pub struct LogTurns(LogStore);

impl LogTurns {
    /// Writes and syncs what is queued; false once the log has ended.
    pub fn turn(&self) -> bool {
        self.0.turn()
    }

    /// The log, to look into.
    pub fn log(&self) -> &LogStore {
        &self.0
    }
}

/// Turns of the apply worker.
pub struct ApplyTurns(apply_worker::Turns);

impl ApplyTurns {
    /// Applies what is ready; false once the worker has ended.
    pub fn turn(&mut self) -> bool {
        self.0.turn()
    }
}

/// Turns of the housekeeper: it looks at the flush rule only.
pub struct HouseTurns(Keeping);

impl HouseTurns {
    /// Flushes if that is due, and lets the log go behind it.
    pub fn turn(&mut self) -> Result<(), Fault> {
        self.0.turn()
    }
}

/// A node that is being opened.
pub struct Opening {
    opened: Receiver<Result<Opened, OpenError>>,
    doors: Doors,
}

impl Opening {
    /// The node, once it holds what was known to be committed.
    pub async fn opened(self) -> Result<RaftNode, OpenError> {
        loop {
            match self.opened.try_recv() {
                Ok(opened) => return Ok(RaftNode::of(self.doors.open(opened?, None))),
                Err(TryRecvError::Empty) => tokio::time::sleep(LOOK_EVERY).await,
                Err(TryRecvError::Disconnected) => {
                    return Err(OpenError::Consensus("the raft task has ended".into()));
                }
            }
        }
    }
}

/// Ends a node in good order. Dropped, it ends the raft task as well, and
/// nothing else.
pub struct Stop {
    stop: watch::Sender<bool>,
    ends: Ends,
}

impl Stop {
    /// Asks the raft task to end. Turns must go on meanwhile.
    pub fn begin(&self) {
        self.stop.send_replace(true);
    }

    /// Whether it has.
    pub fn has_ended(&self) -> bool {
        self.stop.is_closed()
    }

    /// Flushes the state and closes the log.
    pub fn finish(self, log: &LogTurns) {
        self.ends.finish();
        while log.turn() {}
    }
}
