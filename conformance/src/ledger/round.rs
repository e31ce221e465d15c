//! One round: load, a crash at a random moment, a restart, the check.

use super::Ledger;
use super::check::{self, Seen};
use super::history::History;
use super::load::{self, CLIENTS, Moment, Worker};
use super::model::Model;
use crate::client::Client;
use crate::target::Target;
use crate::wait;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;
use std::time::{Duration, Instant};
use sternpost_proto::etcdserverpb as pb;
use tempfile::TempDir;

/// So many answers come within this even on a very busy machine.
const LOAD_LIMIT: Duration = Duration::from_secs(60);
/// Some rounds last so long that leases end by themselves in them.
const LONG_ROUND: Duration = Duration::from_secs(4);
/// One in so many rounds.
const LONG_ROUNDS: u32 = 8;
/// A lease of two seconds has ended within this even on a very busy machine.
const EXPIRY_LIMIT: Duration = Duration::from_secs(60);
/// The crash comes within this from the beginning of what it shall interrupt.
const UNDER_WAY: Duration = Duration::from_millis(30);
/// A start takes about this long, and is killed anywhere in it.
const STARTING: Duration = Duration::from_millis(300);

/// A run of rounds on one server.
pub struct Rounds {
    ledger: Arc<Ledger>,
    history: History,
    model: Model,
    /// Leases that were there at the last check, while nobody has worked since.
    leases: Vec<i64>,
    rng: StdRng,
    seed: u64,
    round: u64,
    brief: bool,
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
            model: Model::new(),
            leases: Vec::new(),
            rng: StdRng::seed_from_u64(seed),
            seed,
            round: 0,
            brief: false,
            _dir: dir,
        }
    }

    /// The load before each crash is short: for many crashes, each at a place that is known.
    #[must_use]
    pub fn brief(mut self) -> Self {
        self.brief = true;
        self
    }

    /// Loads the server, calls `crash` once a random number of answers has come
    /// and something else is under way, and returns when the load has noticed.
    ///
    /// # Panics
    /// When the answers do not come.
    pub async fn load_and_crash(
        &mut self,
        target: &mut Target,
        crash: impl AsyncFnOnce(&mut Target),
    ) {
        let client = target.client().await;
        let answers = match self.brief {
            true => 20..200,
            false => 50..1500,
        };
        let enough = self.ledger.acked() + self.rng.random_range(answers);
        let until = Instant::now()
            + match !self.brief && self.one_in(LONG_ROUNDS) {
                true => LONG_ROUND,
                false => Duration::ZERO,
            };
        let follow = tokio::spawn(self.follow(&client));
        let mut workers: Vec<_> = (0..CLIENTS)
            .map(|number| tokio::spawn(self.worker(&client, number).run()))
            .collect();
        self.leases.clear();
        wait::until_async("enough answers", LOAD_LIMIT, || async {
            let over = workers.iter().all(tokio::task::JoinHandle::is_finished);
            let done = self.ledger.acked() >= enough && Instant::now() >= until;
            (over || done).then_some(())
        })
        .await;
        let moments = [Moment::Any, Moment::Defragment, Moment::Compaction];
        let moment = moments[self.rng.random_range(0..moments.len())];
        if moment != Moment::Any {
            workers.push(tokio::spawn(self.worker(&client, CLIENTS).upkeep(moment)));
            tokio::time::sleep(self.moment_in(UNDER_WAY)).await;
        }
        self.round += 1;
        crash(target).await;
        for worker in workers {
            worker.await.expect("a worker never panics");
        }
        let _ = follow.await;
    }

    /// Takes into the history what a server tells from here on.
    pub(super) fn follow(&self, client: &Client) -> impl Future<Output = ()> + use<> {
        let (history, mut client) = (self.history.clone(), client.clone());
        async move {
            let start = history.last() + 1;
            let _ = history.follow(&mut client, start, None).await;
        }
    }

    pub(super) fn worker(&self, client: &Client, number: u64) -> Worker {
        // Each lease has one owner, who alone ends it.
        let mine = |id: i64| load::is_long(id) && id / 2 % 8 == i64::try_from(number).unwrap_or(-1);
        Worker::new(
            client.clone(),
            Arc::clone(&self.ledger),
            self.history.clone(),
            self.seed,
            self.round,
            number,
        )
        .inherit(self.leases.iter().copied().filter(|id| mine(*id)))
    }

    /// Waits until the short leases have ended, and looks at the server.
    ///
    /// # Errors
    /// Every broken promise found.
    ///
    /// # Panics
    /// When they do not end.
    pub async fn check_expiries(&mut self, target: &Target) -> Result<Seen, Vec<String>> {
        let client = target.client().await;
        wait::until_async("the end of the short leases", EXPIRY_LIMIT, || {
            let mut lease = client.lease.clone();
            async move {
                let list = lease.lease_leases(pb::LeaseLeasesRequest {}).await.ok()?;
                let all_long = list
                    .into_inner()
                    .leases
                    .iter()
                    .all(|lease| load::is_long(lease.id));
                all_long.then_some(())
            }
        })
        .await;
        self.check(target).await
    }

    /// The ledger, for operations beside the load.
    #[must_use]
    pub fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.ledger)
    }

    /// Kills the server in the middle of some starts.
    pub fn kill_starts(&mut self, target: &mut Target) {
        for _ in 0..self.rng.random_range(0..3) {
            let after = self.moment_in(STARTING);
            target.kill_while_starting(after);
        }
    }

    /// Looks at the restarted server.
    ///
    /// # Errors
    /// Every broken promise found.
    pub async fn check(&mut self, target: &Target) -> Result<Seen, Vec<String>> {
        self.check_with(&mut target.client().await).await
    }

    pub(super) async fn check_with(&mut self, client: &mut Client) -> Result<Seen, Vec<String>> {
        let seen = check::check(client, &self.ledger, &self.history, &mut self.model).await?;
        self.leases = self.model.leases.keys().copied().collect();
        Ok(seen)
    }

    /// Which round it is.
    pub(super) fn number(&self) -> u64 {
        self.round
    }

    /// The next begins.
    pub(super) fn next(&mut self) {
        self.round += 1;
        self.leases.clear();
    }

    /// A number by chance.
    pub fn draw(&mut self, from: std::ops::Range<usize>) -> usize {
        self.rng.random_range(from)
    }

    /// A chance of one in `n`.
    pub fn one_in(&mut self, n: u32) -> bool {
        self.rng.random_ratio(1, n)
    }

    /// A moment to crash at; there is nothing to wait for.
    fn moment_in(&mut self, span: Duration) -> Duration {
        span.mul_f64(self.rng.random_range(0.0..1.0))
    }
}
