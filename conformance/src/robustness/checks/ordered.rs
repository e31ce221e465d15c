//! Events come in the order of their revisions.

use super::super::watching::Watch;
use crate::ledger::history::revision;

/// What came after something newer.
#[must_use]
pub fn check(watch: &Watch) -> Vec<String> {
    let revisions: Vec<i64> = watch.events().map(revision).collect();
    let pairs = revisions.windows(2).filter(|pair| pair[1] < pair[0]);
    pairs
        .map(|pair| format!("{}: {} after {}", watch.who, pair[1], pair[0]))
        .collect()
}
