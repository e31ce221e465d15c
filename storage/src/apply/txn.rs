//! Transactions. Every condition and every check is decided on the state
//! before the first change; then the chosen operations run in order, each
//! seeing those before it.

use super::{Response, kv};
use crate::{
    error::{Fault, ReadError},
    mvcc::{
        compare::{self, Path},
        write_txn::WriteTxn,
    },
    read::revision_header,
};
use sternpost_proto::etcdserverpb::{
    self as pb, TxnRequest, request_op::Request, response_op::Response as Answer,
};

/// Whether any range in it asks for an explicit revision.
pub(super) fn reads_the_past(txn: &TxnRequest) -> bool {
    any(
        txn,
        &|request| matches!(request, Request::RequestRange(range) if range.revision > 0),
    )
}

/// Whether it carries a put, in whichever branch.
pub(super) fn has_puts(txn: &TxnRequest) -> bool {
    any(txn, &|request| matches!(request, Request::RequestPut(_)))
}

/// Looks through both branches at every depth, without recursion: a client
/// chooses the depth.
fn any(txn: &TxnRequest, holds: &dyn Fn(&Request) -> bool) -> bool {
    let mut open = vec![txn];
    while let Some(txn) = open.pop() {
        for request in txn
            .success
            .iter()
            .chain(&txn.failure)
            .filter_map(|operation| operation.request.as_ref())
        {
            if holds(request) {
                return true;
            }
            if let Request::RequestTxn(nested) = request {
                open.push(nested);
            }
        }
    }
    false
}

/// A transaction, outermost.
pub(super) fn apply(txn: &mut WriteTxn<'_>, request: &TxnRequest) -> Result<Response, ReadError> {
    let mut path = {
        let pending = txn.pending();
        Path::decide(&txn.source(&pending), request)?
    };
    check(txn, request, &mut path)?;
    path.rewind();
    Ok(Response::Txn(run(txn, request, &mut path)?))
}

fn check(txn: &WriteTxn<'_>, request: &TxnRequest, path: &mut Path) -> Result<(), ReadError> {
    for operation in compare::branch(request, path.step()) {
        match &operation.request {
            Some(Request::RequestRange(range)) => {
                let pending = txn.pending();
                compare::check_range(&txn.source(&pending), range)?;
            }
            Some(Request::RequestPut(put)) => kv::check_put(txn, put)?,
            Some(Request::RequestTxn(nested)) => check(txn, nested, path)?,
            Some(Request::RequestDeleteRange(_)) | None => {}
        }
    }
    Ok(())
}

fn run(
    txn: &mut WriteTxn<'_>,
    request: &TxnRequest,
    path: &mut Path,
) -> Result<pb::TxnResponse, ReadError> {
    let succeeded = path.step();
    let operations = compare::branch(request, succeeded);
    let mut responses = Vec::with_capacity(operations.len());
    for operation in operations {
        let response = match &operation.request {
            Some(Request::RequestRange(range)) => {
                Some(Answer::ResponseRange(run_range(txn, range)?))
            }
            Some(Request::RequestPut(put)) => Some(Answer::ResponsePut(run_put(txn, put)?)),
            Some(Request::RequestDeleteRange(delete)) => {
                let mut answer = kv::delete(txn, delete)?;
                answer.header = Some(revision_header(txn.revision()));
                Some(Answer::ResponseDeleteRange(answer))
            }
            Some(Request::RequestTxn(nested)) => {
                let mut answer = run(txn, nested, path)?;
                // Present, and empty even of the revision: etcd's way.
                answer.header = Some(pb::ResponseHeader::default());
                Some(Answer::ResponseTxn(answer))
            }
            None => None,
        };
        responses.push(pb::ResponseOp { response });
    }
    Ok(pb::TxnResponse {
        header: None,
        succeeded,
        responses,
    })
}

fn run_put(txn: &mut WriteTxn<'_>, put: &pb::PutRequest) -> Result<pb::PutResponse, Fault> {
    let mut answer = kv::put_checked(txn, put)?;
    answer.header = Some(revision_header(txn.revision()));
    Ok(answer)
}

fn run_range(txn: &WriteTxn<'_>, range: &pb::RangeRequest) -> Result<pb::RangeResponse, ReadError> {
    let mut answer = if range.revision > 0 && range.revision <= txn.begin_revision() {
        // Nothing this transaction did can be seen there.
        txn.before().range(range)?
    } else {
        let pending = txn.pending();
        txn.source(&pending).range(range)?
    };
    answer.header = Some(revision_header(txn.revision()));
    Ok(answer)
}
