//! What a request may contain, checked in etcd's order, before anything else
//! is done for it. No state is looked at here.

use super::status::ApiError;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use sternpost_proto::etcdserverpb::{
    self as pb,
    range_request::{SortOrder, SortTarget},
    request_op::Request,
};

/// How deep transactions may nest. The decoder stops at 100 nested messages
/// and a level takes two; the log wraps the request in two more. A request
/// that the log could not read back must not get into it, so deeper ones are
/// refused as too many operations (etcd stops at the operation budget alone).
pub const NESTED_TXN_DEPTH_MAX: usize = 46;

/// Checks a range.
pub fn range(request: &pb::RangeRequest) -> Result<(), ApiError> {
    if request.key.is_empty() {
        return Err(ApiError::EmptyKey);
    }
    if SortOrder::try_from(request.sort_order).is_err()
        || SortTarget::try_from(request.sort_target).is_err()
    {
        return Err(ApiError::InvalidSortOption);
    }
    Ok(())
}

/// Checks a streamed range: what can't be served in key order is refused.
pub fn range_stream(request: &pb::RangeRequest) -> Result<(), ApiError> {
    range(request)?;
    let by_key = request.sort_target() == SortTarget::Key;
    match request.sort_order() {
        SortOrder::None => {}
        SortOrder::Ascend if by_key => {}
        SortOrder::Ascend | SortOrder::Descend => return Err(ApiError::StreamSortOrder),
    }
    if has_revision_filter(request) {
        return Err(ApiError::StreamRevisionFilter);
    }
    Ok(())
}

/// Whether keys are filtered by revision after they are read.
pub fn has_revision_filter(request: &pb::RangeRequest) -> bool {
    request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0
}

/// Checks a put.
pub fn put(request: &pb::PutRequest) -> Result<(), ApiError> {
    if request.key.is_empty() {
        return Err(ApiError::EmptyKey);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(ApiError::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(ApiError::LeaseProvided);
    }
    Ok(())
}

/// Checks a delete.
pub fn delete_range(request: &pb::DeleteRangeRequest) -> Result<(), ApiError> {
    if request.key.is_empty() {
        Err(ApiError::EmptyKey)
    } else {
        Ok(())
    }
}

/// Checks a transaction: the shape of both branches with all that is nested
/// in them first, then whether a branch writes a key twice.
pub fn txn(request: &pb::TxnRequest, ops_max: usize) -> Result<(), ApiError> {
    txn_shape(request, ops_max, NESTED_TXN_DEPTH_MAX)?;
    if writes_at_most_once(request) {
        return Ok(());
    }
    Writes::of(&request.success)?;
    Writes::of(&request.failure)?;
    Ok(())
}

/// A nested transaction has the budget that its parent left.
fn txn_shape(request: &pb::TxnRequest, ops_max: usize, depth_left: usize) -> Result<(), ApiError> {
    let ops = request
        .compare
        .len()
        .max(request.success.len())
        .max(request.failure.len());
    if ops > ops_max {
        return Err(ApiError::TooManyOps);
    }
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(ApiError::EmptyKey);
    }
    for op in request.success.iter().chain(&request.failure) {
        match &op.request {
            Some(Request::RequestRange(request)) => range(request)?,
            Some(Request::RequestPut(request)) => put(request)?,
            Some(Request::RequestDeleteRange(request)) => delete_range(request)?,
            Some(Request::RequestTxn(request)) => {
                let depth_left = depth_left.checked_sub(1).ok_or(ApiError::TooManyOps)?;
                txn_shape(request, ops_max - ops, depth_left)?;
            }
            None => return Err(ApiError::KeyNotFound),
        }
    }
    Ok(())
}

/// The common transaction has one write a branch: nothing to compare.
fn writes_at_most_once(request: &pb::TxnRequest) -> bool {
    let at_most_one = |ops: &[pb::RequestOp]| {
        let mut writes = 0;
        ops.iter().all(|op| match &op.request {
            Some(Request::RequestRange(_)) | None => true,
            Some(Request::RequestPut(_) | Request::RequestDeleteRange(_)) => {
                writes += 1;
                writes < 2
            }
            Some(Request::RequestTxn(_)) => false,
        })
    };
    at_most_one(&request.success) && at_most_one(&request.failure)
}

/// What a list of operations writes, with all that is nested in it.
#[derive(Default)]
struct Writes<'a> {
    /// Keys put, and in which branch of which nested transaction; a key of
    /// this level itself has none.
    puts: HashMap<&'a [u8], Option<Branch>>,
    deletes: Ranges,
}

/// A branch of the nested transaction at this place of the list.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Branch {
    place: usize,
    then: bool,
}

impl<'a> Writes<'a> {
    /// In etcd's order, which decides what counts as a duplicate: deletes of
    /// this level, then the nested transactions one after the other, each
    /// against what came before it, then the puts of this level.
    fn of(ops: &'a [pb::RequestOp]) -> Result<Self, ApiError> {
        let mut writes = Self::default();
        for op in ops {
            if let Some(Request::RequestDeleteRange(delete)) = &op.request {
                writes.deletes.insert(&delete.key, &delete.range_end);
            }
        }
        for (place, op) in ops.iter().enumerate() {
            if let Some(Request::RequestTxn(nested)) = &op.request {
                writes.add_nested(place, nested)?;
            }
        }
        for op in ops {
            if let Some(Request::RequestPut(put)) = &op.request {
                writes.add_put(&put.key, None)?;
            }
        }
        Ok(writes)
    }

    fn add_nested(&mut self, place: usize, nested: &'a pb::TxnRequest) -> Result<(), ApiError> {
        let then = Self::of(&nested.success)?;
        let or_else = Self::of(&nested.failure)?;
        for key in then.puts.into_keys() {
            self.add_put(key, Some(Branch { place, then: true }))?;
        }
        for key in or_else.puts.into_keys() {
            self.add_put(key, Some(Branch { place, then: false }))?;
        }
        self.deletes.extend(then.deletes);
        self.deletes.extend(or_else.deletes);
        Ok(())
    }

    fn add_put(&mut self, key: &'a [u8], branch: Option<Branch>) -> Result<(), ApiError> {
        let earlier = self.puts.insert(key, branch);
        // Only one of a transaction's branches runs: they may share keys.
        let shared = match (earlier, branch) {
            (None, _) => true,
            (Some(Some(earlier)), Some(branch)) => {
                earlier.place == branch.place && earlier.then && !branch.then
            }
            (Some(_), _) => false,
        };
        if shared && !self.deletes.contains(key) {
            Ok(())
        } else {
            Err(ApiError::DuplicateKey)
        }
    }
}

/// Ranges of keys, merged: begin to end, the end not included.
#[derive(Default)]
struct Ranges(BTreeMap<Bytes, Bytes>);

impl Ranges {
    /// `end` empty: the one key. A range up to `\0` ("and all after") counts
    /// as empty here, as in etcd's check: such a delete beside a put passes.
    fn insert(&mut self, begin: &Bytes, end: &Bytes) {
        if end.is_empty() {
            let mut next = begin.to_vec();
            next.push(0);
            self.insert_range(begin.clone(), next.into());
        } else if begin < end {
            self.insert_range(begin.clone(), end.clone());
        }
    }

    fn insert_range(&mut self, mut begin: Bytes, mut end: Bytes) {
        while let Some((other_begin, other_end)) = self.last_up_to(&end) {
            if other_end < begin {
                break;
            }
            self.0.remove(&other_begin);
            begin = begin.min(other_begin);
            end = end.max(other_end);
        }
        self.0.insert(begin, end);
    }

    fn last_up_to(&self, key: &[u8]) -> Option<(Bytes, Bytes)> {
        let up_to = (std::ops::Bound::Unbounded, std::ops::Bound::Included(key));
        self.0
            .range::<[u8], _>(up_to)
            .next_back()
            .map(|(begin, end)| (begin.clone(), end.clone()))
    }

    fn extend(&mut self, other: Self) {
        for (begin, end) in other.0 {
            self.insert_range(begin, end);
        }
    }

    fn contains(&self, key: &[u8]) -> bool {
        self.last_up_to(key)
            .is_some_and(|(_, end)| key < end.as_ref())
    }
}

#[cfg(test)]
mod tests;
