//! The data: revisions, leases, watchers, and the disk below them.

use super::build::{Buckets, Builder, SECONDS, families};

families! {
    /// `etcd_mvcc_*`, `etcd_debugging_mvcc_*` without the watchers.
    Mvcc {
        /// Puts, those in transactions included.
        put_total: counter("etcd_mvcc_put_total");
        /// Delete operations, not keys.
        delete_total: counter("etcd_mvcc_delete_total");
        /// Range operations, those in transactions included.
        range_total: counter("etcd_mvcc_range_total");
        /// Transactions with more than one operation.
        txn_total: counter("etcd_mvcc_txn_total");
        /// Bytes of keys and values that were put.
        total_put_size: gauge("etcd_debugging_mvcc_total_put_size_in_bytes");
        /// Time of a Hash.
        hash_duration: histogram("etcd_mvcc_hash_duration_seconds", Buckets::Doubling(0.01, 15));
        /// Time of a HashKV.
        hash_rev_duration: histogram("etcd_mvcc_hash_rev_duration_seconds", Buckets::Doubling(0.01, 15));
        /// Live keys.
        keys_total: gauge("etcd_debugging_mvcc_keys_total");
        /// The current revision.
        current_revision: gauge("etcd_debugging_mvcc_current_revision");
        /// The compact revision.
        compact_revision: gauge("etcd_debugging_mvcc_compact_revision");
        /// Bytes that count against the quota.
        db_total_size: gauge("etcd_mvcc_db_total_size_in_bytes");
        /// The same without dead rows.
        db_total_size_in_use: gauge("etcd_mvcc_db_total_size_in_use_in_bytes");
        /// Views that readers hold.
        db_open_read_transactions: gauge("etcd_mvcc_db_open_read_transactions");
        /// Rows removed by compaction.
        compaction_keys: counter("etcd_debugging_mvcc_db_compaction_keys_total");
        /// When the last compaction ended, in seconds since 1970.
        compaction_last: gauge("etcd_debugging_mvcc_db_compaction_last");
        /// Milliseconds of a scrub step.
        compaction_pause: histogram("etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds", Buckets::Doubling(1.0, 13));
        /// Milliseconds of a whole compaction.
        compaction_total: histogram("etcd_debugging_mvcc_db_compaction_total_duration_milliseconds", Buckets::Doubling(100.0, 14));
        /// The rebuildable copy of the newest versions, in bytes.
        current_copy_size: gauge("sternpost_db_current_copy_bytes");
        /// All files of the database, in bytes.
        disk_size: gauge("sternpost_db_disk_bytes");
    }
}

families! {
    /// `etcd_disk_*` and the snapshot families.
    Disk {
        /// One fdatasync of the log.
        wal_fsync: histogram("etcd_disk_wal_fsync_duration_seconds", SECONDS);
        /// One write to the log, sync included.
        wal_write: histogram("etcd_disk_wal_write_duration_seconds", SECONDS);
        /// Bytes written to the log.
        wal_write_bytes: gauge("etcd_disk_wal_write_bytes_total");
        /// One chunk written to the state machine.
        backend_commit: histogram("etcd_disk_backend_commit_duration_seconds", SECONDS);
        /// The write part of it.
        backend_commit_write: histogram("etcd_debugging_disk_backend_commit_write_duration_seconds", SECONDS);
        /// A defragmentation.
        backend_defrag: histogram("etcd_disk_backend_defrag_duration_seconds", Buckets::Doubling(0.1, 13));
        /// 1 while defragmenting.
        defrag_inflight: gauge("etcd_disk_defrag_inflight");
    }
}

families! {
    /// `etcd_debugging_lease_*`.
    Lease {
        /// Grants applied.
        granted: counter("etcd_debugging_lease_granted_total");
        /// Revokes applied.
        revoked: counter("etcd_debugging_lease_revoked_total");
        /// Renewals answered by this leader.
        renewed: counter("etcd_debugging_lease_renewed_total");
        /// Granted seconds.
        ttl: histogram("etcd_debugging_lease_ttl_total", Buckets::Doubling(1.0, 24));
    }
}

families! {
    /// Watchers.
    Watch {
        /// Events sent to clients.
        events: counter("etcd_debugging_mvcc_events_total");
        /// Events that wait in queues of streams.
        pending_events: gauge("etcd_debugging_mvcc_pending_events_total");
        /// Watchers that catch up from history.
        slow_watchers: gauge("etcd_debugging_mvcc_slow_watcher_total");
        /// Open watch streams.
        streams: gauge("etcd_debugging_mvcc_watch_stream_total");
        /// Live watchers.
        watchers: gauge("etcd_debugging_mvcc_watcher_total");
        /// Time to send a created, canceled or similar answer.
        send_control: histogram("etcd_debugging_server_watch_send_loop_control_stream_duration_seconds", SECONDS);
        /// Time to send a progress notification.
        send_progress: histogram("etcd_debugging_server_watch_send_loop_progress_duration_seconds", SECONDS);
        /// Time to send one response with events.
        send_events: histogram("etcd_debugging_server_watch_send_loop_watch_stream_duration_seconds", SECONDS);
        /// The same divided by its events.
        send_per_event: histogram("etcd_debugging_server_watch_send_loop_watch_stream_duration_per_event_seconds", SECONDS);
    }
}

/// Families of parts that do not exist here, or not yet: at zero, so that
/// dashboards find them.
pub(super) fn absent(add: &Builder<'_>) {
    let no_files = "Always empty: no snapshot files are written.";
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
            no_files,
        ),
        ("etcd_debugging_snap_save_total_duration_seconds", no_files),
        ("etcd_snap_db_fsync_duration_seconds", no_files),
        ("etcd_snap_fsync_duration_seconds", no_files),
    ] {
        add.histogram(name, help, SECONDS);
    }
    for (name, help, buckets) in [
        (
            "etcd_snap_db_save_total_duration_seconds",
            no_files,
            Buckets::Doubling(0.1, 10),
        ),
        (
            "etcd_disk_backend_snapshot_duration_seconds",
            "Time of a snapshot.",
            Buckets::Doubling(0.01, 17),
        ),
        (
            "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds",
            "Always empty: there is no index to compact.",
            Buckets::Doubling(0.5, 14),
        ),
    ] {
        add.histogram(name, help, buckets);
    }
    add.counter(
        "etcd_server_heartbeat_send_failures_total",
        "Heartbeats sent late.",
    );
    add.gauge(
        "etcd_server_snapshot_apply_in_progress_total",
        "1 while a received snapshot is applied.",
    );
}
