//! A whole state on its way from one member to another.
//!
//! The sender copies its store when it is asked to send: a checkpoint, whose
//! files are links to the store's own. It streams them file by file
//! (`send`). The receiver keeps what arrives across a cut, checks all of it
//! before it opens it, and hands it to openraft, which decides whether it is
//! still wanted (`receive`). Then the apply thread goes on with it
//! (`install`).
//!
//! - `stores`: the directories. `holds`: what the log must keep meanwhile.
//! - `upload`, `incoming`: the files on both sides, on threads that may block.
//! - `transit`: what is counted of it.

mod holds;
mod incoming;
mod install;
pub(crate) mod receive;
pub(crate) mod send;
mod stores;
mod transit;
mod upload;

pub use self::stores::Stores;

use self::{
    holds::{Hold, Holds},
    receive::{Sessions, Slot},
    transit::Transit,
};
use crate::{
    observer::{Observer, Way},
    state_machine::Position,
};
use parking_lot::Mutex;
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use sternpost_storage::{Flusher, OldStore, SnapshotState};

/// What one piece carries: small enough that nothing else on the wire waits
/// for long, large enough to cost little.
pub(crate) const CHUNK_BYTES: usize = 256 << 10;

/// The state that openraft hands around: ours to send, or another's to install.
#[derive(Debug)]
pub enum SnapshotData {
    /// Up to the flushed mark, or later: copied when it is sent.
    Own(Own),
    /// Received whole, and checked.
    Arrived(Arrival),
}

/// This member's own state. While it lives, the log is kept behind it.
pub struct Own {
    pub(crate) snapshots: Arc<Snapshots>,
    _hold: Hold,
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Own")
    }
}

/// A received state in a directory of its own, ready to be installed. The
/// directory goes with it, unless it has been installed.
#[derive(Debug)]
pub struct Arrival {
    dir: PathBuf,
    /// What it holds.
    pub(crate) state: SnapshotState,
    /// Nobody else uses the directory meanwhile.
    _slot: Slot,
}

impl Drop for Arrival {
    fn drop(&mut self) {
        // It has another name if it was installed.
        if let Err(error) = stores::remove(&self.dir) {
            tracing::warn!(dir = %self.dir.display(), %error, "a received copy can't be removed");
        }
    }
}

/// A store that has been replaced, and its directory.
struct Retired {
    store: OldStore,
    dir: PathBuf,
}

/// All that a member has to do with snapshots.
pub(crate) struct Snapshots {
    stores: Stores,
    flusher: Flusher,
    observer: Arc<dyn Observer>,
    holds: Arc<Holds>,
    sends_ever: AtomicU64,
    sessions: Sessions,
    /// Replaced stores that a reader may still hold; emptied by the housekeeper.
    retired: Mutex<Vec<Retired>>,
    /// A state was installed, and the housekeeper has not heard of it.
    installed: AtomicBool,
}

impl Snapshots {
    /// For the member whose stores these are.
    pub(crate) fn new(stores: Stores, flusher: Flusher, observer: Arc<dyn Observer>) -> Self {
        Self {
            stores,
            flusher,
            observer,
            holds: Arc::default(),
            sends_ever: AtomicU64::new(0),
            sessions: Sessions::default(),
            retired: Mutex::default(),
            installed: AtomicBool::new(false),
        }
    }

    /// The state at `position`, which is in force while this is called: the
    /// log is kept behind it from now on.
    pub(crate) fn own(self: &Arc<Self>, position: &Position) -> SnapshotData {
        let index = position.mark.map_or(0, |mark| mark.index);
        SnapshotData::Own(Own {
            snapshots: self.clone(),
            _hold: self.holds.hold(index),
        })
    }

    /// A state begins its way.
    pub(crate) fn transit(&self, way: Way) -> Transit {
        Transit::begin(self.observer.clone(), way)
    }

    /// The last entry that may be purged, if a state is being sent.
    pub(crate) fn purge_limit(&self) -> Option<u64> {
        self.holds.lowest()
    }

    /// The store in `dir` has been replaced.
    fn retire(&self, store: OldStore, dir: PathBuf) {
        self.retired.lock().push(Retired { store, dir });
        self.installed.store(true, Ordering::Release);
    }

    /// Whether a state was installed since this was asked last.
    pub(crate) fn take_installed(&self) -> bool {
        self.installed.swap(false, Ordering::AcqRel)
    }

    /// A directory for one more copy.
    fn outgoing(&self) -> PathBuf {
        let number = self.sends_ever.fetch_add(1, Ordering::Relaxed);
        self.stores.outgoing().join(number.to_string())
    }

    /// The directory that all stores are in.
    pub(crate) fn parent(&self) -> &Path {
        self.stores.parent()
    }

    /// Closes and removes replaced stores that nobody reads any more, and
    /// what was received for nothing. Called now and then; may take a while.
    pub(crate) fn tidy(&self) {
        self.sessions.tidy(&self.stores);
        let mut retired = self.retired.lock();
        let (held, free): (Vec<_>, Vec<_>) = std::mem::take(&mut *retired)
            .into_iter()
            .partition(|old| old.store.is_held());
        *retired = held;
        drop(retired);
        for Retired { store, dir } in free {
            drop(store);
            if let Err(error) = stores::remove(&dir) {
                tracing::warn!(dir = %dir.display(), %error, "a replaced store can't be removed");
            }
        }
    }
}
