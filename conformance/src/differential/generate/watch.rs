//! Watches: on lasting streams where events are followed, and on streams of their
//! own where the answer to the request itself is what matters.

use super::{Generator, NO_WATCH};
use crate::differential::op::Op;
use crate::differential::watch::{FUTURE_STREAM, STREAMS};
use rand::RngExt;
use sternpost_proto::etcdserverpb as pb;

/// Watchers alive at once on all lasting streams.
const WATCHES_MAX: usize = 14;
/// The id of a watch that ends before another one gets it.
const SHORT_WATCH: i64 = 7777;

impl Generator {
    pub(super) fn watch_create(&mut self) -> Op {
        if self.watches.len() >= WATCHES_MAX {
            return self.watch_cancel();
        }
        let stream = self.rng.random_range(0..STREAMS);
        let start_revision = match self.rng.random_range(0..10) {
            0..4 => 0,
            4 if stream == FUTURE_STREAM => i64::MAX,
            5 if stream == FUTURE_STREAM => self.revision + 1,
            _ if stream == FUTURE_STREAM => self.revision + self.rng.random_range(1..30),
            4..8 => self.rng.random_range(self.compacted.max(1)..=self.revision),
            8 => self.compacted.max(1),
            _ => self.revision,
        };
        let request = self.watch_request(start_revision);
        Op::WatchCreate(stream, request)
    }

    fn watch_request(&mut self, start_revision: i64) -> pb::WatchCreateRequest {
        let (key, range_end) = self.span();
        let filters = match self.rng.random_range(0..10) {
            0 => vec![0],
            1 => vec![1],
            2 if self.one_in(3) => vec![0, 1],
            3 if self.one_in(3) => vec![1, 1],
            4 if self.one_in(3) => vec![7],
            _ => vec![],
        };
        pb::WatchCreateRequest {
            key: if self.one_in(20) {
                bytes::Bytes::new()
            } else {
                key
            },
            range_end,
            start_revision,
            progress_notify: self.one_in(4),
            filters,
            prev_kv: self.one_in(3),
            watch_id: match self.rng.random_range(0..20) {
                0 => -7,
                1 => 3,
                2 => 1000,
                3 => i64::MAX,
                4 => i64::MIN,
                _ => 0,
            },
            fragment: self.one_in(4),
        }
    }

    /// Settled first: an event on its way would be delivered or not by chance.
    pub(super) fn watch_cancel(&mut self) -> Op {
        let nth = self.rng.random_range(0..=self.watches.len());
        let (stream, id) = self
            .watches
            .iter()
            .nth(nth)
            .copied()
            .unwrap_or((0, NO_WATCH));
        self.queue.push_back(Op::WatchCancel(stream, id));
        Op::Settle
    }

    /// Settled first: progress is promised only after the events it covers.
    pub(super) fn watch_progress(&mut self) -> Op {
        let stream = self.rng.random_range(0..FUTURE_STREAM);
        self.queue.push_back(Op::WatchProgress(stream));
        Op::Settle
    }

    /// A short watch of everything from a revision just compacted: that revision is
    /// still told in full, its deletions included.
    pub(super) fn watch_from(&mut self, start_revision: i64) {
        let request = pb::WatchCreateRequest {
            key: bytes::Bytes::from_static(b"\0"),
            range_end: bytes::Bytes::from_static(b"\0"),
            start_revision,
            prev_kv: self.one_in(2),
            watch_id: SHORT_WATCH,
            ..Default::default()
        };
        self.queue.push_back(Op::WatchCreate(0, request));
        self.queue.push_back(Op::Settle);
        self.queue.push_back(Op::WatchCancel(0, SHORT_WATCH));
    }

    /// Each with the number of answers that both servers must give.
    pub(super) fn watch_once(&mut self) -> Op {
        let request = self.watch_request(self.revision + 1000);
        let requests = match self.rng.random_range(0..6) {
            0 => {
                let before_all = -self.rng.random_range(1..5);
                let mut request = self.watch_request(before_all);
                if self.one_in(4) {
                    // Two faults: which one is named is a matter of order.
                    request.key = bytes::Bytes::from_static(b"m");
                    request.range_end = bytes::Bytes::from_static(b"c");
                }
                vec![(request, 1)]
            }
            1 if self.compacted > 1 => {
                let start = self.rng.random_range(1..self.compacted);
                let request = self.watch_request(start);
                vec![(
                    pb::WatchCreateRequest {
                        key: bytes::Bytes::from_static(b"a"),
                        range_end: bytes::Bytes::from_static(b"\0"),
                        ..request
                    },
                    2,
                )]
            }
            2 => vec![(
                pb::WatchCreateRequest {
                    key: bytes::Bytes::from_static(b"m"),
                    range_end: bytes::Bytes::from_static(b"c"),
                    ..request
                },
                1,
            )],
            3 => vec![
                (with_id(&request, 5), 1),
                (with_id(&request, 5), 1),
                (with_id(&request, 0), 1),
            ],
            4 => vec![
                (with_id(&request, 1), 1),
                (with_id(&request, 0), 1),
                (with_id(&request, 0), 1),
                (with_id(&request, -1), 1),
                (with_id(&request, 0), 1),
            ],
            _ => vec![(request, 1)],
        };
        Op::WatchOnce(requests)
    }
}

fn with_id(request: &pb::WatchCreateRequest, watch_id: i64) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest {
        key: bytes::Bytes::from_static(b"w"),
        range_end: bytes::Bytes::new(),
        watch_id,
        ..request.clone()
    }
}
