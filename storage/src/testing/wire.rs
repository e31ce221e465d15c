//! Encoded answers must say what answers in messages say.

use super::engine::answer;
use crate::{
    error::{ReadError, Rejection},
    read::{ReadView, WireAnswer},
};
use prost::Message;
use sternpost_proto::etcdserverpb::{self as pb, request_op::Request};

/// Stands where a server puts the length.
const PREFIX: &[u8] = b"before";

/// Asks for a range again, encoded.
pub(super) fn check_range(
    view: &ReadView,
    request: &pb::RangeRequest,
    answered: &Result<pb::RangeResponse, Rejection>,
) {
    let encoded = encoded(|wire| view.range_onto(request, wire, &mut || ()));
    assert_eq!(&encoded, answered, "an encoded range is another one");
}

/// The same for a transaction, if it is of ranges only.
pub(super) fn check_read_txn(
    view: &ReadView,
    request: &pb::TxnRequest,
    answered: &Result<pb::TxnResponse, Rejection>,
) {
    let is_range = |op: &pb::RequestOp| matches!(op.request, Some(Request::RequestRange(_)));
    if request.success.iter().chain(&request.failure).all(is_range) {
        let encoded = encoded(|wire| view.read_txn_onto(request, wire, &mut || ()).map(|_| ()));
        assert_eq!(&encoded, answered, "an encoded transaction is another one");
    }
}

fn encoded<T: Message + Default>(
    read: impl FnOnce(&mut WireAnswer) -> Result<(), ReadError>,
) -> Result<T, Rejection> {
    let mut wire = WireAnswer::new(PREFIX.len(), &());
    answer(read(&mut wire))?;
    let bytes = wire.bytes();
    let pieces = wire.into_pieces(|first| first[..PREFIX.len()].copy_from_slice(PREFIX));
    let all: Vec<u8> = pieces.into_iter().flatten().collect();
    assert_eq!(all.len(), bytes);
    let message = all.strip_prefix(PREFIX).expect("the prefix is first");
    Ok(T::decode(message).expect("an answer can be decoded"))
}
