//! No event comes twice on one watch.

use super::super::story::key;
use super::super::watching::Watch;
use crate::ledger::history::revision;
use std::collections::BTreeSet;

/// What came again. A revision changes a key once.
#[must_use]
pub fn check(watch: &Watch) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let again = watch
        .events()
        .filter(|event| !seen.insert((revision(event), key(event).to_vec())));
    again
        .map(|event| format!("{}: twice {event:?}", watch.who))
        .collect()
}
