//! Where the records of a log segment are (docs/formats.md), without checking them.

/// What a segment begins with.
const MAGIC_BYTES: usize = 12;
/// Length, kind, checksum.
const HEAD_BYTES: usize = 9;
/// A vote.
pub const VOTE: u8 = 3;
/// An entry.
pub const APPEND: u8 = 4;

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it begins.
    pub offset: usize,
    /// How long it is, head included.
    pub bytes: usize,
    /// Its kind.
    pub kind: u8,
}

/// All records up to the first bytes that can be none.
#[must_use]
pub fn records(segment: &[u8]) -> Vec<Record> {
    let mut all = Vec::new();
    let mut offset = MAGIC_BYTES;
    while let Some(head) = segment.get(offset..offset + HEAD_BYTES) {
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        let bytes = HEAD_BYTES + usize::try_from(length).unwrap_or(usize::MAX / 2);
        if head[4] == 0 || offset + bytes > segment.len() {
            break;
        }
        all.push(Record {
            offset,
            bytes,
            kind: head[4],
        });
        offset += bytes;
    }
    all
}
