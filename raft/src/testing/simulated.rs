//! A node without threads of its own: all runs on the caller's runtime, in
//! its time, and the log is written when the simulated disk comes to it. The
//! state is in memory and made anew from the log at each start; so the log is
//! never purged, and no state is sent.

use crate::{
    assembly::{Common, Parts, prepare},
    error::OpenError,
    flow::{FaultLine, Flow},
    log_store::{LogStore, WalOptions},
    node::RaftNode,
    nudge::nudge,
    opening::State,
    options::NodeOptions,
    runtime,
    snapshot::Stores,
    wal::files::Files,
};
use std::{
    sync::{
        Arc,
        mpsc::{TryRecvError, sync_channel},
    },
    time::Duration,
};
use sternpost_storage::StateMachine;
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
    task::JoinHandle,
};

/// Small segments, so that a run sees some.
const SEGMENT_BYTES: u64 = 64 << 10;

/// Where a simulated node keeps its log.
pub struct Disk {
    /// The files.
    pub files: Arc<dyn Files>,
    /// How long the next write takes; `None` if there will be none any more.
    pub delay: Arc<dyn Fn() -> Option<Duration> + Send + Sync>,
}

/// A simulated node.
pub struct Simulated {
    node: RaftNode,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Simulated {
    /// Opens a node on this task's runtime.
    pub async fn open(options: NodeOptions, disk: Disk) -> Result<Self, OpenError> {
        let flow = Arc::new(Flow::default());
        let faults = FaultLine::new(flow.clone(), options.observer.clone());
        let wal = WalOptions {
            dir: options.wal_dir.clone(),
            segment_bytes: SEGMENT_BYTES,
            identity: Some(options.bootstrap.identity()),
            unsafe_no_fsync: false,
        };
        let (log, recovered) = LogStore::open_in(disk.files, &wal, Arc::new(faults.clone()))?;
        drive(&log, disk.delay);
        let member = recovered.identity.member_id;
        let state = State {
            machine: StateMachine::in_memory(),
            stores: Stores::new(&options.storage.path),
            storage: options.storage.clone(),
        };
        let common = Common::of(member, &state, flow, faults);
        let (nudge, _wakes) = nudge();
        let (_purges, purging) = watch::channel(None);
        let (_scrubbed, scrubbing) = watch::channel(-1);
        let (defragments, _) = mpsc::channel(1);
        let parts = Parts {
            worker: common.worker(state, nudge.clone()).inline(),
            options,
            log,
            identity: recovered.identity,
            purging,
            scrubbing,
            defragments,
            nudge,
        };
        let (setup, doors) = prepare(parts, common);
        let (opened, opening) = sync_channel(1);
        let (stop, stopping) = watch::channel(false);
        let task = tokio::spawn(async move { runtime::run(setup, &opened, stopping).await });
        let opened = loop {
            match opening.try_recv() {
                Ok(opened) => break opened?,
                Err(TryRecvError::Empty) => tokio::time::sleep(Duration::from_millis(1)).await,
                Err(TryRecvError::Disconnected) => {
                    return Err(OpenError::Consensus("the node ended while it began".into()));
                }
            }
        };
        Ok(Self {
            node: RaftNode::of(doors.open(opened, None)),
            stop,
            task,
        })
    }

    /// The node. It has no orderly end: see [`Simulated::end`].
    pub fn node(&self) -> &RaftNode {
        &self.node
    }

    /// Ends the node's tasks.
    pub async fn end(self) {
        self.node.end_simulated();
        self.stop.send_replace(true);
        // The tasks may wait for a disk that is gone.
        self.task.abort();
        let _ = self.task.await;
    }
}

/// Gives the writer its turns: a task for each time that it is asked for.
fn drive(log: &LogStore, delay: Arc<dyn Fn() -> Option<Duration> + Send + Sync>) {
    let weak = log.downgrade();
    log.drive(Arc::new(move || {
        let (Some(delay), Some(_), Ok(runtime)) = (delay(), weak.upgrade(), Handle::try_current())
        else {
            return;
        };
        let weak = weak.clone();
        runtime.spawn(async move {
            tokio::time::sleep(delay).await;
            if let Some(wal) = weak.upgrade() {
                wal.turn();
            }
        });
    }));
}
