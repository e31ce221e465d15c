//! What the node reports to whoever runs it.

use std::time::Duration;

/// Which way a whole state goes, and which member is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// This member sends it.
    To(u64),
    /// This member receives it.
    From(u64),
}

/// Measures and fatal faults. Called from the node's own threads: must not
/// block.
pub trait Observer: Send + Sync + 'static {
    /// One fdatasync of the log.
    fn log_synced(&self, _took: Duration) {}
    /// One write to the log, of this many bytes, sync included.
    fn log_written(&self, _bytes: u64, _took: Duration) {}
    /// One chunk of entries written to the state machine.
    fn chunk_applied(&self, _entries: usize, _took: Duration) {}
    /// One flush of the state machine.
    fn state_flushed(&self, _took: Duration) {}
    /// One scrub step removed this many rows.
    fn scrubbed(&self, _rows: u64, _took: Duration) {}
    /// Rows made dead by a compaction are all gone after this long.
    fn compaction_finished(&self, _took: Duration) {}
    /// A whole state is on its way.
    fn state_leaves(&self, _way: Way) {}
    /// It is not any more: it has arrived after this long, or was given up.
    fn state_arrives(&self, _way: Way, _took: Option<Duration>) {}
    /// The cluster has removed this member for good: the process should stop.
    /// May be called more than once.
    fn removed(&self) {}
    /// The node can't go on: nothing is acknowledged after this. The process
    /// must stop with this text as its last line.
    fn fatal(&self, text: &str);
}
