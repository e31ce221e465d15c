//! What only a leader knows and does: its followers' progress, and handing
//! the lead to one of them.

use crate::{
    error::{ReadIndexError, TransferError},
    flow::Flow,
    node::Leadership,
    read_index::read_position,
    state_machine::Raft,
};
use openraft::{Instant as _, async_runtime::watch::WatchReceiver as _};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::watch;

/// A target that lacks more entries than this is caught up first: while
/// leadership moves, nothing is accepted.
const LAG_MAX: u64 = 1000;

/// How often a transfer that has come to nothing is tried again.
const RETRY_EVERY: Duration = Duration::from_millis(100);

/// How far the others are, as their leader sees it. Indexes count entries as
/// etcd does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The entries of the leader's log.
    pub last_index: u64,
    /// The other members, voters and learners, by ID.
    pub members: BTreeMap<u64, MemberProgress>,
}

/// How far one member is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberProgress {
    /// The entries that are known to be durable on it.
    pub matched_index: u64,
    /// How long ago the last request was sent that it has answered.
    pub heard_ago: Option<Duration>,
    /// It votes.
    pub is_voter: bool,
}

/// The node, as its leader's duties need it.
pub(crate) struct Lead<'a> {
    pub(crate) member: u64,
    pub(crate) raft: &'a Raft,
    pub(crate) flow: &'a Arc<Flow>,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) election_timeout: Duration,
}

impl Lead<'_> {
    fn leads(&self) -> Option<u64> {
        let leadership = *self.leadership.borrow();
        let own = leadership.leader == Some(self.member);
        (own && leadership.leads).then_some(leadership.term)
    }

    /// Empty where this member does not lead.
    pub(crate) fn progress(&self) -> Progress {
        let server = self.raft.server_metrics().borrow_watched().clone();
        let data = self.raft.data_metrics().borrow_watched().clone();
        let Some(replication) = &data.replication else {
            return Progress::default();
        };
        let count = |index: u64| index + 1;
        let voters: Vec<u64> = server.membership_config.membership().voter_ids().collect();
        let others = replication.iter().filter(|(id, _)| **id != self.member);
        let members = others.map(|(id, matched)| {
            let acked = data.heartbeat.as_ref().and_then(|map| map.get(id).copied());
            let progress = MemberProgress {
                matched_index: matched.as_ref().map_or(0, |matched| count(matched.index)),
                heard_ago: acked.flatten().map(|acked| acked.elapsed()),
                is_voter: voters.contains(id),
            };
            (*id, progress)
        });
        Progress {
            last_index: data.last_log.as_ref().map_or(0, |last| count(last.index)),
            members: members.collect(),
        }
    }

    /// The term that this member leads, confirmed by a quorum after the call.
    pub(crate) async fn confirm(&self) -> Result<u64, ReadIndexError> {
        let term = self.leads().ok_or(ReadIndexError::NoLeader)?;
        if !self.flow.is_sole_leader() {
            read_position(self.raft).await?;
        }
        if self.leads() == Some(term) {
            Ok(term)
        } else {
            Err(ReadIndexError::LeaderChanged)
        }
    }

    /// Hands the lead to `to`; gives up after `limit`.
    pub(crate) async fn transfer(&self, to: u64, limit: Duration) -> Result<(), TransferError> {
        let term = self.leads().ok_or(TransferError::NotLeader)?;
        if to == self.member {
            return Ok(());
        }
        let target = self.progress().members.get(&to).copied();
        if !target.is_some_and(|target| target.is_voter) {
            return Err(TransferError::NotVoter);
        }
        tokio::time::timeout(limit, self.push(to, term))
            .await
            .map_err(|_elapsed| TransferError::TimedOut)?
    }

    /// Asks until the leader has changed. Once it has been asked, openraft
    /// accepts nothing until there is another leader, so first the target
    /// must be near and within reach.
    async fn push(&self, to: u64, term: u64) -> Result<(), TransferError> {
        let mut leadership = self.leadership.clone();
        loop {
            let changed = leadership.borrow_and_update().term > term;
            let leader = leadership.borrow().leader;
            if changed && leader.is_some_and(|leader| leader != self.member) {
                return Ok(());
            }
            if !changed && self.is_ready(to) {
                let asked = self.raft.trigger().transfer_leader(to).await;
                asked.map_err(|_| TransferError::Stopped)?;
            }
            let change = tokio::time::timeout(RETRY_EVERY, leadership.changed());
            if let Ok(Err(_closed)) = change.await {
                return Err(TransferError::Stopped);
            }
        }
    }

    fn is_ready(&self, to: u64) -> bool {
        let progress = self.progress();
        progress.members.get(&to).is_some_and(|target| {
            let lag = progress.last_index.saturating_sub(target.matched_index);
            lag <= LAG_MAX && self.is_near(target)
        })
    }

    fn is_near(&self, member: &MemberProgress) -> bool {
        member
            .heard_ago
            .is_some_and(|ago| ago < self.election_timeout)
    }

    /// Whom to hand over to on the way out: the voter that is nearest, of
    /// those within reach.
    pub(crate) fn heir(&self) -> Option<u64> {
        self.leads()?;
        let progress = self.progress();
        let voters = progress
            .members
            .iter()
            .filter(|(_, member)| member.is_voter && self.is_near(member));
        voters
            .max_by_key(|(_, member)| member.matched_index)
            .map(|(id, _)| *id)
    }
}
