//! A watch from a revision begins with the first event from there on.

use super::super::story::Story;
use super::super::watching::Watch;
use crate::ledger::history::revision;

/// A first event that is not the first.
#[must_use]
pub fn check(watch: &Watch, story: &Story) -> Vec<String> {
    let Some(told) = watch.events().next() else {
        return Vec::new();
    };
    let mut due = story
        .between(watch.first(), story.last())
        .filter(|event| watch.wish.wants(event));
    let due = due.next().map(revision);
    if due == Some(revision(told)) {
        return Vec::new();
    }
    let (who, first) = (&watch.who, watch.first());
    vec![format!(
        "{who}: from {first} on the first is {due:?}, told was {told:?}"
    )]
}
