//! No member goes back to an older revision while it runs.

use super::Checked;
use std::collections::BTreeMap;

#[derive(Default)]
pub struct Revisions(BTreeMap<(u64, u64), i64>);

impl Revisions {
    pub fn look(&mut self, member: u64, life: u64, revision: i64) -> Checked {
        let last = self.0.entry((member, life)).or_default();
        if revision < *last {
            return Err(format!(
                "member {member} went back from revision {last} to {revision}"
            ));
        }
        *last = revision;
        Ok(())
    }
}
