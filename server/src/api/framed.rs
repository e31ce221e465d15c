//! Answers of reads as they go on the wire, encoded where they are read: an
//! RPC thread that encodes hundreds of megabytes serves nobody meanwhile.

use crate::{
    api::status::ApiError,
    layers::{PREFIX_LEN, prefix},
    member::Member,
};
use bytes::Bytes;
use std::collections::VecDeque;
use sternpost_proto::etcdserverpb as pb;
use sternpost_storage::{ReadView, WireAnswer};
use tonic::Status;

/// An answer's frame in pieces, unless it is too long for one.
pub type Pieces = Result<VecDeque<Bytes>, Status>;

/// Answers a checked range.
pub fn range(
    member: &Member,
    view: &ReadView,
    request: &pb::RangeRequest,
) -> Result<Pieces, ApiError> {
    let front = pb::RangeResponse {
        header: Some(member.header(view.revision())),
        ..Default::default()
    };
    let mut answer = WireAnswer::new(PREFIX_LEN, &front);
    view.range_onto(request, &mut answer)?;
    Ok(framed(answer))
}

/// Answers a checked transaction of ranges only. With it comes their number.
pub fn read_txn(
    member: &Member,
    view: &ReadView,
    request: &pb::TxnRequest,
) -> Result<(Pieces, usize), ApiError> {
    let front = pb::TxnResponse {
        header: Some(member.header(view.revision())),
        ..Default::default()
    };
    let mut answer = WireAnswer::new(PREFIX_LEN, &front);
    let ranges = view.read_txn_onto(request, &mut answer)?;
    Ok((framed(answer), ranges))
}

fn framed(answer: WireAnswer) -> Pieces {
    let prefix = prefix(answer.bytes() - PREFIX_LEN)?;
    Ok(answer.into_pieces(|first| first[..PREFIX_LEN].copy_from_slice(&prefix)))
}

/// What an answer takes in memory.
pub fn bytes(pieces: &Pieces) -> u64 {
    pieces.as_ref().map_or(0, |pieces| {
        pieces.iter().map(|piece| piece.len() as u64).sum()
    })
}
