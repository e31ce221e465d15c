//! Classes of the answers: that a request came says little if nothing was in the answer.

use super::tally::{Class, Now, Tally};
use crate::differential::op::{Op, Reply};
use sternpost_proto::etcdserverpb as pb;
use sternpost_proto::mvccpb::{Event, KeyValue};

use pb::response_op::Response;

/// Answers are classed by themselves.
const NO_MATTER: Now = Now {
    revision: 0,
    compacted: 0,
};

const RANGE: &[Class<pb::RangeResponse>] = &[
    ("kvs: none", |r, _| r.kvs.is_empty()),
    ("kvs: one", |r, _| r.kvs.len() == 1),
    ("kvs: several", |r, _| r.kvs.len() > 1),
    ("more: true", |r, _| r.more),
    ("count: 0", |r, _| r.count == 0),
    ("count: as many as kvs", |r, _| {
        r.count > 0 && r.count == r.kvs.len() as i64
    }),
    ("count: larger than kvs", |r, _| {
        r.count > r.kvs.len() as i64
    }),
];

const KEY_VALUE: &[Class<KeyValue>] = &[
    ("create_revision: as mod_revision", |kv, _| {
        kv.create_revision == kv.mod_revision
    }),
    ("mod_revision: later than create_revision", |kv, _| {
        kv.create_revision < kv.mod_revision
    }),
    ("version: 1", |kv, _| kv.version == 1),
    ("version: later", |kv, _| kv.version > 1),
    ("lease: none", |kv, _| kv.lease == 0),
    ("lease: attached", |kv, _| kv.lease != 0),
    ("value: empty", |kv, _| kv.value.is_empty()),
    ("value: large", |kv, _| kv.value.len() >= 1000),
];

const EVENT: &[Class<Event>] = &[
    ("type: PUT", |e, _| e.r#type == 0),
    ("type: DELETE", |e, _| e.r#type == 1),
    ("kv: with a lease", |e, _| {
        e.kv.as_ref().is_some_and(|kv| kv.lease != 0)
    }),
    ("prev_kv: of a PUT", |e, _| {
        e.r#type == 0 && e.prev_kv.is_some()
    }),
    ("prev_kv: of a DELETE", |e, _| {
        e.r#type == 1 && e.prev_kv.is_some()
    }),
    ("prev_kv: with a lease", |e, _| {
        e.prev_kv.as_ref().is_some_and(|kv| kv.lease != 0)
    }),
];

const WATCH: &[Class<pb::WatchResponse>] = &[
    ("created: true", |r, _| r.created && !r.canceled),
    ("canceled: by the client", |r, _| {
        !r.created && r.canceled && r.compact_revision == 0
    }),
    ("compact_revision: set", |r, _| r.compact_revision != 0),
    ("cancel_reason: set", |r, _| !r.cancel_reason.is_empty()),
    ("watch_id: -1 of progress", |r, _| {
        r.watch_id == -1 && !r.created
    }),
    ("fragment: true", |r, _| r.fragment),
];

const OTHERS: [&str; 15] = [
    "PutResponse prev_kv: none",
    "PutResponse prev_kv: set",
    "DeleteRangeResponse deleted: 0",
    "DeleteRangeResponse deleted: 1",
    "DeleteRangeResponse deleted: several",
    "DeleteRangeResponse prev_kvs: set",
    "TxnResponse succeeded: true",
    "TxnResponse succeeded: false",
    "TxnResponse responses: none",
    "LeaseTimeToLiveResponse TTL: -1",
    "LeaseTimeToLiveResponse keys: set",
    "LeaseKeepAliveResponse TTL: 0",
    "LeaseKeepAliveResponse TTL: set",
    "AlarmResponse alarms: set",
    "StatusResponse errors: set",
];

/// Lists everything of this file.
pub fn list(tally: &mut Tally) {
    tally.list("RangeResponse", RANGE);
    tally.list("KeyValue", KEY_VALUE);
    tally.list("Event", EVENT);
    tally.list("WatchResponse", WATCH);
    tally.list_names(
        "other responses",
        OTHERS.iter().map(|name| (*name).to_owned()),
    );
}

/// Counts an answer; returns the events in it.
pub fn count(tally: &mut Tally, op: &Op, reply: &Reply) -> u64 {
    match reply {
        Reply::Put(reply) => put(tally, reply),
        Reply::Range(reply) => range(tally, reply),
        Reply::RangeStream(chunks) => {
            let replies = chunks
                .iter()
                .filter_map(|chunk| chunk.range_response.as_ref());
            replies.for_each(|reply| range(tally, reply));
        }
        Reply::Delete(reply) => delete(tally, reply),
        Reply::Txn(reply) => txn(tally, reply),
        Reply::TimeToLive(reply) => {
            other(tally, 9, reply.ttl == -1);
            other(tally, 10, !reply.keys.is_empty());
        }
        Reply::KeepAlive(replies) => {
            for reply in replies {
                other(tally, if reply.ttl == 0 { 11 } else { 12 }, true);
            }
        }
        Reply::Alarm(reply) => other(tally, 13, !reply.alarms.is_empty()),
        Reply::Status(reply) => other(tally, 14, !reply.errors.is_empty()),
        Reply::Watch(replies) => return watch(tally, op, replies),
        Reply::Settled(deliveries, _) => {
            let all = deliveries.iter().flat_map(|delivery| &delivery.events);
            return all.map(|event| count_event(tally, event)).sum();
        }
        _ => {}
    }
    0
}

fn other(tally: &mut Tally, place: usize, holds: bool) {
    if holds {
        tally.hit("other responses", place);
    }
}

fn kv(tally: &mut Tally, kv: &KeyValue) {
    tally.look("KeyValue", KEY_VALUE, kv, NO_MATTER);
}

fn range(tally: &mut Tally, reply: &pb::RangeResponse) {
    tally.look("RangeResponse", RANGE, reply, NO_MATTER);
    reply.kvs.iter().for_each(|one| kv(tally, one));
}

fn put(tally: &mut Tally, reply: &pb::PutResponse) {
    other(tally, usize::from(reply.prev_kv.is_some()), true);
    reply.prev_kv.iter().for_each(|one| kv(tally, one));
}

fn delete(tally: &mut Tally, reply: &pb::DeleteRangeResponse) {
    other(tally, 2 + reply.deleted.clamp(0, 2) as usize, true);
    other(tally, 5, !reply.prev_kvs.is_empty());
    reply.prev_kvs.iter().for_each(|one| kv(tally, one));
}

fn txn(tally: &mut Tally, reply: &pb::TxnResponse) {
    other(tally, if reply.succeeded { 6 } else { 7 }, true);
    other(tally, 8, reply.responses.is_empty());
    for response in reply.responses.iter().filter_map(|op| op.response.as_ref()) {
        match response {
            Response::ResponseRange(reply) => range(tally, reply),
            Response::ResponsePut(reply) => put(tally, reply),
            Response::ResponseDeleteRange(reply) => delete(tally, reply),
            Response::ResponseTxn(reply) => txn(tally, reply),
        }
    }
}

fn watch(tally: &mut Tally, op: &Op, replies: &[pb::WatchResponse]) -> u64 {
    let mut events = 0;
    for reply in replies {
        tally.look("WatchResponse", WATCH, reply, NO_MATTER);
        if matches!(op, Op::LargeRevision { .. }) {
            events += reply
                .events
                .iter()
                .map(|event| count_event(tally, event))
                .sum::<u64>();
        }
    }
    events
}

fn count_event(tally: &mut Tally, event: &Event) -> u64 {
    tally.look("Event", EVENT, event, NO_MATTER);
    1
}
