//! All events of a revision come in one response.

use super::super::story::Story;
use super::super::watching::Watch;
use crate::ledger::history::revision;
use std::collections::BTreeMap;

/// Revisions that came in pieces: in several responses, or with events missing.
#[must_use]
pub fn check(watch: &Watch, story: &Story) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut seen = BTreeMap::new();
    for (nth, response) in watch.responses.iter().enumerate() {
        let revisions = response
            .events
            .chunk_by(|one, other| revision(one) == revision(other));
        for changes in revisions {
            let at = revision(&changes[0]);
            let first = *seen.entry(at).or_insert(nth);
            let whole = story
                .between(at, at)
                .filter(|event| watch.wish.wants(event));
            if first != nth || whole.count() != changes.len() {
                wrong.push(format!(
                    "{}: revision {at} in pieces: {changes:?}",
                    watch.who
                ));
            }
        }
    }
    wrong
}
