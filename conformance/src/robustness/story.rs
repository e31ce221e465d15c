//! All changes of a run by revision, put together from what every watcher was told.

use super::operation::Deletion;
use super::traffic::PREFIX;
use crate::ledger::history::revision;
use std::collections::BTreeMap;
use sternpost_proto::mvccpb::{Event, KeyValue, event::EventType};

/// All changes by revision, from the first; whoever was told otherwise was told wrong.
#[derive(Default)]
pub struct Story {
    revisions: BTreeMap<i64, Vec<Event>>,
}

/// Keys of one revision.
pub type Keys = BTreeMap<Vec<u8>, KeyValue>;

impl Story {
    /// Takes in what one watcher of the whole key space was told. What contradicts what is
    /// known already is returned.
    pub fn take_in(&mut self, who: &str, events: &[Event]) -> Vec<String> {
        let mut wrong = Vec::new();
        for changes in events.chunk_by(|one, other| revision(one) == revision(other)) {
            let changes: Vec<Event> = changes.iter().map(without_previous).collect();
            let at = revision(&changes[0]);
            let known = self.revisions.entry(at).or_insert_with(|| changes.clone());
            if *known != changes {
                wrong.push(format!(
                    "revision {at} is {known:?} to others, {changes:?} to {who}"
                ));
            }
        }
        wrong
    }

    /// The last revision told.
    #[must_use]
    pub fn last(&self) -> i64 {
        self.revisions.keys().next_back().copied().unwrap_or(1)
    }

    /// Revisions between the first and the last that nobody was told of.
    #[must_use]
    pub fn gaps(&self) -> Vec<i64> {
        let all = 2..=self.last();
        all.filter(|at| !self.revisions.contains_key(at)).collect()
    }

    /// All events from a revision to another, both included.
    pub fn between(&self, first: i64, last: i64) -> impl Iterator<Item = &Event> {
        let range = (first <= last).then(|| self.revisions.range(first..=last));
        range.into_iter().flatten().flat_map(|(_, events)| events)
    }

    /// The revision of the first write that is no client's: what comes from there on, such as
    /// a request that was on its way for long, nobody has seen who asked for anything.
    #[must_use]
    pub fn traffic_end(&self) -> i64 {
        let is_foreign = |event: &Event| !key(event).starts_with(PREFIX.as_bytes());
        let mut revisions = self.revisions.iter();
        let first = revisions.find(|(_, events)| events.iter().any(is_foreign));
        first.map_or(i64::MAX, |(revision, _)| *revision)
    }

    /// Every value ever held, with its revision.
    #[must_use]
    pub fn values(&self) -> BTreeMap<&str, i64> {
        let puts = self
            .revisions
            .values()
            .flatten()
            .filter(|event| is_put(event));
        puts.filter_map(|event| {
            let kv = event.kv.as_ref()?;
            Some((std::str::from_utf8(&kv.value).ok()?, kv.mod_revision))
        })
        .collect()
    }

    /// Every revision that puts nothing, with the lease whose end it may be.
    #[must_use]
    pub fn deletions(&self) -> Vec<Deletion> {
        let mut keys = Keys::new();
        let mut found = Vec::new();
        for (revision, events) in &self.revisions {
            let gone: Vec<&[u8]> = events.iter().map(key).collect();
            if !events.iter().any(is_put) {
                let lease = keys.get(gone[0]).map_or(0, |kv| kv.lease);
                let held = keys.values().filter(|kv| kv.lease == lease);
                let whole = lease != 0 && held.map(|kv| &kv.key[..]).eq(gone.iter().copied());
                let text = |key: &&[u8]| String::from_utf8_lossy(key).into_owned();
                found.push(Deletion {
                    revision: *revision,
                    keys: gone.iter().map(text).collect(),
                    lease: if whole { lease } else { 0 },
                });
            }
            for event in events {
                apply(&mut keys, event);
            }
        }
        found
    }

    /// The keys of every revision, one after the other, the empty beginning included.
    pub fn states(&self) -> impl Iterator<Item = (i64, Keys)> {
        let mut keys = Keys::new();
        let changed = self.revisions.iter().map(move |(at, events)| {
            for event in events {
                apply(&mut keys, event);
            }
            (*at, keys.clone())
        });
        std::iter::once((1, Keys::new())).chain(changed)
    }
}

/// Whether an event is a put.
#[must_use]
pub fn is_put(event: &Event) -> bool {
    event.r#type == EventType::Put as i32
}

/// The key an event is about.
#[must_use]
pub fn key(event: &Event) -> &[u8] {
    event.kv.as_ref().map_or(&[], |kv| &kv.key)
}

/// Changes the keys as an event says.
pub fn apply(keys: &mut Keys, event: &Event) {
    let Some(kv) = &event.kv else { return };
    if is_put(event) {
        keys.insert(kv.key.to_vec(), kv.clone());
    } else {
        keys.remove(&kv.key[..]);
    }
}

/// What does not depend on what a watcher wanted to know.
#[must_use]
pub fn without_previous(event: &Event) -> Event {
    Event {
        prev_kv: None,
        ..event.clone()
    }
}
