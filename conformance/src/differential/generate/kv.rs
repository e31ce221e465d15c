//! Puts, ranges, deletes, compactions.

use super::Generator;
use crate::differential::op::{Guarded, Op};
use crate::differential::watch::FUTURE_STREAM;
use bytes::Bytes;
use rand::RngExt;
use sternpost_proto::etcdserverpb as pb;

/// More than `--max-request-bytes`, less than what gRPC takes.
const TOO_LARGE: usize = 1_600_000;
/// More than gRPC takes.
const MUCH_TOO_LARGE: usize = 2_100_000;
/// Keys and bytes of each that make a revision of more than a message.
const LARGE_REVISION: (usize, usize) = (26, 100_000);

impl Generator {
    pub(super) fn put(&mut self) -> Op {
        Op::Put(self.put_request())
    }

    pub(super) fn put_request(&mut self) -> pb::PutRequest {
        let ignore_value = self.one_in(25);
        let ignore_lease = self.one_in(if ignore_value { 3 } else { 25 });
        pb::PutRequest {
            key: self.key(),
            value: if ignore_value {
                Bytes::new()
            } else {
                self.value()
            },
            lease: if ignore_lease {
                0
            } else {
                self.lease_for_put()
            },
            prev_kv: self.one_in(3),
            ignore_value,
            ignore_lease,
        }
    }

    pub(super) fn range(&mut self) -> Op {
        Op::Range(self.range_request())
    }

    pub(super) fn range_request(&mut self) -> pb::RangeRequest {
        let (key, range_end) = self.span();
        pb::RangeRequest {
            key,
            range_end,
            limit: self.limit(),
            revision: self.read_revision(),
            sort_order: match self.rng.random_range(0..100) {
                0..60 => 0,
                60..80 => 1,
                80..99 => 2,
                _ => 3,
            },
            sort_target: match self.rng.random_range(0..100) {
                0..50 => 0,
                50..99 => self.rng.random_range(0..5),
                _ => 5,
            },
            serializable: self.one_in(3),
            keys_only: self.one_in(6),
            count_only: self.one_in(8),
            min_mod_revision: self.bound(),
            max_mod_revision: self.bound(),
            min_create_revision: self.bound(),
            max_create_revision: self.bound(),
        }
    }

    fn limit(&mut self) -> i64 {
        match self.rng.random_range(0..100) {
            0..50 => 0,
            50..90 => self.rng.random_range(1..15),
            90..95 => -1,
            95..97 => i64::MIN,
            97..99 => 1000,
            _ => i64::MAX,
        }
    }

    /// A bound of a revision filter, mostly off.
    fn bound(&mut self) -> i64 {
        match self.rng.random_range(0..100) {
            0..92 => 0,
            92..99 => self.rng.random_range(1..=self.revision + 1),
            _ => -3,
        }
    }

    /// As [`Self::range`], mostly without what a stream refuses.
    pub(super) fn range_stream(&mut self) -> Op {
        let mut request = self.range_request();
        if !self.one_in(10) {
            request.sort_order = i32::from(self.one_in(4));
            request.sort_target = 0;
            request.min_mod_revision = 0;
            request.max_mod_revision = 0;
            request.min_create_revision = 0;
            request.max_create_revision = 0;
        }
        // The reference takes a target without an order and then sorts, and cuts, each
        // chunk by itself: which keys come depends on a heuristic. Not imitated.
        if request.sort_order == 0 {
            request.sort_target = 0;
        }
        Op::RangeStream(request)
    }

    pub(super) fn delete(&mut self) -> Op {
        Op::Delete(self.delete_request())
    }

    pub(super) fn delete_request(&mut self) -> pb::DeleteRangeRequest {
        let (key, range_end) = if self.one_in(4) {
            self.span()
        } else {
            (self.key(), Bytes::new())
        };
        pb::DeleteRangeRequest {
            key,
            range_end,
            prev_kv: self.one_in(3),
        }
    }

    /// Settled first: a previous value still to be sent would be gone or not by chance.
    pub(super) fn compact(&mut self) -> Op {
        let oldest = self.compacted.max(1);
        let revision = match self.rng.random_range(0..100) {
            0..20 if self.last_delete > oldest => self.last_delete,
            0..60 => self.rng.random_range(oldest..=self.revision),
            60..70 => self.revision,
            70..80 => self.compacted,
            80..85 => self.revision + 1,
            85..90 => 0,
            90..93 => -1,
            93..95 => i64::MAX,
            95..97 => self.rng.random_range(1..=oldest),
            _ => oldest + 1,
        };
        if self.reborn.contains(&revision) {
            return Op::Settle;
        }
        let physical = self.one_in(2);
        let request = pb::CompactionRequest { revision, physical };
        self.compact_settled(request);
        if revision > oldest && revision <= self.revision {
            self.watch_from(revision);
        }
        Op::Settle
    }

    /// The reference's watchers catch up ten times a second, and one that has not is
    /// canceled by a compaction above its start: all that can be behind show progress first.
    pub(super) fn compact_settled(&mut self, request: pb::CompactionRequest) {
        self.queue.push_back(Op::Settle);
        self.queue.extend((0..FUTURE_STREAM).map(Op::WatchProgress));
        self.queue.push_back(Op::Compact(request));
    }

    /// Requests that must be refused, or are legal and look as if they must.
    pub(super) fn wrong(&mut self) -> Op {
        let range = self.range_request();
        let empty = Bytes::new();
        match self.rng.random_range(0..16) {
            0 => Op::Put(pb::PutRequest::default()),
            1 => Op::Range(pb::RangeRequest {
                key: empty,
                ..range
            }),
            2 => Op::RangeStream(pb::RangeRequest {
                key: empty,
                ..range
            }),
            3 => Op::Delete(pb::DeleteRangeRequest {
                range_end: self.key(),
                ..Default::default()
            }),
            4..7 => self.wrong_put(),
            7 => Op::Range(pb::RangeRequest {
                sort_order: -1,
                ..range
            }),
            8 => Op::Range(pb::RangeRequest {
                revision: self.revision + 10,
                ..range
            }),
            9 => {
                let calls = [
                    Guarded::Range,
                    Guarded::RangeStream,
                    Guarded::Watch,
                    Guarded::KeepAlive,
                ];
                Op::BadClientVersion(calls[self.rng.random_range(0..4)], range)
            }
            10 => Op::RequireLeader(range),
            11 => self.large(),
            _ => self.wrong_txn(),
        }
    }

    fn wrong_put(&mut self) -> Op {
        let request = self.put_request();
        Op::Put(match self.rng.random_range(0..4) {
            0 => pb::PutRequest {
                ignore_value: true,
                value: Bytes::from_static(b"x"),
                ..request
            },
            1 => pb::PutRequest {
                ignore_lease: true,
                lease: 1,
                ..request
            },
            // Several faults: which one is named is a matter of order.
            2 => pb::PutRequest {
                key: if self.one_in(3) {
                    Bytes::new()
                } else {
                    self.key()
                },
                ignore_lease: true,
                lease: 1,
                ignore_value: true,
                value: Bytes::from_static(b"x"),
                ..request
            },
            _ => pb::PutRequest {
                key: Bytes::from_static(b"never written"),
                value: Bytes::new(),
                ignore_value: true,
                ..Default::default()
            },
        })
    }

    /// At and over the limits of size.
    fn large(&mut self) -> Op {
        let size = match self.rng.random_range(0..4) {
            0 => TOO_LARGE,
            1 => MUCH_TOO_LARGE,
            2 => {
                let (keys, bytes) = LARGE_REVISION;
                let fragment = !self.one_in(4);
                return Op::LargeRevision {
                    keys,
                    bytes,
                    fragment,
                };
            }
            _ => return self.wrong_put(),
        };
        Op::Put(pb::PutRequest {
            key: self.key(),
            value: Bytes::from(vec![b'x'; size]),
            ..Default::default()
        })
    }
}
