//! Who leads, as the request path asks it.

use super::Member;
use parking_lot::Mutex;
use std::sync::Arc;
use sternpost_raft::Leadership;
use tokio::{
    sync::watch,
    time::{Instant, error::Elapsed, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

/// Election timeouts without a leader after which streams that want one end,
/// as in etcd.
const ABSENCE_ELECTIONS: u32 = 3;

/// The newest leadership, and since when its leader leads.
pub struct LeadershipView {
    member_id: u64,
    receiver: watch::Receiver<Leadership>,
    elected_at: Mutex<Option<Instant>>,
    absence: Mutex<CancellationToken>,
}

impl LeadershipView {
    /// What this member sees through `receiver`.
    pub fn new(member_id: u64, receiver: watch::Receiver<Leadership>) -> Self {
        Self {
            member_id,
            receiver,
            elected_at: Mutex::new(None),
            absence: Mutex::default(),
        }
    }

    /// Term and leader.
    pub fn now(&self) -> Leadership {
        *self.receiver.borrow()
    }

    /// Whether a leader is known.
    pub fn has_leader(&self) -> bool {
        self.now().leader.is_some()
    }

    /// The term in which this member leads, with a quorum behind it.
    pub fn leading_term(&self) -> Option<u64> {
        let now = self.now();
        (now.leads && now.leader == Some(self.member_id)).then_some(now.term)
    }

    /// Cancelled once there was no leader for three election timeouts: what
    /// a client asked for with a leader ends then.
    pub fn absence(&self) -> CancellationToken {
        self.absence.lock().clone()
    }

    /// When the current leader was first seen.
    pub fn elected_at(&self) -> Option<Instant> {
        *self.elected_at.lock()
    }

    /// Waits until a leader is known.
    pub async fn wait_for_leader(&self, deadline: Instant) -> Result<(), Elapsed> {
        self.wait(deadline, |now| now.leader.is_some()).await
    }

    async fn wait(
        &self,
        deadline: Instant,
        until: impl Fn(&Leadership) -> bool,
    ) -> Result<(), Elapsed> {
        let mut receiver = self.receiver.clone();
        let came = timeout_at(deadline, receiver.wait_for(until))
            .await?
            .is_ok();
        if came {
            return Ok(());
        }
        // The node has ended; so will the wait, at its deadline.
        timeout_at(deadline, std::future::pending()).await
    }
}

/// Notes each new leader.
pub(super) async fn follow(member: Arc<Member>) {
    let mut receiver = member.node.leadership();
    let mut last = None;
    loop {
        let leader = receiver.borrow_and_update().leader;
        if leader.is_some() && leader != last {
            *member.leadership.elected_at.lock() = Some(Instant::now());
            member.metrics.server.leader_changes_seen.inc();
            tracing::info!(
                leader = leader.map(|id| format!("{id:x}")),
                "leader elected"
            );
        }
        last = leader;
        if receiver.changed().await.is_err() {
            return;
        }
    }
}

/// Ends the streams that want a leader when there is none for long.
pub(super) async fn watch_absence(member: Arc<Member>) {
    let limit = ABSENCE_ELECTIONS * member.config.election_timeout;
    let mut leadership = member.node.leadership();
    loop {
        if leadership
            .wait_for(|now| now.leader.is_none())
            .await
            .is_err()
        {
            return;
        }
        let back = leadership.wait_for(|now| now.leader.is_some());
        match timeout(limit, back).await {
            Ok(Ok(_)) => continue,
            Ok(Err(_)) => return,
            Err(_elapsed) => {}
        }
        // Streams that come after this have seen a leader.
        std::mem::take(&mut *member.leadership.absence.lock()).cancel();
        if leadership
            .wait_for(|now| now.leader.is_some())
            .await
            .is_err()
        {
            return;
        }
    }
}
