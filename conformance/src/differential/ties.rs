//! Levels the order of equals in sorted ranges, which the reference leaves open.

use super::op::{Op, Reply};
use std::cmp::Ordering;
use sternpost_proto::etcdserverpb as pb;
use sternpost_proto::mvccpb::KeyValue;

use pb::range_request::SortTarget;
use pb::request_op::Request;
use pb::response_op::Response;

/// Puts equals in key order, and drops the last equals of a page that was cut.
pub fn level(op: &Op, reply: &mut Reply) {
    match (op, reply) {
        (Op::Range(request) | Op::RequireLeader(request), Reply::Range(reply)) => {
            level_range(request, reply)
        }
        (Op::Txn(request), Reply::Txn(reply)) => level_txn(request, reply),
        _ => {}
    }
}

fn level_txn(request: &pb::TxnRequest, reply: &mut pb::TxnResponse) {
    let branch = if reply.succeeded {
        &request.success
    } else {
        &request.failure
    };
    for (op, response) in branch.iter().zip(&mut reply.responses) {
        match (&op.request, &mut response.response) {
            (Some(Request::RequestRange(op)), Some(Response::ResponseRange(reply))) => {
                level_range(op, reply);
            }
            (Some(Request::RequestTxn(op)), Some(Response::ResponseTxn(reply))) => {
                level_txn(op, reply);
            }
            _ => {}
        }
    }
}

fn level_range(request: &pb::RangeRequest, reply: &mut pb::RangeResponse) {
    let Ok(target) = SortTarget::try_from(request.sort_target) else {
        return;
    };
    if target == SortTarget::Key {
        return;
    }
    let kvs = &mut reply.kvs;
    let mut from = 0;
    while from < kvs.len() {
        let run = kvs[from..]
            .iter()
            .take_while(|kv| by(target, kv, &kvs[from]).is_eq())
            .count();
        let whole_page_seen = !(reply.more && from + run == kvs.len());
        if whole_page_seen {
            kvs[from..from + run].sort_by(|one, other| one.key.cmp(&other.key));
        } else {
            kvs[from..].fill(KeyValue::default());
        }
        from += run;
    }
}

/// With keys_only the value is gone, so the order by value cannot be checked: all count as equal.
fn by(target: SortTarget, one: &KeyValue, other: &KeyValue) -> Ordering {
    match target {
        SortTarget::Key => one.key.cmp(&other.key),
        SortTarget::Version => one.version.cmp(&other.version),
        SortTarget::Create => one.create_revision.cmp(&other.create_revision),
        SortTarget::Mod => one.mod_revision.cmp(&other.mod_revision),
        SortTarget::Value => one.value.cmp(&other.value),
    }
}
