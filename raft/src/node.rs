//! The node: open, propose, read, watch, shut down.
//!
//! What a request touches is here; the threads behind it are started and
//! ended in `lifecycle`.

use crate::{
    applied::Feed,
    changer::{ChangeRequest, MembershipChange},
    error::{MembershipError, OpenError, ProposeError, ReadIndexError, TransferError},
    flow::Flow,
    housekeeper::DefragmentWaiter,
    lanes::Lanes,
    leading::{Lead, Progress},
    lifecycle::{self, Threads},
    log_store::LogStore,
    nudge::Nudge,
    options::{Identity, NodeOptions},
    peer::{Endpoint, PeerService},
    reply::Reply,
    state_machine::Raft,
    status::{Standing, now_us},
    types::Data,
};
use parking_lot::Mutex;
use std::{ops::Range, sync::Arc, time::Duration};
use sternpost_proto::internal::{Command, peer_server::PeerServer};
use sternpost_storage::{Applied, Fault, ReadHandle};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot, watch},
};

/// How long etcd lets a request take: time for a disk to be slow, and for two elections.
pub(crate) fn request_max(election_timeout: Duration) -> Duration {
    Duration::from_secs(5) + 2 * election_timeout
}

/// One member's consensus, log and state machine. Cheap to clone; the threads
/// behind it end with [`RaftNode::shutdown`].
#[derive(Clone)]
pub struct RaftNode {
    inner: Arc<Inner>,
}

/// What all clones share.
pub(crate) struct Inner {
    pub(crate) identity: Identity,
    pub(crate) raft: Raft,
    pub(crate) runtime: Handle,
    pub(crate) endpoint: Endpoint,
    pub(crate) election_timeout: Duration,
    pub(crate) flow: Arc<Flow>,
    pub(crate) log: LogStore,
    pub(crate) lanes: Lanes,
    pub(crate) reads: ReadHandle,
    pub(crate) feed: Feed,
    pub(crate) standing: watch::Receiver<Standing>,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) scrubbed: watch::Receiver<i64>,
    pub(crate) defragments: mpsc::Sender<DefragmentWaiter>,
    pub(crate) changes: mpsc::Sender<ChangeRequest>,
    pub(crate) nudge: Nudge,
    /// Taken by whoever stops the node.
    pub(crate) threads: Mutex<Option<Threads>>,
    pub(crate) stopped: watch::Sender<bool>,
}

/// Where a proposal's outcome arrives.
type Outcome = oneshot::Receiver<Result<Applied, ProposeError>>;

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

/// A member's position. Indexes count entries as etcd does: the first one is
/// 1, and 0 means none. (In the log, openraft's first index is 0.)
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
    pub fn open(options: NodeOptions) -> Result<Self, OpenError> {
        lifecycle::open(options).map(Self::of)
    }

    pub(crate) fn of(inner: Inner) -> Self {
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Who this node is, as its log says.
    pub fn identity(&self) -> Identity {
        self.inner.identity
    }

    /// Proposes a command at once; the future waits until it is applied here.
    /// Call from a task of any current-thread runtime: proposals and answers
    /// cross threads in batches. The caller sets the deadline; dropping the
    /// future leaves the outcome open.
    ///
    /// The future does not hold the command, since thousands of them wait at a
    /// time.
    pub fn propose(
        &self,
        command: Command,
    ) -> impl Future<Output = Result<Applied, ProposeError>> + use<> {
        let made = self.make_proposal(&command);
        async move {
            // The sender is dropped unanswered only with the whole node.
            made?.await.unwrap_or(Err(ProposeError::OutcomeUnknown))
        }
    }

    fn make_proposal(&self, command: &Command) -> Result<Outcome, ProposeError> {
        self.inner.flow.admit()?;
        let (sender, outcome) = oneshot::channel();
        let lane = self.inner.lanes.here();
        let reply = Reply {
            thread: lane.thread(),
            sender,
        };
        let proposal = Data::propose(command, Some(reply)).map_err(|_| ProposeError::TooDeep)?;
        lane.propose(proposal);
        Ok(outcome)
    }

    /// Returns once the local view holds everything that was acknowledged
    /// anywhere before the call.
    pub async fn read_index(&self) -> Result<(), ReadIndexError> {
        if !self.inner.flow.is_running() {
            return Err(ReadIndexError::Stopped);
        }
        // Whatever a sole member has acknowledged, it has applied.
        if self.inner.flow.is_sole_leader() {
            return Ok(());
        }
        let (sender, outcome) = oneshot::channel();
        self.inner.lanes.here().read(sender);
        outcome.await.unwrap_or(Err(ReadIndexError::Stopped))
    }

    /// A read barrier that says that this member still leads, and in which
    /// term: what it decided as that term's leader before the call stands.
    pub async fn confirm_leadership(&self) -> Result<u64, ReadIndexError> {
        if !self.inner.flow.is_running() {
            return Err(ReadIndexError::Stopped);
        }
        self.inner.lead().confirm().await
    }

    /// Whether this member leads, and is the only one: nobody else can have
    /// acknowledged anything that is not applied here.
    pub fn is_alone(&self) -> bool {
        self.inner.flow.is_sole_leader()
    }

    /// Whether a quorum has confirmed this leader so lately. What a leader
    /// promises within an election timeout of that, the next one knows of or
    /// may still keep. Cheap.
    pub fn is_confirmed_within(&self, time: Duration) -> bool {
        let flow = &self.inner.flow;
        let limit = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        flow.is_sole_leader() || now_us().saturating_sub(flow.confirmed_us()) < limit
    }

    /// How far the other members are; empty where this member does not lead.
    pub fn progress(&self) -> Progress {
        self.inner.lead().progress()
    }

    /// Hands the lead to another voter, and waits until there is another
    /// leader: as long as etcd lets a request take.
    pub async fn transfer_leader(&self, to: u64) -> Result<(), TransferError> {
        let limit = request_max(self.inner.election_timeout);
        self.inner.lead().transfer(to, limit).await
    }

    /// The entries that the log holds, by openraft's indexes: from the first
    /// to the one after the last.
    pub fn log_range(&self) -> Range<u64> {
        self.inner.log.range()
    }

    /// This member, as the others call it.
    pub fn endpoint(&self) -> &Endpoint {
        &self.inner.endpoint
    }

    /// The gRPC service to mount on the peer listener. Its connections are
    /// best served on [`RaftNode::peer_runtime`].
    pub fn peer_service(&self) -> PeerServer<PeerService> {
        PeerService::new(self.inner.endpoint.clone())
    }

    /// The runtime of the raft thread: a peer's message that is read there
    /// reaches consensus without another thread. It ends with the node.
    pub fn peer_runtime(&self) -> &Handle {
        &self.inner.runtime
    }

    /// The published state.
    pub fn reads(&self) -> &ReadHandle {
        &self.inner.reads
    }

    /// The feed of applied changes.
    pub fn feed(&self) -> &Feed {
        &self.inner.feed
    }

    /// The current term; cheap, for response headers.
    pub fn term(&self) -> u64 {
        self.inner.flow.term()
    }

    /// Where this member stands.
    pub fn status(&self) -> NodeStatus {
        let standing = *self.inner.standing.borrow();
        NodeStatus {
            leadership: standing.leadership,
            committed_index: self.inner.flow.committed(),
            applied_index: self.inner.flow.applied(),
            is_learner: standing.is_learner,
        }
    }

    /// Changes of leadership.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.clone()
    }

    /// Changes who belongs to the cluster, if this member leads; the index of
    /// the entry in the log, which is applied here then. The caller sets the
    /// deadline; dropping the future leaves the outcome open.
    pub async fn change_membership(
        &self,
        change: MembershipChange,
    ) -> Result<u64, MembershipError> {
        let (done, outcome) = oneshot::channel();
        let request = ChangeRequest { change, done };
        let sent = self.inner.changes.send(request).await;
        sent.map_err(|_| MembershipError::Stopped)?;
        outcome.await.unwrap_or(Err(MembershipError::Stopped))
    }

    /// Waits until no row is left that the compact revision, as it is when
    /// this is called, made dead. Returns early only when the node stops.
    pub async fn wait_scrubbed(&self) {
        let target = self.inner.reads.view().compact_revision();
        let mut scrubbed = self.inner.scrubbed.clone();
        while !self.inner.reads.view().scrubbed() && *scrubbed.borrow_and_update() < target {
            if scrubbed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Gives freed space back to the file system, beside the traffic.
    pub async fn defragment(&self) -> Result<(), Fault> {
        let stopped = || Fault::Backend("the node has stopped".into());
        let (waiter, outcome) = oneshot::channel();
        self.inner
            .defragments
            .send(waiter)
            .await
            .map_err(|_| stopped())?;
        self.inner.nudge.wake();
        outcome.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Hands the lead to another member, if there is one to take it, flushes
    /// the state and ends all threads. Proposals in flight end with
    /// `OutcomeUnknown`.
    pub async fn shutdown(&self) {
        if self.inner.flow.is_running() {
            self.hand_over().await;
        }
        let mut stopped = self.inner.stopped.subscribe();
        self.inner.stop();
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }
}

impl RaftNode {
    /// On the way out: the others need not wait for an election.
    async fn hand_over(&self) {
        let lead = self.inner.lead();
        let Some(heir) = lead.heir() else { return };
        let limit = 2 * self.inner.election_timeout;
        if let Err(error) = lead.transfer(heir, limit).await {
            tracing::warn!(
                to = format!("{heir:x}"),
                "leadership not handed over: {error}"
            );
        }
    }
}

impl Inner {
    fn lead(&self) -> Lead<'_> {
        Lead {
            member: self.identity.member_id,
            raft: &self.raft,
            flow: &self.flow,
            leadership: self.leadership.clone(),
            election_timeout: self.election_timeout,
        }
    }

    /// Ends the threads, once, from a thread of its own: joining blocks.
    fn stop(&self) {
        self.flow.stop();
        let Some(threads) = self.threads.lock().take() else {
            return;
        };
        let stopped = self.stopped.clone();
        let stopping = std::thread::Builder::new()
            .name("stop".into())
            .spawn(move || {
                threads.stop();
                stopped.send_replace(true);
            });
        if let Err(error) = stopping {
            // The threads were dropped with the closure: they end with the process.
            tracing::error!("can't start a thread to stop the node: {error}");
            self.stopped.send_replace(true);
        }
    }
}

/// A node that nobody holds any more stops as well; nobody waits for it.
impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}
