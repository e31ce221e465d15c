//! A client that compacts: mostly what may be forgotten, now and then what is forgotten already
//! or is yet to come.

use super::operation::Refusal;
use super::record::Record;
use super::requests;
use crate::client::Client;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use sternpost_proto::etcdserverpb as pb;
use tokio::time::Instant;

/// Between two compactions.
const PAUSE_MS: std::ops::Range<u64> = 100..200;
/// As other clients wait.
const PATIENCE: Duration = Duration::from_millis(600);
/// So far behind the last compaction another is asked for again.
const AGAIN: i64 = 20;
/// No run gets there: a request that nobody answered, and that comes late, must not compact what
/// no watcher has told.
const FUTURE: i64 = 1_000_000;
/// The last compaction is done within this even on a very busy machine.
const LAST_LIMIT: Duration = Duration::from_secs(60);
/// How often it looks whether watchers have told enough for that.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Its draws differ from those of workers, whose numbers are smaller.
const NUMBER: u64 = u32::MAX as u64;

/// What came of a compaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done; the revision in the header.
    Done(i64),
    /// Nothing has happened.
    Refused(Refusal),
    /// Nobody was told; it may have happened, or happen later.
    Open,
}

/// One that was asked for. Times are nanoseconds since the run's beginning.
#[derive(Clone, Debug)]
pub struct Compaction {
    /// Which member was asked.
    pub member: usize,
    /// What is below may be forgotten.
    pub revision: i64,
    /// Whether the answer was to wait until it is.
    pub physical: bool,
    /// When it was asked.
    pub call: u64,
    /// When the answer came, 0 for never.
    pub back: u64,
    /// What came of it.
    pub outcome: Outcome,
}

/// The one that compacts.
pub struct Compactor {
    clients: Vec<Client>,
    rng: StdRng,
    record: Arc<Record>,
    /// The highest revision that may be compacted by what was asked so far.
    highest: i64,
}

impl Compactor {
    /// One that asks any of these members.
    #[must_use]
    pub fn new(clients: Vec<Client>, seed: u64, record: Arc<Record>) -> Self {
        Self {
            clients,
            rng: StdRng::seed_from_u64(seed ^ (NUMBER << 32)),
            record,
            highest: 0,
        }
    }

    /// Works until the run ends.
    pub async fn run(mut self) -> Self {
        while !self.record.stop.load(Ordering::Relaxed) {
            let pause = self.rng.random_range(PAUSE_MS);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            if let Some(revision) = self.draw() {
                self.compact(revision).await;
            }
        }
        self
    }

    /// One beyond all that were asked for, so that none that comes late changes anything.
    /// Returns its revision.
    ///
    /// # Errors
    /// When it can't be done: because watchers tell no more, or members refuse for long.
    pub async fn last(mut self) -> Result<i64, String> {
        let deadline = Instant::now() + LAST_LIMIT;
        let highest = self.highest;
        while self.record.told_together() <= highest {
            if Instant::now() > deadline {
                return Err(format!("watchers tell nothing beyond {highest}"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let told = self.record.told_together();
        let revision = self.rng.random_range(highest + 1..=told);
        // After one that was not answered another is told that it is done already.
        let mut outcome = Outcome::Open;
        while !matches!(
            outcome,
            Outcome::Done(_) | Outcome::Refused(Refusal::Compacted)
        ) {
            if Instant::now() > deadline {
                return Err(format!("nobody compacts at {revision}: {outcome:?}"));
            }
            outcome = self.compact(revision).await;
        }
        Ok(revision)
    }

    /// None when there is nothing to draw from yet.
    fn draw(&mut self) -> Option<i64> {
        let told = self.record.told_together();
        let highest = self.highest;
        match self.rng.random_range(0..100) {
            0..75 if told > highest => Some(self.rng.random_range(highest + 1..=told)),
            75..90 if highest > 0 => {
                let behind = self.rng.random_range(0..AGAIN);
                Some((highest - behind).max(1))
            }
            90.. => Some(told + FUTURE),
            _ => None,
        }
    }

    async fn compact(&mut self, revision: i64) -> Outcome {
        let member = self.rng.random_range(0..self.clients.len());
        let physical = self.rng.random_ratio(1, 4);
        let call = self.record.now();
        let request = pb::CompactionRequest { revision, physical };
        let answer = self.clients[member].kv.compact(request);
        let outcome = match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(reply)) => {
                let header = reply.into_inner().header;
                Outcome::Done(header.map_or(0, |header| header.revision))
            }
            Ok(Err(status)) => requests::refusal(&status).map_or(Outcome::Open, Outcome::Refused),
            Err(_) => Outcome::Open,
        };
        if revision < FUTURE && !matches!(outcome, Outcome::Refused(_)) {
            self.highest = self.highest.max(revision);
        }
        let open = outcome == Outcome::Open;
        let compaction = Compaction {
            member,
            revision,
            physical,
            call,
            back: if open { 0 } else { self.record.now() },
            outcome: outcome.clone(),
        };
        let mut all = self.record.compactions.lock().expect("no holder panics");
        all.push(compaction);
        outcome
    }
}
