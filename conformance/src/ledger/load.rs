//! A mixed load: puts, transactions, conditions, deletes, leases that are renewed and leases that end,
//! compactions, hashes, defragments.

use super::action::{Op, Shape, Write};
use super::history::History;
use super::model::LONG_TTL;
use super::{Action, HashSample, Ledger, Outcome, send};
use crate::client::Client;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use sternpost_proto::etcdserverpb as pb;
use tonic::{Code, Status};

/// Clients at once.
pub const CLIENTS: u64 = 8;
/// Few keys, so that clients meet on them.
const KEYS: u32 = 40;
/// The shortest that there is with default settings.
const SHORT_TTL: i64 = 2;
/// A compaction leaves this much of the past.
const KEEP: i64 = 300;

/// A member that refuses at once is left alone for so long.
const BREATH: Duration = Duration::from_millis(20);

/// Whether a lease of this id outlives the run.
#[must_use]
pub fn is_long(id: i64) -> bool {
    id % 2 == 0
}

/// What is under way when the crash comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The load.
    Any,
    /// A defragmentation, too.
    Defragment,
    /// A compaction and its scrub, too.
    Compaction,
}

/// One put, beside the load, that the ledger knows of. Values must be unique.
///
/// # Errors
/// When no good answer comes.
pub async fn put(client: &mut Client, ledger: &Ledger, value: &str) -> Result<(), Status> {
    let action = Action::Write(Write {
        guard: None,
        then: vec![Op::Put("beside".to_owned(), value.to_owned(), 0)],
        otherwise: Vec::new(),
        shape: Shape::Single,
    });
    let number = ledger.intend(action.clone());
    let answer = send::send(client, &action).await;
    ledger.answer(number, send::outcome(&answer));
    answer.map(|_| ())
}

/// One client of the load.
pub struct Worker {
    client: Client,
    ledger: Arc<Ledger>,
    history: History,
    rng: StdRng,
    /// Makes values and leases unique over workers and rounds.
    name: String,
    drawn: u32,
    leases: Vec<i64>,
    lease_base: i64,
}

impl Worker {
    /// The `number`th client of a round.
    #[must_use]
    pub fn new(
        client: Client,
        ledger: Arc<Ledger>,
        history: History,
        seed: u64,
        round: u64,
        number: u64,
    ) -> Self {
        let lease_base = i64::try_from((round * (CLIENTS + 1) + number + 1) * 1_000_000)
            .expect("rounds are few");
        Self {
            client,
            ledger,
            history,
            rng: StdRng::seed_from_u64(seed ^ (round << 32) ^ (number << 16)),
            name: format!("{round}-{number}"),
            drawn: 0,
            leases: Vec::new(),
            lease_base,
        }
    }

    /// From here on these leases of earlier rounds are its own.
    #[must_use]
    pub fn inherit(mut self, leases: impl Iterator<Item = i64>) -> Self {
        self.leases.extend(leases);
        self
    }

    /// Works until an answer does not come.
    pub async fn run(mut self) {
        while self.step().await.is_ok() {}
    }

    /// Works until it is told to stop; when an answer does not come it goes to the next of
    /// these members.
    pub async fn run_on(mut self, members: Vec<Client>, stop: Arc<AtomicBool>) {
        let mut nth = 0;
        while !stop.load(Ordering::Relaxed) {
            if self.step().await.is_err() {
                nth = (nth + 1) % members.len();
                self.client = members[nth].clone();
                tokio::time::sleep(BREATH).await;
            }
        }
    }

    /// Begins what the crash shall interrupt; its end is seldom seen.
    pub async fn upkeep(mut self, moment: Moment) {
        match moment {
            Moment::Any => {}
            Moment::Defragment => {
                let _ = self.defragment().await;
            }
            Moment::Compaction => {
                if let Some(action) = self.compaction() {
                    let _ = self.act(action).await;
                }
            }
        }
    }

    async fn step(&mut self) -> Result<(), Status> {
        self.drawn += 1;
        let action = match self.rng.random_range(0..1000) {
            0..400 => self.puts(1),
            400..540 => self.transaction(),
            540..660 => self.conditional().await?,
            660..720 => self.deletion(false),
            720..780 => self.deletion(true),
            780..830 => self.grant(),
            830..880 => match self.own_lease() {
                Some(nth) => Action::Revoke(self.leases.swap_remove(nth)),
                None => self.grant(),
            },
            880..930 => match self.own_lease() {
                Some(nth) => Action::KeepAlive(self.leases[nth]),
                None => self.puts(1),
            },
            930..933 => match self.compaction() {
                Some(compaction) => compaction,
                None => self.puts(1),
            },
            933..950 => return self.sample_hash().await,
            950..953 => return self.defragment().await,
            _ => self.puts(1),
        };
        self.act(action).await
    }

    /// Writes the intent down, sends it, and writes down what came of it.
    async fn act(&mut self, action: Action) -> Result<(), Status> {
        let number = self.ledger.intend(action.clone());
        let answer = send::send(&mut self.client, &action).await;
        let outcome = send::outcome(&answer);
        match (&action, &outcome) {
            (Action::Grant(id, _), Outcome::Acked(_)) => self.leases.push(*id),
            // Only this client ends its leases, and a long one does not end by itself.
            (Action::KeepAlive(id) | Action::Revoke(id), Outcome::Refused(why)) if is_long(*id) => {
                self.ledger.note_broken(format!("{action:?}: {why}"));
            }
            (Action::KeepAlive(id), Outcome::Refused(_)) => self.leases.retain(|own| own != id),
            _ => {}
        }
        let lost = outcome == Outcome::Unknown;
        self.ledger.answer(number, outcome);
        match answer {
            Err(status) if lost => Err(status),
            _ => Ok(()),
        }
    }

    fn key(&self, first: u32, nth: u32) -> String {
        format!("k{:02}", (first + nth * 7) % KEYS)
    }

    fn put(&mut self, mut key: String, nth: u32) -> Op {
        let lease = match self.leases.last() {
            Some(lease) if self.rng.random_ratio(1, 8) => *lease,
            _ => 0,
        };
        if lease != 0 && !is_long(lease) {
            // Nobody else writes it, so that the lease has a key when it ends.
            key = format!("s{lease}-{nth}");
        }
        let pad = "x".repeat(self.rng.random_range(0..300));
        Op::Put(
            key,
            format!("{}-{}-{nth}-{pad}", self.name, self.drawn),
            lease,
        )
    }

    /// So many puts of different keys, as a transaction must not write one twice.
    fn puts(&mut self, count: u32) -> Action {
        let first = self.rng.random_range(0..KEYS);
        let puts = (0..count).map(|nth| {
            let key = self.key(first, nth);
            self.put(key, nth)
        });
        let then: Vec<Op> = puts.collect();
        let shape = if count == 1 {
            Shape::Single
        } else {
            Shape::Flat
        };
        unguarded(then, shape)
    }

    fn transaction(&mut self) -> Action {
        let first = self.rng.random_range(0..KEYS);
        let puts = self.rng.random_range(0..4);
        let deletes = self.rng.random_range(0..3);
        let mut then = Vec::new();
        for nth in 0..puts {
            let key = self.key(first, nth);
            then.push(self.put(key, nth));
        }
        for nth in puts..puts + deletes {
            then.push(Op::Delete(self.key(first, nth), None));
        }
        let shape = if self.rng.random_ratio(1, 3) {
            Shape::Nested
        } else {
            Shape::Flat
        };
        unguarded(then, shape)
    }

    /// Reads a key, and writes it if nobody else has meanwhile.
    async fn conditional(&mut self) -> Result<Action, Status> {
        let first = self.rng.random_range(0..KEYS);
        let key = self.key(first, 0);
        let request = pb::RangeRequest {
            key: key.clone().into(),
            ..Default::default()
        };
        let reply = self.client.kv.range(request).await?.into_inner();
        let modified = reply.kvs.first().map_or(0, |kv| kv.mod_revision);
        let otherwise = match self.rng.random_ratio(1, 2) {
            true => vec![self.put(self.key(first, 1), 1)],
            false => Vec::new(),
        };
        let then = match self.rng.random_ratio(1, 4) {
            true => vec![Op::Delete(key.clone(), None)],
            false => vec![self.put(key.clone(), 0)],
        };
        Ok(Action::Write(Write {
            guard: Some((key, modified)),
            then,
            otherwise,
            shape: Shape::Flat,
        }))
    }

    fn deletion(&mut self, range: bool) -> Action {
        let first = self.rng.random_range(0..KEYS - 3);
        let end = self.rng.random_range(first..first + 4);
        let key = |number: u32| format!("k{number:02}");
        Action::Write(Write {
            guard: None,
            then: vec![Op::Delete(key(first), range.then(|| key(end)))],
            otherwise: Vec::new(),
            shape: Shape::Single,
        })
    }

    fn grant(&mut self) -> Action {
        let short = self.rng.random_ratio(1, 3);
        let id = self.lease_base + 2 * i64::from(self.drawn);
        // The id tells which kind it is.
        match short {
            true => Action::Grant(id + 1, SHORT_TTL),
            false => Action::Grant(id, LONG_TTL),
        }
    }

    fn own_lease(&mut self) -> Option<usize> {
        let count = self.leases.len();
        (count > 0).then(|| self.rng.random_range(0..count))
    }

    fn compaction(&self) -> Option<Action> {
        let revision = self.history.last() - KEEP;
        (revision > 0).then_some(Action::Compact(revision))
    }

    async fn defragment(&mut self) -> Result<(), Status> {
        let request = pb::DefragmentRequest {};
        self.client.maintenance.defragment(request).await?;
        Ok(())
    }

    /// The hash of a revision that all have left behind.
    async fn sample_hash(&mut self) -> Result<(), Status> {
        let revision = self.history.last() - self.rng.random_range(0..50);
        if revision < 2 {
            return Ok(());
        }
        let request = pb::HashKvRequest { revision };
        match self.client.maintenance.hash_kv(request).await {
            Ok(reply) => {
                let reply = reply.into_inner();
                self.ledger.note_hash(HashSample {
                    revision,
                    compacted: reply.compact_revision,
                    hash: reply.hash,
                });
                Ok(())
            }
            Err(status) if status.code() == Code::OutOfRange => Ok(()),
            Err(status) => Err(status),
        }
    }
}

/// Written whatever is there.
fn unguarded(then: Vec<Op>, shape: Shape) -> Action {
    Action::Write(Write {
        guard: None,
        then,
        otherwise: Vec::new(),
        shape,
    })
}
