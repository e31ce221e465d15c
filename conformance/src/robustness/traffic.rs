//! Clients that read and write, one operation at a time, and write down what they were told.

use super::operation::{Ask, Guard, Operation, Put, Row, Told};
use super::watching::range;
use crate::client::Client;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use sternpost_proto::etcdserverpb as pb;
use tonic::{Code, Status};

use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::request_op::Request as Op;
use pb::response_op::Response as Reply;

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

/// What all clients of a run share.
pub struct Record {
    /// Times count from here.
    begun: Instant,
    clients: AtomicU32,
    /// Everything that was asked.
    pub operations: Mutex<Vec<Operation>>,
    /// Set when no more is to be asked.
    pub stop: AtomicBool,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            clients: AtomicU32::new(0),
            operations: Mutex::new(Vec::new()),
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

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

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
        let number = record.clients.fetch_add(1, Ordering::Relaxed);
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

    /// One operation from its beginning to its answer, or to the end of patience.
    async fn step(&mut self) {
        let (ask, local) = self.draw();
        let call = self.record.now();
        let answer = tokio::time::timeout(PATIENCE, self.send(&ask, local)).await;
        let told = match answer {
            Ok(Ok(told)) => told,
            // It says that nothing has happened, and there is nothing to check.
            Ok(Err(status)) if refused(&status) => return,
            Ok(Err(_)) | Err(_) => Told::default(),
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
            told,
        };
        if !operation.told.known {
            // An operation that stays open is not followed by another of the same client.
            self.number = self.record.clients.fetch_add(1, Ordering::Relaxed);
        }
        let mut operations = self.record.operations.lock().expect("no holder panics");
        operations.push(operation);
    }

    fn draw(&mut self) -> (Ask, bool) {
        self.drawn += 1;
        let nth = self.rng.random_range(0..KEYS);
        let key = name(nth);
        match self.rng.random_range(0..100) {
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
            42..66 => (self.write(None, vec![nth], Vec::new()), false),
            66..80 => {
                let modified = self.seen[nth as usize];
                let guard = Some(Guard { key, modified });
                (self.write(guard, vec![nth], Vec::new()), false)
            }
            80..90 => {
                let others = vec![nth, (nth + 1) % KEYS];
                let gone = vec![name((nth + 2) % KEYS)];
                (self.write(None, others, gone), false)
            }
            90..94 => (self.write(None, Vec::new(), vec![key]), false),
            94..97 => {
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

    fn write(&mut self, guard: Option<Guard>, puts: Vec<u32>, deletes: Vec<String>) -> Ask {
        let leased = self.rng.random_ratio(1, 4);
        let put = |nth: &u32| Put {
            key: name(*nth),
            value: format!("{}-{}-{nth}", self.number, self.drawn),
            lease: if leased { self.lease } else { 0 },
        };
        Ask::Write {
            guard,
            puts: puts.iter().map(put).collect(),
            deletes,
        }
    }

    fn learn(&mut self, ask: &Ask, told: &Told) {
        if let (Ask::Grant(lease), true) = (ask, told.known) {
            self.lease = *lease;
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
            Ask::Read { key, prefix } => self.read(key, *prefix, local).await,
            Ask::Grant(id) => {
                let request = pb::LeaseGrantRequest { ttl: TTL, id: *id };
                let reply = self.client.lease.lease_grant(request).await?.into_inner();
                Ok(told(reply.header))
            }
            Ask::Revoke { lease } => {
                let request = pb::LeaseRevokeRequest { id: *lease };
                let reply = self.client.lease.lease_revoke(request).await?.into_inner();
                Ok(told(reply.header))
            }
            Ask::Write {
                guard,
                puts,
                deletes,
            } => self.change(guard.as_ref(), puts, deletes).await,
        }
    }

    async fn read(&mut self, key: &str, prefix: bool, local: bool) -> Result<Told, Status> {
        let mut request = point(key);
        if prefix {
            request.range_end = range(key).1.into();
        }
        request.serializable = local;
        let reply = self.client.kv.range(request).await?.into_inner();
        Ok(Told {
            rows: rows(&reply),
            ..told(reply.header)
        })
    }

    /// The plain request where it is one; else a transaction.
    async fn change(
        &mut self,
        guard: Option<&Guard>,
        puts: &[Put],
        deletes: &[String],
    ) -> Result<Told, Status> {
        let kv = &mut self.client.kv;
        match (guard, puts, deletes) {
            (None, [one], []) => {
                let reply = kv.put(put(one)).await?.into_inner();
                Ok(told(reply.header))
            }
            (None, [], [key]) => {
                let reply = kv.delete_range(delete(key)).await?.into_inner();
                Ok(Told {
                    deleted: reply.deleted,
                    ..told(reply.header)
                })
            }
            _ => {
                let reply = kv
                    .txn(transaction(guard, puts, deletes))
                    .await?
                    .into_inner();
                Ok(of_transaction(&reply))
            }
        }
    }
}

fn name(nth: u32) -> String {
    format!("{PREFIX}{nth}")
}

/// Whether an error says that nothing has happened.
fn refused(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::InvalidArgument | Code::NotFound | Code::FailedPrecondition
    )
}

fn told(header: Option<pb::ResponseHeader>) -> Told {
    Told {
        known: true,
        revision: header.map_or(0, |header| header.revision),
        succeeded: true,
        ..Told::default()
    }
}

fn rows(reply: &pb::RangeResponse) -> Vec<Row> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let row = |kv: &sternpost_proto::mvccpb::KeyValue| Row {
        key: text(&kv.key),
        value: text(&kv.value),
        modified: kv.mod_revision,
    };
    reply.kvs.iter().map(row).collect()
}

fn point(key: &str) -> pb::RangeRequest {
    pb::RangeRequest {
        key: key.to_owned().into(),
        ..Default::default()
    }
}

fn put(one: &Put) -> pb::PutRequest {
    pb::PutRequest {
        key: one.key.clone().into(),
        value: one.value.clone().into(),
        lease: one.lease,
        ..Default::default()
    }
}

fn delete(key: &str) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest {
        key: key.to_owned().into(),
        ..Default::default()
    }
}

fn transaction(guard: Option<&Guard>, puts: &[Put], deletes: &[String]) -> pb::TxnRequest {
    let wrapped = |request| pb::RequestOp {
        request: Some(request),
    };
    let compare = guard.map(|guard| pb::Compare {
        result: CompareResult::Equal as i32,
        target: CompareTarget::Mod as i32,
        key: guard.key.clone().into(),
        target_union: Some(TargetUnion::ModRevision(guard.modified)),
        ..Default::default()
    });
    let puts = puts.iter().map(|one| Op::RequestPut(put(one)));
    let deletes = deletes
        .iter()
        .map(|key| Op::RequestDeleteRange(delete(key)));
    let failure = guard.map(|guard| Op::RequestRange(point(&guard.key)));
    pb::TxnRequest {
        compare: compare.into_iter().collect(),
        success: puts.chain(deletes).map(wrapped).collect(),
        failure: failure.into_iter().map(wrapped).collect(),
    }
}

fn of_transaction(reply: &pb::TxnResponse) -> Told {
    let mut told = Told {
        succeeded: reply.succeeded,
        ..told(reply.header)
    };
    for response in &reply.responses {
        match &response.response {
            Some(Reply::ResponseDeleteRange(deletion)) => told.deleted += deletion.deleted,
            Some(Reply::ResponseRange(read)) => told.rows = rows(read),
            _ => {}
        }
    }
    told
}
