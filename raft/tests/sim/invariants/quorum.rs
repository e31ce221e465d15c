//! What is committed is durable on a majority of the voters.

use super::{Checked, committed::Committed};
use crate::member::Members;
use std::ops::Range;

/// These entries have just been committed.
pub fn check(members: &Members, committed: &Committed, fresh: Range<u64>) -> Checked {
    for index in fresh {
        let term = committed.entries()[index as usize].term;
        // A membership counts from when it is in the log, so one that came
        // right behind the entry may have been the one in force.
        let last = committed.entries().len() as u64;
        let in_force = [index, last].map(|index| committed.membership_at(index));
        let mut in_force = in_force.into_iter().flatten();
        let enough = |voters: &std::collections::BTreeSet<u64>| {
            let holders = voters.iter().filter(|id| {
                let member = members.get(id);
                member.is_some_and(|member| member.holds(index, term))
            });
            holders.count() * 2 > voters.len()
        };
        // The founding entry is on each of them from the start.
        if index > 0 && !in_force.any(|membership| membership.get_joint_config().iter().all(enough))
        {
            return Err(format!(
                "entry {index} of term {term} is committed, but no majority of the voters holds it for good"
            ));
        }
    }
    Ok(())
}
