//! What the node's threads report: into the metrics, and in the last case
//! into the log before the process ends.

use crate::{logging, member::Standing, metrics::Metrics};
use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use sternpost_raft::{Observer, Way};

/// The exit code of a process that can't go on.
const EXIT_FATAL: i32 = 1;

/// Feeds the metrics.
pub struct Reporter {
    metrics: Metrics,
    apply_warning: Duration,
    standing: Arc<Standing>,
}

impl Reporter {
    /// Warns about applies slower than `apply_warning`; notes in `standing`
    /// that the others have removed this member.
    pub fn new(metrics: Metrics, apply_warning: Duration, standing: Arc<Standing>) -> Self {
        Self {
            metrics,
            apply_warning,
            standing,
        }
    }
}

impl Observer for Reporter {
    fn log_synced(&self, took: Duration) {
        self.metrics.disk.wal_fsync.observe(took.as_secs_f64());
    }

    fn log_written(&self, bytes: u64, took: Duration) {
        self.metrics
            .disk
            .wal_write_bytes
            .add(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.metrics.disk.wal_write.observe(took.as_secs_f64());
    }

    fn chunk_applied(&self, entries: usize, took: Duration) {
        let durations = &self.metrics.server.request_duration;
        durations.chunk_applied(entries, took);
        let disk = &self.metrics.disk;
        disk.backend_commit.observe(took.as_secs_f64());
        disk.backend_commit_write.observe(took.as_secs_f64());
        if took > self.apply_warning {
            self.metrics.server.slow_apply.inc();
            tracing::warn!(took = ?took, "expected-duration" = ?self.apply_warning, entries, "apply request took too long");
        }
    }

    fn scrubbed(&self, rows: u64, took: Duration) {
        self.metrics.mvcc.compaction_keys.inc_by(rows);
        self.metrics
            .mvcc
            .compaction_pause
            .observe(took.as_secs_f64() * 1e3);
    }

    fn compaction_finished(&self, took: Duration) {
        self.metrics
            .mvcc
            .compaction_total
            .observe(took.as_secs_f64() * 1e3);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.metrics
            .mvcc
            .compaction_last
            .set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    }

    fn state_leaves(&self, way: Way) {
        self.metrics.peers.state_leaves(way);
    }

    fn state_arrives(&self, way: Way, took: Option<Duration>) {
        self.metrics.peers.state_arrives(way, took);
    }

    fn removed(&self) {
        self.standing.set_removed();
    }

    fn fatal(&self, text: &str) {
        tracing::error!(target: logging::FATAL, error = text, "this member can't go on");
        // No clean-up: what is on disk now is what the next start can trust.
        // SAFETY: ends the process; no memory is touched.
        unsafe { libc::_exit(EXIT_FATAL) }
    }
}
