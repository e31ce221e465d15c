//! Transactions: every comparison, nesting, and the shapes that are refused.

use super::Generator;
use crate::differential::op::Op;
use bytes::Bytes;
use rand::RngExt;
use sternpost_proto::etcdserverpb as pb;

use pb::compare::TargetUnion;
use pb::request_op::Request;

/// `--max-txn-ops` of both servers.
const OPS_MAX: usize = 128;
/// Deeper nesting than this shows nothing new.
const DEPTH_MAX: usize = 3;

impl Generator {
    pub(super) fn txn(&mut self) -> Op {
        let mut request = self.txn_request(0);
        if deletes_to_the_end(&request) {
            ignore_nothing(&mut request);
        }
        Op::Txn(request)
    }

    fn txn_request(&mut self, depth: usize) -> pb::TxnRequest {
        let mut used = Vec::new();
        let compares = self.few();
        let successes = self.few();
        let failures = self.few();
        pb::TxnRequest {
            compare: (0..compares).map(|_| self.compare()).collect(),
            success: (0..successes).map(|_| self.op(depth, &mut used)).collect(),
            failure: (0..failures).map(|_| self.op(depth, &mut used)).collect(),
        }
    }

    fn few(&mut self) -> usize {
        [0, 0, 1, 1, 1, 2, 2, 3, 4][self.rng.random_range(0..9)]
    }

    /// `used` keeps most transactions free of a key written twice.
    fn op(&mut self, depth: usize, used: &mut Vec<Bytes>) -> pb::RequestOp {
        let request = match self.rng.random_range(0..100) {
            0..45 => {
                let mut put = self.put_request();
                if used.contains(&put.key) && !self.one_in(10) {
                    put.key = Bytes::from(format!("t/{}", used.len()));
                }
                used.push(put.key.clone());
                Some(Request::RequestPut(put))
            }
            45..70 => Some(Request::RequestRange(self.range_request())),
            70..85 => {
                let mut delete = self.delete_request();
                if !self.one_in(5) {
                    delete.range_end = Bytes::new();
                }
                if used.contains(&delete.key) && !self.one_in(5) {
                    delete.key = Bytes::from_static(b"t/none");
                }
                Some(Request::RequestDeleteRange(delete))
            }
            85..99 if depth < DEPTH_MAX => Some(Request::RequestTxn(self.txn_request(depth + 1))),
            99 if self.one_in(5) => None,
            _ => Some(Request::RequestRange(self.range_request())),
        };
        pb::RequestOp { request }
    }

    fn compare(&mut self) -> pb::Compare {
        let (key, range_end) = if self.one_in(4) {
            self.span()
        } else {
            (self.key(), Bytes::new())
        };
        let target = self.rng.random_range(0..5);
        let union_of = if self.one_in(30) {
            self.rng.random_range(0..5)
        } else {
            target
        };
        let number = match self.rng.random_range(0..4) {
            0 => 0,
            1 => 1,
            2 => self.revision,
            _ => self.rng.random_range(0..=self.revision),
        };
        let target_union = match union_of {
            0 => TargetUnion::Version(self.rng.random_range(0..4)),
            1 => TargetUnion::CreateRevision(number),
            2 => TargetUnion::ModRevision(number),
            3 => TargetUnion::Value(self.value()),
            _ => TargetUnion::Lease(self.known_lease().unwrap_or(0)),
        };
        pb::Compare {
            result: if self.one_in(50) {
                9
            } else {
                self.rng.random_range(0..4)
            },
            target: if self.one_in(80) { 9 } else { target },
            key,
            range_end,
            target_union: (!self.one_in(30)).then_some(target_union),
        }
    }

    /// Over the budget, at it, doubled keys, empty keys, empty operations, at any depth.
    pub(super) fn wrong_txn(&mut self) -> Op {
        let put = |key: &'static [u8]| {
            Request::RequestPut(pb::PutRequest {
                key: Bytes::from_static(key),
                ..Default::default()
            })
        };
        let delete = |key: &'static [u8], end: &'static [u8]| {
            Request::RequestDeleteRange(pb::DeleteRangeRequest {
                key: Bytes::from_static(key),
                range_end: Bytes::from_static(end),
                prev_kv: false,
            })
        };
        let range = Request::RequestRange(self.range_request());
        let ops = match self.rng.random_range(0..12) {
            0 => {
                let over = self.rng.random_range(0..2);
                return Op::Txn(self.compares(OPS_MAX + over));
            }
            10 => {
                let mut request = self.compares(2);
                request.compare[1].key = Bytes::new();
                return Op::Txn(request);
            }
            11 => vec![put(b"d"), delete(b"", b"z")],
            1 => vec![range; OPS_MAX + 1],
            2 => vec![put(b"d"), put(b"d")],
            3 => vec![put(b"d"), delete(b"a", b"e")],
            4 => vec![delete(b"a", b"\0"), put(b"d")],
            5 => vec![delete(b"a", b"e"), delete(b"c", b"g"), delete(b"d", b"")],
            6 => vec![put(b"d"), nested(vec![put(b"e")], vec![put(b"d")])],
            7 => vec![nested(vec![put(b"d")], vec![put(b"d")]), put(b"f")],
            8 => vec![
                nested(vec![range.clone(); OPS_MAX - 2], vec![]),
                range.clone(),
                range,
            ],
            _ => vec![put(b"d"), nested(vec![put(b"")], vec![])],
        };
        let mut request = pb::TxnRequest {
            success: ops.into_iter().map(wrap).collect(),
            ..Default::default()
        };
        if self.one_in(2) {
            std::mem::swap(&mut request.success, &mut request.failure);
        }
        Op::Txn(request)
    }

    fn compares(&mut self, count: usize) -> pb::TxnRequest {
        pb::TxnRequest {
            compare: (0..count).map(|_| self.compare()).collect(),
            ..Default::default()
        }
    }
}

/// Whether it deletes without an upper end: the one delete that the check for keys
/// written twice overlooks, so that the same transaction can write such a key again.
pub(super) fn deletes_to_the_end(txn: &pb::TxnRequest) -> bool {
    let ops = txn.success.iter().chain(&txn.failure);
    ops.filter_map(|op| op.request.as_ref())
        .any(|request| match request {
            Request::RequestDeleteRange(delete) => delete.range_end == b"\0"[..],
            Request::RequestTxn(txn) => deletes_to_the_end(txn),
            _ => false,
        })
}

/// A put that keeps the value or lease of a key which the same transaction has deleted
/// before fails in the middle of it, and the reference dies of that.
fn ignore_nothing(txn: &mut pb::TxnRequest) {
    let ops = txn.success.iter_mut().chain(&mut txn.failure);
    for request in ops.filter_map(|op| op.request.as_mut()) {
        match request {
            Request::RequestPut(put) => {
                put.ignore_value = false;
                put.ignore_lease = false;
            }
            Request::RequestTxn(txn) => ignore_nothing(txn),
            _ => {}
        }
    }
}

fn nested(success: Vec<Request>, failure: Vec<Request>) -> Request {
    Request::RequestTxn(pb::TxnRequest {
        compare: vec![],
        success: success.into_iter().map(wrap).collect(),
        failure: failure.into_iter().map(wrap).collect(),
    })
}

fn wrap(request: Request) -> pb::RequestOp {
    pb::RequestOp {
        request: Some(request),
    }
}
