//! Who belongs to the cluster: its founding, and what this member is in it.

use crate::{
    error::OpenError,
    options::Bootstrap,
    state_machine::Raft,
    types::{Membership, Node, StoredMembership},
};
use std::collections::{BTreeMap, BTreeSet};
use sternpost_storage::{MemberId, ReadHandle};

/// Founds the cluster if this is a first start that should. Every founding
/// member writes the same first entry. A crash before it is written leaves a
/// log without one, and the next start founds again.
pub(crate) async fn found(raft: &Raft, bootstrap: &Bootstrap) -> Result<(), OpenError> {
    let refused = |error: &dyn std::fmt::Display| {
        OpenError::Consensus(format!("can't found the cluster: {error}"))
    };
    if raft
        .is_initialized()
        .await
        .map_err(|error| refused(&error))?
    {
        return Ok(());
    }
    let Bootstrap::New { members, .. } = bootstrap else {
        return Ok(());
    };
    let members: BTreeMap<u64, Node> = members
        .iter()
        .map(|member| (member.id, Node::from(member.clone())))
        .collect();
    raft.initialize(members)
        .await
        .map_err(|error| refused(&error))
}

/// Whether the cluster has removed a member for good, as far as that is
/// applied here.
pub(crate) fn is_removed(reads: &ReadHandle, member: u64) -> bool {
    reads.view().is_removed_member(MemberId(member))
}

/// The voters that a joint configuration leads to; `None` for a uniform one.
pub(crate) fn joint_target(membership: &StoredMembership) -> Option<BTreeSet<u64>> {
    match membership.membership().get_joint_config().as_slice() {
        [_, .., target] => Some(target.clone()),
        _ => None,
    }
}

/// Whether `member` is the only voter.
pub(crate) fn is_sole_voter(membership: &StoredMembership, member: u64) -> bool {
    let mut voters = membership.membership().voter_ids();
    voters.next() == Some(member) && voters.next().is_none()
}

/// Whether there is more than one member, learners included.
pub(crate) fn has_others(membership: &Membership) -> bool {
    membership.nodes().nth(1).is_some()
}

/// Whether there is nobody else, learners included.
pub(crate) fn is_only_member(membership: &StoredMembership, member: u64) -> bool {
    is_sole_voter(membership, member) && !has_others(membership.membership())
}

/// Whether `member` belongs to the cluster without a vote until it is promoted.
pub(crate) fn is_learner(membership: &StoredMembership, member: u64) -> bool {
    let membership = membership.membership();
    let joining = membership
        .get_node(&member)
        .is_some_and(|node| node.joining);
    !joining && membership.learner_ids().any(|learner| learner == member)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_learner_is_company() {
        let with = |nodes: &[u64]| {
            let nodes = nodes.iter().map(|id| (*id, Node::default()));
            let nodes: BTreeMap<u64, Node> = nodes.collect();
            let membership = Membership::new(vec![BTreeSet::from([1])], nodes).unwrap();
            StoredMembership::new(None, membership)
        };
        let (alone, beside_a_learner) = (with(&[1]), with(&[1, 2]));
        assert!(is_only_member(&alone, 1) && !is_only_member(&alone, 2));
        assert!(is_sole_voter(&beside_a_learner, 1) && !is_only_member(&beside_a_learner, 1));
    }
}
