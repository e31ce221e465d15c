//! Flags of older etcd versions. etcd 3.7 refuses them; here a unit file
//! written for 3.5 still starts, with a warning that says what to write.

/// What stands for a flag of old.
pub enum Relic {
    /// Another flag, with the same value.
    Renamed(&'static str),
    /// A feature gate, on or off.
    Gate(&'static str),
    /// Nothing.
    Ignored,
}

const RENAMED: [(&str, &str); 12] = [
    (
        "experimental-watch-progress-notify-interval",
        "watch-progress-notify-interval",
    ),
    ("experimental-corrupt-check-time", "corrupt-check-time"),
    (
        "experimental-compact-hash-check-time",
        "compact-hash-check-time",
    ),
    (
        "experimental-compaction-batch-limit",
        "compaction-batch-limit",
    ),
    (
        "experimental-compaction-sleep-interval",
        "compaction-sleep-interval",
    ),
    (
        "experimental-peer-skip-client-san-verification",
        "peer-skip-client-san-verification",
    ),
    ("experimental-downgrade-check-time", "downgrade-check-time"),
    (
        "experimental-warning-apply-duration",
        "warning-apply-duration",
    ),
    (
        "experimental-warning-unary-request-duration",
        "warning-unary-request-duration",
    ),
    (
        "experimental-bootstrap-defrag-threshold-megabytes",
        "bootstrap-defrag-threshold-megabytes",
    ),
    ("experimental-memory-mlock", "memory-mlock"),
    (
        "experimental-snapshot-catchup-entries",
        "snapshot-catchup-entries",
    ),
];

const GATES: [(&str, &str); 5] = [
    ("experimental-initial-corrupt-check", "InitialCorruptCheck"),
    (
        "experimental-compact-hash-check-enabled",
        "CompactHashCheck",
    ),
    ("experimental-enable-lease-checkpoint", "LeaseCheckpoint"),
    (
        "experimental-enable-lease-checkpoint-persist",
        "LeaseCheckpointPersist",
    ),
    (
        "experimental-stop-grpc-service-on-defrag",
        "StopGRPCServiceOnDefrag",
    ),
];

const IGNORED: [&str; 35] = [
    "experimental-txn-mode-write-with-shared-buffer",
    "experimental-enable-distributed-tracing",
    "experimental-distributed-tracing-address",
    "experimental-distributed-tracing-service-name",
    "experimental-distributed-tracing-instance-id",
    "experimental-distributed-tracing-sampling-rate",
    "experimental-backend-bbolt-freelist-type",
    "experimental-enable-v2v3",
    "discovery",
    "discovery-proxy",
    "enable-v2",
    "proxy",
    "proxy-failure-wait",
    "proxy-refresh-interval",
    "proxy-dial-timeout",
    "proxy-write-timeout",
    "proxy-read-timeout",
    "debug",
    "log-package-levels",
    "log-output",
    "cluster-active-size",
    "cluster-remove-delay",
    "cluster-sync-interval",
    "config",
    "force",
    "max-result-buffer",
    "max-retry-attempts",
    "peer-heartbeat-interval",
    "peer-election-timeout",
    "retry-interval",
    "snapshot",
    "v",
    "vv",
    "test.coverprofile",
    "test.outputdir",
];

/// Those that never took a value: they may stand alone.
const BOOLEANS: [&str; 9] = [
    "experimental-memory-mlock",
    "experimental-peer-skip-client-san-verification",
    "experimental-txn-mode-write-with-shared-buffer",
    "experimental-enable-distributed-tracing",
    "enable-v2",
    "debug",
    "force",
    "snapshot",
    "v",
];

/// What the flag of this name stands for, if it is one of old.
pub fn find(name: &str) -> Option<Relic> {
    let in_table = |table: &[(&'static str, &'static str)]| {
        table
            .iter()
            .find(|(old, _)| *old == name)
            .map(|(_, new)| *new)
    };
    if let Some(new) = in_table(&RENAMED) {
        return Some(Relic::Renamed(new));
    }
    if let Some(gate) = in_table(&GATES) {
        return Some(Relic::Gate(gate));
    }
    IGNORED.contains(&name).then_some(Relic::Ignored)
}

/// Whether an old flag may stand without a value.
pub fn is_bool(name: &str) -> bool {
    BOOLEANS.contains(&name) || name == "vv" || GATES.iter().any(|(old, _)| *old == name)
}
