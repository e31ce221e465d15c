//! Where the earlier key was asked for, it is the key as the revision before left it. It may be
//! missing only if that revision was compacted.

use super::super::story::{Keys, Story, apply, is_put, key};
use super::super::watching::Watch;
use super::compactions::Compactions;
use crate::ledger::history::revision;
use std::collections::BTreeMap;
use sternpost_proto::mvccpb::KeyValue;

/// What was told of a past that was another. All watches at once: the past is walked once.
#[must_use]
pub fn check(watches: &[Watch], story: &Story, compactions: &Compactions<'_>) -> Vec<String> {
    let before = all_before(story);
    let mut wrong = Vec::new();
    for watch in watches.iter().filter(|watch| watch.wish.previous) {
        for response in &watch.responses {
            for event in &response.events {
                let at = revision(event);
                let was = before.get(&(at, key(event).to_vec()));
                let told = event.prev_kv.as_ref();
                // The revision before is compacted by a compaction at this one.
                let gone = told.is_none() && compactions.may_be(at, response.at);
                if told != was && !gone {
                    let who = &watch.who;
                    wrong.push(format!("{who}: it was {was:?}, told was {event:?}"));
                }
            }
        }
    }
    wrong
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
