//! Every text of etcd's error table: reached, or out of reach with the reason.

use super::tally::Tally;
use crate::differential::op::Reply;

/// What a member of its own, without auth, can be made to say: all of it must come up.
const REACHED: [&str; 28] = [
    "InvalidArgument: etcdserver: key is not provided",
    "InvalidArgument: etcdserver: key not found",
    "InvalidArgument: etcdserver: value is provided",
    "InvalidArgument: etcdserver: lease is provided",
    "InvalidArgument: etcdserver: too many operations in txn request",
    "InvalidArgument: etcdserver: duplicate key given in txn request",
    "InvalidArgument: etcdserver: invalid client api version",
    "InvalidArgument: etcdserver: invalid sort option",
    "OutOfRange: etcdserver: mvcc: required revision has been compacted",
    "OutOfRange: etcdserver: mvcc: required revision is a future revision",
    "ResourceExhausted: etcdserver: mvcc: database space exceeded",
    "NotFound: etcdserver: requested lease not found",
    "FailedPrecondition: etcdserver: lease already exists",
    "OutOfRange: etcdserver: too large lease TTL",
    "InvalidArgument: etcdserver: request is too large",
    "FailedPrecondition: etcdserver: authentication is not enabled",
    "DataLoss: etcdserver: corrupt cluster",
    "FailedPrecondition: etcdserver: bad leader transferee",
    "InvalidArgument: etcdserver: wrong downgrade target version format",
    "InvalidArgument: etcdserver: invalid downgrade target version",
    "Unknown: etcdserver: unknown method",
    "Unimplemented: RangeStream does not support custom sort orders",
    "Unimplemented: RangeStream does not support revision filters",
    "ResourceExhausted: grpc: received message larger than max",
    "watch refused: mvcc: watcher range is empty",
    "watch refused: mvcc: duplicate watch ID provided on the WatchStream",
    "watch refused: etcdserver: mvcc: required revision has been compacted",
    "watch ended by a compaction",
];

const AUTH: &str = "authentication is not built yet: its methods answer UNIMPLEMENTED";
const MEMBERS: &str = "changes of membership are not built yet: they answer UNIMPLEMENTED";
const ALONE: &str = "a member of its own has its leader, and is it";
const CLOCK: &str = "depends on when the client gives up, not on what it asks";
const NEVER: &str = "etcd itself never sends it";
const ELECTION: &str = "Lock and Election are not built yet: they answer UNIMPLEMENTED";

/// The other texts of the table, and why no operation can bring them up.
pub const NOT_REACHED: &[(&str, &str)] = &[
    ("etcdserver: watch canceled", CLOCK),
    ("etcdserver: member ID already exist", MEMBERS),
    ("etcdserver: Peer URLs already exists", MEMBERS),
    (
        "etcdserver: re-configuration failed due to not enough started members",
        MEMBERS,
    ),
    ("etcdserver: given member URLs are invalid", MEMBERS),
    ("etcdserver: member not found", MEMBERS),
    ("etcdserver: can only promote a learner member", MEMBERS),
    (
        "etcdserver: can only promote a learner member which is in sync with leader",
        MEMBERS,
    ),
    ("etcdserver: too many learner members in cluster", MEMBERS),
    ("etcdserver: cluster ID mismatch", NEVER),
    (
        "etcdserver: too many requests",
        "takes 5,000 entries between commit and apply",
    ),
    ("etcdserver: root user does not exist", AUTH),
    ("etcdserver: root user does not have root role", AUTH),
    ("etcdserver: user name already exists", AUTH),
    ("etcdserver: user name is empty", AUTH),
    ("etcdserver: user name not found", AUTH),
    ("etcdserver: role name already exists", AUTH),
    ("etcdserver: role name not found", AUTH),
    ("etcdserver: role name is empty", AUTH),
    (
        "etcdserver: authentication failed, invalid user ID or password",
        AUTH,
    ),
    ("etcdserver: permission not given", AUTH),
    ("etcdserver: permission denied", AUTH),
    ("etcdserver: role is not granted to the user", AUTH),
    ("etcdserver: permission is not granted to the role", AUTH),
    ("etcdserver: invalid auth token", AUTH),
    ("etcdserver: invalid auth management", AUTH),
    ("etcdserver: revision of auth store is old", AUTH),
    ("etcdserver: no leader", ALONE),
    ("etcdserver: not leader", ALONE),
    ("etcdserver: leader changed", ALONE),
    (
        "etcdserver: not capable",
        "takes a cluster version below 3.0",
    ),
    (
        "etcdserver: server stopped",
        "a server that stops answers by chance",
    ),
    ("etcdserver: request timed out", ALONE),
    (
        "etcdserver: request timed out, possibly due to previous leader failure",
        ALONE,
    ),
    (
        "etcdserver: request timed out, possibly due to connection lost",
        ALONE,
    ),
    (
        "etcdserver: request timed out, waiting for the applied index took too long",
        ALONE,
    ),
    ("etcdserver: unhealthy cluster", MEMBERS),
    (
        "etcdserver: rpc not supported for learner",
        "the member is a voter",
    ),
    (
        "etcdserver: cluster version not found during downgrade",
        "the version is decided at the start",
    ),
    (
        "etcdserver: cluster has a downgrade job in progress",
        "ENABLE is not built yet",
    ),
    ("etcdserver: no inflight downgrade job", NEVER),
    ("etcdserver: request canceled", CLOCK),
    ("etcdserver: context deadline exceeded", NEVER),
    ("not a primary lessor", ALONE),
    (
        "etcdserver: request timed out, leader transfer took too long",
        ALONE,
    ),
    (
        "auth: authentication failed, password was given for no password user",
        AUTH,
    ),
    ("raft proposal dropped", ALONE),
    ("\"leader\" field must be provided", ELECTION),
    ("election: not leader", ELECTION),
    ("election: no leader", ELECTION),
    ("context canceled", CLOCK),
    ("context deadline exceeded", CLOCK),
    (
        "rpc error: code = PermissionDenied desc = etcdserver: permission denied",
        AUTH,
    ),
];

/// Lists what must be reached.
pub fn list(tally: &mut Tally) {
    tally.list_names("refusals", REACHED.iter().map(|text| (*text).to_owned()));
}

/// Counts one refusal.
pub fn count(tally: &mut Tally, text: &str) {
    if let Some(place) = REACHED.iter().position(|listed| text.starts_with(listed)) {
        tally.hit("refusals", place);
    }
}

/// The refusals in an answer.
pub fn of(reply: &Reply) -> Vec<String> {
    match reply {
        Reply::Error(code, text, _) => vec![format!("{code:?}: {text}")],
        Reply::Watch(replies) => replies
            .iter()
            .filter(|reply| reply.canceled && (reply.created || reply.compact_revision != 0))
            .map(|reply| match reply.compact_revision {
                0 => format!("watch refused: {}", reply.cancel_reason),
                _ => "watch ended by a compaction".to_owned(),
            })
            .collect(),
        _ => vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every text of the table is in exactly one of the two lists.
    #[test]
    fn every_text_is_reached_or_has_its_reason() {
        let table = concat!(env!("CARGO_MANIFEST_DIR"), "/../server/testdata/errors.tsv");
        let table = std::fs::read_to_string(table).expect("the table is part of the workspace");
        for line in table.lines().skip(1) {
            let text = line
                .split('\t')
                .nth(4)
                .expect("the fifth column is the text");
            let text = text.split(" (N vs.").next().unwrap_or(text);
            let reached = REACHED.iter().any(|listed| listed.ends_with(text));
            let excused = NOT_REACHED.iter().any(|(listed, _)| *listed == text);
            assert!(
                reached != excused,
                "{text}: reached {reached}, excused {excused}"
            );
        }
    }
}
