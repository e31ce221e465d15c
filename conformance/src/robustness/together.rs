//! Up to which revision several watchers have together told everything, kept as they tell it.

use crate::ledger::history::revision;
use std::collections::BTreeSet;
use sternpost_proto::mvccpb::Event;

/// All revisions told: those without a gap from the first as one number.
#[derive(Debug)]
pub struct Together {
    last: i64,
    beyond: BTreeSet<i64>,
}

impl Default for Together {
    fn default() -> Self {
        // An empty store has this revision, and nobody is told of it.
        Self {
            last: 1,
            beyond: BTreeSet::new(),
        }
    }
}

impl Together {
    /// Everything up to here was told.
    #[must_use]
    pub fn last(&self) -> i64 {
        self.last
    }

    /// Takes in what one of them was told.
    pub fn take_in(&mut self, events: &[Event]) {
        let newer = events.iter().map(revision).filter(|at| *at > self.last);
        self.beyond.extend(newer);
        while self.beyond.remove(&(self.last + 1)) {
            self.last += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sternpost_proto::mvccpb::KeyValue;

    fn told(revisions: &[i64]) -> Vec<Event> {
        let event = |at: &i64| Event {
            kv: Some(KeyValue {
                mod_revision: *at,
                ..KeyValue::default()
            }),
            ..Event::default()
        };
        revisions.iter().map(event).collect()
    }

    #[test]
    fn what_one_has_not_told_another_does() {
        let mut together = Together::default();
        assert_eq!(together.last(), 1);
        together.take_in(&told(&[2, 3, 3]));
        assert_eq!(together.last(), 3);
        together.take_in(&told(&[6, 7]));
        assert_eq!(together.last(), 3, "4 and 5 are missing");
        together.take_in(&told(&[2, 3, 4]));
        assert_eq!(together.last(), 4, "5 is missing");
        together.take_in(&told(&[5, 6]));
        assert_eq!(together.last(), 7);
        assert!(together.beyond.is_empty());
    }
}
