//! Where the earlier key was asked for, it is the key as the revision before left it.

use super::super::story::{Keys, Story, apply, is_put, key};
use super::super::watching::Watch;
use crate::ledger::history::revision;
use std::collections::BTreeMap;
use sternpost_proto::mvccpb::KeyValue;

/// What was told of a past that was another. All watches at once: the past is walked once.
#[must_use]
pub fn check(watches: &[Watch], story: &Story) -> Vec<String> {
    let before = all_before(story);
    let asked = watches.iter().filter(|watch| watch.wish.previous);
    let told = asked.flat_map(|watch| watch.events().map(move |event| (watch, event)));
    let wrong = told.filter(|(_, event)| {
        let was = before.get(&(revision(event), key(event).to_vec()));
        event.prev_kv.as_ref() != was
    });
    wrong
        .map(|(watch, event)| {
            let was = before.get(&(revision(event), key(event).to_vec()));
            format!("{}: it was {was:?}, told was {event:?}", watch.who)
        })
        .collect()
}

/// For every change the key as it was.
fn all_before(story: &Story) -> BTreeMap<(i64, Vec<u8>), KeyValue> {
    let mut keys = Keys::new();
    let mut before = BTreeMap::new();
    for event in story.between(2, story.last()) {
        if let Some(was) = keys.get(key(event)) {
            before.insert((revision(event), key(event).to_vec()), was.clone());
        }
        debug_assert!(is_put(event) || keys.contains_key(key(event)));
        apply(&mut keys, event);
    }
    before
}
