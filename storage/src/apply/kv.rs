//! Put, delete, compaction.

use super::{Response, StateChange};
use crate::{
    error::{Fault, ReadError, Rejection},
    failpoint,
    ids::LeaseId,
    mvcc::{compaction, current, digest::Part, span::KeySpan, write_txn::WriteTxn},
    schema::rows::Header,
};
use bytes::Bytes;
use std::ops::ControlFlow;
use sternpost_proto::{etcdserverpb as pb, mvccpb};

/// A put of its own.
pub(super) fn put(txn: &mut WriteTxn<'_>, request: &pb::PutRequest) -> Result<Response, ReadError> {
    check_lease(txn, request)?;
    let old = read_old(txn, request)?;
    if old.is_none() && needs_old(request) {
        return Err(Rejection::KeyNotFound.into());
    }
    Ok(Response::Put(write(txn, request, old)))
}

/// A put inside a transaction, checked by [`check_put`] before.
pub(super) fn put_checked(
    txn: &mut WriteTxn<'_>,
    request: &pb::PutRequest,
) -> Result<pb::PutResponse, Fault> {
    let old = read_old(txn, request)?;
    Ok(write(txn, request, old))
}

/// What has to hold before a transaction for a put in it.
pub(super) fn check_put(txn: &WriteTxn<'_>, request: &pb::PutRequest) -> Result<(), ReadError> {
    check_lease(txn, request)?;
    if needs_old(request) && txn.header(&request.key)?.is_none() {
        return Err(Rejection::KeyNotFound.into());
    }
    Ok(())
}

fn check_lease(txn: &WriteTxn<'_>, request: &pb::PutRequest) -> Result<(), ReadError> {
    if request.lease != 0 && txn.lease(LeaseId(request.lease))?.is_none() {
        return Err(Rejection::LeaseNotFound.into());
    }
    Ok(())
}

fn needs_old(request: &pb::PutRequest) -> bool {
    request.ignore_value || request.ignore_lease
}

/// The version a put replaces, its value only if somebody wants it.
struct Old {
    header: Header,
    value: Bytes,
}

fn read_old(txn: &WriteTxn<'_>, request: &pb::PutRequest) -> Result<Option<Old>, Fault> {
    let wants_value = request.prev_kv || request.ignore_value;
    current::get(&txn.pending(), &request.key, |version| Old {
        header: version.header,
        value: if wants_value {
            Bytes::copy_from_slice(version.value)
        } else {
            Bytes::new()
        },
    })
}

fn write(txn: &mut WriteTxn<'_>, request: &pb::PutRequest, old: Option<Old>) -> pb::PutResponse {
    let lease = match &old {
        Some(old) if request.ignore_lease => old.header.lease,
        _ => request.lease,
    };
    let value = match &old {
        Some(old) if request.ignore_value => &old.value,
        _ => &request.value,
    };
    txn.put(
        &request.key,
        value,
        lease,
        old.as_ref().map(|old| old.header),
    );
    let prev_kv = old
        .filter(|_| request.prev_kv)
        .map(|old| current::key_value(request.key.clone(), &old.header, old.value));
    pb::PutResponse {
        header: None,
        prev_kv,
    }
}

/// A delete of its own.
pub(super) fn delete_range(
    txn: &mut WriteTxn<'_>,
    request: &pb::DeleteRangeRequest,
) -> Result<Response, ReadError> {
    Ok(Response::DeleteRange(delete(txn, request)?))
}

/// Deletes the keys of a span, in key order.
pub(super) fn delete(
    txn: &mut WriteTxn<'_>,
    request: &pb::DeleteRangeRequest,
) -> Result<pb::DeleteRangeResponse, Fault> {
    let mut doomed: Vec<(Bytes, Header)> = Vec::new();
    let mut prev_kvs: Vec<mvccpb::KeyValue> = Vec::new();
    let span = KeySpan::new(&request.key, &request.range_end);
    current::walk(&txn.pending(), span, &mut |version| {
        let key = Bytes::copy_from_slice(version.key);
        if request.prev_kv {
            prev_kvs.push(version.to_kv(key.clone()));
        }
        doomed.push((key, version.header));
        Ok(ControlFlow::Continue(()))
    })?;
    for (key, header) in &doomed {
        txn.delete(key, header)?;
    }
    Ok(pb::DeleteRangeResponse {
        header: None,
        deleted: doomed.len() as i64,
        prev_kvs,
    })
}

/// Moves the compact revision; the rows go later, by scrub steps.
pub(super) fn compact(
    txn: &mut WriteTxn<'_>,
    request: &pb::CompactionRequest,
) -> Result<Response, ReadError> {
    let state = &mut txn.writer().state;
    if request.revision <= state.compact_revision {
        return Err(Rejection::Compacted.into());
    }
    if request.revision > state.revision {
        return Err(Rejection::FutureRevision.into());
    }
    failpoint!("compactBeforeSetScheduledCompact");
    compaction::compact(state, request.revision);
    failpoint!("compactAfterSetScheduledCompact");
    txn.digest(Part::Compaction {
        revision: request.revision,
    });
    txn.changed(StateChange::Compacted(request.revision));
    Ok(Response::Compaction)
}
