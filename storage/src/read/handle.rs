//! Where the newest view is published, and what is asked beside it.

use super::view::ReadView;
use crate::backend::Backend;
use arc_swap::ArcSwap;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Hands out the newest published view. Cheap to clone.
#[derive(Clone)]
pub struct ReadHandle {
    shared: Arc<Shared>,
}

/// What the writer and all handles have in common.
pub(crate) struct Shared {
    newest: ArcSwap<ReadView>,
    /// Exchanged when another member's state is installed.
    backend: ArcSwap<Arc<dyn Backend>>,
    /// Views that are still held, the newest included.
    live_views: Arc<AtomicU64>,
    /// `dbSize` as last measured.
    db_bytes: AtomicU64,
    /// `cur` as last measured.
    current_copy_bytes: AtomicU64,
}

impl Shared {
    /// Begins with `view`, which counts itself in `live_views`.
    pub(crate) fn new(
        backend: Arc<dyn Backend>,
        view: Arc<ReadView>,
        live_views: Arc<AtomicU64>,
    ) -> Self {
        let shared = Self {
            newest: ArcSwap::new(view),
            backend: ArcSwap::from_pointee(backend),
            live_views,
            db_bytes: AtomicU64::new(1),
            current_copy_bytes: AtomicU64::new(0),
        };
        shared.measure();
        shared
    }

    /// The newest view.
    pub(crate) fn view(&self) -> Arc<ReadView> {
        self.newest.load_full()
    }

    /// Makes `view` the newest.
    pub(crate) fn publish(&self, view: Arc<ReadView>) {
        self.newest.store(view);
    }

    /// The counter that every view has a part in.
    pub(crate) fn live_views(&self) -> &Arc<AtomicU64> {
        &self.live_views
    }

    /// The engine as it is now. Hold it no longer than the call.
    pub(crate) fn backend(&self) -> Arc<dyn Backend> {
        Arc::clone(&self.backend.load())
    }

    /// Exchanges the engine. A view of the new one must follow at once.
    pub(crate) fn set_backend(&self, backend: Arc<dyn Backend>) {
        self.backend.store(Arc::new(backend));
    }

    /// `dbSize` as last measured.
    pub(crate) fn db_bytes(&self) -> u64 {
        self.db_bytes.load(Ordering::Relaxed)
    }

    /// Measures all sizes, and keeps those that requests look at.
    pub(crate) fn measure(&self) -> Sizes {
        // Sizes are for people and the quota; an engine that can't tell them
        // will say what is wrong at the next read or write.
        let sizes = self.backend.load().sizes().unwrap_or_default();
        // Tools divide by it.
        let db_bytes = sizes.data_bytes.max(1);
        self.db_bytes.store(db_bytes, Ordering::Relaxed);
        self.current_copy_bytes
            .store(sizes.current_copy_bytes, Ordering::Relaxed);
        Sizes {
            db_bytes,
            db_in_use_bytes: sizes.data_in_use_bytes.clamp(1, db_bytes),
            current_copy_bytes: sizes.current_copy_bytes,
            disk_bytes: sizes.disk_bytes,
            pinned_views: self.live_views.load(Ordering::Relaxed).saturating_sub(1),
        }
    }
}

impl ReadHandle {
    /// A handle on what the writer publishes.
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The newest view. Hold it no longer than the read: it pins old rows.
    pub fn view(&self) -> Arc<ReadView> {
        self.shared.view()
    }

    /// Sizes as Status and the metrics report them. Asks the engine each
    /// time; for a look per request there are those that follow.
    pub fn sizes(&self) -> Sizes {
        self.shared.measure()
    }

    /// `dbSize` for the quota check of every write: as of the last few
    /// kilobytes (in a large store: the last 0.2 %) written, flush, or call of [`ReadHandle::sizes`].
    pub fn db_bytes(&self) -> u64 {
        self.shared.db_bytes()
    }

    /// [`Sizes::current_copy_bytes`] for a look per request, as old as [`ReadHandle::db_bytes`].
    pub fn current_copy_bytes(&self) -> u64 {
        self.shared.current_copy_bytes.load(Ordering::Relaxed)
    }
}

/// Bytes on disk and in memtables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// `dbSize`: live bytes of `log`, `ver` and `meta`; never 0. Counts
    /// against the quota.
    pub db_bytes: u64,
    /// `dbSizeInUse`: an estimate without dead rows, at most `db_bytes`.
    pub db_in_use_bytes: u64,
    /// `cur`: the rebuildable copy of the newest versions.
    pub current_copy_bytes: u64,
    /// All files of the database.
    pub disk_bytes: u64,
    /// Views older than the newest that readers still hold.
    pub pinned_views: u64,
}
