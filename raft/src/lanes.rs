//! Hand-over between request threads and the raft thread, in batches both
//! ways. A wake across threads costs more than all of consensus, so the
//! proposals of one turn of a request thread travel as one message, and so do
//! the answers of one applied chunk.
//!
//! A lane belongs to one thread and one node. What is pushed into it leaves
//! with a task that runs after the handlers that are ready now; answers come
//! back to a task on the same runtime, which completes them there.

use crate::{
    error::{ProposeError, ReadIndexError},
    flow::Flow,
    types::Data,
};
use parking_lot::{Mutex, RwLock};
use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use sternpost_storage::Applied;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

/// Batches that may wait for the batcher. Each lane has one on its way at a
/// time in practice; above this the raft thread is far behind.
pub(crate) const BATCHES_MAX: usize = 1024;

/// Batches of answers that may wait for a request thread. Above it they are
/// completed from the raft side: dearer, but nothing waits and nothing is lost.
const HANDBACKS_MAX: usize = 1024;

/// Where a proposal's outcome goes.
type ProposeSender = oneshot::Sender<Result<Applied, ProposeError>>;
/// An outcome, and where it goes.
pub(crate) type Answer = (ProposeSender, Result<Applied, ProposeError>);
/// Where a read barrier's outcome goes.
pub(crate) type ReadSender = oneshot::Sender<Result<(), ReadIndexError>>;

/// Reads of one thread that joined one round.
pub(crate) struct ReadGroup {
    pub(crate) thread: usize,
    pub(crate) readers: Vec<ReadSender>,
}

/// What comes back to a thread in one message.
pub(crate) enum Handback {
    Answers(Vec<Answer>),
    Reads(Vec<ReadSender>, Result<(), ReadIndexError>),
}

impl Handback {
    /// Completes all. A receiver that is gone has given up waiting.
    fn complete(self) {
        match self {
            Self::Answers(answers) => answers.into_iter().for_each(|(sender, outcome)| {
                let _ = sender.send(outcome);
            }),
            Self::Reads(readers, outcome) => readers.into_iter().for_each(|sender| {
                let _ = sender.send(outcome);
            }),
        }
    }
}

/// The lanes of one node.
pub(crate) struct Lanes {
    node: u64,
    flow: Arc<Flow>,
    proposals: mpsc::Sender<Vec<Data>>,
    reads: mpsc::Sender<ReadGroup>,
    returns: Arc<Returns>,
}

/// The way back to each lane, by its number.
#[derive(Default)]
pub(crate) struct Returns {
    threads: RwLock<Vec<Option<mpsc::Sender<Handback>>>>,
}

impl Returns {
    fn register(&self, sender: mpsc::Sender<Handback>) -> usize {
        let mut threads = self.threads.write();
        // A lane whose runtime has ended gives up its number.
        let free = threads
            .iter()
            .position(|sender| sender.as_ref().is_none_or(mpsc::Sender::is_closed));
        let number = free.unwrap_or(threads.len());
        if free.is_none() {
            threads.push(None);
        }
        threads[number] = Some(sender);
        number
    }

    /// Hands `handback` to the thread; completes it here if that is not possible.
    pub(crate) fn send(&self, thread: usize, handback: Handback) {
        let threads = self.threads.read();
        let sent = match threads.get(thread).and_then(Option::as_ref) {
            Some(sender) => sender
                .try_send(handback)
                .map_err(mpsc::error::TrySendError::into_inner),
            None => Err(handback),
        };
        drop(threads);
        if let Err(handback) = sent {
            handback.complete();
        }
    }

    /// Ends the tasks that complete answers.
    pub(crate) fn close(&self) {
        self.threads.write().clear();
    }
}

thread_local! {
    /// This thread's lanes, by node: one in a server, several in tests.
    static LANES: RefCell<Vec<(u64, Arc<Lane>)>> = const { RefCell::new(Vec::new()) };
}

impl Lanes {
    /// Lanes into the two channels, and back through `returns`.
    pub(crate) fn new(
        flow: Arc<Flow>,
        proposals: mpsc::Sender<Vec<Data>>,
        reads: mpsc::Sender<ReadGroup>,
        returns: Arc<Returns>,
    ) -> Self {
        static NODES_EVER: AtomicU64 = AtomicU64::new(0);
        let node = NODES_EVER.fetch_add(1, Ordering::Relaxed);
        Self {
            node,
            flow,
            proposals,
            reads,
            returns,
        }
    }

    /// This thread's lane. Call on a task of a tokio runtime.
    pub(crate) fn here(&self) -> Arc<Lane> {
        LANES.with_borrow_mut(|lanes| {
            if let Some((_, lane)) = lanes
                .iter()
                .find(|(node, lane)| *node == self.node && lane.is_alive())
            {
                return lane.clone();
            }
            lanes.retain(|(node, lane)| {
                *node != self.node && lane.is_alive() && !lane.proposals.is_closed()
            });
            let lane = self.open_lane();
            lanes.push((self.node, lane.clone()));
            lane
        })
    }

    fn open_lane(&self) -> Arc<Lane> {
        let (sender, receiver) = mpsc::channel(HANDBACKS_MAX);
        let alive = Arc::new(AtomicBool::new(true));
        // The task ends when the node closes its way back, or with its runtime.
        tokio::spawn(complete_answers(receiver, Alive(alive.clone())));
        Arc::new(Lane {
            thread: self.returns.register(sender),
            alive,
            flow: self.flow.clone(),
            proposals: self.proposals.clone(),
            reads: self.reads.clone(),
            outbox: Mutex::default(),
        })
    }
}

async fn complete_answers(mut handbacks: mpsc::Receiver<Handback>, _alive: Alive) {
    while let Some(handback) = handbacks.recv().await {
        handback.complete();
    }
}

/// Says that the task which holds it has ended.
struct Alive(Arc<AtomicBool>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// One thread's side of the hand-over.
pub(crate) struct Lane {
    thread: usize,
    alive: Arc<AtomicBool>,
    flow: Arc<Flow>,
    proposals: mpsc::Sender<Vec<Data>>,
    reads: mpsc::Sender<ReadGroup>,
    /// A lock only because tasks of a multi-thread runtime may move; on a
    /// request thread nobody else ever takes it.
    outbox: Mutex<Outbox>,
}

#[derive(Default)]
struct Outbox {
    proposals: Vec<Data>,
    readers: Vec<ReadSender>,
    shipping: bool,
}

impl Lane {
    /// The number that replies carry.
    pub(crate) fn thread(&self) -> usize {
        self.thread
    }

    fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }

    /// Sends a proposal with the next batch.
    pub(crate) fn propose(self: &Arc<Self>, proposal: Data) {
        let mut outbox = self.outbox.lock();
        outbox.proposals.push(proposal);
        self.ship_soon(outbox);
    }

    /// Sends a read with the next batch.
    pub(crate) fn read(self: &Arc<Self>, reader: ReadSender) {
        let mut outbox = self.outbox.lock();
        outbox.readers.push(reader);
        self.ship_soon(outbox);
    }

    fn ship_soon(self: &Arc<Self>, mut outbox: parking_lot::MutexGuard<'_, Outbox>) {
        if std::mem::replace(&mut outbox.shipping, true) {
            return;
        }
        drop(outbox);
        let shipment = Shipment(self.clone());
        // Behind the handlers that are ready now, so their proposals come along.
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move { drop(shipment) })),
            Err(_) => drop(shipment),
        }
    }

    fn ship(&self) {
        let Outbox {
            proposals, readers, ..
        } = std::mem::take(&mut *self.outbox.lock());
        if !proposals.is_empty() {
            self.ship_proposals(proposals);
        }
        if !readers.is_empty() {
            self.ship_readers(readers);
        }
    }

    fn ship_proposals(&self, proposals: Vec<Data>) {
        let bytes = proposals
            .iter()
            .map(|proposal| proposal.encoded().len())
            .sum();
        self.flow.depart(proposals.len(), bytes);
        let (proposals, error) = match self.proposals.try_send(proposals) {
            Ok(()) => return,
            Err(mpsc::error::TrySendError::Full(proposals)) => {
                (proposals, ProposeError::Overloaded)
            }
            Err(mpsc::error::TrySendError::Closed(proposals)) => (proposals, ProposeError::Stopped),
        };
        refuse(&self.flow, proposals, error);
    }

    fn ship_readers(&self, readers: Vec<ReadSender>) {
        let (group, error) = match self.reads.try_send(ReadGroup {
            thread: self.thread,
            readers,
        }) {
            Ok(()) => return,
            Err(mpsc::error::TrySendError::Full(group)) => (group, ReadIndexError::TimedOut),
            Err(mpsc::error::TrySendError::Closed(group)) => (group, ReadIndexError::Stopped),
        };
        Handback::Reads(group.readers, Err(error)).complete();
    }
}

/// Answers proposals that went no further than this.
pub(crate) fn refuse(flow: &Flow, proposals: impl IntoIterator<Item = Data>, error: ProposeError) {
    for proposal in proposals {
        if let Some(reply) = proposal.take_reply() {
            flow.arrive(1, proposal.encoded().len());
            let _ = reply.sender.send(Err(error));
        }
    }
}

/// Ships when dropped: the batch leaves even if its runtime ends first.
struct Shipment(Arc<Lane>);

impl Drop for Shipment {
    fn drop(&mut self) {
        self.0.ship();
    }
}
