//! No term has two leaders.

use std::collections::BTreeMap;

#[derive(Default)]
pub struct OneLeader {
    leaders: BTreeMap<u64, u64>,
}

impl OneLeader {
    /// This member says that it leads this term.
    pub fn see(&mut self, term: u64, member: u64) -> Result<(), String> {
        let leader = *self.leaders.entry(term).or_insert(member);
        if leader == member {
            Ok(())
        } else {
            Err(format!("{leader} and {member} lead term {term}"))
        }
    }
}
