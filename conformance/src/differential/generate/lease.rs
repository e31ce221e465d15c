//! Leases. Lifetimes are either so long that none ends during a run, or the lease
//! is revoked by the very next operation: no answer depends on a clock.

use super::Generator;
use crate::differential::op::Op;
use rand::RngExt;
use sternpost_proto::etcdserverpb as pb;

const LONG: [i64; 5] = [600, 5000, 86_400, 9_000_000_000, 1_000_000];
/// Raised to the minimum by both servers.
const SHORT: [i64; 5] = [0, -1, 1, 2, i64::MIN];

impl Generator {
    pub(super) fn lease(&mut self) -> Op {
        let id = self.lease_id();
        // No lease has the id 0; granting it means one of the server's choice.
        let any_id = if self.one_in(15) { 0 } else { id };
        let ttl = LONG[self.rng.random_range(0..LONG.len())];
        match self.rng.random_range(0..100) {
            0..35 => Op::Grant(pb::LeaseGrantRequest { ttl, id }),
            35..50 => Op::Revoke(pb::LeaseRevokeRequest { id: any_id }),
            50..70 => Op::TimeToLive(pb::LeaseTimeToLiveRequest {
                id: any_id,
                keys: self.one_in(2),
            }),
            70..80 => Op::Leases,
            80..90 => {
                let count = self.rng.random_range(0..4);
                let mut ids: Vec<i64> = (0..count).map(|_| self.lease_id()).collect();
                if let Some(first) = ids.first_mut().filter(|_| any_id == 0) {
                    *first = 0;
                }
                Op::KeepAlive(ids)
            }
            90..94 => Op::GrantAny(ttl),
            94..97 => self.short_lease(),
            97..98 => Op::Grant(pb::LeaseGrantRequest {
                ttl: 9_000_000_001,
                id,
            }),
            98..99 => Op::Grant(pb::LeaseGrantRequest { ttl: i64::MAX, id }),
            _ => Op::Revoke(pb::LeaseRevokeRequest { id: 999 }),
        }
    }

    fn short_lease(&mut self) -> Op {
        let ttl = SHORT[self.rng.random_range(0..SHORT.len())];
        let id = 77;
        self.queue
            .push_back(Op::Revoke(pb::LeaseRevokeRequest { id }));
        Op::Grant(pb::LeaseGrantRequest { ttl, id })
    }

    fn lease_id(&mut self) -> i64 {
        match self.rng.random_range(0..12) {
            0 => -5,
            1 => i64::MAX,
            2 => i64::MIN,
            n => n,
        }
    }
}
