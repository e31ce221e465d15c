//! A ledger of a run with crashes: what was asked for, and what was promised.
//!
//! Intents are written down before they are sent, outcomes when they come. After
//! a restart [`check`] tells whether each promise was kept: it replays the changes
//! that watchers were told, revision by revision, and finds the operation behind
//! each; so it knows keys, versions, leases and attachments, and compares them
//! with what the server answers now.

pub mod action;
pub mod check;
pub mod cluster;
pub mod history;
pub mod load;
pub mod model;
pub mod restarts;
pub mod round;
mod send;

use action::Write;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

/// What a client has asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Changes of keys.
    Write(Write),
    /// A lease of this id and time to live.
    Grant(i64, i64),
    /// The end of a lease of this id.
    Revoke(i64),
    /// A renewal of the lease of this id.
    KeepAlive(i64),
    /// A compaction.
    Compact(i64),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It may have happened or not.
    Unknown,
    /// It has happened.
    Acked(Ack),
    /// It has not happened.
    Refused(String),
}

/// What an answer says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ack {
    /// The revision in its header.
    pub revision: i64,
    /// Whether that revision is this operation's own.
    pub made: bool,
    /// Whether its condition held.
    pub succeeded: bool,
}

/// One operation.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What was asked for.
    pub action: Action,
    /// When.
    pub at: Instant,
    /// What came of it.
    pub outcome: Outcome,
}

/// A hash that the server has told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashSample {
    /// Up to this revision.
    pub revision: i64,
    /// Above this one.
    pub compacted: i64,
    /// The value.
    pub hash: u32,
}

/// The operations since the last check, and what outlives checks.
pub struct Ledger {
    state: Mutex<State>,
}

struct State {
    entries: Vec<Entry>,
    /// The number of the first entry.
    first: usize,
    hashes: Vec<HashSample>,
    compactions: BTreeSet<i64>,
    broken: Vec<String>,
    acked: usize,
    file: File,
}

impl Ledger {
    /// An empty one, copied to `file`.
    ///
    /// # Panics
    /// When the file cannot be written.
    #[must_use]
    pub fn create(file: &Path) -> Self {
        let file = File::create(file).expect("the ledger's directory is writable");
        Self {
            state: Mutex::new(State {
                entries: Vec::new(),
                first: 0,
                hashes: Vec::new(),
                compactions: BTreeSet::new(),
                broken: Vec::new(),
                acked: 0,
                file,
            }),
        }
    }

    /// Writes down an intent; its number goes to [`Self::answer`].
    pub fn intend(&self, action: Action) -> usize {
        let mut state = self.state();
        let number = state.first + state.entries.len();
        let _ = writeln!(state.file, "{number} {action:?}");
        if let Action::Compact(revision) = action {
            state.compactions.insert(revision);
        }
        state.entries.push(Entry {
            action,
            at: Instant::now(),
            outcome: Outcome::Unknown,
        });
        number
    }

    /// Writes down what came of it.
    pub fn answer(&self, number: usize, outcome: Outcome) {
        let mut state = self.state();
        let _ = writeln!(state.file, "{number} {outcome:?}");
        state.acked += usize::from(matches!(outcome, Outcome::Acked(_)));
        let at = number - state.first;
        state.entries[at].outcome = outcome;
    }

    /// Writes down an answer that is wrong by itself.
    pub fn note_broken(&self, what: String) {
        self.state().broken.push(what);
    }

    /// Writes down a hash.
    pub fn note_hash(&self, sample: HashSample) {
        self.state().hashes.push(sample);
    }

    /// How many operations were acknowledged so far.
    #[must_use]
    pub fn acked(&self) -> usize {
        self.state().acked
    }

    /// The operations since the last check. With it they are settled: those without
    /// an answer have happened by then, or never will.
    #[must_use]
    pub fn settle(&self) -> Vec<Entry> {
        let mut state = self.state();
        let entries = std::mem::take(&mut state.entries);
        state.first += entries.len();
        entries
    }

    /// Answers that were wrong by themselves.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        self.state().broken.clone()
    }

    /// The last `count` hashes told, but for revisions that were compacted at.
    #[must_use]
    pub fn hashes(&self, count: usize) -> Vec<HashSample> {
        let state = self.state();
        let all = state.hashes.iter().rev();
        let of_use = all.filter(|sample| !state.compactions.contains(&sample.revision));
        of_use.take(count).copied().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }
}
