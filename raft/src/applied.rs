//! The feed of applied changes: what watchers and the lease clock follow.

use std::sync::Arc;
use sternpost_storage::{ReadView, RevisionEvents, StateChange};

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

/// A bounded ring of the newest chunks.
#[derive(Clone)]
pub struct Feed {
    _private: (),
}

impl Feed {
    /// Starts reading at the newest chunk. `view` is the state just before
    /// the first item that `next` will return: no gap, no overlap.
    pub fn subscribe(&self) -> (Arc<ReadView>, FeedReader) {
        unimplemented!()
    }
}

/// One reader of the feed. Apply never waits for it.
pub struct FeedReader {
    _private: (),
}

/// What a reader gets.
pub enum FeedItem {
    /// The next chunk.
    Next(Arc<Published>),
    /// The reader fell behind the ring: it continues after this view, and
    /// must catch up to it from history.
    Lagged(Arc<ReadView>),
}

impl FeedReader {
    /// Waits for the next item; `None` once the node has stopped. Cancel-safe.
    pub async fn next(&mut self) -> Option<FeedItem> {
        unimplemented!()
    }

    /// The next item if there is one already.
    pub fn try_next(&mut self) -> Option<FeedItem> {
        unimplemented!()
    }
}
