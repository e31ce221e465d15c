//! Follows openraft's metrics and keeps what others look at: the numbers of
//! the flow and the leadership.

use crate::{
    flow::{FaultLine, Flow},
    heard::Heard,
    log_store::LogStore,
    membership::{is_learner, is_only_member, is_sole_voter},
    node::Leadership,
    runtime::stopped,
    state_machine::Raft,
    types::TypeConfig,
};
use openraft::{
    Instant as _, ServerState,
    async_runtime::watch::WatchReceiver as _,
    metrics::{RaftDataMetrics, RaftServerMetrics},
    type_config::alias::WatchReceiverOf,
};
use std::{
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};
use tokio::sync::watch;

type DataMetrics = WatchReceiverOf<TypeConfig, RaftDataMetrics<TypeConfig>>;
type ServerMetrics = WatchReceiverOf<TypeConfig, RaftServerMetrics<TypeConfig>>;

/// Microseconds since this was first asked; never 0.
pub(crate) fn now_us() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_micros())
        .unwrap_or(u64::MAX)
        .max(1)
}

/// What this member is, beside its leadership.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) leadership: Leadership,
    pub(crate) is_learner: bool,
}

/// The task on the raft thread.
pub(crate) struct Follow {
    pub(crate) raft: Raft,
    pub(crate) member: u64,
    pub(crate) flow: Arc<Flow>,
    pub(crate) log: LogStore,
    pub(crate) faults: FaultLine,
    pub(crate) standing: watch::Sender<Standing>,
    pub(crate) leadership: watch::Sender<Leadership>,
    /// When a follower last heard of its leader.
    pub(crate) heard: Arc<Heard>,
    /// A leader that no quorum has confirmed for this long is not reported as one.
    pub(crate) lost_after: Duration,
    pub(crate) stop: watch::Receiver<bool>,
}

impl Follow {
    /// Runs until stopped, or until openraft has ended by itself: a fault.
    pub(crate) async fn run(mut self) {
        let mut data = self.raft.data_metrics();
        let mut server = self.raft.server_metrics();
        let heard = self.heard.clone();
        // Nothing changes when others fall silent: that is the change.
        let mut silence = tokio::time::interval(self.lost_after / 4);
        silence.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let is_coming = self.look(&data, &server);
            tokio::select! {
                biased;
                () = stopped(&mut self.stop) => break,
                changed = server.changed() => if changed.is_err() { return self.ended() },
                // Only a new leader's standing depends on an index: looking at
                // each would cost as much as a small part of a put.
                changed = data.changed(), if is_coming => {
                    if changed.is_err() { return self.ended() }
                }
                () = heard.again() => {}
                _ = silence.tick() => {}
            }
        }
        self.flow.set_sole_leader(false, |_| {});
    }

    /// Publishes where this member stands; whether it is about to lead, or to
    /// be alone.
    fn look(&self, data: &DataMetrics, server: &ServerMetrics) -> bool {
        let (standing, is_coming) = self.standing(data, server);
        self.standing
            .send_if_modified(|last| std::mem::replace(last, standing) != standing);
        let leadership = standing.leadership;
        let changed = self
            .leadership
            .send_if_modified(|last| std::mem::replace(last, leadership) != leadership);
        if changed {
            let Leadership {
                term,
                leader,
                leads,
            } = leadership;
            let leader = leader.map(|leader| format!("{leader:x}"));
            tracing::info!(term, leader, leads, "leadership changed");
        }
        is_coming
    }

    fn standing(&self, data: &DataMetrics, server: &ServerMetrics) -> (Standing, bool) {
        let (server, data) = (server.borrow_watched(), data.borrow_watched());
        let term = server.vote.leader_id.term;
        self.flow.set_term(term);
        let sole = is_sole_voter(&server.membership_config, self.member)
            && is_sole_voter(&server.committed_membership_config, self.member);
        let acked = data.last_quorum_acked.as_ref();
        let is_leader = server.state == ServerState::Leader;
        if sole && is_leader {
            self.flow.set_confirmed(now_us());
        } else if let Some(acked) = acked {
            let ago = u64::try_from(acked.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.flow.set_confirmed(now_us().saturating_sub(ago));
        }
        let confirmed = sole || acked.is_some_and(|acked| acked.elapsed() < self.lost_after);
        let applied_own = data
            .last_applied
            .as_ref()
            .is_some_and(|applied| applied.committed_leader_id().term == term);
        let leads = is_leader && confirmed && applied_own;
        let only = is_only_member(&server.membership_config, self.member)
            && is_only_member(&server.committed_membership_config, self.member);
        // Others may have answered what was committed while they took part.
        let alone = only && leads && data.last_applied >= *server.membership_config.log_id();
        if self.flow.is_sole_leader() != alone {
            self.flow
                .set_sole_leader(alone, |alone| self.log.set_alone(alone));
        }
        let leader = server.current_leader.filter(|leader| {
            if *leader == self.member {
                is_leader && confirmed
            } else {
                self.heard.lately()
            }
        });
        let follows = leader.is_some_and(|leader| leader != self.member);
        if self.flow.follows() != follows {
            self.flow.set_follows(follows);
            self.log.set_follows(follows);
        }
        let standing = Standing {
            leadership: Leadership {
                term,
                leader,
                leads,
            },
            is_learner: is_learner(&server.membership_config, self.member),
        };
        let is_coming = is_leader && (!leads || only && !alone);
        (standing, is_coming)
    }

    fn ended(self) {
        self.flow.set_sole_leader(false, |_| {});
        let metrics = self.raft.metrics();
        let state = metrics.borrow_watched().running_state.clone();
        match state {
            Err(fatal) => self.faults.raise(&format!("consensus: {fatal}")),
            Ok(()) => self.faults.raise("consensus has ended"),
        }
    }
}
