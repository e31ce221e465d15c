//! The model's transactions: decide all branches, check all operations, run.

use super::Model;
use crate::error::Rejection;
use std::{cmp::Ordering, vec};
use sternpost_proto::{
    etcdserverpb::{
        self as pb,
        compare::{CompareResult, CompareTarget, TargetUnion},
        request_op::Request,
        response_op::Response,
    },
    mvccpb,
};

/// The branches to take, one answer for each transaction met on the way, in
/// the order in which they are met.
type Path = vec::IntoIter<bool>;

impl Model {
    /// A transaction without outer header. Compares, nested ones too, and
    /// checks see the state before it; a failed check means nothing happened.
    pub(super) fn txn(&mut self, request: &pb::TxnRequest) -> Result<pb::TxnResponse, Rejection> {
        let path = self.checked_path(request)?;
        let response = self.run(request, &mut path.into_iter());
        Ok(pb::TxnResponse {
            header: None,
            ..response
        })
    }

    /// A transaction that only reads.
    pub fn read_txn(&self, request: &pb::TxnRequest) -> Result<pb::TxnResponse, Rejection> {
        self.clone().txn(request)
    }

    fn checked_path(&self, request: &pb::TxnRequest) -> Result<Vec<bool>, Rejection> {
        let mut path = Vec::new();
        self.decide(request, &mut path);
        self.check(request, &mut path.clone().into_iter())?;
        Ok(path)
    }

    fn decide(&self, request: &pb::TxnRequest, path: &mut Vec<bool>) {
        let succeeded = request.compare.iter().all(|compare| self.holds(compare));
        path.push(succeeded);
        for operation in branch(request, succeeded) {
            if let Some(Request::RequestTxn(nested)) = &operation.request {
                self.decide(nested, path);
            }
        }
    }

    fn check(&self, request: &pb::TxnRequest, path: &mut Path) -> Result<(), Rejection> {
        for operation in branch(request, next(path)) {
            match operation.request.as_ref() {
                Some(Request::RequestRange(range)) => self.check_range(range.revision)?,
                Some(Request::RequestPut(put)) => self.check_put(put)?,
                Some(Request::RequestTxn(nested)) => self.check(nested, path)?,
                Some(Request::RequestDeleteRange(_)) | None => {}
            }
        }
        Ok(())
    }

    /// Unlike a plain range, a negative revision is held against the compact
    /// revision.
    fn check_range(&self, revision: i64) -> Result<(), Rejection> {
        if revision > self.revision {
            return Err(Rejection::FutureRevision);
        }
        if revision != 0 && revision < self.compact_revision {
            return Err(Rejection::Compacted);
        }
        Ok(())
    }

    fn run(&mut self, request: &pb::TxnRequest, path: &mut Path) -> pb::TxnResponse {
        let succeeded = next(path);
        let operations = branch(request, succeeded);
        let responses = operations.iter().map(|operation| pb::ResponseOp {
            response: self.run_one(operation, path),
        });
        let responses = responses.collect();
        pb::TxnResponse {
            header: Some(pb::ResponseHeader::default()),
            succeeded,
            responses,
        }
    }

    fn run_one(&mut self, operation: &pb::RequestOp, path: &mut Path) -> Option<Response> {
        Some(match operation.request.as_ref()? {
            Request::RequestRange(range) => Response::ResponseRange(
                self.range(range)
                    .expect("checked before the transaction ran"),
            ),
            Request::RequestPut(put) => Response::ResponsePut(self.put(put)),
            Request::RequestDeleteRange(delete) => {
                Response::ResponseDeleteRange(self.delete_range(delete))
            }
            Request::RequestTxn(nested) => Response::ResponseTxn(self.run(nested, path)),
        })
    }

    /// A compare over a range holds if it does for every key of it; without
    /// any key there it is held against a key of zeros, but a value that does
    /// not exist compares with nothing.
    fn holds(&self, compare: &pb::Compare) -> bool {
        let kvs = self.in_range(&compare.key, &compare.range_end, self.revision);
        if kvs.is_empty() {
            return compare.target != CompareTarget::Value as i32
                && holds_for(compare, &mvccpb::KeyValue::default());
        }
        kvs.iter().all(|kv| holds_for(compare, kv))
    }
}

/// A missing operand, or one of another kind, is zero or empty.
fn holds_for(compare: &pb::Compare, kv: &mvccpb::KeyValue) -> bool {
    let target = CompareTarget::try_from(compare.target);
    let number = match (target, &compare.target_union) {
        (Ok(CompareTarget::Version), Some(TargetUnion::Version(number)))
        | (Ok(CompareTarget::Create), Some(TargetUnion::CreateRevision(number)))
        | (Ok(CompareTarget::Mod), Some(TargetUnion::ModRevision(number)))
        | (Ok(CompareTarget::Lease), Some(TargetUnion::Lease(number))) => *number,
        _ => 0,
    };
    let value = match &compare.target_union {
        Some(TargetUnion::Value(value)) => &value[..],
        _ => &[],
    };
    verdict(
        compare,
        match target {
            Ok(CompareTarget::Version) => kv.version.cmp(&number),
            Ok(CompareTarget::Create) => kv.create_revision.cmp(&number),
            Ok(CompareTarget::Mod) => kv.mod_revision.cmp(&number),
            Ok(CompareTarget::Lease) => kv.lease.cmp(&number),
            Ok(CompareTarget::Value) => kv.value[..].cmp(value),
            Err(_) => Ordering::Equal,
        },
    )
}

/// A result nobody knows counts as true.
fn verdict(compare: &pb::Compare, ordering: Ordering) -> bool {
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => ordering.is_eq(),
        Ok(CompareResult::NotEqual) => ordering.is_ne(),
        Ok(CompareResult::Greater) => ordering.is_gt(),
        Ok(CompareResult::Less) => ordering.is_lt(),
        Err(_) => true,
    }
}

fn branch(request: &pb::TxnRequest, succeeded: bool) -> &[pb::RequestOp] {
    if succeeded {
        &request.success
    } else {
        &request.failure
    }
}

fn next(path: &mut Path) -> bool {
    path.next()
        .expect("the path covers every transaction on it")
}

/// Whether a put stands anywhere in the transaction, taken branch or not.
pub(super) fn has_put(request: &pb::TxnRequest) -> bool {
    request
        .success
        .iter()
        .chain(&request.failure)
        .any(|operation| match &operation.request {
            Some(Request::RequestPut(_)) => true,
            Some(Request::RequestTxn(nested)) => has_put(nested),
            _ => false,
        })
}
