//! Commands of a member that does not lead.
//!
//! A command goes to the leader of a term T and is fenced by it: in an entry
//! of another term it does nothing. Its answer comes from this member's own
//! apply. So once an entry of a later term is applied here, whatever was sent
//! to T's leader and has not been applied never will be, and may be sent
//! again, to the next leader, without ever happening twice. The same holds
//! for what a leader refuses. A broken stream alone proves nothing.

mod pending;
mod session;

pub(crate) use pending::Pending;

use crate::{
    error::ProposeError, flow::Flow, lanes::refuse, network::Peers, node::Leadership,
    runtime::stopped, state_machine::Raft, types::Data,
};
use session::Session;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use sternpost_proto::internal::{ForwardedReason, ForwardedRefusal, ForwardedRefusals};
use tokio::sync::{mpsc, watch};

/// Batches that may wait for this task. The commands in them are bounded by
/// what may be in flight.
pub(crate) const BATCHES_MAX: usize = 1024;

/// How long a command rests that was refused, or that this member could not
/// put into its own log though it seemed to lead.
const REST: Duration = Duration::from_millis(50);

/// How often commands are dropped that nobody waits for any more.
const SWEEP_EVERY: Duration = Duration::from_millis(500);

/// The task on the raft thread.
pub(crate) struct Forwarder {
    pub(crate) member: u64,
    pub(crate) raft: Raft,
    pub(crate) flow: Arc<Flow>,
    pub(crate) peers: Peers,
    pub(crate) pending: Arc<Pending>,
    pub(crate) leadership: watch::Receiver<Leadership>,
    /// From the batcher.
    pub(crate) proposals: mpsc::Receiver<Vec<Data>>,
    /// To the batcher: for this member's own log.
    pub(crate) own: mpsc::Sender<Vec<Data>>,
    pub(crate) stop: watch::Receiver<bool>,
}

/// What the task has in hand.
#[derive(Default)]
struct Hand {
    /// To be sent as soon as there is a leader.
    ready: VecDeque<Data>,
    /// To be sent after a rest.
    resting: Vec<Data>,
    session: Option<Session>,
    /// The session has ended by itself.
    lost: bool,
}

impl Forwarder {
    /// Runs until stopped; then says what is known of each command.
    pub(crate) async fn run(mut self) {
        let mut hand = Hand::default();
        let mut batches = Vec::new();
        let mut stop = self.stop.clone();
        let mut rest = tokio::time::interval(REST);
        rest.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let pending = self.pending.clone();
        loop {
            let (idle, unsent) = (hand.resting.is_empty(), !hand.ready.is_empty());
            let waiting = !idle || hand.lost;
            let (refusals, outbox) = session::sides(&mut hand.session);
            tokio::select! {
                biased;
                () = stopped(&mut stop) => break,
                changed = self.leadership.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    let resting = std::mem::take(&mut hand.resting);
                    hand.ready.extend(resting);
                    self.turn(&mut hand);
                }
                said = session::said(refusals) => self.hear(&mut hand, said),
                () = pending.released() => hand.ready.extend(pending.take_released()),
                received = self.proposals.recv_many(&mut batches, BATCHES_MAX) => {
                    if received == 0 {
                        break;
                    }
                    self.sort(&mut hand, batches.drain(..).flatten());
                }
                room = session::room(outbox), if unsent => {
                    if let Some(term) = hand.session.as_ref().map(Session::term) {
                        let double = session::send(room, term, &mut hand.ready, &pending);
                        self.refuse(double, ProposeError::Overloaded);
                    }
                }
                _ = rest.tick(), if waiting => {
                    let resting = std::mem::take(&mut hand.resting);
                    hand.ready.extend(resting);
                    self.turn(&mut hand);
                }
                _ = sweep.tick(), if unsent || !self.pending.is_empty() => {
                    self.sweep(&mut hand);
                    self.turn(&mut hand);
                }
            }
        }
        self.proposals.close();
        while let Some(batch) = self.proposals.recv().await {
            self.refuse(batch, ProposeError::Stopped);
        }
        self.refuse(hand.ready, ProposeError::Stopped);
        self.refuse(hand.resting, ProposeError::Stopped);
        self.pending.give_up(&self.flow);
    }

    fn refuse(&self, proposals: impl IntoIterator<Item = Data>, error: ProposeError) {
        refuse(&self.flow, proposals, error);
    }

    /// New ones, from the batcher. Where this member leads it has just
    /// refused them: they rest.
    fn sort(&self, hand: &mut Hand, proposals: impl Iterator<Item = Data>) {
        if self.leadership.borrow().leader == Some(self.member) {
            hand.resting.extend(proposals);
        } else {
            hand.ready.extend(proposals);
        }
    }

    /// Looks who leads now, and keeps the way there.
    fn turn(&self, hand: &mut Hand) {
        hand.lost = false;
        let Leadership { term, leader, .. } = *self.leadership.borrow();
        let Some(leader) = leader else {
            hand.session = None;
            return;
        };
        if leader == self.member {
            hand.session = None;
            self.take_home(hand);
        } else if !Session::is(&hand.session, leader, term) {
            let metrics = self.raft.server_metrics();
            hand.session = Session::open(&self.peers, &metrics, leader, term);
        }
    }

    /// This member leads: what has not been sent goes into its own log.
    fn take_home(&self, hand: &mut Hand) {
        if hand.ready.is_empty() {
            return;
        }
        let batch: Vec<Data> = hand.ready.drain(..).collect();
        match self.own.try_send(batch) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(batch)) => hand.resting.extend(batch),
            Err(mpsc::error::TrySendError::Closed(batch)) => {
                self.refuse(batch, ProposeError::Stopped);
            }
        }
    }

    /// What the leader said: refusals, or that the stream is gone.
    fn hear(&self, hand: &mut Hand, said: Option<ForwardedRefusals>) {
        let Some(ForwardedRefusals { refusals }) = said else {
            // Opened again after a rest, if the leader is still the same.
            hand.session = None;
            hand.lost = true;
            return;
        };
        let Some(term) = hand.session.as_ref().map(Session::term) else {
            return;
        };
        for ForwardedRefusal { id, reason } in refusals {
            let Some(data) = self.pending.take_back(id, term) else {
                continue;
            };
            match ForwardedReason::try_from(reason) {
                Ok(ForwardedReason::NotLeader) => hand.resting.push(data),
                Ok(ForwardedReason::Overloaded) => self.refuse([data], ProposeError::Overloaded),
                Ok(ForwardedReason::Invalid | ForwardedReason::Unspecified) | Err(_) => {
                    tracing::error!("the leader does not understand a command of this member");
                    self.refuse([data], ProposeError::OutcomeUnknown);
                }
            }
        }
    }

    /// Forgets what nobody waits for.
    fn sweep(&self, hand: &mut Hand) {
        self.pending.sweep(&self.flow);
        let unsent = hand.ready.drain(..).chain(hand.resting.drain(..));
        let (gone, kept): (Vec<Data>, Vec<Data>) = unsent.partition(Data::is_abandoned);
        hand.ready.extend(kept);
        self.refuse(gone, ProposeError::NoLeader);
    }
}
