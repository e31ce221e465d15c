//! Waking the housekeeper, and what it is told: how much has been applied
//! since the last flush, and that there is something to scrub.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::Duration,
};

/// What is applied between two looks at the flush rule.
const NUDGE_ENTRIES: u64 = 256;
const NUDGE_BYTES: u64 = 2 << 20;

/// Wakes the housekeeper; held by the apply worker and by the node.
#[derive(Clone)]
pub(crate) struct Nudge {
    wake: SyncSender<()>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    scrub_wanted: AtomicBool,
    entries: AtomicU64,
    bytes: AtomicU64,
    /// Counted since the last nudge.
    entries_quiet: AtomicU64,
    bytes_quiet: AtomicU64,
}

impl Nudge {
    /// Entries were applied. Called by the apply worker alone.
    pub(crate) fn applied(&self, entries: u64, bytes: u64) {
        let shared = &self.shared;
        shared.entries.fetch_add(entries, Ordering::AcqRel);
        shared.bytes.fetch_add(bytes, Ordering::AcqRel);
        let entries = shared.entries_quiet.fetch_add(entries, Ordering::Relaxed) + entries;
        let bytes = shared.bytes_quiet.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if entries >= NUDGE_ENTRIES || bytes >= NUDGE_BYTES {
            shared.entries_quiet.store(0, Ordering::Relaxed);
            shared.bytes_quiet.store(0, Ordering::Relaxed);
            self.wake();
        }
    }

    /// The compact revision moved: there are rows to scrub.
    pub(crate) fn compacted(&self) {
        self.shared.scrub_wanted.store(true, Ordering::Release);
        self.wake();
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        self.wake();
    }

    /// A wake that is under way is as good as another one.
    pub(crate) fn wake(&self) {
        let _ = self.wake.try_send(());
    }
}

/// What `Nudge` wakes.
pub(crate) struct Wakes {
    wakes: Receiver<()>,
    shared: Arc<Shared>,
}

impl Wakes {
    /// Sleeps until a wake, at most this long. Both come to the same: the
    /// housekeeper looks at everything.
    pub(crate) fn sleep(&self, max: Duration) {
        let _ = self.wakes.recv_timeout(max);
    }

    /// The housekeeper is to end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.shared.stop.load(Ordering::Acquire)
    }

    /// Whether there is something new to scrub; says so once.
    pub(crate) fn take_scrub_wanted(&self) -> bool {
        self.shared.scrub_wanted.swap(false, Ordering::AcqRel)
    }

    /// Entries and their bytes in the log since the last flush.
    pub(crate) fn unflushed(&self) -> (u64, u64) {
        let shared = &self.shared;
        (
            shared.entries.load(Ordering::Acquire),
            shared.bytes.load(Ordering::Acquire),
        )
    }

    /// A flush begins: what is applied from here on counts for the next one.
    pub(crate) fn begin_flush(&self) {
        self.shared.entries.store(0, Ordering::Release);
        self.shared.bytes.store(0, Ordering::Release);
    }
}

/// The two ends of waking the housekeeper.
pub(crate) fn nudge() -> (Nudge, Wakes) {
    // One wake under way is enough: the housekeeper looks at everything.
    let (wake, wakes) = sync_channel(1);
    let shared = Arc::new(Shared::default());
    (
        Nudge {
            wake,
            shared: shared.clone(),
        },
        Wakes { wakes, shared },
    )
}
