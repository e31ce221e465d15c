//! Changes of the members: what etcd checks before them, at the leader, and
//! the way from any member to there.

use super::Member;
use crate::{
    api::status::ApiError,
    config::Url,
    peer::{Forwarded, Leads},
};
use std::time::Duration;
use sternpost_proto::internal::MemberRecord;
use sternpost_raft::{MembershipChange, MembershipError};
use sternpost_storage::MemberId;
use tokio::time::{Instant, timeout_at};

/// How much of the leader's log a learner must hold before it may vote.
const READY_PERCENT: u64 = 90;

/// A member that came back less than this ago may be lost again, as in etcd.
const STEADY_AFTER: Duration = Duration::from_secs(5);

/// A change of the members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// One more.
    Add {
        /// Its ID, drawn by the member that was asked.
        id: u64,
        /// Its peer URLs.
        peer_urls: Vec<String>,
        /// It does not vote yet.
        is_learner: bool,
    },
    /// A learner gets its vote.
    Promote {
        /// The learner.
        id: u64,
    },
    /// One less.
    Remove {
        /// The member.
        id: u64,
    },
    /// One is reached elsewhere.
    Update {
        /// The member.
        id: u64,
        /// Its new peer URLs, as the client gave them.
        peer_urls: Vec<String>,
    },
}

impl From<MembershipError> for ApiError {
    fn from(error: MembershipError) -> Self {
        match error {
            MembershipError::NotLeader(_) => Self::NotLeader,
            MembershipError::Removed | MembershipError::NotFound => Self::MemberNotFound,
            MembershipError::Exists => Self::MemberExist,
            MembershipError::PeerUrlExists => Self::PeerURLExist,
            MembershipError::TooManyLearners => Self::TooManyLearners,
            MembershipError::NotLearner => Self::MemberNotLearner,
            MembershipError::LastVoter => Self::MemberNotEnoughStarted,
            MembershipError::InFlight | MembershipError::OutcomeUnknown => Self::Timeout,
            MembershipError::Stopped => Self::Stopped,
        }
    }
}

/// The members at one moment.
type Members<'a> = &'a [(MemberId, MemberRecord)];

/// Voters, those that are about to be included, and how many of them have said
/// their name.
fn voters(members: Members<'_>, except: Option<u64>) -> (usize, usize) {
    let voters = members
        .iter()
        .filter(|(id, record)| !record.is_learner && Some(id.0) != except);
    let started = voters.clone().filter(|(_, record)| !record.name.is_empty());
    (voters.count(), started.count())
}

fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}

fn may_add_voter(members: Members<'_>) -> bool {
    let (voters, started) = voters(members, None);
    // One that was restored from a backup grows again.
    (voters, started) == (1, 1) || started >= quorum(voters + 1)
}

fn may_remove_voter(members: Members<'_>, id: u64) -> bool {
    let (voters, started) = voters(members, Some(id));
    started >= quorum(voters)
}

/// The one to be promoted counts as started.
fn may_promote(members: Members<'_>) -> bool {
    let (voters, started) = voters(members, None);
    started + 1 >= quorum(voters + 1)
}

/// Whether a change of which nobody knows has been made after all.
fn is_made(change: &Change, members: Members<'_>, is_removed: impl Fn(u64) -> bool) -> bool {
    let find = |id: u64| members.iter().find(|(known, _)| known.0 == id);
    match change {
        Change::Add { id, .. } => find(*id).is_some(),
        Change::Promote { id } => find(*id).is_some_and(|(_, record)| !record.is_learner),
        Change::Remove { id } => is_removed(*id),
        Change::Update { id, peer_urls } => {
            find(*id).is_some_and(|(_, record)| record.peer_urls == *peer_urls)
        }
    }
}

impl Member {
    /// Changes the members, whoever leads, and waits until the change is
    /// applied here.
    pub async fn change_members(&self, change: &Change) -> Result<(), ApiError> {
        let deadline = Instant::now() + self.config.request_timeout();
        let mut asked = false;
        let index = loop {
            let leads = self.leader_for_change(change, deadline).await?;
            let outcome = match &leads {
                Leads::Own => match self.change_members_here(change).await {
                    Ok(index) => Ok(index),
                    Err(ApiError::NotLeader) => Err(Forwarded::Again),
                    Err(error) => Err(Forwarded::Refused(error)),
                },
                Leads::Other(id, urls) => {
                    let leader = (*id, urls.clone());
                    self.change_members_at(&leader, change, deadline).await
                }
            };
            match outcome {
                Ok(index) => break index,
                Err(Forwarded::Again) => {}
                Err(Forwarded::Perhaps) => asked = true,
                Err(Forwarded::Refused(error)) if asked => {
                    self.read_index().await?;
                    return self.settle(change, error);
                }
                Err(Forwarded::Refused(error)) => return Err(error),
            }
            self.rest(deadline).await?;
        };
        self.wait_applied(index, deadline).await
    }

    /// Without a leader the member that is asked says what it sees, as in
    /// etcd, where each looks at its own connections.
    async fn leader_for_change(
        &self,
        change: &Change,
        deadline: Instant,
    ) -> Result<Leads, ApiError> {
        if !self.leadership.has_leader() {
            match change {
                Change::Add { is_learner, .. } => self.check_add(*is_learner).await?,
                Change::Remove { id } => self.check_remove(*id).await?,
                Change::Promote { .. } => return self.who_leads(deadline).await,
                Change::Update { .. } => {}
            }
        }
        let leads = self.who_leads(deadline).await;
        leads.map_err(|_| ApiError::ContextDeadlineExceeded)
    }

    fn settle(&self, change: &Change, error: ApiError) -> Result<(), ApiError> {
        let view = self.node.reads().view();
        let is_removed = |id| view.is_removed_member(MemberId(id));
        if is_made(change, view.members(), is_removed) {
            Ok(())
        } else {
            Err(error)
        }
    }

    /// Changes the members if this one leads: the index of the change's entry.
    pub async fn change_members_here(&self, change: &Change) -> Result<u64, ApiError> {
        if self.leadership.leading_term().is_none() {
            return Err(ApiError::NotLeader);
        }
        let change = match change.clone() {
            Change::Add {
                id,
                peer_urls,
                is_learner,
            } => {
                self.check_add(is_learner).await?;
                MembershipChange::Add {
                    id,
                    peer_urls,
                    learners_max: is_learner.then_some(self.config.max_learners),
                }
            }
            Change::Promote { id } => {
                let checked = self.check_promote(id);
                let promoted = match checked {
                    Ok(()) => self.make(MembershipChange::Promote { id }).await,
                    Err(error) => Err(error),
                };
                self.count_promotion(&promoted);
                return promoted;
            }
            Change::Remove { id } => {
                self.check_remove(id).await?;
                MembershipChange::Remove { id }
            }
            Change::Update { id, peer_urls } => {
                self.check_update(id, &peer_urls)?;
                MembershipChange::Update { id, peer_urls }
            }
        };
        self.make(change).await
    }

    async fn make(&self, change: MembershipChange) -> Result<u64, ApiError> {
        let deadline = Instant::now() + self.config.request_timeout();
        let made = timeout_at(deadline, self.node.change_membership(change.clone())).await;
        let index = made.map_err(|_| ApiError::Timeout)??;
        tracing::info!(change = ?change, index, "applied a configuration change through raft");
        Ok(index)
    }

    fn count_promotion(&self, promoted: &Result<u64, ApiError>) {
        let server = &self.metrics.server;
        match promoted {
            Ok(_) => server.learner_promote_successes.inc(),
            Err(error) => server
                .learner_promote_failures
                .with_label_values(&[error.text()])
                .inc(),
        }
    }

    async fn check_add(&self, is_learner: bool) -> Result<(), ApiError> {
        if !self.config.strict_reconfig_check {
            return Ok(());
        }
        let view = self.node.reads().view();
        let members = view.members();
        if !is_learner && !may_add_voter(members) {
            return Err(refusal("member add", ApiError::MemberNotEnoughStarted));
        }
        // The new one counts as down.
        let (voters, _) = voters(members, None);
        drop(view);
        if voters > 1 && self.steady_voters().await < quorum(voters + 1) {
            return Err(refusal("member add", ApiError::Unhealthy));
        }
        Ok(())
    }

    async fn check_remove(&self, id: u64) -> Result<(), ApiError> {
        let view = self.node.reads().view();
        let members = view.members();
        let is_learner =
            |(known, record): &(MemberId, MemberRecord)| known.0 == id && record.is_learner;
        if !self.config.strict_reconfig_check || members.iter().any(is_learner) {
            return Ok(());
        }
        if !may_remove_voter(members, id) {
            return Err(refusal("member remove", ApiError::MemberNotEnoughStarted));
        }
        let (voters, _) = voters(members, None);
        drop(view);
        let steady = self.steady_voters().await;
        // One that is down is no part of the quorum that works.
        if id != self.identity.member_id && !self.probes.is_active_for(id, Duration::ZERO) {
            return Ok(());
        }
        if steady < 2 + voters.saturating_sub(1) / 2 {
            return Err(refusal("member remove", ApiError::Unhealthy));
        }
        Ok(())
    }

    /// Voters that answer now and did for a while, this member included.
    async fn steady_voters(&self) -> usize {
        self.probe_all().await;
        let view = self.node.reads().view();
        let is_steady =
            |id: u64| id == self.identity.member_id || self.probes.is_active_for(id, STEADY_AFTER);
        let voters = view
            .members()
            .iter()
            .filter(|(_, record)| !record.is_learner);
        voters.filter(|(id, _)| is_steady(id.0)).count()
    }

    fn check_promote(&self, id: u64) -> Result<(), ApiError> {
        if id != self.identity.member_id {
            let progress = self.node.progress();
            let learner = progress.members.get(&id).ok_or(ApiError::MemberNotFound)?;
            let ready = learner.matched_index.saturating_mul(100)
                >= progress.last_index.saturating_mul(READY_PERCENT);
            if !ready {
                return Err(refusal("member promote", ApiError::LearnerNotReady));
            }
        }
        let view = self.node.reads().view();
        if self.config.strict_reconfig_check && !may_promote(view.members()) {
            return Err(refusal("member promote", ApiError::MemberNotEnoughStarted));
        }
        Ok(())
    }

    /// etcd takes any text for a URL here, and can't start with some of them.
    fn check_update(&self, id: u64, peer_urls: &[String]) -> Result<(), ApiError> {
        let view = self.node.reads().view();
        if !view.members().iter().any(|(known, _)| known.0 == id) {
            return Err(ApiError::MemberNotFound);
        }
        if peer_urls.is_empty() || peer_urls.iter().any(|url| Url::parse(url).is_err()) {
            return Err(ApiError::MemberBadURLs);
        }
        Ok(())
    }
}

fn refusal(request: &str, error: ApiError) -> ApiError {
    tracing::warn!(error = error.text(), "rejecting {request} request");
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `s` a started voter, `u` one that has not started, `l` a learner.
    fn members(kinds: &str) -> Vec<(MemberId, MemberRecord)> {
        let record = |kind| MemberRecord {
            name: if kind == 's' {
                "m".to_owned()
            } else {
                String::new()
            },
            is_learner: kind == 'l',
            ..MemberRecord::default()
        };
        let numbered = kinds.chars().zip(1..);
        numbered
            .map(|(kind, id)| (MemberId(id), record(kind)))
            .collect()
    }

    #[test]
    fn started_voters_must_stay_a_quorum() {
        // Members, and whether a voter may be added, a learner promoted, and the first member removed.
        let table = [
            ("s", true, true, false),
            ("sl", true, true, false),
            ("su", false, true, false),
            ("us", false, true, true),
            ("ss", true, true, true),
            ("ssu", false, true, false),
            ("uss", false, true, true),
            ("sss", true, true, true),
            ("sssu", true, true, true),
            ("ssuu", false, true, false),
            ("sssuu", false, true, false),
        ];
        for (kinds, add, promote, remove) in table {
            let members = members(kinds);
            assert_eq!(
                (
                    may_add_voter(&members),
                    may_promote(&members),
                    may_remove_voter(&members, 1)
                ),
                (add, promote, remove),
                "{kinds}"
            );
        }
    }

    #[test]
    fn a_change_that_was_lost_sight_of_is_recognised() {
        let members = members("sl");
        let made = |change| is_made(&change, &members, |id| id == 9);
        let add = |id| Change::Add {
            id,
            peer_urls: Vec::new(),
            is_learner: false,
        };
        assert!(made(add(1)) && !made(add(3)));
        assert!(made(Change::Promote { id: 1 }) && !made(Change::Promote { id: 2 }));
        assert!(made(Change::Remove { id: 9 }) && !made(Change::Remove { id: 3 }));
        let update = |urls: &[&str]| Change::Update {
            id: 1,
            peer_urls: urls.iter().map(ToString::to_string).collect(),
        };
        assert!(made(update(&[])) && !made(update(&["http://a:1"])));
    }
}
