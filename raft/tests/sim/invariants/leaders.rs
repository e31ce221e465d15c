//! There is at most one leader in a term.

use super::Checked;
use std::collections::BTreeMap;

#[derive(Default)]
pub struct Leaders(BTreeMap<u64, u64>);

impl Leaders {
    /// Whether this is the first one hears of the term's leader.
    pub fn leads(&mut self, member: u64, term: u64) -> Result<bool, String> {
        match self.0.insert(term, member) {
            None => Ok(true),
            Some(other) if other == member => Ok(false),
            Some(other) => Err(format!("term {term} has two leaders: {other} and {member}")),
        }
    }

    /// For standings as members report them.
    pub fn reported(&mut self, member: u64, term: u64) -> Checked {
        self.leads(member, term).map(drop)
    }
}
