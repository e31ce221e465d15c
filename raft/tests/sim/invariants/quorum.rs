//! What is committed is durable on a majority of the voters.

use super::{Checked, committed::Committed};
use crate::member::{Members, entries};
use std::{collections::BTreeSet, ops::Range};
use sternpost_raft::types::{EntryPayload, Membership};

/// These entries have just been committed.
pub fn check(members: &Members, committed: &Committed, fresh: Range<u64>) -> Checked {
    for index in fresh {
        let term = committed.entries()[index as usize].term;
        let majority = |membership: &Membership| {
            let enough = |voters: &BTreeSet<u64>| {
                let holders = voters.iter().filter(|id| {
                    let member = members.get(id);
                    member.is_some_and(|member| member.holds(index, term))
                });
                holders.count() * 2 > voters.len()
            };
            membership.get_joint_config().iter().all(enough)
        };
        // The founding entry is on each of them from the start.
        let sound = index == 0
            || committed.membership_at(index).is_some_and(majority)
            // A membership counts from when it is in the leader's log.
            || committed.membership().is_some_and(majority)
            || coming(members, committed).iter().any(majority);
        if !sound {
            return Err(format!(
                "entry {index} of term {term} is committed, but no majority of the voters holds it for good"
            ));
        }
    }
    Ok(())
}

/// Memberships that are in a log and not committed yet.
fn coming(members: &Members, committed: &Committed) -> Vec<Membership> {
    let logs = members
        .values()
        .filter_map(|member| member.process.as_ref());
    let end = committed.entries().len() as u64;
    let tails = logs.flat_map(|process| entries(process.log.log(), end..u64::MAX));
    let memberships = tails.filter_map(|entry| match entry.payload {
        EntryPayload::Membership(membership) => Some(membership),
        _ => None,
    });
    memberships.collect()
}
