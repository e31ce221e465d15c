//! How long restarts take.

use std::fmt;
use std::time::Duration;

/// Long enough for a very busy machine; the promise itself is asked for with the variable.
const LIMIT_MS: u64 = 20_000;

/// Times from exec to healthy.
#[derive(Default)]
pub struct Restarts {
    took: Vec<Duration>,
}

impl Restarts {
    /// One more.
    pub fn note(&mut self, took: Duration) {
        self.took.push(took);
    }

    /// Each was within `STERNPOST_RESTART_MS` (default 20000).
    ///
    /// # Panics
    /// When one was not.
    pub fn assert_quick(&self) {
        let limit = Duration::from_millis(number("STERNPOST_RESTART_MS", LIMIT_MS));
        let longest = self.took.iter().max().copied().unwrap_or_default();
        assert!(longest <= limit, "a restart took {longest:?}");
    }
}

impl fmt::Display for Restarts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut took = self.took.clone();
        took.sort_unstable();
        let median = took.get(took.len() / 2).copied().unwrap_or_default();
        let longest = took.last().copied().unwrap_or_default();
        let count = took.len();
        write!(
            f,
            "{count} restarts: median {median:?}, longest {longest:?}"
        )
    }
}

/// A number from the environment.
///
/// # Panics
/// When the variable holds something else.
#[must_use]
pub fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable} is a number")),
        Err(_) => default,
    }
}
