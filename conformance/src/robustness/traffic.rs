//! Clients that read and write, one operation at a time, and write down what they were told.

use super::operation::{Ask, Change, Guard, Operation, Put, Told};
use super::record::Record;
use super::requests;
use crate::client::Client;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use sternpost_proto::etcdserverpb as pb;
use tonic::Status;

/// Few keys, so that clients meet on them.
const KEYS: u32 = 8;
/// What all keys begin with.
pub const PREFIX: &str = "k";
/// A client that has waited so long goes on; its operation stays open.
const PATIENCE: Duration = Duration::from_millis(600);
/// Between two operations, at most.
const PAUSE_MS: u64 = 25;
/// No lease ends by itself in a run.
const TTL: i64 = 600;
/// Reads of the past go back so far: some of it is compacted, and some is not.
const PAST: i64 = 100;
/// Of so many reads of the past one is of the future,
const FUTURE_RATIO: u32 = 8;
/// of so many revisions to come: some have come when it is answered.
const FUTURE: i64 = 10;

/// One client.
pub struct Worker {
    client: Client,
    member: usize,
    number: u32,
    rng: StdRng,
    record: Arc<Record>,
    drawn: u32,
    /// Its own lease.
    lease: i64,
    leases: i64,
    /// What it has seen last of each key: what conditions are made of.
    seen: [i64; KEYS as usize],
}

impl Worker {
    /// A client of one member.
    #[must_use]
    pub fn new(client: Client, member: usize, seed: u64, record: Arc<Record>) -> Self {
        let number = record.new_client();
        Self {
            client,
            member,
            number,
            rng: StdRng::seed_from_u64(seed ^ (u64::from(number) << 32)),
            record,
            drawn: 0,
            lease: 0,
            leases: i64::from(number) * 100_000,
            seen: [0; KEYS as usize],
        }
    }

    /// Works until the run ends.
    pub async fn run(mut self) {
        while !self.record.stop.load(Ordering::Relaxed) {
            self.step().await;
            let pause = self.rng.random_range(0..PAUSE_MS);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    async fn step(&mut self) {
        let (ask, local) = self.draw();
        self.ask(ask, local).await;
    }

    /// One operation from its beginning to its answer, or to the end of patience.
    ///
    /// # Panics
    /// Never.
    pub async fn ask(&mut self, ask: Ask, local: bool) -> Told {
        let call = self.record.now();
        let answer = tokio::time::timeout(PATIENCE, self.send(&ask, local)).await;
        let told = match answer {
            Ok(Ok(told)) => told,
            // It says that nothing has happened, and there is nothing to check.
            Ok(Err(status)) if requests::nothing_happened(&ask, &status) => return Told::default(),
            Ok(Err(status)) => requests::refusal(&status).map_or_else(Told::default, Told::refused),
            Err(_) => Told::default(),
        };
        self.learn(&ask, &told);
        let back = if told.known { self.record.now() } else { 0 };
        let operation = Operation {
            client: self.number,
            member: self.member,
            local,
            call,
            back,
            ask,
            told: told.clone(),
        };
        if !operation.told.known {
            // An operation that stays open is not followed by another of the same client.
            self.number = self.record.new_client();
        }
        let mut operations = self.record.operations.lock().expect("no holder panics");
        operations.push(operation);
        told
    }

    fn draw(&mut self) -> (Ask, bool) {
        self.drawn += 1;
        let nth = self.rng.random_range(0..KEYS);
        let key = name(nth);
        match self.rng.random_range(0..111) {
            0..22 => (Ask::Read { key, prefix: false }, false),
            22..30 => (
                Ask::Read {
                    key: PREFIX.into(),
                    prefix: true,
                },
                false,
            ),
            30..42 => (
                Ask::Read {
                    key: PREFIX.into(),
                    prefix: true,
                },
                true,
            ),
            42..66 => (self.write(None, vec![nth], Vec::new(), None), false),
            66..80 => {
                let modified = self.seen[nth as usize];
                let guard = Some(Guard { key, modified });
                (self.write(guard, vec![nth], Vec::new(), None), false)
            }
            80..90 => {
                let others = vec![nth, (nth + 1) % KEYS];
                let gone = vec![name((nth + 2) % KEYS)];
                (self.write(None, others, gone, None), false)
            }
            90..94 => (self.write(None, Vec::new(), vec![key], None), false),
            94..98 => (Ask::Past(self.past()), false),
            98..103 => (Ask::Past(self.past()), true),
            103..105 => {
                let past = Some(self.past());
                (self.write(None, vec![nth], Vec::new(), past), false)
            }
            105..108 => {
                self.leases += 1;
                (Ask::Grant(self.leases), false)
            }
            _ if self.lease != 0 => {
                let lease = std::mem::take(&mut self.lease);
                (Ask::Revoke { lease }, false)
            }
            _ => (Ask::Read { key, prefix: false }, false),
        }
    }

    fn write(
        &mut self,
        guard: Option<Guard>,
        puts: Vec<u32>,
        deletes: Vec<String>,
        past: Option<i64>,
    ) -> Ask {
        let leased = self.rng.random_ratio(1, 4);
        let put = |nth: &u32| Put {
            key: name(*nth),
            value: format!("{}-{}-{nth}", self.number, self.drawn),
            lease: if leased { self.lease } else { 0 },
        };
        Ask::Write(Change {
            guard,
            puts: puts.iter().map(put).collect(),
            deletes,
            past,
        })
    }

    /// A revision to read at.
    fn past(&mut self) -> i64 {
        let newest = self.record.newest();
        if self.rng.random_ratio(1, FUTURE_RATIO) {
            return newest + self.rng.random_range(1..=FUTURE);
        }
        (newest - self.rng.random_range(0..PAST)).max(1)
    }

    fn learn(&mut self, ask: &Ask, told: &Told) {
        self.record.tell(told.revision);
        if let (Ask::Grant(lease), true) = (ask, told.known) {
            self.lease = *lease;
        }
        if ask.past().is_some() {
            return;
        }
        for row in &told.rows {
            if let Some(nth) = row
                .key
                .strip_prefix(PREFIX)
                .and_then(|n| n.parse::<usize>().ok())
            {
                self.seen[nth] = row.modified;
            }
        }
    }

    async fn send(&mut self, ask: &Ask, local: bool) -> Result<Told, Status> {
        match ask {
            Ask::Read { key, prefix } => self.read(requests::read(key, *prefix, 0), local).await,
            Ask::Past(revision) => {
                let request = requests::read(PREFIX, true, *revision);
                self.read(request, local).await
            }
            Ask::Grant(id) => {
                let request = pb::LeaseGrantRequest { ttl: TTL, id: *id };
                let reply = self.client.lease.lease_grant(request).await?.into_inner();
                Ok(requests::told(reply.header))
            }
            Ask::Revoke { lease } => {
                let request = pb::LeaseRevokeRequest { id: *lease };
                let reply = self.client.lease.lease_revoke(request).await?.into_inner();
                Ok(requests::told(reply.header))
            }
            Ask::Write(change) => self.change(change).await,
        }
    }

    async fn read(&mut self, request: pb::RangeRequest, local: bool) -> Result<Told, Status> {
        let request = pb::RangeRequest {
            serializable: local,
            ..request
        };
        let reply = self.client.kv.range(request).await?.into_inner();
        Ok(Told {
            rows: requests::rows(&reply),
            ..requests::told(reply.header)
        })
    }

    /// The plain request where it is one; else a transaction.
    async fn change(&mut self, change: &Change) -> Result<Told, Status> {
        let kv = &mut self.client.kv;
        let plain = change.guard.is_none() && change.past.is_none();
        match (&change.puts[..], &change.deletes[..]) {
            ([one], []) if plain => {
                let reply = kv.put(requests::put(one)).await?.into_inner();
                Ok(requests::told(reply.header))
            }
            ([], [key]) if plain => {
                let reply = kv.delete_range(requests::delete(key)).await?.into_inner();
                Ok(Told {
                    deleted: reply.deleted,
                    ..requests::told(reply.header)
                })
            }
            _ => {
                let request = requests::transaction(change, PREFIX);
                let reply = kv.txn(request).await?.into_inner();
                Ok(requests::of_transaction(&reply))
            }
        }
    }
}

fn name(nth: u32) -> String {
    format!("{PREFIX}{nth}")
}
