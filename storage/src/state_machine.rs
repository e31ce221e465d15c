//! The single writer.

use crate::{
    apply::{Applied, Entry},
    error::Fault,
    ids::LogMark,
    options::StorageOptions,
    read::{ReadHandle, ReadView},
};
use bytes::Bytes;
use std::sync::Arc;

/// The replicated state. Only the apply worker holds it.
pub struct StateMachine {
    _private: (),
}

/// What one chunk of entries did. Its view is published before this returns.
pub struct AppliedBatch {
    /// An outcome per entry, in order. Entries at or below the applied mark
    /// are left out: they are no-ops on replay.
    pub outcomes: Vec<Applied>,
    /// The state after the chunk.
    pub view: Arc<ReadView>,
}

/// How far a scrub has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubProgress {
    /// Nothing is left below the compact revision.
    pub done: bool,
    /// Rows deleted by this step.
    pub rows_deleted: u64,
}

impl StateMachine {
    /// Opens or creates the RocksDB store; refuses a newer format and damaged
    /// data.
    pub fn open(_options: &StorageOptions) -> Result<Self, Fault> {
        unimplemented!()
    }

    /// A store in memory, for simulation and models only.
    pub fn in_memory() -> Self {
        unimplemented!()
    }

    /// For readers; cheap to clone.
    pub fn read_handle(&self) -> ReadHandle {
        unimplemented!()
    }

    /// The last applied entry, `None` on a new store.
    pub fn applied(&self) -> Option<LogMark> {
        unimplemented!()
    }

    /// The membership last applied (`internal::StoredMembership`, encoded).
    pub fn membership(&self) -> Option<Bytes> {
        unimplemented!()
    }

    /// Applies a chunk: one write batch with data, applied mark and digest,
    /// then one published view. Deterministic. A fault leaves the store to be
    /// reopened, never half applied.
    pub fn apply_batch(&mut self, _entries: &[Entry]) -> Result<AppliedBatch, Fault> {
        unimplemented!()
    }

    /// Removes at most `rows_max` rows that the compact revision made dead,
    /// and publishes a view. Call between chunks until `done`.
    pub fn scrub_step(&mut self, _rows_max: usize) -> Result<ScrubProgress, Fault> {
        unimplemented!()
    }

    /// For the housekeeper's thread: flushes beside the writer.
    pub fn flusher(&self) -> Flusher {
        unimplemented!()
    }
}

/// Flushes and compacts files beside the writer; owned by the housekeeper.
#[derive(Clone)]
pub struct Flusher {
    _private: (),
}

impl Flusher {
    /// Writes all memtables to disk. Everything that was applied before the
    /// call survives a crash once it returns: take the mark first.
    pub fn flush(&self) -> Result<(), Fault> {
        unimplemented!()
    }

    /// Rewrites all files so that deleted rows give their space back. Reads
    /// and writes go on. Call after the scrub is done and old views are gone.
    pub fn compact_files(&self) -> Result<(), Fault> {
        unimplemented!()
    }

    /// Bytes applied but not flushed yet.
    pub fn unflushed_bytes(&self) -> u64 {
        unimplemented!()
    }

    /// Whether the engine asks writers to slow down or has stopped them.
    pub fn write_stalled(&self) -> bool {
        unimplemented!()
    }
}
