//! Operations as requests, and answers as what they tell.

use super::operation::{Ask, Change, Put, Refusal, Row, Told};
use super::watching::range;
use sternpost_proto::etcdserverpb as pb;
use tonic::{Code, Status};

use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::request_op::Request as Op;
use pb::response_op::Response as Reply;

/// What etcd says of revisions that are compacted, and of those to come.
const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";
const FUTURE: &str = "etcdserver: mvcc: required revision is a future revision";

/// Whether an error says that nothing has happened, and leaves nothing to check: a lease or a
/// member is not as it was. A read of the past has nothing of that kind.
pub fn nothing_happened(ask: &Ask, status: &Status) -> bool {
    let is_read = matches!(ask, Ask::Past(_));
    let code = status.code();
    matches!(code, Code::InvalidArgument | Code::NotFound) && !is_read
        || code == Code::FailedPrecondition
}

/// Why a request with a revision is refused, if an error says that.
pub fn refusal(status: &Status) -> Option<Refusal> {
    match (status.code(), status.message()) {
        (Code::OutOfRange, COMPACTED) => Some(Refusal::Compacted),
        (Code::OutOfRange, FUTURE) => Some(Refusal::Future),
        (Code::OutOfRange | Code::InvalidArgument | Code::NotFound, _) => {
            Some(Refusal::Unknown(status.to_string()))
        }
        _ => None,
    }
}

pub fn told(header: Option<pb::ResponseHeader>) -> Told {
    Told {
        known: true,
        revision: header.map_or(0, |header| header.revision),
        succeeded: true,
        ..Told::default()
    }
}

pub fn rows(reply: &pb::RangeResponse) -> Vec<Row> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let row = |kv: &sternpost_proto::mvccpb::KeyValue| Row {
        key: text(&kv.key),
        value: text(&kv.value),
        modified: kv.mod_revision,
    };
    reply.kvs.iter().map(row).collect()
}

/// A key, or all that begin so, at a revision; 0: the newest.
pub fn read(key: &str, prefix: bool, revision: i64) -> pb::RangeRequest {
    pb::RangeRequest {
        key: key.to_owned().into(),
        range_end: match prefix {
            true => range(key).1.into(),
            false => Vec::new().into(),
        },
        revision,
        ..Default::default()
    }
}

pub fn put(one: &Put) -> pb::PutRequest {
    pb::PutRequest {
        key: one.key.clone().into(),
        value: one.value.clone().into(),
        lease: one.lease,
        ..Default::default()
    }
}

pub fn delete(key: &str) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest {
        key: key.to_owned().into(),
        ..Default::default()
    }
}

/// A write with a condition, of several keys, or that reads the past of all that begin so.
pub fn transaction(change: &Change, prefix: &str) -> pb::TxnRequest {
    let wrapped = |request| pb::RequestOp {
        request: Some(request),
    };
    let guard = change.guard.as_ref();
    let compare = guard.map(|guard| pb::Compare {
        result: CompareResult::Equal as i32,
        target: CompareTarget::Mod as i32,
        key: guard.key.clone().into(),
        target_union: Some(TargetUnion::ModRevision(guard.modified)),
        ..Default::default()
    });
    let past = change.past.map(|at| read(prefix, true, at));
    let puts = change.puts.iter().map(|one| Op::RequestPut(put(one)));
    let deletes = change.deletes.iter();
    let deletes = deletes.map(|key| Op::RequestDeleteRange(delete(key)));
    let success = past.map(Op::RequestRange).into_iter();
    let failure = guard.map(|guard| Op::RequestRange(read(&guard.key, false, 0)));
    pb::TxnRequest {
        compare: compare.into_iter().collect(),
        success: success.chain(puts).chain(deletes).map(wrapped).collect(),
        failure: failure.into_iter().map(wrapped).collect(),
    }
}

pub fn of_transaction(reply: &pb::TxnResponse) -> Told {
    let mut told = Told {
        succeeded: reply.succeeded,
        ..told(reply.header)
    };
    for response in &reply.responses {
        match &response.response {
            Some(Reply::ResponseDeleteRange(deletion)) => told.deleted += deletion.deleted,
            Some(Reply::ResponseRange(read)) => told.rows = rows(read),
            _ => {}
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_etcd_s_words_are_a_reason_to_refuse_a_revision() {
        let compacted = Status::out_of_range(COMPACTED);
        assert_eq!(refusal(&compacted), Some(Refusal::Compacted));
        let future = Status::out_of_range(FUTURE);
        assert_eq!(refusal(&future), Some(Refusal::Future));
        for other in [
            Status::out_of_range("compacted"),
            Status::invalid_argument(COMPACTED),
            Status::not_found(FUTURE),
        ] {
            let refusal = refusal(&other);
            assert!(matches!(refusal, Some(Refusal::Unknown(_))), "{refusal:?}");
            assert!(!nothing_happened(&Ask::Past(1), &other));
        }
        assert_eq!(refusal(&Status::unavailable(COMPACTED)), None);
    }
}
