//! The data: revisions, leases, watchers, and the disk below them.

use super::build::{Buckets, Builder, SECONDS};
use prometheus::{Histogram, IntCounter, IntGauge};

/// `etcd_mvcc_*`, `etcd_debugging_mvcc_*` without the watchers.
pub struct Mvcc {
    /// Puts, those in transactions included.
    pub put_total: IntCounter,
    /// Delete operations, not keys.
    pub delete_total: IntCounter,
    /// Range operations, those in transactions included.
    pub range_total: IntCounter,
    /// Transactions with more than one operation.
    pub txn_total: IntCounter,
    /// Bytes of keys and values that were put.
    pub total_put_size: IntGauge,
    /// Time of a Hash.
    pub hash_duration: Histogram,
    /// Time of a HashKV.
    pub hash_rev_duration: Histogram,
    /// Live keys. Set at scrape.
    pub keys_total: IntGauge,
    /// The current revision. Set at scrape.
    pub current_revision: IntGauge,
    /// The compact revision. Set at scrape.
    pub compact_revision: IntGauge,
    /// Bytes that count against the quota. Set at scrape.
    pub db_total_size: IntGauge,
    /// The same without dead rows. Set at scrape.
    pub db_total_size_in_use: IntGauge,
    /// Views that readers hold. Set at scrape.
    pub db_open_read_transactions: IntGauge,
    /// Rows removed by compaction.
    pub compaction_keys: IntCounter,
    /// When the last compaction ended, in seconds since 1970.
    pub compaction_last: IntGauge,
    /// Milliseconds of a scrub step.
    pub compaction_pause: Histogram,
    /// Milliseconds of a whole compaction.
    pub compaction_total: Histogram,
    /// The rebuildable copy of the newest versions, in bytes. Set at scrape.
    pub current_copy_size: IntGauge,
    /// All files of the database, in bytes. Set at scrape.
    pub disk_size: IntGauge,
}

impl Mvcc {
    pub(super) fn new(add: &Builder<'_>) -> Self {
        add.histogram(
            "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds",
            "Always empty: there is no index to compact.",
            Buckets::Doubling(0.5, 14),
        );
        Self {
            put_total: add.counter("etcd_mvcc_put_total", "Puts seen by this member."),
            delete_total: add.counter("etcd_mvcc_delete_total", "Deletes seen by this member."),
            range_total: add.counter("etcd_mvcc_range_total", "Ranges seen by this member."),
            txn_total: add.counter("etcd_mvcc_txn_total", "Transactions seen by this member."),
            total_put_size: add.gauge(
                "etcd_debugging_mvcc_total_put_size_in_bytes",
                "Bytes put by this member.",
            ),
            hash_duration: add.histogram(
                "etcd_mvcc_hash_duration_seconds",
                "Time of a hash.",
                Buckets::Doubling(0.01, 15),
            ),
            hash_rev_duration: add.histogram(
                "etcd_mvcc_hash_rev_duration_seconds",
                "Time of a hash at a revision.",
                Buckets::Doubling(0.01, 15),
            ),
            keys_total: add.gauge("etcd_debugging_mvcc_keys_total", "Live keys."),
            current_revision: add.gauge(
                "etcd_debugging_mvcc_current_revision",
                "The current revision.",
            ),
            compact_revision: add.gauge(
                "etcd_debugging_mvcc_compact_revision",
                "The compact revision.",
            ),
            db_total_size: add.gauge(
                "etcd_mvcc_db_total_size_in_bytes",
                "Bytes of data, as they count against the quota.",
            ),
            db_total_size_in_use: add.gauge(
                "etcd_mvcc_db_total_size_in_use_in_bytes",
                "Bytes of data in use.",
            ),
            db_open_read_transactions: add.gauge(
                "etcd_mvcc_db_open_read_transactions",
                "Views held by readers.",
            ),
            compaction_keys: add.counter(
                "etcd_debugging_mvcc_db_compaction_keys_total",
                "Rows removed by compaction.",
            ),
            compaction_last: add.gauge(
                "etcd_debugging_mvcc_db_compaction_last",
                "When the last compaction ended, as Unix time.",
            ),
            compaction_pause: add.histogram(
                "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds",
                "Milliseconds of one compaction step.",
                Buckets::Doubling(1.0, 13),
            ),
            compaction_total: add.histogram(
                "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
                "Milliseconds of a whole compaction.",
                Buckets::Doubling(100.0, 14),
            ),
            current_copy_size: add.gauge(
                "sternpost_current_copy_bytes",
                "Bytes of the rebuildable copy of the newest versions.",
            ),
            disk_size: add.gauge(
                "sternpost_disk_bytes",
                "Bytes of all files of the database.",
            ),
        }
    }
}

/// `etcd_disk_*` and the snapshot families.
pub struct Disk {
    /// One fdatasync of the log.
    pub wal_fsync: Histogram,
    /// One write to the log, sync included.
    pub wal_write: Histogram,
    /// Bytes written to the log.
    pub wal_write_bytes: IntGauge,
    /// One chunk written to the state machine.
    pub backend_commit: Histogram,
    /// The write part of it.
    pub backend_commit_write: Histogram,
    /// A defragmentation.
    pub backend_defrag: Histogram,
    /// 1 while defragmenting.
    pub defrag_inflight: IntGauge,
}

impl Disk {
    pub(super) fn new(add: &Builder<'_>) -> Self {
        // Families of parts that do not exist here stay at zero, so that
        // dashboards find them.
        for (name, help) in [
            (
                "etcd_debugging_disk_backend_commit_rebalance_duration_seconds",
                "Always empty: no pages are rebalanced.",
            ),
            (
                "etcd_debugging_disk_backend_commit_spill_duration_seconds",
                "Always empty: no pages are spilled.",
            ),
            (
                "etcd_debugging_snap_save_marshalling_duration_seconds",
                "Always empty: no snapshot files are written.",
            ),
            (
                "etcd_debugging_snap_save_total_duration_seconds",
                "Always empty: no snapshot files are written.",
            ),
            (
                "etcd_snap_db_fsync_duration_seconds",
                "Always empty: no snapshot files are written.",
            ),
            (
                "etcd_snap_fsync_duration_seconds",
                "Always empty: no snapshot files are written.",
            ),
        ] {
            add.histogram(name, help, SECONDS);
        }
        add.histogram(
            "etcd_snap_db_save_total_duration_seconds",
            "Always empty: no snapshot files are written.",
            Buckets::Doubling(0.1, 10),
        );
        // No snapshot is streamed yet.
        add.histogram(
            "etcd_disk_backend_snapshot_duration_seconds",
            "Time of a snapshot.",
            Buckets::Doubling(0.01, 17),
        );
        Self {
            wal_fsync: add.histogram(
                "etcd_disk_wal_fsync_duration_seconds",
                "Time of an fsync of the log.",
                SECONDS,
            ),
            wal_write: add.histogram(
                "etcd_disk_wal_write_duration_seconds",
                "Time of a write to the log.",
                SECONDS,
            ),
            wal_write_bytes: add.gauge(
                "etcd_disk_wal_write_bytes_total",
                "Bytes written to the log.",
            ),
            backend_commit: add.histogram(
                "etcd_disk_backend_commit_duration_seconds",
                "Time of a commit of the state.",
                SECONDS,
            ),
            backend_commit_write: add.histogram(
                "etcd_debugging_disk_backend_commit_write_duration_seconds",
                "Time of the write of a commit.",
                SECONDS,
            ),
            backend_defrag: add.histogram(
                "etcd_disk_backend_defrag_duration_seconds",
                "Time of a defragmentation.",
                Buckets::Doubling(0.1, 13),
            ),
            defrag_inflight: add.gauge("etcd_disk_defrag_inflight", "1 while defragmenting."),
        }
    }
}

/// `etcd_debugging_lease_*`.
pub struct Lease {
    /// Grants applied.
    pub granted: IntCounter,
    /// Revokes applied.
    pub revoked: IntCounter,
    /// Renewals answered by this leader.
    pub renewed: IntCounter,
    /// Granted seconds.
    pub ttl: Histogram,
}

impl Lease {
    pub(super) fn new(add: &Builder<'_>) -> Self {
        Self {
            granted: add.counter("etcd_debugging_lease_granted_total", "Leases granted."),
            revoked: add.counter("etcd_debugging_lease_revoked_total", "Leases revoked."),
            renewed: add.counter(
                "etcd_debugging_lease_renewed_total",
                "Renewals seen by the leader.",
            ),
            ttl: add.histogram(
                "etcd_debugging_lease_ttl_total",
                "Granted seconds.",
                Buckets::Doubling(1.0, 24),
            ),
        }
    }
}

/// Watchers.
pub struct Watch {
    /// Events sent to clients.
    pub events: IntCounter,
    /// Events that wait in queues of streams.
    pub pending_events: IntGauge,
    /// Watchers that catch up from history.
    pub slow_watchers: IntGauge,
    /// Open watch streams.
    pub streams: IntGauge,
    /// Live watchers.
    pub watchers: IntGauge,
    /// Time to send a created, canceled or similar answer.
    pub send_control: Histogram,
    /// Time to send a progress notification.
    pub send_progress: Histogram,
    /// Time to send one response with events.
    pub send_events: Histogram,
    /// The same divided by its events.
    pub send_per_event: Histogram,
}

impl Watch {
    pub(super) fn new(add: &Builder<'_>) -> Self {
        Self {
            events: add.counter(
                "etcd_debugging_mvcc_events_total",
                "Events sent by this member.",
            ),
            pending_events: add.gauge(
                "etcd_debugging_mvcc_pending_events_total",
                "Events waiting to be sent.",
            ),
            slow_watchers: add.gauge(
                "etcd_debugging_mvcc_slow_watcher_total",
                "Watchers that catch up.",
            ),
            streams: add.gauge("etcd_debugging_mvcc_watch_stream_total", "Watch streams."),
            watchers: add.gauge("etcd_debugging_mvcc_watcher_total", "Watchers."),
            send_control: add.histogram(
                "etcd_debugging_server_watch_send_loop_control_stream_duration_seconds",
                "Time to send a control answer.",
                SECONDS,
            ),
            send_progress: add.histogram(
                "etcd_debugging_server_watch_send_loop_progress_duration_seconds",
                "Time to send a progress notification.",
                SECONDS,
            ),
            send_events: add.histogram(
                "etcd_debugging_server_watch_send_loop_watch_stream_duration_seconds",
                "Time to send a response with events.",
                SECONDS,
            ),
            send_per_event: add.histogram(
                "etcd_debugging_server_watch_send_loop_watch_stream_duration_per_event_seconds",
                "Time to send a response, divided by its events.",
                SECONDS,
            ),
        }
    }
}
