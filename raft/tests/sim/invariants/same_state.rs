//! Members that have applied the same entry hold the same state, and nobody's
//! state goes back, but for what a crash takes from memory.

use std::collections::BTreeMap;
use sternpost_storage::{LogMark, ReadView};

#[derive(Default)]
pub struct SameState {
    digests: BTreeMap<u64, (LogMark, u32, i64)>,
}

impl SameState {
    /// A member holds this.
    pub fn see(&mut self, member: u64, view: &ReadView) -> Result<(), String> {
        let Some(mark) = view.applied() else {
            return Ok(());
        };
        let now = (mark, view.state_digest(), view.revision());
        let known = *self.digests.entry(mark.index).or_insert(now);
        if known == now {
            Ok(())
        } else {
            Err(format!(
                "member {member} holds {now:?}, another held {known:?}"
            ))
        }
    }
}
