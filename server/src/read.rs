//! Serializable or linearizable reads: what is short runs where it was asked
//! for, what is long on a bounded pool, so that a list can't delay a put.

use crate::{
    api::{status::ApiError, validate},
    member::Member,
};
use std::{sync::Arc, thread::available_parallelism, time::Duration};
use sternpost_proto::etcdserverpb::{self as pb, range_request::SortTarget, request_op::Request};
use sternpost_raft::ReadIndexError;
use sternpost_storage::ReadView;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::{Instant, timeout_at},
};

/// Keys that are read on the RPC thread: about as long as the answer takes to
/// encode and send.
const INLINE_KEYS_MAX: i64 = 64;
/// What all long reads together may hold, as estimated before they start.
const POOL_BYTES_MAX: u64 = 256 << 20;
/// The unit in which those bytes are handed out.
const POOL_UNIT_BYTES: u64 = 4 << 10;
/// A value is taken to be at least this long when a read's size is estimated.
const KEY_BYTES_MIN: u64 = 256;
/// The rest before a read index is asked for again.
const READ_INDEX_RETRY_EVERY: Duration = Duration::from_millis(20);

/// Bounds long reads: how many run, and what they may hold.
pub struct ReadPool {
    threads: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

/// The right to run one long read.
pub struct Permit {
    _thread: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

impl ReadPool {
    /// A pool of two threads per core.
    pub fn new() -> Self {
        let threads = 2 * available_parallelism().map_or(1, usize::from);
        let units =
            usize::try_from(POOL_BYTES_MAX / POOL_UNIT_BYTES).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            threads: Arc::new(Semaphore::new(threads)),
            bytes: Arc::new(Semaphore::new(units)),
        }
    }

    /// Waits for a place for a read of about so many bytes. One that alone
    /// exceeds the budget gets all of it.
    pub async fn permit(&self, bytes: u64) -> Permit {
        let units =
            u32::try_from(bytes.min(POOL_BYTES_MAX).div_ceil(POOL_UNIT_BYTES)).unwrap_or(u32::MAX);
        // Bytes first: a read that waits for them must not keep a thread.
        let open = "the pool's semaphores are never closed";
        let bytes = self
            .bytes
            .clone()
            .acquire_many_owned(units)
            .await
            .expect(open);
        let thread = self.threads.clone().acquire_owned().await.expect(open);
        Permit {
            _thread: thread,
            _bytes: bytes,
        }
    }

    /// Runs a long read on the pool.
    pub async fn run<T: Send + 'static>(
        &self,
        bytes: u64,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let permit = self.permit(bytes).await;
        // If the caller goes away the read goes on to its end, permit in hand.
        let done = spawn_blocking(move || {
            let result = read();
            drop(permit);
            result
        });
        done.await.map_err(|error| {
            tracing::error!(%error, "a long read ended without a result");
            ApiError::Stopped
        })
    }
}

/// How much a read may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    /// Short enough for the RPC thread.
    Inline,
    /// So many keys at most.
    Keys(u64),
}

impl Member {
    /// Waits until everything acknowledged before this call is visible here.
    pub async fn read_index(&self) -> Result<(), ApiError> {
        match self.node.read_index().await {
            Ok(()) => Ok(()),
            Err(ReadIndexError::NoLeader) => self.read_index_without_leader().await,
            Err(error) => Err(self.read_index_failed(error)),
        }
    }

    /// etcd lets such a read wait for a leader until the request times out.
    #[cold]
    async fn read_index_without_leader(&self) -> Result<(), ApiError> {
        let deadline = Instant::now() + self.config.request_timeout();
        loop {
            if self.leadership.wait_for_leader(deadline).await.is_err() {
                return Err(self.read_index_failed(ReadIndexError::TimedOut));
            }
            match timeout_at(deadline, self.node.read_index()).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(ReadIndexError::NoLeader)) => {
                    tokio::time::sleep(READ_INDEX_RETRY_EVERY).await
                }
                Ok(Err(error)) => return Err(self.read_index_failed(error)),
                Err(_elapsed) => return Err(self.read_index_failed(ReadIndexError::TimedOut)),
            }
        }
    }

    fn read_index_failed(&self, error: ReadIndexError) -> ApiError {
        self.metrics.server.read_indexes_failed.inc();
        if error == ReadIndexError::TimedOut {
            self.metrics.server.slow_read_indexes.inc();
        }
        error.into()
    }

    /// Answers a checked range; its header is unset.
    pub async fn range(
        &self,
        request: pb::RangeRequest,
    ) -> Result<(pb::RangeResponse, i64), ApiError> {
        if !request.serializable {
            self.read_index().await?;
        }
        let view = self.node.reads().view();
        let revision = view.revision();
        let answer = match range_weight(&view, &request)? {
            Weight::Inline => view.range(&request)?,
            Weight::Keys(keys) => {
                let bytes = keys.saturating_mul(self.bytes_per_key(&view));
                self.pool.run(bytes, move || view.range(&request)).await??
            }
        };
        Ok((answer, revision))
    }

    /// Answers a checked transaction of ranges only; its header is unset.
    pub async fn read_txn(
        &self,
        request: pb::TxnRequest,
    ) -> Result<(pb::TxnResponse, i64), ApiError> {
        if !is_serializable(&request) {
            self.read_index().await?;
        }
        let view = self.node.reads().view();
        let revision = view.revision();
        let mut keys = 0_u64;
        let mut inline = request
            .compare
            .iter()
            .all(|compare| compare.range_end.is_empty());
        for range in branches(&request).filter_map(as_range) {
            match range_weight(&view, range)? {
                Weight::Inline => {}
                Weight::Keys(more) => {
                    keys = keys.saturating_add(more);
                    inline = false;
                }
            }
        }
        let answer = if inline {
            view.read_txn(&request)?
        } else {
            let bytes = keys.saturating_mul(self.bytes_per_key(&view));
            self.pool
                .run(bytes, move || view.read_txn(&request))
                .await??
        };
        Ok((answer, revision))
    }

    /// What a key and its value take on average, roughly.
    fn bytes_per_key(&self, view: &ReadView) -> u64 {
        let keys = u64::try_from(view.keys_total()).unwrap_or(0).max(1);
        (self.node.reads().sizes().current_copy_bytes / keys).max(KEY_BYTES_MIN)
    }
}

/// Point reads, counts and small ranges of the newest revision are short.
fn range_weight(view: &ReadView, request: &pb::RangeRequest) -> Result<Weight, ApiError> {
    if request.range_end.is_empty() || (request.count_only && request.revision <= 0) {
        return Ok(Weight::Inline);
    }
    let limit_counts = request.sort_target() == SortTarget::Key
        && request.sort_order() != pb::range_request::SortOrder::Descend
        && !validate::has_revision_filter(request);
    let is_newest = request.revision <= 0 || request.revision == view.revision();
    if limit_counts && is_newest && (1..=INLINE_KEYS_MAX).contains(&request.limit) {
        return Ok(Weight::Inline);
    }
    let count = view.count(&request.key, &request.range_end)?;
    if is_newest && count <= INLINE_KEYS_MAX {
        return Ok(Weight::Inline);
    }
    let keys = if limit_counts && request.limit > 0 {
        count.min(request.limit)
    } else {
        count
    };
    Ok(Weight::Keys(u64::try_from(keys).unwrap_or(0)))
}

/// The operations of both branches.
fn branches(request: &pb::TxnRequest) -> impl Iterator<Item = &pb::RequestOp> {
    request.success.iter().chain(&request.failure)
}

fn as_range(op: &pb::RequestOp) -> Option<&pb::RangeRequest> {
    match &op.request {
        Some(Request::RequestRange(range)) => Some(range),
        _ => None,
    }
}

/// Whether a transaction does without the log: every operation of both
/// branches is a range. One with a nested transaction is not, as in etcd.
pub fn is_read_only(request: &pb::TxnRequest) -> bool {
    branches(request).all(|op| as_range(op).is_some())
}

/// Whether a read-only transaction does without the read index, too. True for
/// an empty one.
fn is_serializable(request: &pb::TxnRequest) -> bool {
    branches(request)
        .filter_map(as_range)
        .all(|range| range.serializable)
}
