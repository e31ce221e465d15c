//! When this member last heard of its leader. openraft remembers a leader
//! until there is another, also one that has been gone for long.

use crate::types::TypeConfig;
use openraft::raft::{StreamAppendError, StreamAppendResult};
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// Whoever answers the leader notes it here; whoever reports the leader asks.
pub(crate) struct Heard {
    started: Instant,
    /// Milliseconds after `started`, and one: 0 is never.
    last: AtomicU64,
    /// The leader was reported as lost: it is news when it is heard again.
    lost: AtomicBool,
    again: Notify,
    silence_max: Duration,
}

impl Heard {
    /// Nothing yet. A leader is lost after a silence longer than this.
    pub(crate) fn new(silence_max: Duration) -> Self {
        Self {
            started: Instant::now(),
            last: AtomicU64::new(0),
            lost: AtomicBool::new(true),
            again: Notify::new(),
            silence_max,
        }
    }

    fn now(&self) -> u64 {
        let millis = self.started.elapsed().as_millis();
        u64::try_from(millis).unwrap_or(u64::MAX - 1) + 1
    }

    /// An answer to a leader: unless it was told of a newer one, it leads.
    pub(crate) fn note(&self, answer: &StreamAppendResult<TypeConfig>) {
        if matches!(answer, Err(StreamAppendError::HigherVote(_))) {
            return;
        }
        self.last.store(self.now(), Ordering::Release);
        if self.lost.load(Ordering::Acquire) && self.lost.swap(false, Ordering::AcqRel) {
            self.again.notify_one();
        }
    }

    /// Whether the leader has been heard of lately.
    pub(crate) fn lately(&self) -> bool {
        let last = self.last.load(Ordering::Acquire);
        let silence = Duration::from_millis(self.now().saturating_sub(last));
        let lately = last != 0 && silence <= self.silence_max;
        if !lately {
            self.lost.store(true, Ordering::Release);
            // It may have been heard of just now.
            return self.last.load(Ordering::Acquire) > last;
        }
        lately
    }

    /// Returns when a lost leader is heard of again.
    pub(crate) async fn again(&self) {
        self.again.notified().await;
    }
}
