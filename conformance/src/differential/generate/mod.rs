//! Random operations from a seed. What is drawn depends on the seed and on the
//! revisions, leases and watches that the answers so far have shown, so that most
//! operations hit something; one seed against one behaviour is one sequence.

mod kv;
mod lease;
mod txn;
mod upkeep;
mod watch;

use super::coverage::Now;
use super::op::{Op, Reply};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeSet, VecDeque};

/// HashKV is compared after so many operations.
const HASH_EVERY: usize = 1000;

/// The id of a watch that never was.
pub const NO_WATCH: i64 = 4242;

/// Draws operations and follows what they did.
pub struct Generator {
    rng: StdRng,
    drawn: usize,
    hash_next: usize,
    /// Operations that must come next.
    queue: VecDeque<Op>,
    /// The newest revision.
    revision: i64,
    /// The last compaction; -1 before the first.
    compacted: i64,
    compacted_physically: bool,
    /// Revisions whose hash the reference keeps from a compaction, and answers
    /// with an old compact_revision; not imitated, so not compared.
    cached_hashes: BTreeSet<i64>,
    /// Revisions in which a key may have been deleted and written again. Compacted at
    /// just such a revision the reference drops the new row and dies of it later
    /// ("range failed to find revision pair"), and a hash at it takes the key for gone;
    /// not imitated, so not asked for.
    reborn: BTreeSet<i64>,
    /// The last revision of a delete.
    last_delete: i64,
    leases: BTreeSet<i64>,
    /// Watches alive on the lasting streams.
    watches: BTreeSet<(usize, i64)>,
}

impl Generator {
    /// The sequence of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            drawn: 0,
            hash_next: HASH_EVERY,
            queue: VecDeque::new(),
            revision: 1,
            compacted: -1,
            compacted_physically: true,
            cached_hashes: BTreeSet::new(),
            reborn: BTreeSet::new(),
            last_delete: 0,
            leases: BTreeSet::new(),
            watches: BTreeSet::new(),
        }
    }

    /// The next operation.
    pub fn draw(&mut self) -> Op {
        self.drawn += 1;
        if self.queue.is_empty() && self.drawn >= self.hash_next {
            self.hash_next = self.drawn + HASH_EVERY;
            self.hashes();
        }
        if let Some(op) = self.queue.pop_front() {
            return op;
        }
        match self.rng.random_range(0..1000) {
            0..260 => self.put(),
            260..430 => self.range(),
            430..500 => self.range_stream(),
            500..570 => self.delete(),
            570..735 => self.txn(),
            735..750 => self.wrong(),
            750..840 => self.lease(),
            840..870 => self.watch_create(),
            870..885 => self.watch_cancel(),
            885..905 => self.watch_progress(),
            905..925 => self.watch_once(),
            925..950 => Op::Settle,
            950..965 => self.compact(),
            965..970 => self.alarms(),
            970..985 => self.upkeep(),
            _ => self.wrong(),
        }
    }

    /// What belongs to operations already drawn.
    pub fn begun(&mut self) -> Option<Op> {
        self.queue.pop_front()
    }

    /// The end of the sequence, once nothing is [begun](Self::begun): what is hashed
    /// depends on where compactions have led.
    pub fn finish(&mut self) -> Vec<Op> {
        self.hashes();
        self.queue.push_back(Op::Settle);
        self.queue.drain(..).collect()
    }

    /// Learns from an answer that both servers gave.
    pub fn observe(&mut self, op: &Op, reply: &Reply) {
        self.revision = self.revision.max(reply.revision().unwrap_or(0));
        match (op, reply) {
            (Op::Compact(request), Reply::Compact(_)) => {
                self.compacted = request.revision;
                self.compacted_physically = request.physical;
                self.cached_hashes.insert(request.revision);
            }
            (Op::Txn(request), Reply::Txn(reply)) if txn::deletes_to_the_end(request) => {
                let header = reply.header.as_ref();
                self.reborn.extend(header.map(|header| header.revision));
            }
            (Op::Delete(_), Reply::Delete(reply)) if reply.deleted > 0 => {
                let header = reply.header.as_ref();
                self.last_delete = header.map_or(0, |header| header.revision);
            }
            (Op::Grant(request), Reply::Grant(_)) => {
                self.leases.insert(request.id);
            }
            (Op::Revoke(request), Reply::Revoke(_)) => {
                self.leases.remove(&request.id);
            }
            (Op::WatchCreate(stream, _), Reply::Watch(replies)) => {
                let alive = replies.iter().filter(|reply| !reply.canceled);
                self.watches
                    .extend(alive.map(|reply| (*stream, reply.watch_id)));
            }
            (Op::WatchCancel(stream, id), Reply::Watch(_)) => {
                self.watches.remove(&(*stream, *id));
            }
            _ => {}
        }
    }

    /// The state that the next operation meets.
    #[must_use]
    pub fn now(&self) -> Now {
        Now {
            revision: self.revision,
            compacted: self.compacted,
        }
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.rng.random_ratio(1, n)
    }

    /// Mostly a small space, so that keys meet; now and then bytes at the edges.
    fn key(&mut self) -> Bytes {
        const ODD: [&[u8]; 7] = [
            b"\0",
            b"\0\0",
            b"a\0",
            b"\xff",
            b"\xff\xff",
            b"b\xff",
            b"p/\xff",
        ];
        match self.rng.random_range(0..20) {
            0 => Bytes::from_static(ODD[self.rng.random_range(0..ODD.len())]),
            1..8 => Bytes::from(format!("p/{}", self.rng.random_range(0..30))),
            8..12 => Bytes::from(format!("a{}", self.rng.random_range(0..10))),
            _ => Bytes::from(vec![self.rng.random_range(b'a'..=b'z')]),
        }
    }

    fn value(&mut self) -> Bytes {
        let size = match self.rng.random_range(0..100) {
            0..5 => 0,
            5..60 => return Bytes::from(format!("v{}", self.rng.random_range(0..5))),
            60..97 => self.rng.random_range(1..200),
            97..99 => self.rng.random_range(1000..10_000),
            _ => self.rng.random_range(10_000..60_000),
        };
        let mut value = vec![0; size];
        self.rng.fill(&mut value[..]);
        Bytes::from(value)
    }

    /// A start and an end of a range: one key, a prefix, an interval, the rest, all, nothing.
    fn span(&mut self) -> (Bytes, Bytes) {
        let key = self.key();
        match self.rng.random_range(0..100) {
            0..35 => (key, Bytes::new()),
            35..50 => (Bytes::from_static(b"p/"), Bytes::from_static(b"p0")),
            50..75 => {
                let end = self.key();
                if key < end || self.one_in(5) {
                    (key, end)
                } else {
                    (end, key)
                }
            }
            75..85 => (key, Bytes::from_static(b"\0")),
            85..95 => (Bytes::from_static(b"\0"), Bytes::from_static(b"\0")),
            95..97 => (key.clone(), key),
            _ => (Bytes::from_static(b"q"), Bytes::from_static(b"c")),
        }
    }

    /// Zero (now), old ones, the borders, and what cannot be.
    fn read_revision(&mut self) -> i64 {
        let oldest = self.compacted.max(1);
        match self.rng.random_range(0..100) {
            0..55 => 0,
            55..85 => self.rng.random_range(oldest..=self.revision),
            85..90 => oldest,
            90..93 => self.compacted - 1,
            93..95 => self.revision,
            95..97 => self.revision + 1,
            97..98 => self.rng.random_range(1..=oldest),
            98..99 => -1,
            _ => i64::MAX,
        }
    }

    /// None, one that exists, or one that does not.
    fn lease_for_put(&mut self) -> i64 {
        match self.rng.random_range(0..100) {
            0..75 => 0,
            75..97 => self.known_lease().unwrap_or(0),
            _ => 999,
        }
    }

    fn known_lease(&mut self) -> Option<i64> {
        if self.leases.is_empty() {
            return None;
        }
        let nth = self.rng.random_range(0..self.leases.len());
        self.leases.iter().nth(nth).copied()
    }
}
