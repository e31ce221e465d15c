//! The feed without its keys: changes of leases, alarms and members alone.
//!
//! Whoever follows only these is not woken by every put, and holds no view.

use parking_lot::Mutex;
use std::sync::Arc;
use sternpost_storage::StateChange;
use tokio::sync::broadcast;

/// Changes that a slow reader may lag behind, in chunks.
const CHUNKS_MAX: usize = 1024;

/// The changes of one applied chunk that had some, published after its view.
#[derive(Debug)]
pub struct Changes {
    /// The raft index applied last in that chunk.
    pub index: u64,
    /// The changes, in order.
    pub changes: Vec<StateChange>,
}

/// What a reader gets.
#[derive(Clone, Debug)]
pub enum ChangeItem {
    /// The changes of the next chunk that has some.
    Next(Arc<Changes>),
    /// The reader fell behind, or the state was exchanged as a whole: it
    /// continues after what it missed, and must look at a view to catch up.
    Lagged,
}

/// Where changes are sent; empty once the node has stopped.
pub(crate) struct ChangeLine(Mutex<Option<broadcast::Sender<ChangeItem>>>);

impl ChangeLine {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Some(broadcast::Sender::new(CHUNKS_MAX))))
    }

    /// Sends the changes of a chunk, if it has any.
    pub(crate) fn send(&self, changes: &[StateChange], index: u64) {
        if changes.is_empty() {
            return;
        }
        if let Some(line) = &*self.0.lock() {
            let changes = changes.to_vec();
            // Nobody may be listening.
            let _ = line.send(ChangeItem::Next(Arc::new(Changes { index, changes })));
        }
    }

    /// The state was exchanged as a whole: everyone lags.
    pub(crate) fn skip(&self) {
        if let Some(line) = &*self.0.lock() {
            let _ = line.send(ChangeItem::Lagged);
        }
    }

    pub(crate) fn close(&self) {
        self.0.lock().take();
    }

    pub(crate) fn subscribe(&self) -> ChangeReader {
        ChangeReader(self.0.lock().as_ref().map(broadcast::Sender::subscribe))
    }
}

/// One reader of the changes. Apply never waits for it.
pub struct ChangeReader(Option<broadcast::Receiver<ChangeItem>>);

impl ChangeReader {
    /// Waits for the next item; `None` once the node has stopped. Cancel-safe.
    pub async fn next(&mut self) -> Option<ChangeItem> {
        match self.0.as_mut()?.recv().await {
            Ok(item) => Some(item),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(ChangeItem::Lagged),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sternpost_storage::LeaseId;

    fn revoked(id: i64) -> StateChange {
        StateChange::LeaseRevoked(LeaseId(id))
    }

    #[tokio::test]
    async fn only_chunks_with_changes_arrive_in_order_and_then_the_end() {
        let line = ChangeLine::new();
        line.send(&[revoked(1)], 1);
        let mut reader = line.subscribe();
        line.send(&[], 2);
        line.send(&[revoked(3), revoked(4)], 3);
        line.send(&[revoked(5)], 4);
        line.close();
        line.send(&[revoked(6)], 5);
        let mut seen = Vec::new();
        while let Some(ChangeItem::Next(item)) = reader.next().await {
            seen.push((item.index, item.changes.len()));
        }
        assert_eq!(seen, [(3, 2), (4, 1)]);
        assert!(line.subscribe().next().await.is_none());
    }

    #[tokio::test]
    async fn an_exchange_of_the_state_is_told_in_its_place() {
        let line = ChangeLine::new();
        let mut reader = line.subscribe();
        line.send(&[revoked(1)], 1);
        line.skip();
        line.send(&[revoked(2)], 9);
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push(match reader.next().await {
                Some(ChangeItem::Next(item)) => item.index,
                _ => 0,
            });
        }
        assert_eq!(seen, [1, 0, 9]);
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_and_goes_on() {
        let line = ChangeLine::new();
        let mut reader = line.subscribe();
        for index in 0..=CHUNKS_MAX as u64 {
            line.send(&[revoked(1)], index);
        }
        assert!(matches!(reader.next().await, Some(ChangeItem::Lagged)));
        let Some(ChangeItem::Next(item)) = reader.next().await else {
            panic!("it goes on");
        };
        assert_eq!(item.index, 1);
    }
}
