//! Answers in the bytes of the wire: a row goes from where it lies into its
//! answer at once. A message made of it first would cost more than the row.

use crate::{
    mvcc::{
        current::Version,
        range::{Found, Sink},
    },
    schema::varint::VARINT_BYTES_MAX,
};
use bytes::{BufMut as _, Bytes, BytesMut};
use prost::{
    Message,
    encoding::{encode_varint, encoded_len_varint},
};
use std::collections::VecDeque;
use sternpost_proto::etcdserverpb as pb;

/// The first piece: most answers are small.
const FIRST_PIECE_BYTES: usize = 1 << 10;
/// Pieces grow to this. Larger ones cost memory, smaller ones time.
const PIECE_BYTES_MAX: usize = 256 << 10;
/// Up to this much is made without a rest.
const LONG_BYTES: usize = 1 << 20;
/// An answer inside another is copied up to this, and taken over above.
const COPIED_BYTES_MAX: usize = 4 << 10;

/// The wire type of a field with a length.
const WITH_LENGTH: u32 = 2;
/// Numbers of fields.
const KVS: u32 = 2;
const RESPONSES: u32 = 3;
const RESPONSE_RANGE: u32 = 1;

/// An encoded message, in pieces.
#[derive(Debug, Default)]
pub struct WireAnswer {
    pieces: VecDeque<Bytes>,
    /// The piece that grows; it is never moved to make it longer.
    open: BytesMut,
    /// What the closed pieces hold.
    closed_bytes: usize,
}

impl WireAnswer {
    /// Begins with `prefix` bytes to be filled at the end, and `fields`.
    pub fn new(prefix: usize, fields: &impl Message) -> Self {
        let mut answer = Self::default();
        answer.room(prefix).put_bytes(0, prefix);
        answer.put_message(fields);
        answer
    }

    /// What it holds so far, the prefix included.
    pub fn bytes(&self) -> usize {
        self.closed_bytes + self.open.len()
    }

    /// All of it. `fill` gets the first bytes, where the prefix is.
    pub fn into_pieces(mut self, fill: impl FnOnce(&mut [u8])) -> VecDeque<Bytes> {
        self.close();
        let mut pieces = self.pieces;
        if let Some(first) = pieces.pop_front() {
            // Nobody else has it, so nothing is copied.
            let mut first = BytesMut::from(first);
            fill(&mut first);
            pieces.push_front(first.freeze());
        }
        pieces
    }

    /// Appends the fields of a message.
    pub(crate) fn put_message(&mut self, message: &impl Message) {
        let room = self.room(message.encoded_len());
        message.encode(room).expect("the piece has room for it");
    }

    /// Appends a range as an operation's answer inside a transaction's.
    pub(crate) fn put_operation(&mut self, mut range: WireAnswer) {
        let inner = 1 + encoded_len_varint(range.bytes() as u64) + range.bytes();
        let room = self.room(2 * (1 + VARINT_BYTES_MAX));
        put_head(room, RESPONSES, inner);
        put_head(room, RESPONSE_RANGE, range.bytes());
        range.close();
        if range.closed_bytes <= COPIED_BYTES_MAX {
            for piece in range.pieces {
                self.room(piece.len()).put_slice(&piece);
            }
            return;
        }
        self.close();
        self.closed_bytes += range.closed_bytes;
        self.pieces.append(&mut range.pieces);
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.closed_bytes += self.open.len();
            self.pieces.push_back(self.open.split().freeze());
        }
    }

    /// The open piece, with room for so many bytes.
    fn room(&mut self, bytes: usize) -> &mut BytesMut {
        if self.open.capacity() - self.open.len() < bytes {
            self.close();
            let piece = (4 * self.closed_bytes).clamp(FIRST_PIECE_BYTES, PIECE_BYTES_MAX);
            self.open = BytesMut::with_capacity(piece.max(bytes));
        }
        &mut self.open
    }
}

impl Sink for WireAnswer {
    fn push(&mut self, version: Version<'_>) {
        let header = version.header;
        let numbers = [
            (2, header.create_revision),
            (3, header.modified.main),
            (4, header.version),
        ];
        let mut length =
            bytes_len(version.key) + bytes_len(version.value) + number_len(header.lease);
        for (_, number) in numbers {
            length += number_len(number);
        }
        let room = self.room(1 + VARINT_BYTES_MAX + length);
        put_head(room, KVS, length);
        put_bytes(room, 1, version.key);
        for (field, number) in numbers {
            put_number(room, field, number);
        }
        put_bytes(room, 5, version.value);
        put_number(room, 6, header.lease);
    }
}

/// An answer whose maker may rest between its pieces.
pub(crate) struct Resting<'a> {
    answer: &'a mut WireAnswer,
    rest: &'a mut dyn FnMut(),
}

impl<'a> Resting<'a> {
    pub(crate) fn new(answer: &'a mut WireAnswer, rest: &'a mut dyn FnMut()) -> Self {
        Self { answer, rest }
    }
}

impl Sink for Resting<'_> {
    fn push(&mut self, version: Version<'_>) {
        let pieces = self.answer.pieces.len();
        self.answer.push(version);
        let is_long = self.answer.closed_bytes >= LONG_BYTES;
        if is_long && self.answer.pieces.len() > pieces {
            (self.rest)();
        }
    }
}

/// What stands behind the keys of a range.
pub(crate) fn tail(found: Found) -> pb::RangeResponse {
    pb::RangeResponse {
        more: found.more,
        count: found.count,
        ..Default::default()
    }
}

fn bytes_len(bytes: &[u8]) -> usize {
    match bytes.len() {
        0 => 0,
        length => 1 + encoded_len_varint(length as u64) + length,
    }
}

fn number_len(number: i64) -> usize {
    match number {
        0 => 0,
        number => 1 + encoded_len_varint(number as u64),
    }
}

fn put_head(out: &mut BytesMut, field: u32, length: usize) {
    out.put_u8((field << 3 | WITH_LENGTH) as u8);
    encode_varint(length as u64, out);
}

fn put_bytes(out: &mut BytesMut, field: u32, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_head(out, field, bytes.len());
        out.put_slice(bytes);
    }
}

fn put_number(out: &mut BytesMut, field: u32, number: i64) {
    if number != 0 {
        out.put_u8((field << 3) as u8);
        encode_varint(number as u64, out);
    }
}
