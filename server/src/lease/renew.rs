//! Renewals, and how long a lease has left: the leader knows, whoever is asked.

use super::clock::Renewal;
use crate::{api::status::ApiError, member::Member, peer::Leads};
use std::{sync::atomic::Ordering::SeqCst, time::Duration};
use sternpost_proto::internal::{LeaseCheckpoints, LeaseRemaining, command::Verb};
use sternpost_storage::LeaseId;
use tokio::time::{Instant, timeout_at};

/// How often to look whether something is applied.
const APPLIED_POLL_EVERY: Duration = Duration::from_millis(1);

/// How long the leader waits for what is committed to be applied, as in etcd.
const APPLIED_MAX: Duration = Duration::from_secs(1);

impl Member {
    /// Renews a lease; 0 if there is none. The common case answers at once.
    pub async fn renew_lease(&self, id: i64) -> Result<i64, ApiError> {
        match self.renew_lease_now(id) {
            Some(ttl_secs) => Ok(ttl_secs),
            None => Box::pin(self.renew_lease_slowly(id)).await,
        }
    }

    /// The same if there is nothing to wait for.
    pub fn renew_lease_now(&self, id: i64) -> Option<i64> {
        let term = self.counting_term()?;
        if !self.may_promise() {
            return None;
        }
        match self.leases.countdown.renew(id, self.leases.now_us()) {
            Renewal::Renewed(ttl_secs) => {
                self.metrics.lease.renewed.inc();
                Some(ttl_secs)
            }
            // Unless it was asked while a term ended, or granted by way of a
            // member that is ahead of this one.
            Renewal::Unknown if self.node.is_alone() && self.counting_term() == Some(term) => {
                Some(0)
            }
            Renewal::Unknown
            | Renewal::Expired
            | Renewal::Checkpointing
            | Renewal::Checkpointed => None,
        }
    }

    /// Whether the next leader, if there is one, keeps what this one promises
    /// now: it lets every lease live for an election timeout more, counted
    /// from its election.
    fn may_promise(&self) -> bool {
        self.node.is_confirmed_within(self.config.election_timeout)
    }

    /// Microseconds left and granted seconds, `None` if there is no such
    /// lease. Its keys can be read here then.
    pub async fn lease_remaining(&self, id: i64) -> Result<Option<(i64, i64)>, ApiError> {
        let deadline = Instant::now() + self.config.request_timeout();
        loop {
            match self.who_leads(deadline).await? {
                Leads::Own => match self.lease_remaining_here(id, deadline).await {
                    Err(ApiError::NotLeader) => {}
                    answer => return answer,
                },
                Leads::Other(leader, urls) => {
                    let leader = (leader, urls);
                    if let Some(answer) = self.lease_time_left_at(&leader, id, deadline).await {
                        self.wait_applied(answer.applied_index, deadline).await?;
                        return Ok(answer.lease.map(|left| (left.left_us, left.ttl_secs)));
                    }
                }
            }
            self.rest(deadline).await?;
        }
    }

    /// The same if this member leads.
    pub async fn lease_remaining_here(
        &self,
        id: i64,
        deadline: Instant,
    ) -> Result<Option<(i64, i64)>, ApiError> {
        loop {
            let term = self.wait_to_count_leases(deadline).await?;
            let remaining = self.leases.countdown.remaining(id, self.leases.now_us());
            // Read while the term ended: the number may be anything.
            if self.counting_term() != Some(term) {
                return Err(ApiError::LeaderChanged);
            }
            if remaining.is_some() || !self.may_be_granted(id, deadline).await? {
                return Ok(remaining);
            }
        }
    }

    /// The term this member leads in, once it has loaded its leases.
    pub fn counting_term(&self) -> Option<u64> {
        self.leadership
            .leading_term()
            .filter(|term| *term == self.leases.term.load(SeqCst))
    }

    async fn wait_to_count_leases(&self, deadline: Instant) -> Result<u64, ApiError> {
        let mut followed = self.leases.followed.subscribe();
        loop {
            followed.borrow_and_update();
            if let Some(term) = self.counting_term() {
                return Ok(term);
            }
            if self.leadership.leading_term().is_none() {
                return Err(ApiError::NotLeader);
            }
            // Sent when the leases are loaded, and when the term ends.
            let changed = timeout_at(deadline, followed.changed()).await;
            changed
                .map_err(|_| ApiError::Timeout)?
                .map_err(|_| ApiError::Stopped)?;
        }
    }

    /// A lease that the clock does not know: whether it was granted all the
    /// same, by an entry that this member was still to apply.
    async fn may_be_granted(&self, id: i64, deadline: Instant) -> Result<bool, ApiError> {
        if self.node.is_alone() {
            return Ok(false);
        }
        let committed = self.node.status().committed_index;
        let limit = (Instant::now() + APPLIED_MAX).min(deadline);
        if let Some(last) = committed.checked_sub(1) {
            let applied = self.wait_applied(last, limit).await;
            applied.map_err(|_| ApiError::TimeoutWaitAppliedIndex)?;
        }
        let mut followed = self.leases.followed.subscribe();
        followed.borrow_and_update();
        let granted = self.node.reads().view().lease(LeaseId(id))?.is_some();
        if granted && self.leases.countdown.remaining(id, 0).is_none() {
            // The clock hears of it in a moment.
            let _ = timeout_at(limit, followed.changed()).await;
        }
        Ok(granted)
    }

    async fn renew_lease_slowly(&self, id: i64) -> Result<i64, ApiError> {
        let deadline = Instant::now() + self.config.request_timeout();
        loop {
            match self.who_leads(deadline).await? {
                Leads::Own => match self.renew_lease_here(id, deadline).await {
                    Err(ApiError::NotLeader) => {}
                    answer => return answer,
                },
                Leads::Other(leader, urls) => {
                    let leader = (leader, urls);
                    if let Some(ttl_secs) = self.renew_lease_at(&leader, id, deadline).await {
                        return Ok(ttl_secs);
                    }
                }
            }
            self.rest(deadline).await?;
        }
    }

    /// Renews a lease if this member leads, once a quorum says so.
    pub async fn renew_lease_here(&self, id: i64, deadline: Instant) -> Result<i64, ApiError> {
        let mut followed = self.leases.followed.subscribe();
        loop {
            let term = self.wait_to_count_leases(deadline).await?;
            if !self.may_promise() {
                let confirmed = timeout_at(deadline, self.node.confirm_leadership()).await;
                if !matches!(confirmed, Ok(Ok(confirmed)) if confirmed == term) {
                    return Err(ApiError::NotPrimaryLessor);
                }
            }
            followed.borrow_and_update();
            match self.leases.countdown.renew(id, self.leases.now_us()) {
                Renewal::Renewed(ttl_secs) => {
                    self.metrics.lease.renewed.inc();
                    return Ok(ttl_secs);
                }
                Renewal::Unknown if self.counting_term() == Some(term) => {
                    if !self.may_be_granted(id, deadline).await? {
                        return Ok(0);
                    }
                }
                Renewal::Unknown => {}
                Renewal::Expired | Renewal::Checkpointing => {
                    let changed = timeout_at(deadline, followed.changed()).await;
                    changed
                        .map_err(|_| ApiError::Timeout)?
                        .map_err(|_| ApiError::Stopped)?;
                }
                Renewal::Checkpointed => self.clear_checkpoint(id).await?,
            }
        }
    }

    async fn clear_checkpoint(&self, id: i64) -> Result<(), ApiError> {
        let cleared = LeaseCheckpoints {
            leases: vec![LeaseRemaining {
                id,
                remaining_secs: 0,
            }],
        };
        let outcome = self.propose(Verb::LeaseCheckpoints(cleared)).await?;
        self.leases.wait_followed(&outcome).await;
        Ok(())
    }

    /// Waits until this entry of the log is applied here.
    pub async fn wait_applied(&self, index: u64, deadline: Instant) -> Result<(), ApiError> {
        let applied = || {
            let applied = self.node.reads().view().applied();
            applied.is_some_and(|mark| mark.index >= index)
        };
        while !applied() {
            if Instant::now() >= deadline {
                return Err(ApiError::Timeout);
            }
            if self.is_stopping() {
                return Err(ApiError::Stopped);
            }
            tokio::time::sleep(APPLIED_POLL_EVERY).await;
        }
        Ok(())
    }
}
