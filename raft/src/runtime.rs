//! The raft thread: openraft and the tasks around it on one single-threaded
//! runtime of their own, so that no request can delay a heartbeat.

use crate::{
    batcher::Batcher,
    changer::{ChangeRequest, Changer},
    error::OpenError,
    flow::{FaultLine, Flow},
    forward::{self, Forwarder, Pending},
    heard::Heard,
    housekeeper::Purge,
    joint::JointEnd,
    lanes::{ReadGroup, Returns},
    log_store::LogStore,
    membership::{found, is_sole_voter},
    network::Peers,
    node::{Leadership, request_max},
    options::Bootstrap,
    read_index::ReadRounds,
    state_machine::{Applier, Raft},
    status::{Follow, Standing},
    types::{Data, log_id},
};
use openraft::Config;
use std::{
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};
use sternpost_storage::ReadHandle;
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
    task::JoinSet,
};

/// Everything the thread needs.
pub(crate) struct Setup {
    pub(crate) member: u64,
    pub(crate) engine: Engine,
    pub(crate) requests: Requests,
    pub(crate) peers: Peers,
    pub(crate) log: LogStore,
    pub(crate) flow: Arc<Flow>,
    pub(crate) faults: FaultLine,
    pub(crate) heard: Arc<Heard>,
    pub(crate) view: ReadHandle,
    pub(crate) changes: mpsc::Receiver<ChangeRequest>,
    pub(crate) standing: watch::Sender<Standing>,
    pub(crate) leadership: watch::Sender<Leadership>,
    pub(crate) election_timeout: Duration,
}

/// What openraft is made of.
pub(crate) struct Engine {
    pub(crate) config: Config,
    pub(crate) bootstrap: Bootstrap,
    pub(crate) applier: Applier,
}

/// What comes from the node's callers.
pub(crate) struct Requests {
    pub(crate) returns: Arc<Returns>,
    pub(crate) pending: Arc<Pending>,
    pub(crate) proposals: mpsc::Receiver<Vec<Data>>,
    /// The way into `proposals`, for what could not be forwarded.
    pub(crate) resubmit: mpsc::Sender<Vec<Data>>,
    pub(crate) reads: mpsc::Receiver<ReadGroup>,
    pub(crate) purges: watch::Receiver<Option<Purge>>,
}

/// What the tasks have in common.
struct Shared {
    member: u64,
    raft: Raft,
    flow: Arc<Flow>,
    peers: Peers,
    leadership: watch::Receiver<Leadership>,
    /// How long a read waits at most.
    patience: Duration,
    stop: watch::Receiver<bool>,
}

/// The running thread.
pub(crate) struct RaftThread {
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

/// What others need of the running thread.
pub(crate) struct Opened {
    pub(crate) raft: Raft,
    /// Its runtime, for what should be near to openraft.
    pub(crate) runtime: Handle,
}

impl RaftThread {
    /// Starts the thread. Returns once the state machine holds what was known
    /// to be committed, and this member may campaign.
    pub(crate) fn start(setup: Setup) -> Result<(Self, Opened), OpenError> {
        let (stop, stopping) = watch::channel(false);
        let (opened, opening) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("raft".into())
            .spawn(move || {
                let _guard = setup.faults.guard("raft");
                match tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                {
                    // What is left of openraft's tasks ends with the runtime.
                    Ok(runtime) => runtime.block_on(run(setup, &opened, stopping)),
                    Err(error) => drop(opened.send(Err(OpenError::Consensus(format!(
                        "can't start a runtime: {error}"
                    ))))),
                }
            });
        let thread = thread
            .map_err(|error| OpenError::Consensus(format!("can't start a thread: {error}")))?;
        let died = || OpenError::Consensus("the raft thread ended while it started".into());
        match opening.recv().unwrap_or_else(|_| Err(died())) {
            Ok(opened) => Ok((Self { stop, thread }, opened)),
            Err(error) => {
                let _ = thread.join();
                Err(error)
            }
        }
    }

    /// Lets proposals in flight finish for a while, then ends the thread.
    pub(crate) fn stop(self) {
        self.stop.send_replace(true);
        // A panic has been reported as a fault already.
        let _ = self.thread.join();
    }
}

/// Returns once `stop` is true, or nobody is left to say so.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Runs the node until `stop`; says in `opened` when it has begun.
pub(crate) async fn run(
    setup: Setup,
    opened: &SyncSender<Result<Opened, OpenError>>,
    mut stop: watch::Receiver<bool>,
) {
    let (member, flow, peers) = (setup.member, setup.flow, setup.peers);
    let log = setup.log.clone().telling(flow.clone());
    let raft = match setup.engine.start(member, peers.clone(), log).await {
        Ok(raft) => raft,
        Err(error) => return drop(opened.send(Err(error))),
    };
    let shared = Shared {
        member,
        raft: raft.clone(),
        flow: flow.clone(),
        peers,
        leadership: setup.leadership.subscribe(),
        patience: request_max(setup.election_timeout),
        stop: stop.clone(),
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(take_turns(setup.log.clone(), stop.clone()));
    tasks.spawn(
        Changer {
            member,
            raft: raft.clone(),
            flow: flow.clone(),
            log: setup.log.clone(),
            reads: setup.view,
            leadership: setup.leadership.subscribe(),
            requests: setup.changes,
            stop: stop.clone(),
        }
        .run(),
    );
    tasks.spawn(
        Follow {
            raft: raft.clone(),
            member,
            flow,
            log: setup.log,
            faults: setup.faults,
            standing: setup.standing,
            leadership: setup.leadership,
            heard: setup.heard,
            lost_after: setup.election_timeout,
            stop: stop.clone(),
        }
        .run(),
    );
    setup.requests.spawn(&mut tasks, shared);
    let _ = opened.send(Ok(Opened {
        raft: raft.clone(),
        runtime: Handle::current(),
    }));
    stopped(&mut stop).await;
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!("a task of the raft thread: {error}");
        }
    }
    let _ = raft.shutdown().await;
}

impl Engine {
    async fn start(self, member: u64, peers: Peers, log: LogStore) -> Result<Raft, OpenError> {
        let raft = Raft::build(member, Arc::new(self.config), peers, log, self.applier).await;
        let raft = raft.map_err(|error| OpenError::Consensus(error.to_string()))?;
        raft.run();
        if let Err(error) = begin(&raft, member, &self.bootstrap).await {
            let _ = raft.shutdown().await;
            return Err(error);
        }
        Ok(raft)
    }
}

impl Requests {
    fn spawn(self, tasks: &mut JoinSet<()>, shared: Shared) {
        let Shared {
            member,
            raft,
            flow,
            peers,
            leadership,
            patience,
            stop,
        } = shared;
        let (forward, forwarding) = mpsc::channel(forward::BATCHES_MAX);
        tasks.spawn(
            Batcher {
                raft: raft.clone(),
                flow: flow.clone(),
                proposals: self.proposals,
                forward,
                stop: stop.clone(),
            }
            .run(),
        );
        tasks.spawn(
            Forwarder {
                member,
                raft: raft.clone(),
                flow,
                peers: peers.clone(),
                pending: self.pending,
                leadership: leadership.clone(),
                proposals: forwarding,
                own: self.resubmit,
                stop: stop.clone(),
            }
            .run(),
        );
        let joint = JointEnd {
            raft: raft.clone(),
            leadership: leadership.clone(),
            stop: stop.clone(),
        };
        tasks.spawn(joint.run());
        tasks.spawn(
            ReadRounds {
                member,
                raft: raft.clone(),
                peers,
                leadership,
                patience,
                returns: self.returns,
                groups: self.reads,
                stop: stop.clone(),
            }
            .run(),
        );
        tasks.spawn(purge(raft, self.purges, stop));
    }
}

/// Founds the cluster on a first start; campaigns at once where no other
/// member could lead.
async fn begin(raft: &Raft, member: u64, bootstrap: &Bootstrap) -> Result<(), OpenError> {
    found(raft, bootstrap).await?;
    let refused = |error: &dyn std::fmt::Display| OpenError::Consensus(error.to_string());
    let sole = raft
        .with_raft_state(move |state| is_sole_voter(state.membership_state.effective(), member));
    if sole.await.map_err(|error| refused(&error))? {
        raft.trigger()
            .elect(false)
            .await
            .map_err(|error| refused(&error))?;
    }
    Ok(())
}

/// Writes small appends to the log on this thread.
async fn take_turns(log: LogStore, mut stop: watch::Receiver<bool>) {
    tokio::select! {
        () = stopped(&mut stop) => {}
        () = log.take_turns() => {}
    }
}

/// Tells openraft what has been flushed, then which entries may go.
async fn purge(
    raft: Raft,
    mut purges: watch::Receiver<Option<Purge>>,
    mut stop: watch::Receiver<bool>,
) {
    let work = async {
        while purges.changed().await.is_ok() {
            let Some(purge) = *purges.borrow_and_update() else {
                continue;
            };
            let flushed = Some(log_id(purge.flushed.term, purge.flushed.index));
            // openraft drops no entry that is not in a snapshot; ours is a mark.
            if raft.trigger().snapshot().await.is_err()
                || raft
                    .watch_snapshot_progress()
                    .wait_until_ge(&flushed)
                    .await
                    .is_err()
            {
                return;
            }
            let Some(upto) = purge.upto else { continue };
            if raft.trigger().purge_log(upto).await.is_err() {
                return;
            }
        }
    };
    // Errors mean that openraft has ended; its follower reports that.
    tokio::select! {
        () = stopped(&mut stop) => {}
        () = work => {}
    }
}
