//! Quota and alarms: when NOSPACE is raised, and what a request costs.
//!
//! The state machine knows alarms but no sizes, because members differ in
//! theirs. So the quota is looked at here: before a proposal, and again after
//! its apply, when only the answer is replaced.

use crate::{api::status::ApiError, member::Member};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use sternpost_proto::{
    etcdserverpb::{self as pb, AlarmType, request_op::Request},
    internal::{AlarmChange, command::Verb},
};

/// What a put costs beside its key and value.
const PUT_OVERHEAD_BYTES: u64 = 256;
/// What a lease costs.
pub const LEASE_COST_BYTES: u64 = 64;
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

/// The limit on `dbSize`.
pub struct Quota {
    /// `None`: no limit.
    limit_bytes: Option<u64>,
    /// A proposal that raises the alarm is under way.
    raising: AtomicBool,
}

impl Quota {
    /// A quota of so many bytes.
    pub fn new(limit_bytes: Option<u64>) -> Self {
        Self {
            limit_bytes,
            raising: AtomicBool::new(false),
        }
    }

    /// Whether the store has no room for a request of this cost. `known` is
    /// the size at hand; only if that says full is it measured.
    fn is_exceeded(&self, cost: u64, known: u64, measure: impl Fn() -> u64) -> bool {
        let Some(limit) = self.limit_bytes else {
            return false;
        };
        known.saturating_add(cost) >= limit && measure().saturating_add(cost) >= limit
    }
}

impl Member {
    /// Refuses what does not fit under the quota any more, and raises the
    /// alarm then: it stops all that costs space, on every member.
    pub async fn check_quota(&self, cost: u64) -> Result<(), ApiError> {
        if cost == 0 || !self.exceeds_quota(cost) {
            return Ok(());
        }
        // Boxed, so that what is rare takes no room in every request.
        Box::pin(self.raise_no_space()).await;
        Err(ApiError::NoSpace)
    }

    /// After the apply of a request of this cost: its answer becomes NOSPACE
    /// if the store is full now. What it wrote stays.
    pub async fn recheck_quota(&self, cost: u64) -> Result<(), ApiError> {
        if cost == 0 || !self.exceeds_quota(0) {
            return Ok(());
        }
        Box::pin(self.raise_no_space()).await;
        Err(ApiError::NoSpace)
    }

    fn exceeds_quota(&self, cost: u64) -> bool {
        let reads = self.node.reads();
        // While the alarm is on, the log refuses it anyway: don't measure for
        // each of a flood of refused puts.
        let measure = || {
            if self.has_raised_no_space() {
                u64::MAX
            } else {
                reads.sizes().db_bytes
            }
        };
        self.quota.is_exceeded(cost, reads.db_bytes(), measure)
    }

    fn has_raised_no_space(&self) -> bool {
        let view = self.node.reads().view();
        view.alarms().iter().any(|alarm| {
            alarm.member_id == self.identity.member_id && alarm.alarm() == AlarmType::Nospace
        })
    }

    async fn raise_no_space(&self) {
        if self.has_raised_no_space() || self.quota.raising.swap(true, Relaxed) {
            return;
        }
        let _lowered = Lowered(&self.quota.raising);
        tracing::warn!(
            quota_bytes = self.quota.limit_bytes,
            "the quota is used up: raising the alarm NOSPACE"
        );
        let change = AlarmChange {
            clear: false,
            member_id: self.identity.member_id,
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
        let quota = Quota::new(Some(1000));
        assert!(!quota.is_exceeded(399, 600, || unreachable!("not in question")));
        assert!(quota.is_exceeded(400, 600, || 600));
        assert!(
            !quota.is_exceeded(400, 600, || 599),
            "a new measure decides"
        );
        assert!(!Quota::new(None).is_exceeded(u64::MAX, u64::MAX, || unreachable!("no limit")));
    }
}
