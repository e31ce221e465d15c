//! A mixed load: puts, transactions, deletes, leases, compactions, hashes, defragments.

use super::history::History;
use super::{Action, HashSample, Ledger, Outcome};
use crate::client::Client;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;
use sternpost_proto::etcdserverpb as pb;
use tonic::{Code, Status};

use pb::request_op::Request;

/// Clients at once.
pub const CLIENTS: u64 = 8;
/// Few keys, so that clients meet on them.
const KEYS: u32 = 40;
/// None ends by itself during a run.
const LEASE_TTL: i64 = 100_000;
/// A compaction leaves this much of the past.
const KEEP: i64 = 300;

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
        let lease_base =
            i64::try_from((round * CLIENTS + number + 1) * 1_000_000).expect("rounds are few");
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

    /// Works until an answer does not come.
    pub async fn run(mut self) {
        loop {
            self.drawn += 1;
            let action = match self.rng.random_range(0..1000) {
                0..550 => self.write(1, 0),
                550..750 => self.transaction(),
                750..850 => self.write(0, 1),
                850..910 => Action::Grant(self.lease_base + i64::from(self.drawn)),
                910..940 if !self.leases.is_empty() => {
                    let nth = self.rng.random_range(0..self.leases.len());
                    Action::Revoke(self.leases.swap_remove(nth))
                }
                940..943 if self.history.last() > KEEP => {
                    Action::Compact(self.history.last() - KEEP)
                }
                943..960 => {
                    if self.sample_hash().await.is_err() {
                        return;
                    }
                    continue;
                }
                960..963 => {
                    let request = pb::DefragmentRequest {};
                    if self.client.maintenance.defragment(request).await.is_err() {
                        return;
                    }
                    continue;
                }
                _ => self.write(1, 0),
            };
            let number = self.ledger.intend(action.clone());
            let outcome = outcome(self.send(&action).await);
            if let (Action::Grant(id), Outcome::Acked(_)) = (&action, &outcome) {
                self.leases.push(*id);
            }
            let over = outcome == Outcome::Unknown;
            self.ledger.answer(number, outcome);
            if over {
                return;
            }
        }
    }

    fn transaction(&mut self) -> Action {
        let puts = self.rng.random_range(1..4);
        let deletes = self.rng.random_range(0..3);
        self.write(puts, deletes)
    }

    /// Different keys, as a transaction must not write one twice.
    fn write(&mut self, puts: u32, deletes: u32) -> Action {
        let first = self.rng.random_range(0..KEYS);
        let key = |nth: u32| format!("k{:02}", (first + nth * 7) % KEYS);
        let lease = match self.leases.last() {
            Some(lease) if self.rng.random_ratio(1, 10) => *lease,
            _ => 0,
        };
        let pad = "x".repeat(self.rng.random_range(0..300));
        let value = |nth: u32| format!("{}-{}-{nth}-{pad}", self.name, self.drawn);
        Action::Write {
            puts: (0..puts).map(|nth| (key(nth), value(nth), lease)).collect(),
            deletes: (puts..puts + deletes).map(key).collect(),
        }
    }

    async fn send(&mut self, action: &Action) -> Result<Option<pb::ResponseHeader>, Status> {
        match action {
            Action::Write { puts, deletes } => self.send_write(puts, deletes).await,
            Action::Grant(id) => {
                let request = pb::LeaseGrantRequest {
                    ttl: LEASE_TTL,
                    id: *id,
                };
                Ok(self
                    .client
                    .lease
                    .lease_grant(request)
                    .await?
                    .into_inner()
                    .header)
            }
            Action::Revoke(id) => {
                let request = pb::LeaseRevokeRequest { id: *id };
                Ok(self
                    .client
                    .lease
                    .lease_revoke(request)
                    .await?
                    .into_inner()
                    .header)
            }
            Action::Compact(revision) => {
                let request = pb::CompactionRequest {
                    revision: *revision,
                    physical: self.rng.random_ratio(1, 2),
                };
                Ok(self.client.kv.compact(request).await?.into_inner().header)
            }
        }
    }

    async fn send_write(
        &mut self,
        puts: &[(String, String, i64)],
        deletes: &[String],
    ) -> Result<Option<pb::ResponseHeader>, Status> {
        let mut put = puts.iter().map(|(key, value, lease)| pb::PutRequest {
            key: key.clone().into(),
            value: value.clone().into(),
            lease: *lease,
            ..Default::default()
        });
        let mut delete = deletes.iter().map(|key| pb::DeleteRangeRequest {
            key: key.clone().into(),
            ..Default::default()
        });
        let kv = &mut self.client.kv;
        match (put.len(), delete.len()) {
            (1, 0) => {
                let request = put.next().expect("there is one");
                Ok(kv.put(request).await?.into_inner().header)
            }
            (0, 1) => {
                let request = delete.next().expect("there is one");
                let reply = kv.delete_range(request).await?.into_inner();
                // Nothing deleted, no revision made: 0 stands for that in the ledger.
                let made = reply.deleted > 0;
                Ok(reply
                    .header
                    .filter(|_| made)
                    .or(Some(pb::ResponseHeader::default())))
            }
            _ => {
                let puts = put.map(Request::RequestPut);
                let deletes = delete.map(Request::RequestDeleteRange);
                let ops = puts.chain(deletes).map(|request| pb::RequestOp {
                    request: Some(request),
                });
                let request = pb::TxnRequest {
                    success: ops.collect(),
                    ..Default::default()
                };
                Ok(kv.txn(request).await?.into_inner().header)
            }
        }
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

/// A refusal by etcd's own words says that nothing happened; all else leaves it open.
fn outcome(answer: Result<Option<pb::ResponseHeader>, Status>) -> Outcome {
    match answer {
        Ok(header) => Outcome::Acked(header.map_or(0, |header| header.revision)),
        Err(status) => {
            let refused = matches!(
                status.code(),
                Code::InvalidArgument
                    | Code::NotFound
                    | Code::OutOfRange
                    | Code::FailedPrecondition
            );
            if refused {
                Outcome::Refused(status.message().to_owned())
            } else {
                Outcome::Unknown
            }
        }
    }
}
