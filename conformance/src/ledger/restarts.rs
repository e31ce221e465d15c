//! How long restarts take.

use crate::measure::proc::cpu_secs;
use std::fmt;
use std::time::Duration;

/// Long enough for a very busy machine; the promise itself is asked for with the variable.
const LIMIT_MS: u64 = 20_000;

/// Times from exec to healthy.
#[derive(Default)]
pub struct Restarts {
    took: Vec<Duration>,
    cpu: Vec<Duration>,
}

impl Restarts {
    /// One more: so much time has passed, and of a process that has just begun.
    pub fn note(&mut self, took: Duration, pid: u32) {
        self.took.push(took);
        // On a machine that does other things, too, this is what the server itself needs.
        self.cpu.push(Duration::from_secs_f64(cpu_secs(pid)));
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
        write!(f, "{} restarts", self.took.len())?;
        for (what, times) in [("", &self.took), ("CPU ", &self.cpu)] {
            let mut times = times.clone();
            times.sort_unstable();
            let median = times.get(times.len() / 2).copied().unwrap_or_default();
            let longest = times.last().copied().unwrap_or_default();
            write!(f, ", {what}median {median:?}, longest {longest:?}")?;
        }
        Ok(())
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
