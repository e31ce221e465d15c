//! Quota and alarms: when NOSPACE is raised, and what a request costs.
//!
//! The state machine knows alarms but no sizes, because members differ in
//! theirs. So the quota is looked at here: before a proposal, and again after
//! its apply, when only the answer is replaced.

use crate::{api::status::ApiError, member::Member};
use parking_lot::Mutex;
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};
use sternpost_proto::{
    etcdserverpb::{self as pb, AlarmType, request_op::Request},
    internal::{AlarmChange, command::Verb},
};
use sternpost_raft::RaftNode;

/// What a put costs beside its key and value.
const PUT_OVERHEAD_BYTES: u64 = 256;
/// What a lease costs.
pub const LEASE_COST_BYTES: u64 = 64;
/// How long a measured size is good for. Between two measures each accepted
/// request counts with its cost.
const MEASURE_EVERY: Duration = Duration::from_millis(100);

/// What a put may add to the store.
pub fn put_cost(request: &pb::PutRequest) -> u64 {
    PUT_OVERHEAD_BYTES + request.key.len() as u64 + request.value.len() as u64
}

/// What a transaction may add: the dearer of its branches. Zero for one
/// without puts, which no quota refuses.
pub fn txn_cost(request: &pb::TxnRequest) -> u64 {
    let branch = |ops: &[pb::RequestOp]| ops.iter().map(op_cost).sum::<u64>();
    branch(&request.success).max(branch(&request.failure))
}

fn op_cost(op: &pb::RequestOp) -> u64 {
    match &op.request {
        Some(Request::RequestPut(put)) => put_cost(put),
        Some(Request::RequestTxn(nested)) => txn_cost(nested),
        Some(Request::RequestRange(_) | Request::RequestDeleteRange(_)) | None => 0,
    }
}

/// The limit on `dbSize`, and the size as last measured.
pub struct Quota {
    /// `None`: no limit.
    limit_bytes: Option<u64>,
    measured_bytes: AtomicU64,
    /// Costs accepted since the last measure.
    pending_bytes: AtomicU64,
    measured_at: Mutex<Option<Instant>>,
    /// A proposal that raises the alarm is under way.
    raising: AtomicBool,
}

impl Quota {
    /// A quota of so many bytes.
    pub fn new(limit_bytes: Option<u64>) -> Self {
        Self {
            limit_bytes,
            measured_bytes: AtomicU64::new(0),
            pending_bytes: AtomicU64::new(0),
            measured_at: Mutex::new(None),
            raising: AtomicBool::new(false),
        }
    }

    /// Whether a request of this cost still fits. Counts it if so.
    fn admit(&self, cost: u64, now: Instant, measure: impl Fn() -> u64) -> bool {
        let Some(limit) = self.limit_bytes else {
            return true;
        };
        if cost == 0 {
            return true;
        }
        self.measure_if_stale(now, &measure);
        if self.estimate() + cost >= limit {
            // The estimate is only that: refuse by the real size alone.
            self.measure(now, &measure);
            if self.measured_bytes.load(Relaxed) + cost >= limit {
                return false;
            }
        }
        self.pending_bytes.fetch_add(cost, Relaxed);
        true
    }

    /// Whether the size has reached the limit.
    fn is_reached(&self, now: Instant, measure: impl Fn() -> u64) -> bool {
        let Some(limit) = self.limit_bytes else {
            return false;
        };
        if self.estimate() < limit {
            return false;
        }
        self.measure(now, &measure);
        self.measured_bytes.load(Relaxed) >= limit
    }

    fn estimate(&self) -> u64 {
        self.measured_bytes.load(Relaxed) + self.pending_bytes.load(Relaxed)
    }

    fn measure_if_stale(&self, now: Instant, measure: &impl Fn() -> u64) {
        // Whoever finds the lock taken goes on with the numbers at hand.
        if let Some(mut measured_at) = self.measured_at.try_lock()
            && measured_at.is_none_or(|at| now.duration_since(at) >= MEASURE_EVERY)
        {
            self.store(measure());
            *measured_at = Some(now);
        }
    }

    fn measure(&self, now: Instant, measure: &impl Fn() -> u64) {
        let mut measured_at = self.measured_at.lock();
        self.store(measure());
        *measured_at = Some(now);
    }

    fn store(&self, bytes: u64) {
        self.pending_bytes.store(0, Relaxed);
        self.measured_bytes.store(bytes, Relaxed);
    }
}

fn db_bytes(node: &RaftNode) -> u64 {
    node.reads().sizes().db_bytes
}

impl Member {
    /// Refuses what does not fit under the quota any more, and raises the
    /// alarm then: it stops all that costs space, on every member.
    pub async fn check_quota(&self, cost: u64) -> Result<(), ApiError> {
        if self
            .quota
            .admit(cost, Instant::now(), || db_bytes(&self.node))
        {
            return Ok(());
        }
        self.raise_no_space().await;
        Err(ApiError::NoSpace)
    }

    /// After the apply of a request of this cost: its answer becomes NOSPACE
    /// if the store is full now. What it wrote stays.
    pub async fn recheck_quota(&self, cost: u64) -> Result<(), ApiError> {
        if cost == 0
            || !self
                .quota
                .is_reached(Instant::now(), || db_bytes(&self.node))
        {
            return Ok(());
        }
        self.raise_no_space().await;
        Err(ApiError::NoSpace)
    }

    async fn raise_no_space(&self) {
        let member_id = self.identity.member_id;
        let active = |alarm: &pb::AlarmMember| {
            alarm.member_id == member_id && alarm.alarm() == AlarmType::Nospace
        };
        if self.node.reads().view().alarms().iter().any(active)
            || self.quota.raising.swap(true, Relaxed)
        {
            return;
        }
        let _lowered = Lowered(&self.quota.raising);
        tracing::warn!(
            quota_bytes = self.quota.limit_bytes,
            "the quota is used up: raising the alarm NOSPACE"
        );
        let change = AlarmChange {
            clear: false,
            member_id,
            alarm: AlarmType::Nospace.into(),
        };
        if let Err(error) = self.propose(Verb::Alarm(change)).await {
            tracing::warn!(
                error = error.text(),
                "the alarm NOSPACE could not be raised"
            );
        }
    }
}

/// Takes a flag down again, also when the request that put it up is dropped.
struct Lowered<'a>(&'a AtomicBool);

impl Drop for Lowered<'_> {
    fn drop(&mut self) {
        self.0.store(false, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn put(key: usize, value: usize) -> pb::RequestOp {
        let put = pb::PutRequest {
            key: vec![b'k'; key].into(),
            value: vec![0; value].into(),
            ..Default::default()
        };
        pb::RequestOp {
            request: Some(Request::RequestPut(put)),
        }
    }

    fn nested(success: Vec<pb::RequestOp>, failure: Vec<pb::RequestOp>) -> pb::RequestOp {
        let txn = pb::TxnRequest {
            compare: Vec::new(),
            success,
            failure,
        };
        pb::RequestOp {
            request: Some(Request::RequestTxn(txn)),
        }
    }

    #[test]
    fn a_transaction_costs_its_dearer_branch_with_all_that_is_nested() {
        let delete = pb::RequestOp {
            request: Some(Request::RequestDeleteRange(
                pb::DeleteRangeRequest::default(),
            )),
        };
        let range = pb::RequestOp {
            request: Some(Request::RequestRange(pb::RangeRequest::default())),
        };
        let free = pb::TxnRequest {
            success: vec![delete],
            failure: vec![range],
            ..Default::default()
        };
        assert_eq!(txn_cost(&free), 0);
        let txn = pb::TxnRequest {
            compare: Vec::new(),
            success: vec![
                put(1, 9),
                nested(vec![put(2, 0)], vec![put(3, 0), put(3, 0)]),
            ],
            failure: vec![put(10, 100)],
        };
        assert_eq!(txn_cost(&txn), (256 + 10) + 2 * (256 + 3));
    }

    #[test]
    fn the_limit_itself_is_refused() {
        let now = Instant::now();
        assert!(Quota::new(Some(1000)).admit(399, now, || 600));
        assert!(!Quota::new(Some(1000)).admit(400, now, || 600));
        assert!(Quota::new(None).admit(u64::MAX, now, || unreachable!("no limit, no measure")));
        assert!(Quota::new(Some(0)).admit(0, now, || unreachable!("no cost, no measure")));
    }

    #[test]
    fn accepted_costs_count_until_the_next_measure() {
        let quota = Quota::new(Some(1000));
        let size = Cell::new(100);
        let measures = Cell::new(0);
        let measure = || {
            measures.set(measures.get() + 1);
            size.get()
        };
        let now = Instant::now();
        assert!(quota.admit(500, now, measure) && quota.admit(300, now, measure));
        assert_eq!(measures.get(), 1);
        // The estimate says full, the store has grown by less.
        size.set(400);
        assert!(quota.admit(500, now, measure));
        assert_eq!(measures.get(), 2);
        assert!(!quota.is_reached(now, measure));
        assert_eq!(measures.get(), 2, "900 of 1000 need no second look");
        // By others: seen once the measure is old.
        size.set(1000);
        let later = now + MEASURE_EVERY;
        assert!(!quota.admit(1, later, measure) && quota.is_reached(later, measure));
    }
}
