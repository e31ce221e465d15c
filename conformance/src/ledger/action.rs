//! What a client can ask for, and exactly which changes that makes to a known state.

use std::collections::BTreeMap;
use sternpost_proto::etcdserverpb as pb;

use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::request_op::Request;
use pb::response_op::Response;

/// One change of a key: key and, unless it was deleted, value and lease.
pub type Change = (String, Option<(String, i64)>);

/// A key as far as the ledger follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The value.
    pub value: String,
    /// The lease, 0 for none.
    pub lease: i64,
    /// The revision that made it.
    pub created: i64,
    /// The revision of the last put.
    pub modified: i64,
    /// Puts since it was made.
    pub version: i64,
}

/// All keys of one revision.
pub type Rows = BTreeMap<String, Row>;

/// A write inside a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Key, value, lease.
    Put(String, String, i64),
    /// A key, or all keys from the first up to the second.
    Delete(String, Option<String>),
}

/// How the writes are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// As the request of their own kind; there is one write and no condition.
    Single,
    /// In one transaction.
    Flat,
    /// All but the first in a transaction inside the transaction.
    Nested,
}

/// Writes that happen together or not at all. Values are unique, so that a put
/// is found by its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// A key must have been modified last in this revision (0: must not exist).
    pub guard: Option<(String, i64)>,
    /// What happens if so.
    pub then: Vec<Op>,
    /// What happens otherwise.
    pub otherwise: Vec<Op>,
    /// How it is sent.
    pub shape: Shape,
}

impl Write {
    /// Whether the condition holds.
    #[must_use]
    pub fn succeeds(&self, rows: &Rows) -> bool {
        self.guard.as_ref().is_none_or(|(key, revision)| {
            let modified = rows.get(key).map_or(0, |row| row.modified);
            modified == *revision
        })
    }

    /// The changes it makes, in the order of their events.
    #[must_use]
    pub fn changes(&self, rows: &Rows) -> Vec<Change> {
        let ops = match self.succeeds(rows) {
            true => &self.then,
            false => &self.otherwise,
        };
        let mut changes: Vec<Change> = Vec::new();
        for op in ops {
            match op {
                Op::Put(key, value, lease) => {
                    changes.push((key.clone(), Some((value.clone(), *lease))));
                }
                Op::Delete(from, to) => {
                    let mut there: Vec<&String> = rows.keys().collect();
                    there.extend(changes.iter().filter(|c| c.1.is_some()).map(|c| &c.0));
                    let meant = |key: &&String| match to {
                        None => *key == from,
                        Some(to) => *key >= from && *key < to,
                    };
                    let gone = |key: &&String| {
                        let newest = changes.iter().rev().find(|change| change.0 == **key);
                        newest.is_some_and(|change| change.1.is_none())
                    };
                    there.retain(|key| meant(key) && !gone(key));
                    there.sort_unstable();
                    there.dedup();
                    let deleted: Vec<Change> = there.iter().map(|k| ((*k).clone(), None)).collect();
                    changes.extend(deleted);
                }
            }
        }
        changes
    }

    /// The request, if it is a transaction.
    #[must_use]
    pub fn transaction(&self) -> pb::TxnRequest {
        let compare = self.guard.as_ref().map(|(key, revision)| pb::Compare {
            result: CompareResult::Equal as i32,
            target: CompareTarget::Mod as i32,
            key: key.clone().into(),
            target_union: Some(TargetUnion::ModRevision(*revision)),
            ..Default::default()
        });
        pb::TxnRequest {
            compare: compare.into_iter().collect(),
            success: self.branch(&self.then),
            failure: self.branch(&self.otherwise),
        }
    }

    fn branch(&self, ops: &[Op]) -> Vec<pb::RequestOp> {
        let mut all: Vec<Request> = ops.iter().map(request).collect();
        if self.shape == Shape::Nested && all.len() > 1 {
            let inner = pb::TxnRequest {
                success: all.split_off(1).into_iter().map(wrapped).collect(),
                ..Default::default()
            };
            all.push(Request::RequestTxn(inner));
        }
        all.into_iter().map(wrapped).collect()
    }
}

fn wrapped(request: Request) -> pb::RequestOp {
    pb::RequestOp {
        request: Some(request),
    }
}

fn request(op: &Op) -> Request {
    match op {
        Op::Put(..) => Request::RequestPut(put(op)),
        Op::Delete(..) => Request::RequestDeleteRange(delete(op)),
    }
}

/// A put as a request of its own.
///
/// # Panics
/// When it is none.
#[must_use]
pub fn put(op: &Op) -> pb::PutRequest {
    let Op::Put(key, value, lease) = op else {
        panic!("{op:?} is no put");
    };
    pb::PutRequest {
        key: key.clone().into(),
        value: value.clone().into(),
        lease: *lease,
        ..Default::default()
    }
}

/// A deletion as a request of its own.
///
/// # Panics
/// When it is none.
#[must_use]
pub fn delete(op: &Op) -> pb::DeleteRangeRequest {
    let Op::Delete(from, to) = op else {
        panic!("{op:?} is no deletion");
    };
    pb::DeleteRangeRequest {
        key: from.clone().into(),
        range_end: to.clone().unwrap_or_default().into(),
        ..Default::default()
    }
}

/// Whether a transaction has changed anything, by its answer.
#[must_use]
pub fn changed(reply: &pb::TxnResponse) -> bool {
    reply.responses.iter().any(|op| match &op.response {
        Some(Response::ResponsePut(_)) => true,
        Some(Response::ResponseDeleteRange(deletion)) => deletion.deleted > 0,
        Some(Response::ResponseTxn(inner)) => changed(inner),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(keys: &[&str]) -> Rows {
        let row = Row {
            value: "v".into(),
            lease: 0,
            created: 2,
            modified: 2,
            version: 1,
        };
        keys.iter()
            .map(|key| ((*key).to_owned(), row.clone()))
            .collect()
    }

    #[test]
    fn a_write_changes_what_is_there() {
        let delete = |from: &str, to: &str| Op::Delete(from.into(), Some(to.into()));
        let mut write = Write {
            guard: Some(("a".into(), 2)),
            then: vec![
                Op::Put("x".into(), "1".into(), 0),
                delete("a", "c"),
                delete("b", "z"),
            ],
            otherwise: Vec::new(),
            shape: Shape::Flat,
        };
        let there = rows(&["a", "b", "c"]);
        let changes = write.changes(&there);
        let keys: Vec<&str> = changes.iter().map(|change| change.0.as_str()).collect();
        assert_eq!(keys, ["x", "a", "b", "c", "x"]);
        write.guard = Some(("b".into(), 0));
        assert!(write.changes(&there).is_empty());
        assert!(write.succeeds(&rows(&["a"])));
    }
}
