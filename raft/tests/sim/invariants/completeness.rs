//! A new leader holds every entry that was committed before.

use super::{Checked, committed::Committed};
use crate::member::{Member, entries};

/// `member` has begun to lead `term`.
pub fn check(member: &Member, term: u64, committed: &Committed) -> Checked {
    let Some(process) = &member.process else {
        return Ok(());
    };
    let log = process.log.log();
    let range = log.range();
    let known = committed.entries();
    let older = known.iter().take_while(|entry| entry.term < term).count() as u64;
    if range.end < older {
        return Err(format!(
            "member {} leads term {term} with a log up to {}, but {older} entries of older terms are committed",
            member.id, range.end
        ));
    }
    for entry in entries(log, range.start..older) {
        let (index, found) = (entry.log_id.index, entry.log_id.leader_id.term);
        let expected = known[index as usize].term;
        if found != expected {
            return Err(format!(
                "member {} leads term {term} with an entry of term {found} at {index}; one of term {expected} is committed there",
                member.id
            ));
        }
    }
    Ok(())
}
