//! After the same entry, the state is the same on all members.

use super::Checked;
use std::collections::BTreeMap;
use sternpost_storage::ReadView;

#[derive(Default)]
pub struct Digests(BTreeMap<u64, (u64, u32, i64)>);

impl Digests {
    pub fn look(&mut self, member: u64, view: &ReadView) -> Checked {
        let Some(applied) = view.applied() else {
            return Ok(());
        };
        let (digest, revision) = (view.state_digest(), view.revision());
        let (first, expected, at) = *self
            .0
            .entry(applied.index)
            .or_insert((member, digest, revision));
        if (expected, at) == (digest, revision) {
            return Ok(());
        }
        Err(format!(
            "after entry {} member {member} is at revision {revision} with digest {digest:08x}, member {first} at {at} with {expected:08x}",
            applied.index
        ))
    }
}
