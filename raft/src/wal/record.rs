//! One record: length | kind | checksum | payload.
//!
//! - length: u32, of the payload. kind: u8. checksum: u32, CRC-32C of length,
//!   kind and payload, continued from the record before: so a record counts
//!   only where it was written, after what it was written after. All numbers
//!   are little-endian.
//! - The chain begins with the segment's header record, which differs from
//!   segment to segment: what a recycled file held before can't be mistaken
//!   for records.
//! - Each write begins with a mark. It says up to where the log was durable
//!   when it was written: damage before that point is damage to acknowledged
//!   data, damage after it may be a write that a crash cut off.

use super::{files::File, marks::Op};
use crate::{
    codec,
    types::{Entry, LogId, log_id},
};
use bytes::Bytes;
use prost::Message as _;
use std::{io, sync::Arc};
use sternpost_proto::internal;

/// Length, kind and checksum.
pub const HEAD_LEN: usize = 9;
/// A mark, head included.
pub const MARK_LEN: usize = HEAD_LEN + MARK_PAYLOAD;
const MARK_PAYLOAD: usize = 28;
const ID_LEN: usize = 16;

/// The kinds of record. The numbers are on disk for good.
pub mod kind {
    /// The segment's header.
    pub const HEADER: u8 = 1;
    /// The beginning of a write.
    pub const MARK: u8 = 2;
    /// A vote (`internal::Vote`).
    pub const VOTE: u8 = 3;
    /// Term, index, and an entry (`internal::LogEntry` without position).
    pub const APPEND: u8 = 4;
    /// Term and index of the last entry that stays, or nothing.
    pub const TRUNCATE: u8 = 5;
    /// Term and index of the last entry that goes.
    pub const PURGE: u8 = 6;
    /// Term and index of the committed hint, or nothing.
    pub const COMMITTED: u8 = 7;
    /// The next segment exists.
    pub const SEAL: u8 = 8;
}

/// What a mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Where it stands in its segment.
    pub offset: u64,
    /// Everything before this offset of the segment was durable.
    pub synced_to: u64,
    /// How often the log had been opened, this time included. It makes the
    /// chain after each opening a new one.
    pub opens: u64,
}

impl Mark {
    /// The mark as a record whose checksum is still missing. `seed` is the
    /// checksum of the segment's header.
    pub fn encode(&self, seed: u32) -> [u8; MARK_LEN] {
        let mut record = [0; MARK_LEN];
        record[..4].copy_from_slice(&(MARK_PAYLOAD as u32).to_le_bytes());
        record[4] = kind::MARK;
        let payload = &mut record[HEAD_LEN..];
        payload[..8].copy_from_slice(&self.offset.to_le_bytes());
        payload[8..16].copy_from_slice(&self.synced_to.to_le_bytes());
        payload[16..24].copy_from_slice(&self.opens.to_le_bytes());
        let check = crc32c::crc32c_append(seed, &payload[..24]);
        payload[24..].copy_from_slice(&check.to_le_bytes());
        record
    }

    /// A mark's payload; `None` if it is none of this segment. The check of
    /// its own holds where the chain before it is broken.
    pub fn decode(payload: &[u8], seed: u32) -> Option<Self> {
        let payload: &[u8; MARK_PAYLOAD] = payload.try_into().ok()?;
        let check = crc32c::crc32c_append(seed, &payload[..24]);
        (check == u32_at(payload, 24)).then(|| Self {
            offset: u64_at(payload, 0),
            synced_to: u64_at(payload, 8),
            opens: u64_at(payload, 16),
        })
    }
}

/// Appends a record to `buffer`, its checksum still missing. Returns its
/// length.
pub fn push(buffer: &mut Vec<u8>, kind: u8, payload: impl FnOnce(&mut Vec<u8>)) -> usize {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; HEAD_LEN]);
    payload(buffer);
    let length = buffer.len() - start;
    let payload_length =
        u32::try_from(length - HEAD_LEN).expect("requests are far smaller than 4 GiB");
    buffer[start..start + 4].copy_from_slice(&payload_length.to_le_bytes());
    buffer[start + 4] = kind;
    length
}

/// Appends an entry as a record.
pub fn push_entry(buffer: &mut Vec<u8>, entry: &Entry) -> usize {
    push(buffer, kind::APPEND, |buffer| {
        push_id(buffer, &entry.log_id);
        let mut message = codec::entry_to_message(entry);
        message.log_id = None;
        message
            .encode(buffer)
            .expect("a vector grows as much as needed");
    })
}

/// Appends any other change as a record.
pub fn push_op(buffer: &mut Vec<u8>, op: &Op) -> usize {
    match op {
        Op::Vote(vote) => push(buffer, kind::VOTE, |buffer| {
            codec::vote_to_message(vote)
                .encode(buffer)
                .expect("a vector grows as much as needed");
        }),
        Op::Append(id) => push_entry(
            buffer,
            &Entry {
                log_id: *id,
                payload: crate::types::EntryPayload::Blank,
            },
        ),
        Op::Truncate(after) => push_optional(buffer, kind::TRUNCATE, after),
        Op::Purge(id) => push(buffer, kind::PURGE, |buffer| push_id(buffer, id)),
        Op::Committed(id) => push_optional(buffer, kind::COMMITTED, id),
    }
}

fn push_optional(buffer: &mut Vec<u8>, kind: u8, id: &Option<LogId>) -> usize {
    push(buffer, kind, |buffer| {
        if let Some(id) = id {
            push_id(buffer, id);
        }
    })
}

fn push_id(buffer: &mut Vec<u8>, id: &LogId) {
    buffer.extend_from_slice(&id.leader_id.term.to_le_bytes());
    buffer.extend_from_slice(&id.index.to_le_bytes());
}

/// Fills in the checksum of the record that begins `bytes`, which continues
/// `crc`. Returns it, with the record's length.
pub fn seal(bytes: &mut [u8], crc: u32) -> (u32, usize) {
    let length = HEAD_LEN + u32_at(bytes, 0) as usize;
    let crc = checksum(crc, &bytes[..length]);
    bytes[5..HEAD_LEN].copy_from_slice(&crc.to_le_bytes());
    (crc, length)
}

fn checksum(crc: u32, record: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(crc, &record[..5]);
    crc32c::crc32c_append(crc, &record[HEAD_LEN..])
}

/// A record whose checksum fits.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    /// Its kind, perhaps one that this version does not know.
    pub kind: u8,
    /// Its payload.
    pub payload: &'a [u8],
    /// The chain after it.
    pub crc: u32,
}

impl Raw<'_> {
    /// Its length in the file.
    pub fn len(&self) -> u64 {
        (HEAD_LEN + self.payload.len()) as u64
    }

    /// The change it makes; `None` if it is not a change, or not one that
    /// this version knows.
    pub fn op(&self) -> Option<Op> {
        Some(match self.kind {
            kind::VOTE => {
                let message = internal::Vote::decode(self.payload).ok()?;
                Op::Vote(codec::vote_from_message(&message))
            }
            kind::APPEND => Op::Append(id(self.payload.get(..ID_LEN)?)?),
            kind::TRUNCATE => Op::Truncate(optional(self.payload)?),
            kind::PURGE => Op::Purge(id(self.payload)?),
            kind::COMMITTED => Op::Committed(optional(self.payload)?),
            _ => return None,
        })
    }

    /// The entry that it holds, in memory of its own.
    pub fn entry(&self) -> io::Result<Entry> {
        let bad = || io::Error::new(io::ErrorKind::InvalidData, "not an entry");
        if self.kind != kind::APPEND || self.payload.len() < ID_LEN {
            return Err(bad());
        }
        let id = id(&self.payload[..ID_LEN]).ok_or_else(bad)?;
        let encoded = Bytes::copy_from_slice(&self.payload[ID_LEN..]);
        let mut message = internal::LogEntry::decode(encoded).map_err(io::Error::other)?;
        message.log_id = Some(codec::log_id_to_message(&id));
        codec::entry_from_message(message)
    }
}

fn id(bytes: &[u8]) -> Option<LogId> {
    let bytes: &[u8; ID_LEN] = bytes.try_into().ok()?;
    // No entry can follow the greatest index, so it is none.
    (u64_at(bytes, 8) != u64::MAX).then(|| log_id(u64_at(bytes, 0), u64_at(bytes, 8)))
}

fn optional(bytes: &[u8]) -> Option<Option<LogId>> {
    if bytes.is_empty() {
        return Some(None);
    }
    id(bytes).map(Some)
}

/// Reads the record that begins `bytes` and continues `crc`; `None` if there
/// is none.
pub fn parse(bytes: &[u8], crc: u32) -> Option<Raw<'_>> {
    let head = bytes.get(..HEAD_LEN)?;
    let length = HEAD_LEN.checked_add(u32_at(head, 0) as usize)?;
    let record = bytes.get(..length)?;
    let found = u32_at(head, 5);
    (head[4] != 0 && checksum(crc, record) == found).then_some(Raw {
        kind: head[4],
        payload: &record[HEAD_LEN..],
        crc: found,
    })
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Whether there are only zeros; without a branch per byte.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |all, byte| all | byte) == 0
}

/// Bytes searched at a time.
const BLOCK: usize = 4096;
/// Bytes read ahead at a time.
const WINDOW: usize = 1 << 20;

/// A moving view of a file.
pub struct Window {
    file: Arc<dyn File>,
    len: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// Looks at a whole file.
    pub fn new(file: Arc<dyn File>) -> io::Result<Self> {
        Ok(Self {
            len: file.len()?,
            file,
            start: 0,
            bytes: Vec::new(),
        })
    }

    /// The file's length.
    pub fn file_len(&self) -> u64 {
        self.len
    }

    /// `length` bytes from `offset` on, fewer at the end of the file.
    pub fn bytes(&mut self, offset: u64, length: usize) -> io::Result<&[u8]> {
        let offset = offset.min(self.len);
        let length = usize::try_from(self.len - offset).map_or(length, |rest| length.min(rest));
        let end = offset + length as u64;
        if offset < self.start || end > self.start + self.bytes.len() as u64 {
            let ahead = usize::try_from(self.len - offset).unwrap_or(usize::MAX);
            self.bytes.resize(length.max(WINDOW).min(ahead), 0);
            self.start = offset;
            self.file.read_exact_at(&mut self.bytes, offset)?;
        }
        let at = (offset - self.start) as usize;
        Ok(&self.bytes[at..at + length])
    }

    /// The record at `offset` that continues `crc`.
    pub fn record(&mut self, offset: u64, crc: u32) -> io::Result<Option<Raw<'_>>> {
        let head = self.bytes(offset, HEAD_LEN)?;
        if head.len() < HEAD_LEN || head[4] == 0 {
            return Ok(None);
        }
        let length = HEAD_LEN as u64 + u64::from(u32_at(head, 0));
        if length > self.len - offset {
            return Ok(None);
        }
        Ok(parse(self.bytes(offset, length as usize)?, crc))
    }

    /// The first mark of the segment `seed` at or behind `offset`.
    pub fn find_mark(&mut self, mut offset: u64, seed: u32) -> io::Result<Option<Mark>> {
        let mut head = [0; 5];
        head[..4].copy_from_slice(&(MARK_PAYLOAD as u32).to_le_bytes());
        head[4] = kind::MARK;
        loop {
            let bytes = self.bytes(offset, WINDOW)?;
            if bytes.len() < MARK_LEN {
                return Ok(None);
            }
            let starts = bytes.len() - MARK_LEN + 1;
            for block in (0..starts).step_by(BLOCK) {
                let end = starts.min(block + BLOCK);
                // Most of what is searched was never written.
                if is_zero(&bytes[block..end + 4]) {
                    continue;
                }
                for at in block..end {
                    if bytes[at..at + 5] == head
                        && let Some(mark) = Mark::decode(&bytes[at + HEAD_LEN..at + MARK_LEN], seed)
                        && mark.offset == offset + at as u64
                    {
                        return Ok(Some(mark));
                    }
                }
            }
            offset += starts as u64;
        }
    }
}
