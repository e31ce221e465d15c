//! A long answer to a range, encoded in pieces where it was read: an RPC
//! thread that encodes hundreds of megabytes serves nobody meanwhile, and one
//! buffer for all of it would be copied each time it grows.

use crate::layers::{PREFIX_LEN, put_prefix};
use bytes::{Bytes, BytesMut};
use prost::Message as _;
use std::collections::VecDeque;
use sternpost_proto::etcdserverpb as pb;
use tonic::Status;

/// About the size of a piece: larger ones cost memory, smaller ones time.
const PIECE_BYTES: usize = 256 << 10;

/// Number of the field `kvs` in a `RangeResponse`.
const KVS_FIELD: u32 = 2;

/// The frame of an answer. Each pair is dropped once it is encoded, so that
/// about one copy of the answer exists at a time.
pub fn encode(mut answer: pb::RangeResponse) -> Result<VecDeque<Bytes>, Status> {
    let length = answer.encoded_len();
    let mut piece = BytesMut::with_capacity(PIECE_BYTES.min(PREFIX_LEN + length));
    put_prefix(length, &mut piece)?;
    let kvs = std::mem::take(&mut answer.kvs);
    let front = pb::RangeResponse {
        header: answer.header.take(),
        ..Default::default()
    };
    let grows = "a buffer grows as much as needed";
    front.encode(&mut piece).expect(grows);
    let mut pieces = VecDeque::new();
    for kv in kvs {
        if piece.len() >= PIECE_BYTES {
            pieces.push_back(piece.freeze());
            piece = BytesMut::with_capacity(PIECE_BYTES);
        }
        prost::encoding::message::encode(KVS_FIELD, &kv, &mut piece);
    }
    // What is left has only the fields behind the pairs.
    answer.encode(&mut piece).expect(grows);
    pieces.push_back(piece.freeze());
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sternpost_proto::mvccpb::KeyValue;

    #[test]
    fn the_pieces_are_the_message() {
        for (keys, value_bytes) in [(0, 0), (3, 10), (5000, 1000), (3, 3 * PIECE_BYTES)] {
            let kv = |number| KeyValue {
                key: format!("key-{number}").into(),
                value: vec![7; value_bytes].into(),
                mod_revision: number,
                ..Default::default()
            };
            let answer = pb::RangeResponse {
                header: Some(pb::ResponseHeader {
                    revision: 9,
                    ..Default::default()
                }),
                kvs: (0..keys).map(kv).collect(),
                more: true,
                count: keys + 1,
            };
            let pieces = encode(answer.clone()).unwrap();
            let largest = PIECE_BYTES + PREFIX_LEN + value_bytes + 100;
            assert!(pieces.iter().all(|piece| piece.len() <= largest));
            let bytes: Vec<u8> = pieces.into_iter().flatten().collect();
            let length = u32::try_from(bytes.len() - PREFIX_LEN).unwrap();
            assert_eq!(bytes[0], 0);
            assert_eq!(bytes[1..PREFIX_LEN], length.to_be_bytes());
            assert_eq!(
                pb::RangeResponse::decode(&bytes[PREFIX_LEN..]).unwrap(),
                answer
            );
        }
    }
}
