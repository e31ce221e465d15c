//! One round: load, a crash at a random moment, a restart, the check.

use super::Ledger;
use super::check::{self, Seen};
use super::history::History;
use super::load::{CLIENTS, Worker};
use crate::target::Target;
use crate::wait;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// So many answers come within this even on a very busy machine.
const LOAD_LIMIT: Duration = Duration::from_secs(60);

/// A run of rounds on one server.
pub struct Rounds {
    ledger: Arc<Ledger>,
    history: History,
    rng: StdRng,
    seed: u64,
    round: u64,
    _dir: TempDir,
}

impl Rounds {
    /// An empty ledger.
    ///
    /// # Panics
    /// When there is no room for it.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let dir = tempfile::Builder::new().prefix("ledger-").tempdir();
        let dir = dir.expect("the temporary directory is writable");
        Self {
            ledger: Arc::new(Ledger::create(&dir.path().join("ledger"))),
            history: History::default(),
            rng: StdRng::seed_from_u64(seed),
            seed,
            round: 0,
            _dir: dir,
        }
    }

    /// Loads the server, calls `crash` once a random number of answers has come,
    /// and returns when the load has noticed.
    ///
    /// # Panics
    /// When the answers do not come.
    pub async fn load_and_crash(&mut self, target: &mut Target, crash: impl FnOnce(&mut Target)) {
        let client = target.client().await;
        let enough = self.ledger.acked() + self.rng.random_range(50..1500);
        let follow = tokio::spawn({
            let (history, mut client) = (self.history.clone(), client.clone());
            async move {
                let start = history.last() + 1;
                history.follow(&mut client, start, None).await
            }
        });
        let workers: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (ledger, history) = (Arc::clone(&self.ledger), self.history.clone());
                let worker = Worker::new(
                    client.clone(),
                    ledger,
                    history,
                    self.seed,
                    self.round,
                    number,
                );
                tokio::spawn(worker.run())
            })
            .collect();
        self.round += 1;
        wait::until_async("enough answers", LOAD_LIMIT, || async {
            let over = workers.iter().all(tokio::task::JoinHandle::is_finished);
            (over || self.ledger.acked() >= enough).then_some(())
        })
        .await;
        crash(target);
        for worker in workers {
            worker.await.expect("a worker never panics");
        }
        let _ = follow.await;
    }

    /// Looks at the restarted server.
    ///
    /// # Errors
    /// Every broken promise found.
    pub async fn check(&self, target: &Target) -> Result<Seen, Vec<String>> {
        let mut client = target.client().await;
        check::check(&mut client, &self.ledger, &self.history).await
    }

    /// A chance of one in `n`.
    pub fn one_in(&mut self, n: u32) -> bool {
        self.rng.random_ratio(1, n)
    }
}
