//! What a server has promised, and whether it keeps it over a crash.
//!
//! [`load`] writes the intent of each operation before it is sent and the answer
//! after it has come, here and into a file that is not on the server's disk.
//! [`check`] reads everything back after a restart: a complete history from a watch
//! of the past, the newest state, leases and hashes.

pub mod check;
pub mod history;
pub mod load;
pub mod round;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

/// What a client has asked for. Values are unique, so a put is found by its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A transaction without conditions: puts of (key, value, lease), then deletes of keys.
    Write {
        /// Keys, values and leases to put.
        puts: Vec<(String, String, i64)>,
        /// Keys to delete.
        deletes: Vec<String>,
    },
    /// A lease of this id.
    Grant(i64),
    /// The end of a lease of this id.
    Revoke(i64),
    /// A compaction.
    Compact(i64),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It may have happened or not.
    Unknown,
    /// It has happened, with this header revision.
    Acked(i64),
    /// It has not happened.
    Refused(String),
}

/// One operation.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What was asked for.
    pub action: Action,
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

/// All operations of a run, over all its crashes.
pub struct Ledger {
    state: Mutex<State>,
}

struct State {
    entries: Vec<Entry>,
    hashes: Vec<HashSample>,
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
                hashes: Vec::new(),
                acked: 0,
                file,
            }),
        }
    }

    /// Writes down an intent; its number goes to [`Self::answer`].
    pub fn intend(&self, action: Action) -> usize {
        let mut state = self.state();
        let number = state.entries.len();
        let _ = writeln!(state.file, "{number} {action:?}");
        state.entries.push(Entry {
            action,
            outcome: Outcome::Unknown,
        });
        number
    }

    /// Writes down what came of it.
    pub fn answer(&self, number: usize, outcome: Outcome) {
        let mut state = self.state();
        let _ = writeln!(state.file, "{number} {outcome:?}");
        state.acked += usize::from(matches!(outcome, Outcome::Acked(_)));
        state.entries[number].outcome = outcome;
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

    /// All operations so far.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.state().entries.clone()
    }

    /// All hashes so far.
    #[must_use]
    pub fn hashes(&self) -> Vec<HashSample> {
        self.state().hashes.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }
}
