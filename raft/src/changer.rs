//! Changes of who belongs to the cluster.
//!
//! A change is one entry, made by the leader from the membership before it,
//! and only while that is still the last one: changes can't overtake each
//! other, and no quorum of one misses all voters of the next.

use crate::{
    error::MembershipError,
    flow::Flow,
    log_store::LogStore,
    membership::{has_others, is_removed, joint_target},
    node::Leadership,
    runtime::stopped,
    state_machine::Raft,
    types::{EntryPayload, Membership, Node, StoredMembership, TypeConfig},
};
use openraft::{
    ChangeMembers,
    async_runtime::watch::WatchReceiver as _,
    entry::RaftPayload as _,
    errors::{ChangeMembershipError, ClientWriteError, RaftError},
    raft::{ClientWriteResponse, Precondition},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use sternpost_storage::ReadHandle;
use tokio::sync::{mpsc, oneshot, watch};

/// Changes that may wait for the one before them.
pub(crate) const CHANGES_MAX: usize = 16;

/// The rest before a change that met another one is tried again.
const RETRY_EVERY: Duration = Duration::from_millis(10);

/// A change of the membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipChange {
    /// A new member, which has not said its name yet. One that is to vote
    /// beside a single voter does so from when it is promoted: before it runs,
    /// its vote could be asked for by nobody, and would be missed by all.
    Add {
        /// Its ID: never that of a member before.
        id: u64,
        /// Where it will be reached.
        peer_urls: Vec<String>,
        /// It gets no vote for now; there may be so many such members with it.
        learners_max: Option<u64>,
    },
    /// A learner gets its vote.
    Promote {
        /// The learner.
        id: u64,
    },
    /// A member goes, for good.
    Remove {
        /// The member.
        id: u64,
    },
    /// A member is reached elsewhere.
    Update {
        /// The member.
        id: u64,
        /// Where it is reached from now on.
        peer_urls: Vec<String>,
    },
}

impl MembershipChange {
    fn id(&self) -> u64 {
        match self {
            Self::Add { id, .. }
            | Self::Promote { id }
            | Self::Remove { id }
            | Self::Update { id, .. } => *id,
        }
    }
}

/// A change, and who waits for the index of its entry.
pub(crate) struct ChangeRequest {
    pub(crate) change: MembershipChange,
    pub(crate) done: oneshot::Sender<Result<u64, MembershipError>>,
}

/// The task on the raft thread that makes changes, one after the other.
pub(crate) struct Changer {
    pub(crate) member: u64,
    pub(crate) raft: Raft,
    pub(crate) flow: Arc<Flow>,
    pub(crate) log: LogStore,
    pub(crate) reads: ReadHandle,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) requests: mpsc::Receiver<ChangeRequest>,
    pub(crate) stop: watch::Receiver<bool>,
}

/// The outcome of a write to openraft.
type Written =
    Result<ClientWriteResponse<TypeConfig>, RaftError<TypeConfig, ClientWriteError<TypeConfig>>>;

impl Changer {
    /// Runs until stopped; who still waits then is told so.
    pub(crate) async fn run(mut self) {
        let mut stop = self.stop.clone();
        tokio::select! {
            biased;
            () = stopped(&mut stop) => {}
            () = self.work() => {}
        }
        self.requests.close();
        while let Some(request) = self.requests.recv().await {
            let _ = request.done.send(Err(MembershipError::Stopped));
        }
    }

    async fn work(&mut self) {
        while let Some(mut request) = self.requests.recv().await {
            let made = self.make(&request.change, &mut request.done).await;
            if let Some(outcome) = made {
                let _ = request.done.send(outcome);
            }
        }
    }

    /// Tries until the change is made or refused; `None` if nobody waits any more.
    async fn make(
        &self,
        change: &MembershipChange,
        waiting: &mut oneshot::Sender<Result<u64, MembershipError>>,
    ) -> Option<Result<u64, MembershipError>> {
        loop {
            match self.attempt(change).await {
                Err(MembershipError::InFlight) => {}
                outcome => return Some(outcome),
            }
            tokio::select! {
                () = waiting.closed() => return None,
                () = tokio::time::sleep(RETRY_EVERY) => {}
            }
        }
    }

    async fn attempt(&self, change: &MembershipChange) -> Result<u64, MembershipError> {
        let last = self.settled().await?;
        let next = next(change, &last, |id| is_removed(&self.reads, id))?;
        let only_if_last = [Precondition::LastMembershipLogId {
            last_membership_log_id: *last.log_id(),
        }];
        let company = has_others(&next).then(|| Company::expect(&self.flow, &self.log));
        let written = if let MembershipChange::Update { id, .. } = change {
            let node = next.get_node(id).cloned().unwrap_or_default();
            let nodes = ChangeMembers::SetNodes(BTreeMap::from([(*id, node)]));
            self.raft
                .change_membership_if(nodes, false, only_if_last)
                .await
        } else {
            self.raft
                .append_membership(next, EntryPayload::blank(), only_if_last)
                .await
        };
        if let Some(company) = company {
            company.settle(&self.raft).await;
        }
        outcome(written)
    }

    /// The last membership, once it is committed and applied here.
    async fn settled(&self) -> Result<Arc<StoredMembership>, MembershipError> {
        let last = |state: &openraft::RaftState<TypeConfig>| {
            let memberships = &state.membership_state;
            let (committed, effective) = (memberships.committed(), memberships.effective());
            (committed.log_id() == effective.log_id()).then(|| effective.clone())
        };
        let stopped = |_| MembershipError::Stopped;
        let last = self.raft.with_raft_state(last).await.map_err(stopped)?;
        let leadership = *self.leadership.borrow();
        if !leadership.leads {
            return Err(match leadership.leader {
                // It will lead as soon as it has applied its first entry.
                Some(leader) if leader == self.member => MembershipError::InFlight,
                leader => MembershipError::NotLeader(leader),
            });
        }
        let last = last.ok_or(MembershipError::InFlight)?;
        if joint_target(&last).is_some() {
            return Err(MembershipError::InFlight);
        }
        let mut applied = self.raft.watch_apply_progress();
        applied
            .wait_until_ge(last.log_id())
            .await
            .map_err(|_| MembershipError::Stopped)?;
        Ok(last)
    }
}

/// Another member is about to exist: what only a sole one may do has ended
/// before, and stays ended until this is settled.
struct Company<'a>(&'a Flow);

impl<'a> Company<'a> {
    fn expect(flow: &'a Flow, log: &LogStore) -> Self {
        flow.hold_off_sole(|alone| log.set_alone(alone));
        Self(flow)
    }

    /// Waits until what this member is can be read off openraft's metrics
    /// again: they follow its state.
    async fn settle(self, raft: &Raft) {
        let effective = raft
            .with_raft_state(|state| *state.membership_state.effective().log_id())
            .await;
        let Ok(effective) = effective else { return };
        let mut metrics = raft.server_metrics();
        while *metrics.borrow_watched().membership_config.log_id() < effective {
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }
}

/// Whoever follows the metrics decides anew; also where the change was given up.
impl Drop for Company<'_> {
    fn drop(&mut self) {
        self.0.allow_sole();
    }
}

fn outcome(written: Written) -> Result<u64, MembershipError> {
    let error = match written {
        Ok(written) => return Ok(written.log_id.index),
        Err(RaftError::Fatal(_)) => return Err(MembershipError::Stopped),
        Err(RaftError::APIError(error)) => error,
    };
    Err(match error {
        ClientWriteError::ForwardToLeader(forward) => MembershipError::NotLeader(forward.leader_id),
        ClientWriteError::LogEntryDiscarded(_) => MembershipError::OutcomeUnknown,
        ClientWriteError::PreconditionFailed(_) => MembershipError::InFlight,
        ClientWriteError::ChangeMembershipError(error) => match error {
            ChangeMembershipError::InProgress(_)
            | ChangeMembershipError::UncommittedLeaderLog(_) => MembershipError::InFlight,
            ChangeMembershipError::EmptyMembership(_) => MembershipError::LastVoter,
            ChangeMembershipError::LearnerNotFound(_) => MembershipError::NotFound,
            ChangeMembershipError::UnsupportedMembershipTransition(_)
            | ChangeMembershipError::NodeMetadataChanged(_) => MembershipError::InFlight,
        },
    })
}

/// The membership after `change`, checked in etcd's order.
fn next(
    change: &MembershipChange,
    last: &StoredMembership,
    is_removed: impl Fn(u64) -> bool,
) -> Result<Membership, MembershipError> {
    let id = change.id();
    if is_removed(id) {
        return Err(MembershipError::Removed);
    }
    let last = last.membership();
    let mut nodes: BTreeMap<u64, Node> =
        last.nodes().map(|(id, node)| (*id, node.clone())).collect();
    let mut voters: BTreeSet<u64> = last.voter_ids().collect();
    let is_taken = |urls: &[String]| {
        let mut others = nodes.iter().filter(|(other, _)| **other != id);
        others.any(|(_, node)| node.peer_urls.iter().any(|url| urls.contains(url)))
    };
    match change {
        MembershipChange::Add { .. } if nodes.contains_key(&id) => {
            return Err(MembershipError::Exists);
        }
        MembershipChange::Add { .. } => {}
        _ if !nodes.contains_key(&id) => return Err(MembershipError::NotFound),
        _ => {}
    }
    match change {
        MembershipChange::Add { peer_urls, .. } | MembershipChange::Update { peer_urls, .. }
            if is_taken(peer_urls) =>
        {
            return Err(MembershipError::PeerUrlExists);
        }
        MembershipChange::Add {
            peer_urls,
            learners_max,
            ..
        } => {
            let is_learner = |(id, node): &(&u64, &Node)| !voters.contains(id) && !node.joining;
            let learners = nodes.iter().filter(is_learner).count() as u64;
            let joining = learners_max.is_none() && voters.len() == 1;
            match learners_max {
                Some(max) if learners >= *max => return Err(MembershipError::TooManyLearners),
                None if !joining => drop(voters.insert(id)),
                _ => {}
            }
            nodes.insert(
                id,
                Node {
                    peer_urls: peer_urls.clone(),
                    joining,
                    ..Node::default()
                },
            );
        }
        MembershipChange::Promote { .. } => {
            if !voters.insert(id) {
                return Err(MembershipError::NotLearner);
            }
        }
        MembershipChange::Remove { .. } => {
            nodes.remove(&id);
            voters.remove(&id);
        }
        MembershipChange::Update { peer_urls, .. } => {
            nodes.entry(id).or_default().peer_urls.clone_from(peer_urls);
        }
    }
    if voters.is_empty() {
        return Err(MembershipError::LastVoter);
    }
    Membership::new(vec![voters], nodes).map_err(|_| MembershipError::InFlight)
}

#[cfg(test)]
mod tests;
