//! Classes of the Watch requests.

use super::tally::{Class, Now, Tally};
use crate::differential::op::Op;
use sternpost_proto::etcdserverpb as pb;

const CREATE: &[Class<pb::WatchCreateRequest>] = &[
    ("key: empty", |r, _| r.key.is_empty()),
    ("key: zero byte", |r, _| r.key == b"\0"[..]),
    ("key: plain", |r, _| r.key.len() > 1),
    ("range_end: none", |r, _| r.range_end.is_empty()),
    ("range_end: zero byte", |r, _| r.range_end == b"\0"[..]),
    ("range_end: after key", |r, _| r.range_end > r.key),
    ("range_end: not after key", |r, _| {
        !r.range_end.is_empty() && r.range_end != b"\0"[..] && r.range_end <= r.key
    }),
    ("start_revision: 0", |r, _| r.start_revision == 0),
    ("start_revision: negative", |r, _| r.start_revision < 0),
    ("start_revision: compacted", |r, now| {
        r.start_revision > 0 && r.start_revision < now.compacted
    }),
    ("start_revision: at the compaction", |r, now| {
        r.start_revision == now.compacted
    }),
    ("start_revision: past", |r, now| {
        r.start_revision > now.compacted.max(0) && r.start_revision < now.revision
    }),
    ("start_revision: current", |r, now| {
        r.start_revision == now.revision
    }),
    ("start_revision: next", |r, now| {
        r.start_revision == now.revision + 1
    }),
    ("start_revision: future", |r, now| {
        r.start_revision > now.revision + 1
    }),
    ("start_revision: largest", |r, _| {
        r.start_revision == i64::MAX
    }),
    ("progress_notify: false", |r, _| !r.progress_notify),
    ("progress_notify: true", |r, _| r.progress_notify),
    ("filters: none", |r, _| r.filters.is_empty()),
    ("filters: NOPUT", |r, _| r.filters == [0]),
    ("filters: NODELETE", |r, _| r.filters == [1]),
    ("filters: both", |r, _| {
        r.filters.contains(&0) && r.filters.contains(&1)
    }),
    ("filters: one twice", |r, _| r.filters == [1, 1]),
    ("filters: unknown", |r, _| {
        r.filters.iter().any(|filter| !(0..2).contains(filter))
    }),
    ("prev_kv: false", |r, _| !r.prev_kv),
    ("prev_kv: true", |r, _| r.prev_kv),
    ("prev_kv: with a filter", |r, _| {
        r.prev_kv && !r.filters.is_empty()
    }),
    ("prev_kv: of the past", |r, now| {
        r.prev_kv && r.start_revision > 0 && r.start_revision < now.revision
    }),
    ("watch_id: 0", |r, _| r.watch_id == 0),
    ("watch_id: small", |r, _| (1..100_000).contains(&r.watch_id)),
    ("watch_id: negative", |r, _| r.watch_id < 0),
    ("watch_id: largest", |r, _| r.watch_id == i64::MAX),
    ("watch_id: smallest", |r, _| r.watch_id == i64::MIN),
    ("fragment: false", |r, _| !r.fragment),
    ("fragment: true", |r, _| r.fragment),
];

const CANCEL: &[Class<i64>] = &[
    ("watch_id: 0", |id, _| *id == 0),
    ("watch_id: set", |id, _| *id != 0),
    ("watch_id: negative", |id, _| *id < 0),
    ("watch_id: unknown", |id, _| {
        *id == crate::differential::generate::NO_WATCH
    }),
];

/// What a stream can be asked besides.
const STREAM: [&str; 4] = [
    "progress_request: set",
    "several watches on one stream",
    "a stream of its own",
    "a revision larger than a message",
];

/// Lists everything of this file.
pub fn list(tally: &mut Tally) {
    tally.list("WatchCreateRequest", CREATE);
    tally.list("WatchCancelRequest", CANCEL);
    tally.list_names("WatchRequest", STREAM.iter().map(|name| (*name).to_owned()));
}

/// Counts a request.
pub fn count(tally: &mut Tally, op: &Op, now: Now) {
    match op {
        Op::WatchCreate(_, request) => tally.look("WatchCreateRequest", CREATE, request, now),
        Op::WatchCancel(_, id) => tally.look("WatchCancelRequest", CANCEL, id, now),
        Op::WatchProgress(_) => tally.hit("WatchRequest", 0),
        Op::WatchOnce(requests) => {
            for (request, _) in requests {
                tally.look("WatchCreateRequest", CREATE, request, now);
            }
            tally.hit("WatchRequest", if requests.len() > 1 { 1 } else { 2 });
        }
        Op::LargeRevision { .. } => tally.hit("WatchRequest", 3),
        _ => {}
    }
}
