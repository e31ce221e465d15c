//! What happened, as one number, and as lines for whoever looks into a seed.

use std::fmt;

/// The hash of all events so far (FNV-1a), and the last of them as text.
pub struct Trace {
    hash: u64,
    events: u64,
    shown: Shown,
}

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shown {
    Nothing,
    Events,
    Messages,
}

impl Trace {
    pub fn new(shown: Shown) -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            events: 0,
            shown,
        }
    }

    /// Something happened at this time (in microseconds).
    pub fn note(&mut self, now: u64, event: fmt::Arguments<'_>) {
        self.events += 1;
        let line = format!("{:>10.3} {event}", now as f64 / 1000.0);
        self.add(line.as_bytes());
        if self.shown >= Shown::Events {
            println!("{line}");
        }
    }

    /// A message arrived; `line` says which.
    pub fn message(&mut self, now: u64, line: impl FnOnce() -> String) {
        if self.shown >= Shown::Messages {
            println!("{:>10.3}   {}", now as f64 / 1000.0, line());
        }
    }

    /// Bytes that were sent.
    pub fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// The hash, and of how many events.
    pub fn sum(&self) -> (u64, u64) {
        (self.hash, self.events)
    }
}
