//! The pace at which rows go that compaction made dead.

use std::time::{Duration, Instant};

/// The time a scrub step may take from the apply thread.
const SCRUB_STEP_MAX: Duration = Duration::from_millis(1);

/// Rows of the first scrub step, before its pace is known, and of the shortest.
const SCRUB_ROWS_MIN: usize = 16;

/// The scrub rests this many times longer while the storage engine is behind.
const STALLED_REST_FACTOR: u32 = 10;

/// The scrub's pace: steps as long as the apply thread can spare, rests as
/// long as `compaction_batch` rows per `compaction_sleep` ask for.
pub(crate) struct Scrub {
    rows_max: usize,
    sleep: Duration,
    /// Rows of the next step.
    pub(crate) rows: usize,
    /// When the next step may begin.
    pub(crate) due: Instant,
    /// When the compaction was noticed whose rows are being removed.
    pub(crate) wanted_since: Option<Instant>,
}

impl Scrub {
    /// At most `batch` rows a step, and this much sleep for each `batch` rows.
    pub(crate) fn new(batch: usize, sleep: Duration) -> Self {
        let rows_max = batch.max(1);
        Self {
            rows_max,
            sleep,
            rows: SCRUB_ROWS_MIN.min(rows_max),
            due: Instant::now(),
            wanted_since: None,
        }
    }

    /// Sets the length of the next step from the last one, and when it is due.
    pub(crate) fn pace(&mut self, rows_deleted: u64, took: Duration, stalled: bool) {
        self.rows = self.fitting(took);
        self.due = Instant::now() + self.rest(rows_deleted, stalled);
    }

    /// The rows that fit the time a step may take.
    fn fitting(&self, took: Duration) -> usize {
        let fitting =
            SCRUB_STEP_MAX.as_nanos().saturating_mul(self.rows as u128) / took.as_nanos().max(1);
        // At most double: one quick step says little about the next.
        let fitting = usize::try_from(fitting)
            .unwrap_or(usize::MAX)
            .min(self.rows * 2);
        fitting.clamp(SCRUB_ROWS_MIN.min(self.rows_max), self.rows_max)
    }

    fn rest(&self, rows_deleted: u64, stalled: bool) -> Duration {
        if stalled {
            self.sleep * STALLED_REST_FACTOR
        } else {
            self.sleep
                .mul_f64((rows_deleted as f64 / self.rows_max as f64).min(1.0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrub() -> Scrub {
        Scrub::new(1000, Duration::from_millis(10))
    }

    #[test]
    fn steps_grow_while_they_are_quick_and_never_above_the_batch() {
        let mut scrub = scrub();
        for _ in 0..20 {
            scrub.pace(scrub.rows as u64, Duration::from_micros(10), false);
        }
        assert_eq!(scrub.rows, 1000);
    }

    #[test]
    fn a_slow_step_makes_the_next_one_short() {
        let mut scrub = scrub();
        scrub.rows = 1000;
        scrub.pace(1000, Duration::from_millis(10), false);
        assert_eq!(scrub.rows, 100);
        scrub.pace(100, Duration::from_secs(1), false);
        assert_eq!(scrub.rows, SCRUB_ROWS_MIN);
    }

    #[test]
    fn rests_shrink_with_the_rows_and_grow_with_stalls() {
        assert_eq!(scrub().rest(1000, false), Duration::from_millis(10));
        assert_eq!(scrub().rest(100, false), Duration::from_millis(1));
        assert_eq!(scrub().rest(100, true), Duration::from_millis(100));
    }
}
