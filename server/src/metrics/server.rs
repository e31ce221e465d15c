//! `etcd_server_*` and what describes the process.

use super::build::{Buckets, Builder, SECONDS};
use parking_lot::Mutex;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use std::{collections::HashMap, sync::OnceLock, time::Duration};

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

/// A histogram per kind of request and outcome. A series appears with its
/// first observation, and is looked up by name only then.
pub struct RequestDurations {
    family: HistogramVec,
    series: [[OnceLock<Histogram>; 2]; KINDS.len()],
}

impl RequestDurations {
    /// One request of this kind was done.
    pub fn observe(&self, kind: RequestKind, success: bool, took: Duration) {
        self.series[kind as usize][usize::from(success)]
            .get_or_init(|| {
                let outcome = if success { "true" } else { "false" };
                self.family
                    .with_label_values(&[KINDS[kind as usize], outcome])
            })
            .observe(took.as_secs_f64());
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

/// `etcd_server_*`, `etcd_cluster_version`, alarms and health.
pub struct Server {
    /// 1 if a leader is known. Set at scrape.
    pub has_leader: IntGauge,
    /// 1 if this member leads. Set at scrape.
    pub is_leader: IntGauge,
    /// 1 if this member does not vote. Set at scrape.
    pub is_learner: IntGauge,
    /// Changes of the leader that this member saw, the first one included.
    pub leader_changes_seen: IntCounter,
    /// The committed index. Set at scrape.
    pub proposals_committed: IntGauge,
    /// The applied index. Set at scrape.
    pub proposals_applied: IntGauge,
    /// Proposals that wait for their commit.
    pub proposals_pending: IntGauge,
    /// Proposals that failed or timed out.
    pub proposals_failed: IntCounter,
    /// The quota in bytes, as in force. Set at start.
    pub quota_backend_bytes: IntGauge,
    /// Applies slower than `warning-apply-duration`.
    pub slow_apply: IntCounter,
    /// Read indexes that took too long.
    pub slow_read_indexes: IntCounter,
    /// Read indexes that failed.
    pub read_indexes_failed: IntCounter,
    /// Leases the leader found expired.
    pub lease_expired: IntCounter,
    /// How long one range took.
    pub range_duration: OutcomeDurations,
    /// How long one request took, its wait for consensus included.
    pub request_duration: RequestDurations,
    /// Requests by client version.
    pub client_requests: ClientRequests,
    /// `/health` answered yes.
    pub health_success: IntCounter,
    /// `/health` answered no.
    pub health_failures: IntCounter,
    /// The last answer of each sub-check.
    pub healthcheck: IntGaugeVec,
    /// Answers of each sub-check.
    pub healthchecks: IntCounterVec,
    /// Active alarms by member and type. Set at scrape.
    pub alarms: IntGaugeVec,
    /// A series per member. Set at scrape.
    pub known_peers: IntGaugeVec,
    /// The cluster's version, in its label. Set at scrape.
    pub cluster_version: IntGaugeVec,
    /// This server's version, in its label.
    pub version: IntGaugeVec,
    /// What this server is built with, in its label.
    pub go_version: IntGaugeVec,
    /// This member's ID, in its label.
    pub id: IntGaugeVec,
    /// A series per feature gate.
    pub feature_enabled: IntGaugeVec,
    /// The revision of users and roles.
    pub auth_revision: IntGauge,
}

impl Server {
    pub(super) fn new(add: &Builder<'_>) -> Self {
        let request = add.histograms(
            "etcd_server_request_duration_seconds",
            "Time of one request with its consensus.",
            &["type", "success"],
            SECONDS,
        );
        let range = add.histograms(
            "etcd_server_range_duration_seconds",
            "Time of one range.",
            &["success"],
            Buckets::Doubling(0.0001, 20),
        );
        // At zero as long as there are no peers.
        add.counter(
            "etcd_server_heartbeat_send_failures_total",
            "Heartbeats sent late.",
        );
        add.gauge(
            "etcd_server_snapshot_apply_in_progress_total",
            "1 while a received snapshot is applied.",
        );
        add.counter(
            "etcd_server_learner_promote_successes",
            "Learners promoted while leading.",
        );
        Self {
            has_leader: add.gauge(
                "etcd_server_has_leader",
                "Whether a leader is known: 1 is yes.",
            ),
            is_leader: add.gauge(
                "etcd_server_is_leader",
                "Whether this member leads: 1 is yes.",
            ),
            is_learner: add.gauge(
                "etcd_server_is_learner",
                "Whether this member is a learner: 1 is yes.",
            ),
            leader_changes_seen: add.counter(
                "etcd_server_leader_changes_seen_total",
                "Leader changes seen by this member.",
            ),
            proposals_committed: add.gauge(
                "etcd_server_proposals_committed_total",
                "The committed index.",
            ),
            proposals_applied: add
                .gauge("etcd_server_proposals_applied_total", "The applied index."),
            proposals_pending: add.gauge(
                "etcd_server_proposals_pending",
                "Proposals waiting for their commit.",
            ),
            proposals_failed: add.counter(
                "etcd_server_proposals_failed_total",
                "Proposals that failed.",
            ),
            quota_backend_bytes: add.gauge(
                "etcd_server_quota_backend_bytes",
                "The quota in force, in bytes.",
            ),
            slow_apply: add.counter(
                "etcd_server_slow_apply_total",
                "Applies slower than the warning limit.",
            ),
            slow_read_indexes: add.counter(
                "etcd_server_slow_read_indexes_total",
                "Read indexes that were late or timed out.",
            ),
            read_indexes_failed: add.counter(
                "etcd_server_read_indexes_failed_total",
                "Read indexes that failed.",
            ),
            lease_expired: add.counter(
                "etcd_debugging_server_lease_expired_total",
                "Leases found expired by the leader.",
            ),
            range_duration: OutcomeDurations {
                family: range,
                series: Default::default(),
            },
            request_duration: RequestDurations {
                family: request,
                series: Default::default(),
            },
            client_requests: ClientRequests {
                family: add.counters(
                    "etcd_server_client_requests_total",
                    "Requests by type and client version.",
                    &["type", "client_api_version"],
                ),
                unknown: Default::default(),
                known: Mutex::default(),
            },
            health_success: add.counter(
                "etcd_server_health_success",
                "Successful answers of /health.",
            ),
            health_failures: add
                .counter("etcd_server_health_failures", "Failed answers of /health."),
            healthcheck: add.gauges(
                "etcd_server_healthcheck",
                "The last answer of a health check: 1 is good.",
                &["type", "name"],
            ),
            healthchecks: add.counters(
                "etcd_server_healthchecks_total",
                "Answers of a health check.",
                &["type", "name", "status"],
            ),
            alarms: add.gauges(
                "etcd_debugging_server_alarms",
                "Active alarms: 1 is active.",
                &["server_id", "alarm_type"],
            ),
            known_peers: add.gauges(
                "etcd_network_known_peers",
                "The members, as this one knows them.",
                &["Local", "Remote"],
            ),
            cluster_version: add.gauges(
                "etcd_cluster_version",
                "The cluster's version is in the label.",
                &["cluster_version"],
            ),
            version: add.gauges(
                "etcd_server_version",
                "The server's version is in the label.",
                &["server_version"],
            ),
            go_version: add.gauges(
                "etcd_server_go_version",
                "What the server is built with is in the label.",
                &["server_go_version"],
            ),
            id: add.gauges(
                "etcd_server_id",
                "The member ID, in hex, is in the label.",
                &["server_id"],
            ),
            feature_enabled: add.gauges(
                "etcd_server_feature_enabled",
                "Whether a feature gate is on: 1 is yes.",
                &["name", "stage"],
            ),
            auth_revision: add.gauge(
                "etcd_debugging_auth_revision",
                "The revision of users and roles.",
            ),
        }
    }
}
