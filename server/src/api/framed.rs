//! Answers of reads as they go on the wire, encoded where they are read: an
//! RPC thread that encodes hundreds of megabytes serves nobody meanwhile.

use crate::{
    api::status::ApiError,
    layers::{PREFIX_LEN, prefix},
    member::Member,
    pace::Pace,
};
use bytes::Bytes;
use std::collections::VecDeque;
use sternpost_proto::etcdserverpb as pb;
use sternpost_storage::{ReadView, WireAnswer};
use tonic::Status;

/// An answer's frame in pieces, unless it is too long for one.
pub type Pieces = Result<VecDeque<Bytes>, Status>;

/// Answers a checked range. With it comes what it takes in memory.
pub fn range(
    member: &Member,
    view: &ReadView,
    request: &pb::RangeRequest,
) -> Result<(Pieces, u64), ApiError> {
    let front = pb::RangeResponse {
        header: Some(member.header(view.revision())),
        ..Default::default()
    };
    let mut answer = WireAnswer::new(PREFIX_LEN, &front);
    let mut pace = Pace::new(member);
    view.range_onto(request, &mut answer, &mut || pace.rest_if_crowded())?;
    Ok(framed(answer))
}

/// Answers a checked transaction of ranges only. With it come their number,
/// and what it takes in memory.
pub fn read_txn(
    member: &Member,
    view: &ReadView,
    request: &pb::TxnRequest,
) -> Result<((Pieces, usize), u64), ApiError> {
    let front = pb::TxnResponse {
        header: Some(member.header(view.revision())),
        ..Default::default()
    };
    let mut answer = WireAnswer::new(PREFIX_LEN, &front);
    let mut pace = Pace::new(member);
    let ranges = view.read_txn_onto(request, &mut answer, &mut || pace.rest_if_crowded())?;
    let (pieces, bytes) = framed(answer);
    Ok(((pieces, ranges), bytes))
}

fn framed(answer: WireAnswer) -> (Pieces, u64) {
    let bytes = answer.bytes();
    let pieces = prefix(bytes - PREFIX_LEN)
        .map(|prefix| answer.into_pieces(|first| first[..PREFIX_LEN].copy_from_slice(&prefix)));
    (pieces, bytes as u64)
}
