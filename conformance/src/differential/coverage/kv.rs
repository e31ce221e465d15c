//! Classes of the KV requests, wherever they come: alone, in a transaction, in a
//! nested one.

use super::tally::{Class, Now, Tally};
use crate::differential::op::Op;
use sternpost_proto::etcdserverpb as pb;

use pb::compare::TargetUnion;
use pb::request_op::Request;

const RANGE: &[Class<pb::RangeRequest>] = &[
    ("key: empty", |r, _| r.key.is_empty()),
    ("key: zero byte", |r, _| r.key == b"\0"[..]),
    ("key: not text", |r, _| std::str::from_utf8(&r.key).is_err()),
    ("key: plain", |r, _| r.key.len() > 1),
    ("range_end: none", |r, _| r.range_end.is_empty()),
    ("range_end: zero byte", |r, _| r.range_end == b"\0"[..]),
    ("range_end: after key", |r, _| r.range_end > r.key),
    ("range_end: not after key", |r, _| {
        r.range_end.len() + r.key.len() > 1
            && r.range_end != b"\0"[..]
            && !r.range_end.is_empty()
            && r.range_end <= r.key
    }),
    ("limit: 0", |r, _| r.limit == 0),
    ("limit: 1", |r, _| r.limit == 1),
    ("limit: some", |r, _| (2..100).contains(&r.limit)),
    ("limit: large", |r, _| (100..i64::MAX).contains(&r.limit)),
    ("limit: largest", |r, _| r.limit == i64::MAX),
    ("limit: negative", |r, _| r.limit < 0),
    ("revision: 0", |r, _| r.revision == 0),
    ("revision: past", |r, now| {
        r.revision > now.compacted.max(0) && r.revision < now.revision
    }),
    ("revision: current", |r, now| r.revision == now.revision),
    ("revision: next", |r, now| r.revision == now.revision + 1),
    ("revision: future", |r, now| r.revision > now.revision + 1),
    ("revision: at the compaction", |r, now| {
        r.revision == now.compacted
    }),
    ("revision: just compacted", |r, now| {
        r.revision > 0 && r.revision == now.compacted - 1
    }),
    ("revision: compacted", |r, now| {
        r.revision > 0 && r.revision < now.compacted - 1
    }),
    ("revision: negative", |r, _| r.revision < 0),
    ("serializable: false", |r, _| !r.serializable),
    ("serializable: true", |r, _| r.serializable),
    ("keys_only: false", |r, _| !r.keys_only),
    ("keys_only: true", |r, _| r.keys_only),
    ("keys_only: by value", |r, _| {
        r.keys_only && r.sort_target == 4
    }),
    ("keys_only: of the past", |r, _| {
        r.keys_only && r.revision > 0
    }),
    ("count_only: false", |r, _| !r.count_only),
    ("count_only: true", |r, _| r.count_only),
    ("count_only: of the past", |r, _| {
        r.count_only && r.revision > 0
    }),
    ("count_only: with a limit", |r, _| {
        r.count_only && r.limit > 0
    }),
    ("count_only: with a filter", |r, _| {
        r.count_only && filtered(r)
    }),
    ("min_mod_revision: set", |r, _| r.min_mod_revision > 0),
    ("min_mod_revision: negative", |r, _| r.min_mod_revision < 0),
    ("max_mod_revision: set", |r, _| r.max_mod_revision > 0),
    ("max_mod_revision: negative", |r, _| r.max_mod_revision < 0),
    ("min_create_revision: set", |r, _| r.min_create_revision > 0),
    ("min_create_revision: negative", |r, _| {
        r.min_create_revision < 0
    }),
    ("max_create_revision: set", |r, _| r.max_create_revision > 0),
    ("max_create_revision: negative", |r, _| {
        r.max_create_revision < 0
    }),
    ("min_mod_revision: with a limit", |r, _| {
        r.min_mod_revision > 0 && r.limit > 0
    }),
    ("min_mod_revision: of the past", |r, _| {
        r.min_mod_revision > 0 && r.revision > 0
    }),
    ("sort_order: unknown", |r, _| {
        !(0..3).contains(&r.sort_order)
    }),
    ("sort_target: unknown", |r, _| {
        !(0..5).contains(&r.sort_target)
    }),
];

fn filtered(r: &pb::RangeRequest) -> bool {
    r.min_mod_revision != 0
        || r.max_mod_revision != 0
        || r.min_create_revision != 0
        || r.max_create_revision != 0
}

const PUT: &[Class<pb::PutRequest>] = &[
    ("key: empty", |r, _| r.key.is_empty()),
    ("key: zero byte", |r, _| r.key == b"\0"[..]),
    ("key: not text", |r, _| std::str::from_utf8(&r.key).is_err()),
    ("key: plain", |r, _| r.key.len() > 1),
    ("value: empty", |r, _| r.value.is_empty()),
    ("value: small", |r, _| (1..1000).contains(&r.value.len())),
    ("value: large", |r, _| {
        (1000..1_000_000).contains(&r.value.len())
    }),
    ("value: too large for a request", |r, _| {
        (1_572_864..2_097_152).contains(&r.value.len())
    }),
    ("value: too large for a message", |r, _| {
        r.value.len() >= 2_097_152
    }),
    ("lease: none", |r, _| r.lease == 0),
    ("lease: positive", |r, _| r.lease > 0),
    ("lease: negative", |r, _| r.lease < 0),
    ("prev_kv: false", |r, _| !r.prev_kv),
    ("prev_kv: true", |r, _| r.prev_kv),
    ("ignore_value: false", |r, _| !r.ignore_value),
    ("ignore_value: true", |r, _| r.ignore_value),
    ("ignore_value: with a value", |r, _| {
        r.ignore_value && !r.value.is_empty()
    }),
    ("ignore_value: with a lease", |r, _| {
        r.ignore_value && r.lease != 0
    }),
    ("ignore_value: with prev_kv", |r, _| {
        r.ignore_value && r.prev_kv
    }),
    ("ignore_lease: false", |r, _| !r.ignore_lease),
    ("ignore_lease: true", |r, _| r.ignore_lease),
    ("ignore_lease: with a lease", |r, _| {
        r.ignore_lease && r.lease != 0
    }),
    ("ignore_lease: with ignore_value", |r, _| {
        r.ignore_lease && r.ignore_value
    }),
];

const DELETE: &[Class<pb::DeleteRangeRequest>] = &[
    ("key: empty", |r, _| r.key.is_empty()),
    ("key: zero byte", |r, _| r.key == b"\0"[..]),
    ("key: plain", |r, _| r.key.len() > 1),
    ("range_end: none", |r, _| r.range_end.is_empty()),
    ("range_end: zero byte", |r, _| r.range_end == b"\0"[..]),
    ("range_end: after key", |r, _| r.range_end > r.key),
    ("range_end: not after key", |r, _| {
        !r.range_end.is_empty() && r.range_end != b"\0"[..] && r.range_end <= r.key
    }),
    ("prev_kv: false", |r, _| !r.prev_kv),
    ("prev_kv: true", |r, _| r.prev_kv),
    ("prev_kv: of a range", |r, _| {
        r.prev_kv && !r.range_end.is_empty()
    }),
];

const TXN: &[Class<pb::TxnRequest>] = &[
    ("compare: none", |r, _| r.compare.is_empty()),
    ("compare: one", |r, _| r.compare.len() == 1),
    ("compare: several", |r, _| {
        (2..128).contains(&r.compare.len())
    }),
    ("compare: at the limit", |r, _| r.compare.len() == 128),
    ("compare: over the limit", |r, _| r.compare.len() > 128),
    ("success: none", |r, _| r.success.is_empty()),
    ("success: one", |r, _| r.success.len() == 1),
    ("success: several", |r, _| {
        (2..129).contains(&r.success.len())
    }),
    ("success: over the limit", |r, _| r.success.len() > 128),
    ("failure: none", |r, _| r.failure.is_empty()),
    ("failure: one", |r, _| r.failure.len() == 1),
    ("failure: several", |r, _| {
        (2..129).contains(&r.failure.len())
    }),
    ("failure: over the limit", |r, _| r.failure.len() > 128),
    ("nested: once", |r, _| depth(r) == 1),
    ("nested: twice", |r, _| depth(r) == 2),
    ("nested: deeper", |r, _| depth(r) > 2),
    ("read only", |r, _| {
        let mut ops = r.success.iter().chain(&r.failure).peekable();
        ops.peek().is_some() && ops.all(|op| matches!(op.request, Some(Request::RequestRange(_))))
    }),
];

const REQUEST_OP: &[Class<pb::RequestOp>] = &[
    ("request_range: set", |r, _| {
        matches!(r.request, Some(Request::RequestRange(_)))
    }),
    ("request_put: set", |r, _| {
        matches!(r.request, Some(Request::RequestPut(_)))
    }),
    ("request_delete_range: set", |r, _| {
        matches!(r.request, Some(Request::RequestDeleteRange(_)))
    }),
    ("request_txn: set", |r, _| {
        matches!(r.request, Some(Request::RequestTxn(_)))
    }),
    ("request: unset", |r, _| r.request.is_none()),
];

const COMPARE: &[Class<pb::Compare>] = &[
    ("key: empty", |r, _| r.key.is_empty()),
    ("key: plain", |r, _| r.key.len() > 1),
    ("range_end: none", |r, _| r.range_end.is_empty()),
    ("range_end: zero byte", |r, _| r.range_end == b"\0"[..]),
    ("range_end: after key", |r, _| r.range_end > r.key),
    ("result: unknown", |r, _| !(0..4).contains(&r.result)),
    ("target: unknown", |r, _| !(0..5).contains(&r.target)),
    ("version: set", |r, _| {
        matches!(r.target_union, Some(TargetUnion::Version(_)))
    }),
    ("create_revision: set", |r, _| {
        matches!(r.target_union, Some(TargetUnion::CreateRevision(_)))
    }),
    ("mod_revision: set", |r, _| {
        matches!(r.target_union, Some(TargetUnion::ModRevision(_)))
    }),
    ("value: set", |r, _| {
        matches!(r.target_union, Some(TargetUnion::Value(_)))
    }),
    ("lease: set", |r, _| {
        matches!(r.target_union, Some(TargetUnion::Lease(_)))
    }),
    ("target_union: unset", |r, _| r.target_union.is_none()),
    ("target_union: of another target", |r, _| {
        r.target_union
            .as_ref()
            .is_some_and(|union| union_target(union) != r.target)
    }),
];

const COMPACT: &[Class<pb::CompactionRequest>] = &[
    ("revision: 0", |r, _| r.revision == 0),
    ("revision: negative", |r, _| r.revision < 0),
    ("revision: compacted", |r, now| {
        r.revision > 0 && r.revision < now.compacted
    }),
    ("revision: at the compaction", |r, now| {
        r.revision == now.compacted
    }),
    ("revision: past", |r, now| {
        r.revision > now.compacted.max(0) && r.revision < now.revision
    }),
    ("revision: current", |r, now| r.revision == now.revision),
    ("revision: future", |r, now| r.revision > now.revision),
    ("physical: false", |r, _| !r.physical),
    ("physical: true", |r, _| r.physical),
];

const TARGETS: [&str; 5] = ["VERSION", "CREATE", "MOD", "VALUE", "LEASE"];
const RESULTS: [&str; 4] = ["EQUAL", "GREATER", "LESS", "NOT_EQUAL"];
const SORT_TARGETS: [&str; 5] = ["KEY", "VERSION", "CREATE", "MOD", "VALUE"];
const SORT_ORDERS: [&str; 3] = ["NONE", "ASCEND", "DESCEND"];
const SPANS: [&str; 2] = ["one key", "a range"];
const CUTS: [&str; 2] = ["whole", "with a limit"];

/// Lists everything of this file.
pub fn list(tally: &mut Tally) {
    tally.list("RangeRequest", RANGE);
    tally.list("RangeRequest of RangeStream", STREAM);
    tally.list("PutRequest", PUT);
    tally.list("DeleteRangeRequest", DELETE);
    tally.list("TxnRequest", TXN);
    tally.list("RequestOp", REQUEST_OP);
    tally.list("Compare", COMPARE);
    tally.list("CompactionRequest", COMPACT);
    tally.list_names("Compare target x result", grid(&TARGETS, &RESULTS, &SPANS));
    tally.list_names(
        "RangeRequest sort_target x sort_order",
        grid(&SORT_TARGETS, &SORT_ORDERS, &CUTS),
    );
}

fn grid<'a>(
    one: &'a [&'a str],
    two: &'a [&'a str],
    three: &'a [&'a str],
) -> impl Iterator<Item = String> + 'a {
    one.iter().flat_map(move |one| {
        two.iter().flat_map(move |two| {
            three
                .iter()
                .map(move |three| format!("{one} {two} {three}"))
        })
    })
}

fn place(one: i32, two: i32, three: bool, of_two: usize) -> usize {
    (one as usize * of_two + two as usize) * 2 + usize::from(three)
}

/// What only the stream form decides.
const STREAM: &[Class<pb::RangeRequest>] = &[
    ("limit: none", |r, _| r.limit <= 0),
    ("limit: set", |r, _| r.limit > 0),
    ("revision: past", |r, now| {
        r.revision > now.compacted.max(0) && r.revision < now.revision
    }),
    ("count_only: true", |r, _| r.count_only),
    ("keys_only: true", |r, _| r.keys_only),
    ("sort_order: ascending", |r, _| r.sort_order == 1),
    ("sort_order: refused", |r, _| r.sort_order == 2),
    ("min_mod_revision: refused", |r, _| r.min_mod_revision != 0),
    ("max_mod_revision: refused", |r, _| r.max_mod_revision != 0),
    ("min_create_revision: refused", |r, _| {
        r.min_create_revision != 0
    }),
    ("max_create_revision: refused", |r, _| {
        r.max_create_revision != 0
    }),
    ("serializable: true", |r, _| r.serializable),
];

/// Counts a request with all that is inside.
pub fn count(tally: &mut Tally, op: &Op, now: Now) {
    match op {
        Op::Put(request) => tally.look("PutRequest", PUT, request, now),
        Op::Range(request) => range(tally, request, now),
        Op::RangeStream(request) => {
            range(tally, request, now);
            tally.look("RangeRequest of RangeStream", STREAM, request, now);
        }
        Op::Delete(request) => tally.look("DeleteRangeRequest", DELETE, request, now),
        Op::Txn(request) => txn(tally, request, now),
        Op::Compact(request) => tally.look("CompactionRequest", COMPACT, request, now),
        _ => {}
    }
}

fn range(tally: &mut Tally, request: &pb::RangeRequest, now: Now) {
    tally.look("RangeRequest", RANGE, request, now);
    if (0..5).contains(&request.sort_target) && (0..3).contains(&request.sort_order) {
        let place = place(
            request.sort_target,
            request.sort_order,
            request.limit > 0,
            SORT_ORDERS.len(),
        );
        tally.hit("RangeRequest sort_target x sort_order", place);
    }
}

fn txn(tally: &mut Tally, request: &pb::TxnRequest, now: Now) {
    tally.look("TxnRequest", TXN, request, now);
    for one in &request.compare {
        compare(tally, one, now);
    }
    for op in request.success.iter().chain(&request.failure) {
        tally.look("RequestOp", REQUEST_OP, op, now);
        match &op.request {
            Some(Request::RequestRange(request)) => range(tally, request, now),
            Some(Request::RequestPut(request)) => tally.look("PutRequest", PUT, request, now),
            Some(Request::RequestDeleteRange(request)) => {
                tally.look("DeleteRangeRequest", DELETE, request, now);
            }
            Some(Request::RequestTxn(request)) => txn(tally, request, now),
            None => {}
        }
    }
}

fn compare(tally: &mut Tally, compare: &pb::Compare, now: Now) {
    tally.look("Compare", COMPARE, compare, now);
    if (0..5).contains(&compare.target) && (0..4).contains(&compare.result) {
        let ranged = !compare.range_end.is_empty();
        let place = place(compare.target, compare.result, ranged, RESULTS.len());
        tally.hit("Compare target x result", place);
    }
}

fn depth(txn: &pb::TxnRequest) -> usize {
    let ops = txn.success.iter().chain(&txn.failure);
    let nested = ops.filter_map(|op| match &op.request {
        Some(Request::RequestTxn(txn)) => Some(1 + depth(txn)),
        _ => None,
    });
    nested.max().unwrap_or(0)
}

fn union_target(union: &TargetUnion) -> i32 {
    match union {
        TargetUnion::Version(_) => 0,
        TargetUnion::CreateRevision(_) => 1,
        TargetUnion::ModRevision(_) => 2,
        TargetUnion::Value(_) => 3,
        TargetUnion::Lease(_) => 4,
    }
}
