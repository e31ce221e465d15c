//! What happens to packets on their way.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// What happens to packets from one host to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// None arrives.
    pub cut: bool,
    /// So many of a hundred are lost.
    pub loss_percent: u32,
    /// So many of a hundred arrive twice.
    pub twice_percent: u32,
    /// They take so long,
    pub delay: Duration,
    /// and up to so much more: they overtake each other.
    pub jitter: Duration,
    /// No more than so many a second get through.
    pub bytes_per_sec: Option<u64>,
}

impl Rule {
    /// Nothing gets through.
    pub const CUT: Self = Self {
        cut: true,
        loss_percent: 0,
        twice_percent: 0,
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        bytes_per_sec: None,
    };
}

/// The rules of all links by sender and receiver; without one a packet gets through at once.
#[derive(Default)]
pub struct Links {
    rules: Mutex<BTreeMap<(u8, u8), Rule>>,
}

impl Links {
    /// From now on this happens to packets of one direction.
    pub fn set(&self, from: u8, to: u8, rule: Rule) {
        self.rules().insert((from, to), rule);
    }

    /// The same for both directions.
    pub fn set_both(&self, one: u8, other: u8, rule: Rule) {
        self.set(one, other, rule);
        self.set(other, one, rule);
    }

    /// All links are whole again.
    pub fn mend(&self) {
        self.rules().clear();
    }

    /// What happens to a packet.
    #[must_use]
    pub fn rule(&self, from: u8, to: u8) -> Rule {
        self.rules().get(&(from, to)).copied().unwrap_or_default()
    }

    fn rules(&self) -> MutexGuard<'_, BTreeMap<(u8, u8), Rule>> {
        self.rules.lock().expect("no holder panics")
    }
}
