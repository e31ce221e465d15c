//! The feed of applied changes: what watchers and the lease clock follow.
//!
//! A chunk stays in the ring until every reader has taken it, or until the
//! ring is full: then the slow reader is told so and catches up from history.
//! Apply never waits for a reader. The ring must not keep chunks for longer
//! than that, because each holds a view, and a view keeps dead rows alive.

use crate::changes::{ChangeLine, ChangeReader};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use sternpost_storage::{Change, ReadView, RevisionEvents, StateChange};
use tokio::sync::watch;

/// Chunks that a slow reader may lag behind. At the highest rates a chunk
/// comes about every millisecond, so this is the better part of a second.
const CHUNKS_MAX: usize = 1024;

/// Bytes of keys and values that a slow reader may lag behind: what the feed
/// adds to the process's memory at worst.
const BYTES_MAX: usize = 32 << 20;

/// Counted for each event and change beside its key and value.
const ITEM_OVERHEAD_BYTES: usize = 128;

/// One applied chunk, published after its view: whoever sees it can read it.
pub struct Published {
    /// Grows by one with each chunk.
    pub sequence: u64,
    /// Events by revision, in order; empty when no key changed.
    pub revisions: Vec<Arc<RevisionEvents>>,
    /// Changes beside the keys, in order.
    pub changes: Vec<StateChange>,
    /// The state after the chunk.
    pub view: Arc<ReadView>,
}

impl Published {
    fn bytes(&self) -> usize {
        let events = self.revisions.iter().flat_map(|revision| &revision.events);
        let events: usize = events
            .map(|event| {
                let value = match &event.change {
                    Change::Put { value, .. } => value.len(),
                    Change::Delete => 0,
                };
                ITEM_OVERHEAD_BYTES + event.key.len() + value
            })
            .sum();
        events + (1 + self.changes.len()) * ITEM_OVERHEAD_BYTES
    }
}

/// A bounded ring of the newest chunks.
#[derive(Clone)]
pub struct Feed {
    shared: Arc<Shared>,
}

struct Shared {
    ring: Mutex<Ring>,
    closed: AtomicBool,
    /// Counts up with each publication; readers sleep on it.
    wake: watch::Sender<u64>,
    changes: ChangeLine,
}

struct Ring {
    /// The newest chunks; the last one has the sequence `next - 1`.
    chunks: VecDeque<(Arc<Published>, usize)>,
    bytes: usize,
    next: u64,
    /// The state after chunk `next - 1`, at its newest publication.
    view: Arc<ReadView>,
    /// The sequence each reader wants next, by reader.
    readers: BTreeMap<u64, u64>,
    readers_ever: u64,
}

impl Ring {
    fn first(&self) -> u64 {
        self.next - self.chunks.len() as u64
    }

    /// Drops what every reader has taken, then what is above the limits.
    fn trim(&mut self) {
        let wanted = self.readers.values().copied().min().unwrap_or(self.next);
        while !self.chunks.is_empty() && (self.first() < wanted || self.is_over()) {
            if let Some((_, bytes)) = self.chunks.pop_front() {
                self.bytes -= bytes;
            }
        }
    }

    /// One chunk may be larger than the limit by itself.
    fn is_over(&self) -> bool {
        self.chunks.len() > CHUNKS_MAX || (self.bytes > BYTES_MAX && self.chunks.len() > 1)
    }

    fn take(&mut self, reader: u64) -> Option<FeedItem> {
        let wanted = self.readers.get(&reader).copied()?;
        let first = self.first();
        let (item, taken) = if wanted < first {
            (FeedItem::Lagged(self.view.clone()), self.next)
        } else {
            let (chunk, _) = self.chunks.get((wanted - first) as usize)?;
            (FeedItem::Next(chunk.clone()), wanted + 1)
        };
        self.readers.insert(reader, taken);
        self.trim();
        Some(item)
    }
}

impl Feed {
    /// An empty feed that starts after the state `view`.
    pub(crate) fn new(view: Arc<ReadView>) -> Self {
        let ring = Ring {
            chunks: VecDeque::new(),
            bytes: 0,
            next: 0,
            view,
            readers: BTreeMap::new(),
            readers_ever: 0,
        };
        Self {
            shared: Arc::new(Shared {
                ring: Mutex::new(ring),
                closed: AtomicBool::new(false),
                wake: watch::Sender::new(0),
                changes: ChangeLine::new(),
            }),
        }
    }

    /// Starts reading changes beside the keys, from now on: what is in the
    /// newest view when this returns may or may not arrive again.
    pub fn changes(&self) -> ChangeReader {
        self.shared.changes.subscribe()
    }

    /// Starts reading at the newest chunk. `view` is the state just before
    /// the first item that `next` will return: no gap, no overlap.
    pub fn subscribe(&self) -> (Arc<ReadView>, FeedReader) {
        let mut ring = self.shared.ring.lock();
        let id = ring.readers_ever;
        ring.readers_ever += 1;
        let next = ring.next;
        ring.readers.insert(id, next);
        let reader = FeedReader {
            id,
            shared: self.shared.clone(),
            wake: self.shared.wake.subscribe(),
        };
        (ring.view.clone(), reader)
    }

    /// Publishes a chunk; its view is already what readers get.
    pub(crate) fn publish(
        &self,
        revisions: Vec<Arc<RevisionEvents>>,
        changes: Vec<StateChange>,
        view: Arc<ReadView>,
    ) {
        let index = view.applied().map_or(0, |mark| mark.index);
        self.shared.changes.send(&changes, index);
        let mut ring = self.shared.ring.lock();
        let chunk = Published {
            sequence: ring.next,
            revisions,
            changes,
            view: view.clone(),
        };
        let bytes = chunk.bytes();
        ring.chunks.push_back((Arc::new(chunk), bytes));
        ring.bytes += bytes;
        ring.next += 1;
        ring.view = view;
        ring.trim();
        drop(ring);
        self.shared.wake.send_modify(|count| *count += 1);
    }

    /// Publishes `view`, a newer one of the same state, in an empty chunk, so
    /// that readers who hold the last one can exchange it.
    pub(crate) fn publish_view(&self, view: Arc<ReadView>) {
        self.publish(Vec::new(), Vec::new(), view);
    }

    /// Lets go of the chunks that slow readers have not taken, and of their
    /// views with them: those readers lag.
    pub(crate) fn forget(&self) {
        let mut ring = self.shared.ring.lock();
        ring.chunks.clear();
        ring.bytes = 0;
        drop(ring);
        self.shared.wake.send_modify(|count| *count += 1);
    }

    /// The state was exchanged for `view` as a whole: what led there is not
    /// known here, so all readers lag.
    pub(crate) fn skip_to(&self, view: Arc<ReadView>) {
        self.shared.changes.skip();
        let mut ring = self.shared.ring.lock();
        ring.chunks.clear();
        ring.bytes = 0;
        // The number of a chunk that nobody gets.
        ring.next += 1;
        ring.view = view;
        drop(ring);
        self.shared.wake.send_modify(|count| *count += 1);
    }

    /// Exchanges the view without a chunk: `view` is a newer one of the same state.
    pub(crate) fn refresh(&self, view: Arc<ReadView>) {
        self.shared.ring.lock().view = view;
    }

    /// Ends the feed: readers get what is left, then `None`.
    pub(crate) fn close(&self) {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.changes.close();
        self.shared.wake.send_modify(|count| *count += 1);
    }
}

/// One reader of the feed. Apply never waits for it.
pub struct FeedReader {
    id: u64,
    shared: Arc<Shared>,
    wake: watch::Receiver<u64>,
}

/// What a reader gets.
pub enum FeedItem {
    /// The next chunk.
    Next(Arc<Published>),
    /// The reader fell behind the ring, or the state was exchanged as a whole:
    /// it continues after this view, and must catch up to it from history.
    Lagged(Arc<ReadView>),
}

impl FeedReader {
    /// Waits for the next item; `None` once the node has stopped. Cancel-safe.
    pub async fn next(&mut self) -> Option<FeedItem> {
        loop {
            // Marked as seen before looking: a later chunk wakes us again.
            self.wake.borrow_and_update();
            if let Some(item) = self.try_next() {
                return Some(item);
            }
            // Closed only after the last chunk: none can have come in between.
            if self.shared.closed.load(Ordering::Acquire) {
                return self.try_next();
            }
            self.wake.changed().await.ok()?;
        }
    }

    /// The next item if there is one already.
    pub fn try_next(&mut self) -> Option<FeedItem> {
        self.shared.ring.lock().take(self.id)
    }
}

impl Drop for FeedReader {
    fn drop(&mut self) {
        let mut ring = self.shared.ring.lock();
        ring.readers.remove(&self.id);
        ring.trim();
    }
}
