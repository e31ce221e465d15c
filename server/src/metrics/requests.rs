//! Requests by kind, outcome and client version.

use super::build::{Buckets, Builder, SECONDS};
use parking_lot::Mutex;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};
use std::{
    collections::HashMap,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// What a request was, for `etcd_server_request_duration_seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// A range.
    Range,
    /// A transaction of ranges only.
    ReadonlyTxn,
    /// A put.
    Put,
    /// A delete of a range.
    DeleteRange,
    /// A transaction that may write.
    Txn,
    /// A compaction.
    Compaction,
    /// A new lease.
    LeaseGrant,
    /// The end of a lease.
    LeaseRevoke,
    /// An alarm.
    Alarm,
}

const KINDS: [&str; 9] = [
    "Range",
    "ReadonlyTxn",
    "Put",
    "DeleteRange",
    "Txn",
    "Compaction",
    "LeaseGrant",
    "LeaseRevoke",
    "Alarm",
];

impl RequestKind {
    /// It goes through the log.
    fn is_applied(self) -> bool {
        !matches!(self, Self::Range | Self::ReadonlyTxn)
    }
}

/// A histogram per kind of request and outcome. A series appears with its
/// first observation, and is looked up by name only then.
pub struct RequestDurations {
    family: HistogramVec,
    series: [[OnceLock<Histogram>; 2]; KINDS.len()],
    applies: HistogramVec,
    applied: [OnceLock<Histogram>; KINDS.len()],
    apply_nanos: AtomicU64,
}

impl RequestDurations {
    /// One request of this kind was done.
    pub fn observe(&self, kind: RequestKind, success: bool, took: Duration) {
        let at = kind as usize;
        self.series[at][usize::from(success)]
            .get_or_init(|| {
                let outcome = if success { "true" } else { "false" };
                self.family.with_label_values(&[KINDS[at], outcome])
            })
            .observe(took.as_secs_f64());
        if success && kind.is_applied() {
            let apply = Duration::from_nanos(self.apply_nanos.load(Ordering::Relaxed));
            self.applied[at]
                .get_or_init(|| self.applies.with_label_values(&["v3", KINDS[at], "true"]))
                .observe(apply.as_secs_f64());
        }
    }

    /// A chunk of entries was applied. Entries are not timed one by one: the
    /// apply histogram takes a command's share of the newest chunk.
    pub fn chunk_applied(&self, entries: usize, took: Duration) {
        let share = took.as_nanos() / entries.max(1) as u128;
        let share = u64::try_from(share).unwrap_or(u64::MAX);
        self.apply_nanos.store(share, Ordering::Relaxed);
    }
}

/// A histogram per outcome.
pub struct OutcomeDurations {
    family: HistogramVec,
    series: [OnceLock<Histogram>; 2],
}

impl OutcomeDurations {
    /// One was done.
    pub fn observe(&self, success: bool, took: Duration) {
        self.series[usize::from(success)]
            .get_or_init(|| {
                self.family
                    .with_label_values(&[if success { "true" } else { "false" }])
            })
            .observe(took.as_secs_f64());
    }
}

/// `etcd_server_client_requests_total`: requests by the version that the
/// client says it has.
pub struct ClientRequests {
    family: IntCounterVec,
    unknown: [OnceLock<IntCounter>; 2],
    known: Mutex<HashMap<(bool, String), IntCounter>>,
}

/// Versions counted apart; clients could send any text, so the rest share a series.
const CLIENT_VERSIONS_MAX: usize = 64;

impl ClientRequests {
    /// One request came in.
    pub fn count(&self, stream: bool, version: Option<&str>) {
        let kind = if stream { "stream" } else { "unary" };
        let Some(version) = version else {
            self.unknown[usize::from(stream)]
                .get_or_init(|| self.family.with_label_values(&[kind, "unknown"]))
                .inc();
            return;
        };
        let mut known = self.known.lock();
        let key = (stream, version.to_owned());
        if let Some(counter) = known.get(&key) {
            counter.inc();
        } else if known.len() < CLIENT_VERSIONS_MAX {
            let counter = self.family.with_label_values(&[kind, version]);
            counter.inc();
            known.insert(key, counter);
        } else {
            self.family.with_label_values(&[kind, "other"]).inc();
        }
    }
}

impl Builder<'_> {
    /// Durations by kind and outcome.
    pub fn requests(&self, name: &str, help: &str) -> RequestDurations {
        RequestDurations {
            family: self.histograms(name, help, &["type", "success"], SECONDS),
            series: Default::default(),
            applies: self.histograms(
                "etcd_server_apply_duration_seconds",
                "Time to apply one command.",
                &["version", "op", "success"],
                Buckets::Doubling(0.0001, 20),
            ),
            applied: Default::default(),
            apply_nanos: AtomicU64::new(0),
        }
    }

    /// Durations by outcome.
    pub fn outcomes(&self, name: &str, help: &str, buckets: Buckets) -> OutcomeDurations {
        OutcomeDurations {
            family: self.histograms(name, help, &["success"], buckets),
            series: Default::default(),
        }
    }

    /// Requests by client version.
    pub fn clients(&self, name: &str, help: &str) -> ClientRequests {
        ClientRequests {
            family: self.counters(name, help, &["type", "client_api_version"]),
            unknown: Default::default(),
            known: Mutex::default(),
        }
    }
}
