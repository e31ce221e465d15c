//! What clients may believe. Every check gets what was recorded, and returns what is wrong.

pub mod atomic;
pub mod bookmarkable;
pub mod durable;
pub mod filtered;
pub mod local_reads;
pub mod ordered;
pub mod previous;
pub mod reliable;
pub mod resumable;
pub mod unique;

#[cfg(test)]
mod tests;

use super::operation::Operation;
use super::story::Story;
use super::watching::Watch;

/// More of one kind would only repeat.
const REPORTS_MAX: usize = 5;

/// All checks over one run.
#[must_use]
pub fn all(story: &Story, watches: &[Watch], operations: &[Operation]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut add = |promise: &str, found: Vec<String>| {
        let found = found.into_iter().take(REPORTS_MAX);
        wrong.extend(found.map(|what| format!("{promise}: {what}")));
    };
    let gaps = story.gaps();
    if !gaps.is_empty() {
        add("reliable", vec![format!("nobody was told of {gaps:?}")]);
    }
    for watch in watches {
        add("ordered", ordered::check(watch));
        add("unique", unique::check(watch));
        add("atomic", atomic::check(watch, story));
        add("filtered", filtered::check(watch));
        add("resumable", resumable::check(watch, story));
        add("reliable", reliable::check(watch, story));
        add("bookmarkable", bookmarkable::check(watch, story));
    }
    add("previous", previous::check(watches, story));
    add("durable", durable::check(operations, story));
    add("local reads", local_reads::check(operations, story));
    wrong
}
