//! Steps to text that [`parse`](super::parse) reads back.

use super::{Step, parse::is_bare};
use crate::apply::EntryPayload;
use prost::Message as _;
use std::fmt::Write as _;
use sternpost_proto::{
    etcdserverpb::{self as pb, compare::TargetUnion, request_op::Request},
    internal::{self, command::Verb},
};

/// A script of these steps, one a line.
pub fn print(steps: &[Step]) -> String {
    steps.iter().map(|step| step_text(step) + "\n").collect()
}

pub(super) fn step_text(step: &Step) -> String {
    match step {
        Step::Apply(payloads) => match &payloads[..] {
            [payload] => payload_text(payload),
            _ => {
                let payloads: Vec<String> = payloads.iter().map(payload_text).collect();
                format!("chunk {{ {} }}", payloads.join("; "))
            }
        },
        Step::Range(request) => range_request(request),
        Step::Stream(chunk, request) => {
            range_request(request).replacen("get", &format!("stream {chunk}"), 1)
        }
        Step::ReadTxn(request) => txn(request).replacen("txn", "read", 1),
        Step::Count(key, range_end) => format!("count {}", range(key, range_end)),
        Step::History(from, usize::MAX) => format!("history {from}"),
        Step::History(from, revisions_max) => format!("history {from} max={revisions_max}"),
        Step::Hash(revision) => format!("hash {revision}"),
        Step::Leases => "leases".to_owned(),
        Step::Lease(id) => format!("lease {id}"),
        Step::Alarms => "alarms".to_owned(),
        Step::Info => "info".to_owned(),
        Step::Cluster => "cluster".to_owned(),
        Step::Verify => "verify".to_owned(),
        Step::Term(term) => format!("term {term}"),
        Step::Scrub(None) => "scrub".to_owned(),
        Step::Scrub(Some(rows)) => format!("scrub {rows}"),
        Step::Flush => "flush".to_owned(),
        Step::Reopen => "reopen".to_owned(),
        Step::Replay => "replay".to_owned(),
    }
}

fn payload_text(payload: &EntryPayload) -> String {
    match payload {
        EntryPayload::Blank => "blank".to_owned(),
        EntryPayload::Membership(stored) => members(stored),
        EntryPayload::Command(command) => {
            verb(command.verb.as_ref().expect("scripts hold known commands"))
        }
    }
}

fn verb(verb: &Verb) -> String {
    match verb {
        Verb::Put(request) => put(request),
        Verb::DeleteRange(request) => delete(request),
        Verb::Txn(request) => txn(request),
        Verb::Compaction(request) => format!("compact {}", request.revision),
        Verb::LeaseGrant(grant) => format!("grant {} {}", grant.id, grant.ttl_secs),
        Verb::LeaseRevoke(revoke) => {
            format!("revoke {}", revoke.id) + &number(" expired_in", revoke.expired_in_term)
        }
        Verb::LeaseCheckpoints(checkpoints) => {
            let mut text = "checkpoint".to_owned();
            for lease in &checkpoints.leases {
                let _ = write!(text, " {}={}", lease.id, lease.remaining_secs);
            }
            text
        }
        Verb::Alarm(change) => {
            let kind = pb::AlarmType::try_from(change.alarm).expect("scripts name known alarms");
            let action = if change.clear { "clear" } else { "raise" };
            format!("alarm {action} {} {}", change.member_id, kind.as_str_name())
        }
        Verb::MemberAttributes(attributes) => {
            let mut text = format!(
                "attributes {} {}",
                attributes.member_id,
                quote(attributes.name.as_bytes())
            );
            for url in &attributes.client_urls {
                let _ = write!(text, " {}", quote(url.as_bytes()));
            }
            text
        }
        Verb::ClusterVersion(version) => {
            format!("cluster_version {}", quote(version.version.as_bytes()))
        }
    }
}

fn members(stored: &[u8]) -> String {
    let stored =
        internal::StoredMembership::decode(stored).expect("scripts hold whole memberships");
    let membership = stored.membership.unwrap_or_default();
    let voters: Vec<u64> = membership
        .configs
        .into_iter()
        .flat_map(|config| config.ids)
        .collect();
    let mut text = "members".to_owned();
    for voter in &voters {
        let _ = write!(text, " {voter}");
    }
    let learners: Vec<u64> = membership
        .nodes
        .iter()
        .map(|node| node.id)
        .filter(|id| !voters.contains(id))
        .collect();
    if !learners.is_empty() {
        text += " learners";
    }
    for learner in learners {
        let _ = write!(text, " {learner}");
    }
    text
}

fn put(request: &pb::PutRequest) -> String {
    format!("put {} {}", quote(&request.key), quote(&request.value))
        + &number(" lease", request.lease)
        + flag(" prev_kv", request.prev_kv)
        + flag(" ignore_value", request.ignore_value)
        + flag(" ignore_lease", request.ignore_lease)
}

fn delete(request: &pb::DeleteRangeRequest) -> String {
    format!("delete {}", range(&request.key, &request.range_end))
        + flag(" prev_kv", request.prev_kv)
}

fn range_request(request: &pb::RangeRequest) -> String {
    let target = pb::range_request::SortTarget::try_from(request.sort_target)
        .expect("scripts sort by known targets");
    let sort = if request.sort_target == 0 {
        String::new()
    } else {
        format!(" sort={}", target.as_str_name().to_ascii_lowercase())
    };
    let order = ["", " order=asc", " order=desc"]
        [usize::try_from(request.sort_order).expect("known orders")];
    format!("get {}", range(&request.key, &request.range_end))
        + &number(" rev", request.revision)
        + &number(" limit", request.limit)
        + order
        + &sort
        + flag(" keys_only", request.keys_only)
        + flag(" count_only", request.count_only)
        + &number(" min_mod", request.min_mod_revision)
        + &number(" max_mod", request.max_mod_revision)
        + &number(" min_create", request.min_create_revision)
        + &number(" max_create", request.max_create_revision)
}

fn txn(request: &pb::TxnRequest) -> String {
    let compares: Vec<String> = request.compare.iter().map(compare).collect();
    let mut text = "txn ".to_owned() + &compares.join(", ");
    for operations in [&request.success, &request.failure] {
        let operations: Vec<String> = operations.iter().map(operation).collect();
        let _ = write!(text, " {{ {} }}", operations.join("; "));
    }
    text
}

fn operation(operation: &pb::RequestOp) -> String {
    match operation
        .request
        .as_ref()
        .expect("scripts hold whole operations")
    {
        Request::RequestRange(request) => range_request(request),
        Request::RequestPut(request) => put(request),
        Request::RequestDeleteRange(request) => delete(request),
        Request::RequestTxn(request) => txn(request),
    }
}

fn compare(compare: &pb::Compare) -> String {
    let target = pb::compare::CompareTarget::try_from(compare.target)
        .expect("scripts compare known targets");
    let sign = ["=", ">", "<", "!="].get(usize::try_from(compare.result).unwrap_or(usize::MAX));
    let operand = match &compare.target_union {
        None => "unset".to_owned(),
        Some(TargetUnion::Value(value)) => quote(value),
        Some(
            TargetUnion::Version(number)
            | TargetUnion::CreateRevision(number)
            | TargetUnion::ModRevision(number)
            | TargetUnion::Lease(number),
        ) => number.to_string(),
    };
    let target = target.as_str_name().to_ascii_lowercase();
    format!(
        "{target} {} {} {operand}",
        range(&compare.key, &compare.range_end),
        sign.unwrap_or(&"?")
    )
}

fn range(key: &[u8], range_end: &[u8]) -> String {
    match range_end {
        [] => quote(key),
        [0] => quote(key) + "..",
        _ => quote(key) + ".." + &quote(range_end),
    }
}

fn number(name: &str, number: impl Into<i128>) -> String {
    match number.into() {
        0 => String::new(),
        number => format!("{name}={number}"),
    }
}

fn flag(name: &'static str, set: bool) -> &'static str {
    if set { name } else { "" }
}

/// Bare if it can be, else in quotes; words of the language itself are always
/// quoted where an option could stand, which costs nothing elsewhere.
pub(super) fn quote(word: &[u8]) -> String {
    if !word.is_empty() && word.iter().all(|byte| is_bare(*byte)) {
        return String::from_utf8_lossy(word).into_owned();
    }
    let mut text = "\"".to_owned();
    for byte in word {
        match byte {
            b'"' | b'\\' => {
                let _ = write!(text, "\\x{byte:02x}");
            }
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
    text + "\""
}
