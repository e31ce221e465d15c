//! Every member writes the same history of keys, and each value at most once:
//! no command is applied twice.

use super::Checked;
use std::collections::BTreeMap;
use sternpost_storage::{Change, ReadView};

/// What one revision wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub key: String,
    /// `None` for a deletion.
    pub value: Option<String>,
}

#[derive(Default)]
pub struct History {
    pub revisions: BTreeMap<i64, Written>,
    /// Where each value was written.
    pub values: BTreeMap<String, i64>,
    /// Up to where each member has been compared: per life.
    seen: BTreeMap<(u64, u64), i64>,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl History {
    pub fn look(&mut self, member: u64, life: u64, view: &ReadView) -> Checked {
        let seen = self.seen.entry((member, life)).or_insert(1);
        if view.revision() <= *seen {
            return Ok(());
        }
        let from = (*seen + 1).max(view.compact_revision());
        *seen = view.revision();
        let history = view.history(from, usize::MAX, usize::MAX);
        let history = history.map_err(|error| format!("member {member}: {error}"))?;
        for event in history.iter().flat_map(|revision| &revision.events) {
            let value = match &event.change {
                Change::Put { value, .. } => Some(text(value)),
                Change::Delete => None,
            };
            let written = Written {
                key: text(&event.key),
                value,
            };
            self.compare(member, event.revision.main, written)?;
        }
        Ok(())
    }

    fn compare(&mut self, member: u64, revision: i64, written: Written) -> Checked {
        if let Some(known) = self.revisions.get(&revision) {
            return match *known == written {
                true => Ok(()),
                false => Err(format!(
                    "revision {revision} is {written:?} on member {member}, and was {known:?} elsewhere"
                )),
            };
        }
        if let Some(value) = &written.value
            && let Some(first) = self.values.insert(value.clone(), revision)
        {
            return Err(format!(
                "{value} was written at revision {first} and again at {revision}"
            ));
        }
        self.revisions.insert(revision, written);
        Ok(())
    }

    /// The newest revision of `key` up to `revision`.
    pub fn at(&self, key: &str, revision: i64) -> Option<(i64, &Written)> {
        let older = self.revisions.range(..=revision).rev();
        older
            .map(|(at, written)| (*at, written))
            .find(|(_, written)| written.key == key)
    }
}
