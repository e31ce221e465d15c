//! The conditions of a transaction, all decided before any of its changes.

use super::{
    current::{self, Version},
    range::Source,
    span::KeySpan,
};
use crate::error::{Fault, ReadError, Rejection};
use std::{cmp::Ordering, ops::ControlFlow};
use sternpost_proto::etcdserverpb::{
    self as pb, TxnRequest,
    compare::{CompareResult, CompareTarget, TargetUnion},
    request_op::Request,
};

/// Transactions may be nested, but not deeper than this. Requests this deep
/// can't be decoded in the first place, so this only guards the stack.
const TXN_DEPTH_MAX: usize = 128;

/// Which branch each transaction of a tree takes, in the order in which they
/// are met: the outer one first, then those nested in its chosen branch.
#[derive(Debug)]
pub(crate) struct Path {
    taken: Vec<bool>,
    next: usize,
}

impl Path {
    /// Decides the whole tree on `source`, the state before the transaction.
    pub(crate) fn decide(source: &Source<'_>, txn: &TxnRequest) -> Result<Self, ReadError> {
        let mut path = Self {
            taken: Vec::new(),
            next: 0,
        };
        path.decide_one(source, txn, 0)?;
        Ok(path)
    }

    fn decide_one(
        &mut self,
        source: &Source<'_>,
        txn: &TxnRequest,
        depth: usize,
    ) -> Result<(), ReadError> {
        if depth > TXN_DEPTH_MAX {
            // The answer for a malformed operation.
            return Err(Rejection::KeyNotFound.into());
        }
        let mut all = true;
        for compare in &txn.compare {
            if !holds(source, compare)? {
                all = false;
                break;
            }
        }
        self.taken.push(all);
        for operation in branch(txn, all) {
            if let Some(Request::RequestTxn(nested)) = &operation.request {
                self.decide_one(source, nested, depth + 1)?;
            }
        }
        Ok(())
    }

    /// Whether the next transaction of the walk succeeded.
    pub(crate) fn step(&mut self) -> bool {
        let taken = self.taken.get(self.next).copied().unwrap_or(false);
        self.next += 1;
        taken
    }

    /// Back to the outer transaction, for a second walk.
    pub(crate) fn rewind(&mut self) {
        self.next = 0;
    }
}

/// The operations of a branch.
pub(crate) fn branch(txn: &TxnRequest, succeeded: bool) -> &[pb::RequestOp] {
    if succeeded {
        &txn.success
    } else {
        &txn.failure
    }
}

/// Checks the revision of a range inside a transaction. Unlike outside, a
/// negative one does not mean now, but is below any compaction.
pub(crate) fn check_range(source: &Source<'_>, range: &pb::RangeRequest) -> Result<(), Rejection> {
    match range.revision {
        0 => Ok(()),
        revision if revision > source.revision => Err(Rejection::FutureRevision),
        revision if revision < source.compact_revision => Err(Rejection::Compacted),
        _ => Ok(()),
    }
}

fn holds(source: &Source<'_>, compare: &pb::Compare) -> Result<bool, Fault> {
    let mut any = false;
    let mut all = true;
    current::walk(
        source.read,
        KeySpan::new(&compare.key, &compare.range_end),
        &mut |version| {
            any = true;
            all = holds_for(compare, &version);
            Ok(if all {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            })
        },
    )?;
    if any {
        return Ok(all);
    }
    // A missing key has no value, not even an unequal one; its numbers are 0.
    if compare.target == CompareTarget::Value as i32 {
        return Ok(false);
    }
    Ok(holds_for(
        compare,
        &Version {
            key: &[],
            header: Default::default(),
            value: &[],
        },
    ))
}

/// An operand that is missing or of another kind counts as 0 or empty.
fn holds_for(compare: &pb::Compare, version: &Version<'_>) -> bool {
    let operand = compare.target_union.as_ref();
    let header = &version.header;
    let order = match CompareTarget::try_from(compare.target) {
        Ok(CompareTarget::Version) => header.version.cmp(&match operand {
            Some(TargetUnion::Version(version)) => *version,
            _ => 0,
        }),
        Ok(CompareTarget::Create) => header.create_revision.cmp(&match operand {
            Some(TargetUnion::CreateRevision(revision)) => *revision,
            _ => 0,
        }),
        Ok(CompareTarget::Mod) => header.modified.main.cmp(&match operand {
            Some(TargetUnion::ModRevision(revision)) => *revision,
            _ => 0,
        }),
        Ok(CompareTarget::Value) => match operand {
            Some(TargetUnion::Value(value)) => version.value.cmp(value),
            _ => version.value.cmp(&[]),
        },
        Ok(CompareTarget::Lease) => header.lease.cmp(&match operand {
            Some(TargetUnion::Lease(lease)) => *lease,
            _ => 0,
        }),
        Err(_) => Ordering::Equal,
    };
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => order == Ordering::Equal,
        Ok(CompareResult::NotEqual) => order != Ordering::Equal,
        Ok(CompareResult::Greater) => order == Ordering::Greater,
        Ok(CompareResult::Less) => order == Ordering::Less,
        // An unknown one holds, as in etcd.
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ids::Revision, schema::rows::Header};
    use bytes::Bytes;

    fn compare(
        target: CompareTarget,
        result: CompareResult,
        operand: Option<TargetUnion>,
    ) -> pb::Compare {
        pb::Compare {
            target: target as i32,
            result: result as i32,
            target_union: operand,
            key: Bytes::from_static(b"k"),
            range_end: Bytes::new(),
        }
    }

    #[test]
    fn operands_of_each_kind() {
        let header = Header {
            create_revision: 5,
            modified: Revision::new(9, 0),
            version: 3,
            lease: 7,
        };
        let version = Version {
            key: b"k",
            header,
            value: b"m",
        };
        let hold = |target, result, operand| holds_for(&compare(target, result, operand), &version);
        use CompareResult::*;
        assert!(hold(
            CompareTarget::Version,
            Equal,
            Some(TargetUnion::Version(3))
        ));
        assert!(hold(
            CompareTarget::Create,
            Less,
            Some(TargetUnion::CreateRevision(6))
        ));
        assert!(hold(
            CompareTarget::Mod,
            Greater,
            Some(TargetUnion::ModRevision(8))
        ));
        assert!(hold(
            CompareTarget::Lease,
            NotEqual,
            Some(TargetUnion::Lease(8))
        ));
        assert!(hold(
            CompareTarget::Value,
            Less,
            Some(TargetUnion::Value(Bytes::from_static(b"n")))
        ));
        assert!(!hold(CompareTarget::Value, Equal, None));
        // An operand of another kind counts as 0.
        assert!(hold(
            CompareTarget::Mod,
            Greater,
            Some(TargetUnion::Version(100))
        ));
    }

    #[test]
    fn unknown_numbers_hold_as_in_etcd() {
        let version = Version {
            key: b"k",
            header: Header::default(),
            value: b"",
        };
        let mut unknown = compare(CompareTarget::Version, CompareResult::Equal, None);
        unknown.result = 77;
        assert!(holds_for(&unknown, &version));
        unknown.result = CompareResult::Equal as i32;
        unknown.target = 77;
        assert!(holds_for(&unknown, &version));
    }
}
