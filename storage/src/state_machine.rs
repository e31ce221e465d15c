//! The single writer.

use crate::{
    apply::{self, Applied, Entry},
    backend::{Backend, Memory, get_owned},
    error::Fault,
    failpoint,
    ids::LogMark,
    mvcc::{compaction, writer::Writer},
    read::{ReadHandle, ReadView, Shared},
    schema::{Family, meta},
};
#[cfg(feature = "rocksdb")]
use crate::{
    backend::WriteBatch,
    snapshot::{Checkpoint, SnapshotState},
};
use bytes::Bytes;
use std::sync::{Arc, atomic::AtomicU64};

/// The replicated state. Only the apply worker holds it.
pub struct StateMachine {
    writer: Writer,
    shared: Arc<Shared>,
    /// Bytes written since `dbSize` was measured.
    unmeasured_bytes: u64,
    /// Outcomes of a chunk that is applied in memory and still to be written.
    begun: Vec<Applied>,
    /// After a fault the state at hand may be half of an entry's.
    faulted: bool,
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

/// A chunk's changes are written early, between two entries, once they reach
/// this: it bounds the memory of a chunk, while an entry stays whole.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// `dbSize` is measured after this many bytes, or after this part of itself
/// if that is more: often enough for a quota of a few pages, seldom enough
/// not to be seen in a profile.
const MEASURE_BYTES: u64 = 4 << 10;
const MEASURE_PART: u64 = 512;

impl StateMachine {
    /// Opens or creates the RocksDB store; refuses a newer format and damaged
    /// data.
    #[cfg(feature = "rocksdb")]
    pub fn open(options: &crate::options::StorageOptions) -> Result<Self, Fault> {
        Self::on(Arc::new(crate::backend::Rocks::open(options)?))
    }

    /// A store in memory, for simulation and models only.
    pub fn in_memory() -> Self {
        Self::on(Arc::new(Memory::default())).expect("an empty store in memory opens")
    }

    /// On any engine.
    pub(crate) fn on(backend: Arc<dyn Backend>) -> Result<Self, Fault> {
        let writer = Writer::open(backend.clone())?;
        let live_views = Arc::new(AtomicU64::new(0));
        let view = Arc::new(view_of(&writer, &live_views));
        let shared = Arc::new(Shared::new(backend, view, live_views));
        Ok(Self {
            writer,
            shared,
            unmeasured_bytes: 0,
            begun: Vec::new(),
            faulted: false,
        })
    }

    /// Opens a store that was made by [`Flusher::checkpoint`].
    #[cfg(feature = "rocksdb")]
    pub fn open_snapshot(options: &crate::options::StorageOptions) -> Result<Self, Fault> {
        if options.path.join(crate::backend::ROWS).exists() {
            return Self::on(Arc::new(Memory::load(&options.path)?));
        }
        Self::open(options)
    }

    /// For readers; cheap to clone.
    pub fn read_handle(&self) -> ReadHandle {
        ReadHandle::new(self.shared.clone())
    }

    /// The last applied entry, `None` on a new store.
    pub fn applied(&self) -> Option<LogMark> {
        self.writer.state.applied
    }

    /// The membership last applied (`internal::StoredMembership`, encoded).
    pub fn membership(&self) -> Option<Bytes> {
        self.writer.cluster.membership.clone()
    }

    /// The last entry of the state that was installed here from another
    /// member, if this store began as one.
    pub fn installed(&self) -> Result<Option<LogMark>, Fault> {
        get_owned(&*self.writer.backend, Family::Meta, meta::INSTALLED)?
            .map(|row| meta::decode_installed(&row))
            .transpose()
    }

    /// What it holds, in short; a fault if nothing has been applied yet.
    #[cfg(feature = "rocksdb")]
    pub fn describe(&self) -> Result<SnapshotState, Fault> {
        SnapshotState::read(&*self.writer.backend)
    }

    /// Says that this state was installed, and makes that durable.
    #[cfg(feature = "rocksdb")]
    pub(crate) fn mark_installed(&mut self, mark: LogMark) -> Result<(), Fault> {
        let mut batch = WriteBatch::default();
        batch.put(Family::Meta, meta::INSTALLED, &meta::installed(mark));
        self.writer.backend.write(&batch)?;
        self.writer.backend.flush()
    }

    /// A copy of a store in memory, to outlive it.
    #[cfg(feature = "rocksdb")]
    pub(crate) fn copy_to(&self, dir: &std::path::Path) -> Result<(), Fault> {
        self.writer.backend.checkpoint(dir)
    }

    /// Goes on with the state of `other`: the writer, and all handles and
    /// flushers of this machine, whose new view is published before this
    /// returns. Views that are held go on reading the old store.
    pub fn switch_to(&mut self, other: Self) -> OldStore {
        let wait_for_room = std::mem::replace(&mut self.writer.wait_for_room, Box::new(|_| false));
        let old = std::mem::replace(&mut self.writer, other.writer);
        self.writer.wait_for_room = wait_for_room;
        self.faulted = other.faulted;
        self.unmeasured_bytes = 0;
        self.begun.clear();
        self.shared.set_backend(self.writer.backend.clone());
        self.publish();
        self.shared.measure();
        OldStore {
            backend: old.backend,
        }
    }

    /// What to do when the disk is full: `wait` waits as long as it likes and says
    /// whether to try again. Without it a full disk is a fault like any other.
    pub fn on_no_room(&mut self, wait: impl FnMut(&Fault) -> bool + Send + 'static) {
        self.writer.wait_for_room = Box::new(wait);
    }

    /// Applies a chunk: one write batch with data, applied mark and digest,
    /// then one published view. Deterministic. A fault leaves the store to be
    /// reopened, never half applied.
    pub fn apply_batch(&mut self, entries: &[Entry]) -> Result<AppliedBatch, Fault> {
        self.guarded(|machine| {
            let outcomes = machine.apply_in_memory(entries)?;
            if !outcomes.is_empty() {
                machine.write_out()?;
            }
            Ok(machine.applied_batch(outcomes))
        })
    }

    /// The same for a few small entries, where nobody may wait for the engine
    /// or for room on the disk: nothing if that were so. The chunk is ended by
    /// the next call of [`Self::apply_batch`], which must be with the same.
    pub fn try_apply_batch(&mut self, entries: &[Entry]) -> Result<Option<AppliedBatch>, Fault> {
        self.guarded(|machine| {
            let outcomes = machine.apply_in_memory(entries)?;
            if !outcomes.is_empty() && !machine.try_write_out()? {
                machine.begun = outcomes;
                return Ok(None);
            }
            Ok(Some(machine.applied_batch(outcomes)))
        })
    }

    /// The outcomes, with those of a chunk that was begun; the last changes
    /// are still to be written.
    fn apply_in_memory(&mut self, entries: &[Entry]) -> Result<Vec<Applied>, Fault> {
        let mut outcomes = std::mem::take(&mut self.begun);
        outcomes.reserve(entries.len());
        for entry in entries {
            if self
                .applied()
                .is_some_and(|applied| entry.mark.index <= applied.index)
            {
                continue;
            }
            outcomes.push(apply::entry(&mut self.writer, entry)?);
            self.writer.state.applied = Some(entry.mark);
            if self.writer.overlay.changes().bytes() >= BATCH_BYTES_MAX {
                self.write_out()?;
            }
        }
        Ok(outcomes)
    }

    /// What was written, published if it is anything.
    fn applied_batch(&mut self, outcomes: Vec<Applied>) -> AppliedBatch {
        let view = match outcomes.is_empty() {
            true => self.shared.view(),
            false => self.publish(),
        };
        AppliedBatch { outcomes, view }
    }

    /// Removes at most `rows_max` rows that the compact revision made dead, but
    /// always those of one event, which are four at most, and publishes a
    /// view. Call between chunks until `done`.
    pub fn scrub_step(&mut self, rows_max: usize) -> Result<ScrubProgress, Fault> {
        self.guarded(|machine| {
            let before = machine.writer.state;
            let progress = compaction::step(&mut machine.writer, rows_max)?;
            if machine.writer.state != before {
                machine.publish();
            }
            Ok(progress)
        })
    }

    /// Nothing is done after a fault: what it left undone is only known to
    /// the disk.
    fn guarded<T>(&mut self, run: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        if self.faulted {
            return Err(Fault::Backend(
                "a fault came before; the store must be reopened".to_owned(),
            ));
        }
        let result = run(self);
        self.faulted = result.is_err();
        result
    }

    /// For the housekeeper's thread: flushes beside the writer.
    pub fn flusher(&self) -> Flusher {
        Flusher {
            shared: self.shared.clone(),
        }
    }

    fn write_out(&mut self) -> Result<(), Fault> {
        self.unmeasured_bytes += self.writer.overlay.changes().bytes() as u64;
        self.writer.write_out()
    }

    fn try_write_out(&mut self) -> Result<bool, Fault> {
        let bytes = self.writer.overlay.changes().bytes() as u64;
        let is_written = self.writer.try_write_out()?;
        self.unmeasured_bytes += u64::from(is_written) * bytes;
        Ok(is_written)
    }

    /// A snapshot that outlived the next write would keep dead rows alive, so
    /// every write is followed by this.
    fn publish(&mut self) -> Arc<ReadView> {
        let view = Arc::new(view_of(&self.writer, self.shared.live_views()));
        self.shared.publish(view.clone());
        if self.unmeasured_bytes >= MEASURE_BYTES.max(self.shared.db_bytes() / MEASURE_PART) {
            self.unmeasured_bytes = 0;
            self.shared.measure();
        }
        view
    }
}

fn view_of(writer: &Writer, live_views: &Arc<AtomicU64>) -> ReadView {
    ReadView::new(
        writer.backend.snapshot(),
        writer.state,
        writer.counts.table().clone(),
        writer.cluster.clone(),
        live_views.clone(),
    )
}

/// Flushes and compacts files beside the writer; owned by the housekeeper.
#[derive(Clone)]
pub struct Flusher {
    shared: Arc<Shared>,
}

impl Flusher {
    /// Writes all memtables to disk. Everything that was applied before the
    /// call survives a crash once it returns: take the mark first.
    pub fn flush(&self) -> Result<(), Fault> {
        failpoint!("stateBeforeFlush", Fault::Backend);
        self.shared.backend().flush()?;
        failpoint!("stateAfterFlush");
        self.shared.measure();
        Ok(())
    }

    /// Rewrites all files so that deleted rows give their space back. Reads
    /// and writes go on. Call after the scrub is done and old views are gone.
    pub fn compact_files(&self) -> Result<(), Fault> {
        failpoint!("defragBeforeCopy", Fault::Backend);
        self.shared.backend().compact_files()?;
        failpoint!("defragAfterCopy");
        self.shared.measure();
        Ok(())
    }

    /// Makes `dir`, which must not exist, a store of its own with all that was
    /// applied before the call, and maybe more: what that is, and in which
    /// files, is what it returns. The files take no room but for what this
    /// store gives up later. Nothing is synced; `dir` may be left in part
    /// after a fault.
    #[cfg(feature = "rocksdb")]
    pub fn checkpoint(&self, dir: &std::path::Path) -> Result<Checkpoint, Fault> {
        self.shared.backend().checkpoint(dir)?;
        self.shared.measure();
        Checkpoint::read(dir)
    }

    /// Bytes applied but not flushed yet.
    pub fn unflushed_bytes(&self) -> u64 {
        self.shared.backend().unflushed_bytes()
    }

    /// Whether the engine asks writers to slow down or has stopped them.
    pub fn write_stalled(&self) -> bool {
        self.shared.backend().write_stalled()
    }
}

/// A store that [`StateMachine::switch_to`] left. Dropping it closes the
/// store, unless a view still reads it, and may take a while.
pub struct OldStore {
    backend: Arc<dyn Backend>,
}

impl OldStore {
    /// Whether a view or a running flush still needs it. Once nobody does,
    /// nobody will again: its files may go after it has been dropped.
    pub fn is_held(&self) -> bool {
        Arc::strong_count(&self.backend) > 1 || self.backend.snapshots_held() > 0
    }
}

#[cfg(test)]
#[cfg(feature = "rocksdb")]
mod tests;
