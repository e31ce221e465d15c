//! After a restart no state is ahead of its own log, and nothing is missing
//! that the member had held for good and that is committed.

use super::{Checked, committed::Committed};
use crate::member::Member;

/// `member` has just been started again.
pub fn check(member: &Member, committed: &Committed) -> Checked {
    let Some(process) = &member.process else {
        return Ok(());
    };
    let end = process.recovered.last.map_or(0, |last| last.index + 1);
    if let Some(applied) = process.found.filter(|applied| *applied >= end) {
        return Err(format!(
            "member {} starts with entry {applied} applied, but its log ends before {end}",
            member.id
        ));
    }
    let (first, terms) = &member.left;
    let held = terms.iter().zip(*first..).take_while(|(term, index)| {
        let known = committed.entries().get(*index as usize);
        known.is_some_and(|known| known.term == **term)
    });
    let held = held.count() as u64 + first;
    if held > end {
        return Err(format!(
            "member {} held {held} committed entries for good, and starts with {end}",
            member.id
        ));
    }
    Ok(())
}
