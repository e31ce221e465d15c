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
    sync::{Mutex, OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::{Instant, timeout, timeout_at},
};

/// Keys that are read on the RPC thread: about as long as the answer takes to
/// encode and send.
const INLINE_KEYS_MAX: u64 = 64;
/// A range that may be longer is taken to be as long as it may be; the keys of
/// a shorter one are counted, since most of those are short indeed.
const COUNTED_KEYS_MAX: u64 = 4096;
/// What all long reads together may hold, as estimated before they start.
const POOL_BYTES_MAX: u64 = 256 << 20;
/// The unit in which those bytes are handed out.
const POOL_UNIT_BYTES: u64 = 4 << 10;
/// A value is taken to be at least this long when a read's size is estimated.
const KEY_BYTES_MIN: u64 = 256;
/// How long a read waits for the budget. Then it goes on without: clients
/// that don't take their answers must not keep others from theirs.
const BUDGET_PATIENCE: Duration = Duration::from_secs(2);
/// The rest before a read index is asked for again.
const READ_INDEX_RETRY_EVERY: Duration = Duration::from_millis(20);

/// Bounds long reads: how many run, and what they may hold.
pub struct ReadPool {
    threads: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    /// Who waits for bytes. One at a time, so that only one at a time loses
    /// its patience.
    turn: Mutex<()>,
}

/// Memory of a long read, held until its answer is sent.
pub struct Held {
    /// Nothing after a wait that was too long.
    bytes: Option<OwnedSemaphorePermit>,
}

impl ReadPool {
    /// A pool of a thread per core.
    pub fn new() -> Self {
        let threads = available_parallelism().map_or(1, usize::from);
        Self {
            threads: Arc::new(Semaphore::new(threads)),
            bytes: Arc::new(Semaphore::new(units(POOL_BYTES_MAX) as usize)),
            turn: Mutex::default(),
        }
    }

    /// Whether all threads are taken.
    pub fn is_crowded(&self) -> bool {
        self.threads.available_permits() == 0
    }

    /// Runs a long read of about so many bytes on the pool. One that alone
    /// exceeds the budget gets all of it.
    pub async fn run<T: Send + 'static>(
        &self,
        bytes: u64,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let (result, _) = self.run_held(bytes, move || (read(), 0)).await?;
        Ok(result)
    }

    /// The same for a read that says how many bytes its result takes: they
    /// stay charged as long as what is returned beside it lives.
    pub async fn run_held<T: Send + 'static>(
        &self,
        bytes: u64,
        read: impl FnOnce() -> (T, u64) + Send + 'static,
    ) -> Result<(T, Held), ApiError> {
        // Bytes first: a read that waits for them must not keep a thread.
        let open = "the pool's semaphores are never closed";
        let budget = self.bytes.clone();
        let turn = self.turn.lock().await;
        let charge = budget.clone().acquire_many_owned(units(bytes));
        let mut held = Held {
            bytes: match timeout(BUDGET_PATIENCE, charge).await {
                Ok(charged) => Some(charged.expect(open)),
                Err(_elapsed) => None,
            },
        };
        drop(turn);
        let thread = self.threads.clone().acquire_owned().await.expect(open);
        // If the caller goes away the read goes on to its end, permits in hand.
        let done = spawn_blocking(move || {
            let (result, bytes) = read();
            drop(thread);
            held.charge(&budget, bytes);
            (result, held)
        });
        done.await.map_err(|error| {
            tracing::error!(%error, "a long read ended without a result");
            ApiError::Stopped
        })
    }
}

impl Held {
    /// Charges what a result takes beyond the estimate, as far as there is
    /// room: the next reads wait for it.
    fn charge(&mut self, budget: &Arc<Semaphore>, bytes: u64) {
        let charged = self.bytes.as_ref().map_or(0, |bytes| bytes.num_permits());
        let more = (units(bytes) as usize).saturating_sub(charged);
        let more = more.min(budget.available_permits());
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        if let Ok(more) = budget.clone().try_acquire_many_owned(more) {
            match &mut self.bytes {
                Some(bytes) => bytes.merge(more),
                None => self.bytes = Some(more),
            }
        }
    }
}

/// Bytes in the pool's unit, not above its budget.
fn units(bytes: u64) -> u32 {
    let units = bytes.min(POOL_BYTES_MAX).div_ceil(POOL_UNIT_BYTES);
    u32::try_from(units).unwrap_or(u32::MAX)
}

/// What a read comes to, with the bytes it takes.
type Read<T> = Result<(T, u64), ApiError>;

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
            Err(ReadIndexError::NoLeader) => Box::pin(self.read_index_without_leader()).await,
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

    /// A learner answers serializable reads alone.
    pub fn check_learner(&self, request: &pb::RangeRequest) -> Result<(), ApiError> {
        if !request.serializable && self.standing.is_learner() {
            return Err(ApiError::NotSupportedForLearner);
        }
        Ok(())
    }

    /// Answers a checked range; its header is unset. With it comes the
    /// revision of the view that was read.
    pub async fn range(
        &self,
        request: pb::RangeRequest,
    ) -> Result<(pb::RangeResponse, i64), ApiError> {
        let read = |view: &ReadView, request: &_| Ok(((view.range(request)?, view.revision()), 0));
        let (answered, _) = self.range_with(request, read).await?;
        Ok(answered)
    }

    /// The same by `read`, which also says how many bytes its result takes: a
    /// long one stays charged to the pool as long as what is returned beside
    /// it lives.
    pub async fn range_with<T: Send + 'static>(
        &self,
        request: pb::RangeRequest,
        read: impl FnOnce(&ReadView, &pb::RangeRequest) -> Read<T> + Send + 'static,
    ) -> Result<(T, Option<Held>), ApiError> {
        if !request.serializable {
            self.read_index().await?;
        }
        let view = self.node.reads().view();
        let weight = range_weight(&view, &request)?;
        let metrics = self.metrics.clone();
        let read = move |view: &ReadView| {
            let started = std::time::Instant::now();
            let result = read(view, &request);
            let duration = &metrics.server.range_duration;
            duration.observe(result.is_ok(), started.elapsed());
            result
        };
        self.read_by_weight(view, weight, read).await
    }

    /// Answers a checked transaction of ranges only; its header is unset.
    pub async fn read_txn(
        &self,
        request: pb::TxnRequest,
    ) -> Result<(pb::TxnResponse, i64), ApiError> {
        let read =
            |view: &ReadView, request: &_| Ok(((view.read_txn(request)?, view.revision()), 0));
        let (answered, _) = self.read_txn_with(request, read).await?;
        Ok(answered)
    }

    /// The same by `read`, as in [`Member::range_with`].
    pub async fn read_txn_with<T: Send + 'static>(
        &self,
        request: pb::TxnRequest,
        read: impl FnOnce(&ReadView, &pb::TxnRequest) -> Read<T> + Send + 'static,
    ) -> Result<(T, Option<Held>), ApiError> {
        if !is_serializable(&request) {
            self.read_index().await?;
        }
        let view = self.node.reads().view();
        let weight = txn_weight(&view, &request)?;
        let read = move |view: &ReadView| read(view, &request);
        self.read_by_weight(view, weight, read).await
    }

    async fn read_by_weight<T: Send + 'static>(
        &self,
        view: Arc<ReadView>,
        weight: Weight,
        read: impl FnOnce(&ReadView) -> Read<T> + Send + 'static,
    ) -> Result<(T, Option<Held>), ApiError> {
        let Weight::Keys(keys) = weight else {
            let (result, _) = read(&view)?;
            return Ok((result, None));
        };
        // A new one is taken when the read begins: one that waits pins nothing.
        drop(view);
        let bytes = keys.saturating_mul(self.bytes_per_key());
        let reads = self.node.reads().clone();
        let read = move || match read(&reads.view()) {
            Ok((result, bytes)) => (Ok(result), bytes),
            Err(error) => (Err(error), 0),
        };
        let (result, held) = Box::pin(self.pool.run_held(bytes, read)).await?;
        Ok((result?, Some(held)))
    }

    /// What a key and its value take on average, roughly.
    fn bytes_per_key(&self) -> u64 {
        let reads = self.node.reads();
        let keys = u64::try_from(reads.view().keys_total()).unwrap_or(0).max(1);
        (reads.current_copy_bytes() / keys).max(KEY_BYTES_MIN)
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
    let keys_at_most = view.count_at_most(&request.key, &request.range_end);
    let keys = match u64::try_from(request.limit) {
        Ok(limit) if limit_counts && limit > 0 => keys_at_most.min(limit),
        // Near enough.
        _ if keys_at_most > COUNTED_KEYS_MAX => keys_at_most,
        _ => u64::try_from(view.count(&request.key, &request.range_end)?).unwrap_or(0),
    };
    if is_newest && keys <= INLINE_KEYS_MAX {
        return Ok(Weight::Inline);
    }
    Ok(Weight::Keys(keys))
}

/// A transaction weighs what its ranges weigh together.
fn txn_weight(view: &ReadView, request: &pb::TxnRequest) -> Result<Weight, ApiError> {
    let compares_ranges = |compare: &pb::Compare| !compare.range_end.is_empty();
    let mut total = if request.compare.iter().any(compares_ranges) {
        Weight::Keys(0)
    } else {
        Weight::Inline
    };
    for range in branches(request).filter_map(as_range) {
        total = match (total, range_weight(view, range)?) {
            (Weight::Keys(keys), Weight::Keys(more)) => Weight::Keys(keys.saturating_add(more)),
            (Weight::Keys(keys), Weight::Inline) | (Weight::Inline, Weight::Keys(keys)) => {
                Weight::Keys(keys)
            }
            (Weight::Inline, Weight::Inline) => Weight::Inline,
        };
    }
    Ok(total)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_result_is_charged_until_it_is_let_go() {
        let pool = ReadPool::new();
        let all = pool.bytes.available_permits();
        let estimate = POOL_UNIT_BYTES;
        let actual = 10 * POOL_UNIT_BYTES;
        let ((), held) = pool.run_held(estimate, move || ((), actual)).await.unwrap();
        assert_eq!(pool.bytes.available_permits(), all - 10);
        drop(held);
        assert_eq!(pool.bytes.available_permits(), all);
        // One that alone is above the budget runs, and what comes after it
        // waits, but not for ever.
        let (first, held) = pool
            .run_held(2 * POOL_BYTES_MAX, || ("first", 0))
            .await
            .unwrap();
        let begun = Instant::now();
        let second = pool.run(estimate, || "second").await.unwrap();
        assert_eq!((first, second), ("first", "second"));
        assert!(begun.elapsed() >= BUDGET_PATIENCE);
        drop(held);
        assert_eq!(pool.bytes.available_permits(), all);
    }
}
