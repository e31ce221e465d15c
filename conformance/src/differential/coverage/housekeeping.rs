//! Classes of the Lease, Maintenance, Cluster and Auth requests.

use super::tally::{Class, Now, Tally};
use crate::differential::op::{Guarded, Op};
use sternpost_proto::etcdserverpb as pb;

const GRANT: &[Class<pb::LeaseGrantRequest>] = &[
    ("TTL: 0", |r, _| r.ttl == 0),
    ("TTL: negative", |r, _| r.ttl < 0),
    ("TTL: below the minimum", |r, _| r.ttl == 1),
    ("TTL: plain", |r, _| (2..9_000_000_000).contains(&r.ttl)),
    ("TTL: largest", |r, _| r.ttl == 9_000_000_000),
    ("TTL: too large", |r, _| r.ttl > 9_000_000_000),
    ("ID: 0", |r, _| r.id == 0),
    ("ID: positive", |r, _| (1..i64::MAX).contains(&r.id)),
    ("ID: negative", |r, _| (i64::MIN + 1..0).contains(&r.id)),
    ("ID: largest", |r, _| r.id == i64::MAX),
    ("ID: smallest", |r, _| r.id == i64::MIN),
];

const REVOKE: &[Class<pb::LeaseRevokeRequest>] = &[
    ("ID: 0", |r, _| r.id == 0),
    ("ID: positive", |r, _| r.id > 0),
    ("ID: negative", |r, _| r.id < 0),
];

const TIME_TO_LIVE: &[Class<pb::LeaseTimeToLiveRequest>] = &[
    ("ID: 0", |r, _| r.id == 0),
    ("ID: positive", |r, _| r.id > 0),
    ("ID: negative", |r, _| r.id < 0),
    ("keys: false", |r, _| !r.keys),
    ("keys: true", |r, _| r.keys),
];

const KEEP_ALIVE: &[Class<Vec<i64>>] = &[
    ("ID: none on the stream", |ids, _| ids.is_empty()),
    ("ID: one on the stream", |ids, _| ids.len() == 1),
    ("ID: several on a stream", |ids, _| ids.len() > 1),
    ("ID: 0", |ids, _| ids.contains(&0)),
    ("ID: positive", |ids, _| ids.iter().any(|id| *id > 0)),
    ("ID: negative", |ids, _| ids.iter().any(|id| *id < 0)),
];

const ALARM: &[Class<pb::AlarmRequest>] = &[
    ("action: GET", |r, _| r.action == 0),
    ("action: ACTIVATE", |r, _| r.action == 1),
    ("action: DEACTIVATE", |r, _| r.action == 2),
    ("action: GET of one kind", |r, _| {
        r.action == 0 && r.alarm != 0
    }),
    ("action: ACTIVATE of NONE", |r, _| {
        r.action == 1 && r.alarm == 0
    }),
    ("memberID: 0", |r, _| r.member_id == 0),
    ("memberID: set", |r, _| r.member_id != 0),
    ("alarm: NONE", |r, _| r.alarm == 0),
    ("alarm: NOSPACE", |r, _| r.alarm == 1),
    ("alarm: CORRUPT", |r, _| r.alarm == 2),
];

const HASH_KV: &[Class<i64>] = &[
    ("revision: 0", |r, _| *r == 0),
    ("revision: negative", |r, _| *r < 0),
    ("revision: past", |r, now| {
        *r > now.compacted.max(0) && *r < now.revision
    }),
    ("revision: current", |r, now| *r == now.revision),
    ("revision: future", |r, now| *r > now.revision),
    ("revision: compacted", |r, now| *r > 0 && *r < now.compacted),
];

const MEMBER_LIST: &[Class<bool>] = &[
    ("linearizable: false", |linearizable, _| !linearizable),
    ("linearizable: true", |linearizable, _| *linearizable),
];

const AUTHENTICATE: &[Class<pb::AuthenticateRequest>] = &[
    ("name: empty", |r, _| r.name.is_empty()),
    ("name: set", |r, _| !r.name.is_empty()),
    ("password: empty", |r, _| r.password.is_empty()),
    ("password: set", |r, _| !r.password.is_empty()),
];

const MOVE_LEADER: &[Class<u64>] = &[
    ("targetID: 0", |id, _| *id == 0),
    ("targetID: unknown", |id, _| *id != 0),
];

const DOWNGRADE: &[Class<pb::DowngradeRequest>] = &[
    ("action: VALIDATE", |r, _| r.action == 0),
    ("action: ENABLE", |r, _| r.action == 1),
    ("action: CANCEL", |r, _| r.action == 2),
    ("action: unknown", |r, _| !(0..3).contains(&r.action)),
    ("version: empty", |r, _| r.version.is_empty()),
    ("version: one minor below", |r, _| {
        r.version.starts_with("3.6")
    }),
    ("version: no version", |r, _| r.version.starts_with('x')),
    ("version: another", |r, _| r.version.starts_with("3.5")),
];

/// Requests without a field: that they came is all.
const EMPTY: [&str; 6] = [
    "StatusRequest",
    "DefragmentRequest",
    "LeaseLeasesRequest",
    "HashRequest",
    "AuthStatusRequest",
    "a move of the leader to itself",
];

const METADATA: [&str; 5] = [
    "client-api-version: not UTF-8, Range",
    "client-api-version: not UTF-8, RangeStream",
    "client-api-version: not UTF-8, Watch",
    "client-api-version: not UTF-8, LeaseKeepAlive",
    "hasleader: true",
];

/// Lists everything of this file.
pub fn list(tally: &mut Tally) {
    tally.list("LeaseGrantRequest", GRANT);
    tally.list("LeaseRevokeRequest", REVOKE);
    tally.list("LeaseTimeToLiveRequest", TIME_TO_LIVE);
    tally.list("LeaseKeepAliveRequest", KEEP_ALIVE);
    tally.list("AlarmRequest", ALARM);
    tally.list("HashKVRequest", HASH_KV);
    tally.list("MemberListRequest", MEMBER_LIST);
    tally.list("AuthenticateRequest", AUTHENTICATE);
    tally.list("MoveLeaderRequest", MOVE_LEADER);
    tally.list("DowngradeRequest", DOWNGRADE);
    tally.list_names(
        "requests without fields",
        EMPTY.iter().map(|name| (*name).to_owned()),
    );
    tally.list_names("metadata", METADATA.iter().map(|name| (*name).to_owned()));
}

/// Counts a request.
pub fn count(tally: &mut Tally, op: &Op, now: Now) {
    let empty = "requests without fields";
    match op {
        Op::Grant(request) => tally.look("LeaseGrantRequest", GRANT, request, now),
        Op::GrantAny(ttl) => {
            let request = pb::LeaseGrantRequest { ttl: *ttl, id: 0 };
            tally.look("LeaseGrantRequest", GRANT, &request, now);
        }
        Op::Revoke(request) => tally.look("LeaseRevokeRequest", REVOKE, request, now),
        Op::TimeToLive(request) => {
            tally.look("LeaseTimeToLiveRequest", TIME_TO_LIVE, request, now);
        }
        Op::KeepAlive(ids) => tally.look("LeaseKeepAliveRequest", KEEP_ALIVE, ids, now),
        Op::Alarm(request) => tally.look("AlarmRequest", ALARM, request, now),
        Op::HashKv(revision) => tally.look("HashKVRequest", HASH_KV, revision, now),
        Op::Members(linearizable) => {
            tally.look("MemberListRequest", MEMBER_LIST, linearizable, now);
        }
        Op::Authenticate(request) => tally.look("AuthenticateRequest", AUTHENTICATE, request, now),
        Op::MoveLeader(Some(target)) => tally.look("MoveLeaderRequest", MOVE_LEADER, target, now),
        Op::Downgrade(request) => tally.look("DowngradeRequest", DOWNGRADE, request, now),
        Op::Status => tally.hit(empty, 0),
        Op::Defragment => tally.hit(empty, 1),
        Op::Leases => tally.hit(empty, 2),
        Op::Hash => tally.hit(empty, 3),
        Op::AuthStatus => tally.hit(empty, 4),
        Op::MoveLeader(None) => tally.hit(empty, 5),
        Op::BadClientVersion(call, _) => {
            let place = match call {
                Guarded::Range => 0,
                Guarded::RangeStream => 1,
                Guarded::Watch => 2,
                Guarded::KeepAlive => 3,
            };
            tally.hit("metadata", place);
        }
        Op::RequireLeader(_) => tally.hit("metadata", 4),
        _ => {}
    }
}
