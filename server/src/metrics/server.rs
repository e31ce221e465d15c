//! `etcd_server_*`, the cluster, and health.

use super::build::{Buckets, Builder, families};

families! {
    /// `etcd_server_*`, `etcd_cluster_version`, alarms and health.
    Server {
        /// 1 if a leader is known.
        has_leader: gauge("etcd_server_has_leader");
        /// 1 if this member leads.
        is_leader: gauge("etcd_server_is_leader");
        /// 1 if this member does not vote.
        is_learner: gauge("etcd_server_is_learner");
        /// Changes of the leader that this member saw, the first one included.
        leader_changes_seen: counter("etcd_server_leader_changes_seen_total");
        /// Learners promoted while leading.
        learner_promote_successes: counter("etcd_server_learner_promote_successes");
        /// Promotions refused while leading, by the error's text.
        learner_promote_failures: counters("etcd_server_learner_promote_failures", &["Reason"]);
        /// The committed index.
        proposals_committed: gauge("etcd_server_proposals_committed_total");
        /// The applied index.
        proposals_applied: gauge("etcd_server_proposals_applied_total");
        /// Proposals that wait for their commit.
        proposals_pending: gauge("etcd_server_proposals_pending");
        /// Proposals that failed or timed out.
        proposals_failed: counter("etcd_server_proposals_failed_total");
        /// The quota in bytes, as in force.
        quota_backend_bytes: gauge("etcd_server_quota_backend_bytes");
        /// Applies slower than `warning-apply-duration`.
        slow_apply: counter("etcd_server_slow_apply_total");
        /// Read indexes that took too long.
        slow_read_indexes: counter("etcd_server_slow_read_indexes_total");
        /// Read indexes that failed.
        read_indexes_failed: counter("etcd_server_read_indexes_failed_total");
        /// Leases the leader found expired.
        lease_expired: counter("etcd_debugging_server_lease_expired_total");
        /// Time of one range.
        range_duration: outcomes("etcd_server_range_duration_seconds", Buckets::Doubling(0.0001, 20));
        /// Time of one request, its wait for consensus included.
        request_duration: requests("etcd_server_request_duration_seconds");
        /// Requests by client version.
        client_requests: clients("etcd_server_client_requests_total");
        /// `/health` answered yes.
        health_success: counter("etcd_server_health_success");
        /// `/health` answered no.
        health_failures: counter("etcd_server_health_failures");
        /// The last answer of each sub-check.
        healthcheck: gauges("etcd_server_healthcheck", &["type", "name"]);
        /// Answers of each sub-check.
        healthchecks: counters("etcd_server_healthchecks_total", &["type", "name", "status"]);
        /// Active alarms by member and type.
        alarms: gauges("etcd_debugging_server_alarms", &["server_id", "alarm_type"]);
        /// A series per member.
        known_peers: gauges("etcd_network_known_peers", &["Local", "Remote"]);
        /// The cluster's version, in its label.
        cluster_version: gauges("etcd_cluster_version", &["cluster_version"]);
        /// This server's version, in its label.
        version: gauges("etcd_server_version", &["server_version"]);
        /// What this server is built with, in its label.
        go_version: gauges("etcd_server_go_version", &["server_go_version"]);
        /// This member's ID, in its label.
        id: gauges("etcd_server_id", &["server_id"]);
        /// A series per feature gate.
        feature_enabled: gauges("etcd_server_feature_enabled", &["name", "stage"]);
        /// The revision of users and roles.
        auth_revision: gauge("etcd_debugging_auth_revision");
    }
}
