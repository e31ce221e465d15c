//! What all clients of a run write down.

use super::compactor::Compaction;
use super::operation::Operation;
use super::together::Together;
use super::watching::{Watch, Wish};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;
use sternpost_proto::etcdserverpb as pb;

/// What all clients of a run share.
pub struct Record {
    /// Times count from here.
    begun: Instant,
    clients: AtomicU32,
    newest: AtomicI64,
    /// Everything that was asked.
    pub operations: Mutex<Vec<Operation>>,
    /// Every watch, and what it was told.
    pub watches: Mutex<Vec<Watch>>,
    /// Every compaction that was asked for.
    pub compactions: Mutex<Vec<Compaction>>,
    /// How far watches have told everything.
    together: Mutex<Together>,
    /// Set when no more is to be asked.
    pub stop: AtomicBool,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            clients: AtomicU32::new(0),
            newest: AtomicI64::new(1),
            operations: Mutex::default(),
            watches: Mutex::default(),
            compactions: Mutex::default(),
            together: Mutex::default(),
            stop: AtomicBool::new(false),
        }
    }
}

impl Record {
    /// Operations that were answered.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn answered(&self) -> usize {
        let operations = self.operations.lock().expect("no holder panics");
        operations.iter().filter(|one| one.told.known).count()
    }

    /// Nanoseconds since the run's beginning.
    #[must_use]
    pub fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The number of one more client.
    pub fn new_client(&self) -> u32 {
        self.clients.fetch_add(1, Ordering::Relaxed)
    }

    /// Somebody was told of this revision.
    pub fn tell(&self, revision: i64) {
        self.newest.fetch_max(revision, Ordering::Relaxed);
    }

    /// The newest revision that any client was told of.
    #[must_use]
    pub fn newest(&self) -> i64 {
        self.newest.load(Ordering::Relaxed)
    }

    /// Everything up to here was told by watches of the whole key space together: it may be
    /// compacted, and the story stays complete.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn told_together(&self) -> i64 {
        self.together.lock().expect("no holder panics").last()
    }

    /// Begins a watch; the answer is its number.
    pub fn begin(&self, who: &str, wish: &Wish) -> usize {
        let mut watches = self.watches();
        watches.push(Watch {
            who: who.to_owned(),
            wish: wish.clone(),
            ..Watch::default()
        });
        watches.len() - 1
    }

    /// Writes down what a watch was told.
    ///
    /// # Panics
    /// Never.
    pub fn take_in(&self, number: usize, answer: pb::WatchResponse) {
        let now = self.now();
        let mut watches = self.watches();
        let watch = &mut watches[number];
        let before = watch.responses.len();
        watch.take_in(answer, now);
        if watch.wish.is_whole() {
            let mut together = self.together.lock().expect("no holder panics");
            for response in &watch.responses[before..] {
                together.take_in(&response.events);
            }
        }
    }

    /// All watches so far.
    ///
    /// # Panics
    /// Never.
    pub fn watches(&self) -> MutexGuard<'_, Vec<Watch>> {
        self.watches.lock().expect("no holder panics")
    }
}
