//! Which revision somebody had been told of by when: from then on it has happened.

use super::super::operation::Operation;
use super::super::watching::Watch;
use crate::ledger::history::revision;

/// The newest revision told, by time.
pub struct Acknowledged {
    told: Vec<(u64, i64)>,
}

impl Acknowledged {
    /// By operations and by watches.
    #[must_use]
    pub fn new(operations: &[Operation], watches: &[Watch]) -> Self {
        let known = operations.iter().filter(|one| one.told.known);
        let answers = known.map(|one| (one.back, one.told.revision));
        let responses = watches.iter().flat_map(|watch| &watch.responses);
        let events = responses.filter_map(|response| {
            let last = response.events.last()?;
            Some((response.at, revision(last)))
        });
        let mut told: Vec<(u64, i64)> = answers.chain(events).collect();
        told.sort_unstable();
        let mut newest = 0;
        for (_, revision) in &mut told {
            newest = newest.max(*revision);
            *revision = newest;
        }
        Self { told }
    }

    /// The newest before this time.
    #[must_use]
    pub fn before(&self, time: u64) -> i64 {
        let earlier = self.told.partition_point(|(at, _)| *at < time);
        self.told[..earlier]
            .last()
            .map_or(1, |(_, revision)| *revision)
    }
}
