//! What clients may believe. Every check gets what was recorded, and returns what is wrong.

pub mod acknowledged;
pub mod atomic;
pub mod behind;
pub mod bookmarkable;
pub mod compactions;
pub mod durable;
pub mod filtered;
pub mod local_reads;
pub mod ordered;
pub mod past_reads;
pub mod previous;
pub mod reliable;
pub mod resumable;
pub mod unique;

#[cfg(test)]
mod tests;

use super::compactor::Compaction;
use super::operation::Operation;
use super::story::Story;
use super::watching::Watch;
use acknowledged::Acknowledged;
use compactions::Compactions;

/// More of one kind would only repeat.
const REPORTS_MAX: usize = 5;

/// What was recorded of one run.
pub struct History<'a> {
    /// All changes, as the watches tell them together.
    pub story: &'a Story,
    /// All watches.
    pub watches: &'a [Watch],
    /// All operations.
    pub operations: &'a [Operation],
    /// All compactions asked for.
    pub compactions: &'a [Compaction],
}

impl History<'_> {
    /// All checks over one run.
    #[must_use]
    pub fn check(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut add = |promise: &str, found: Vec<String>| {
            let found = found.into_iter().take(REPORTS_MAX);
            wrong.extend(found.map(|what| format!("{promise}: {what}")));
        };
        let (story, operations) = (self.story, self.operations);
        let gaps = story.gaps();
        if !gaps.is_empty() {
            add("reliable", vec![format!("nobody was told of {gaps:?}")]);
        }
        let compactions = Compactions::new(self.compactions, story);
        for watch in self.watches {
            add("ordered", ordered::check(watch));
            add("unique", unique::check(watch));
            add("atomic", atomic::check(watch, story));
            add("filtered", filtered::check(watch));
            add("resumable", resumable::check(watch, story));
            add("reliable", reliable::check(watch, story));
            add("bookmarkable", bookmarkable::check(watch, story));
            add("behind", behind::check(watch, &compactions));
        }
        let acknowledged = Acknowledged::new(operations, self.watches);
        let previous = previous::check(self.watches, story, &compactions);
        add("previous", previous);
        add("durable", durable::check(operations, story));
        add("local reads", local_reads::check(operations, story));
        let past_reads = past_reads::check(operations, story, &compactions, &acknowledged);
        add("past reads", past_reads);
        add("compactions", compactions.check(&acknowledged));
        wrong
    }
}
