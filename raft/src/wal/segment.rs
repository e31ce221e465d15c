//! A segment: one file of the log, from its header to its end.

use super::{
    files::{File, Files},
    marks::Marks,
    record::{self, HEAD_LEN, MARK_LEN, Mark, Window, kind},
};
use crate::{codec, options::Identity};
use prost::Message as _;
use std::{io, sync::Arc};
use sternpost_proto::internal::SegmentHeader;
use sternpost_storage::failpoint;

/// The format that this version writes, and the newest that it reads.
pub const FORMAT: u32 = 1;
/// What a segment begins with.
const MAGIC: &[u8; 12] = b"sternpostlog";
/// A file prepared to become the next segment.
pub const SPARE: &str = "spare.log";
/// Room kept at the end of each segment for its seal.
pub const SEAL_LEN: u64 = HEAD_LEN as u64;

/// The file name of a segment.
pub fn name(sequence: u64) -> String {
    format!("{sequence:016x}.log")
}

/// The sequence in a file name, if it names a segment.
pub fn sequence(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    if digits.len() != 16 {
        return None;
    }
    let sequence = u64::from_str_radix(digits, 16).ok()?;
    (self::name(sequence) == name).then_some(sequence)
}

/// One segment, as readers need it.
pub struct Segment {
    /// Its place in the log.
    pub sequence: u64,
    /// Its file.
    pub file: Arc<dyn File>,
    /// The length of its file when it became a segment.
    pub bytes: u64,
    /// The log's marks where it begins.
    pub start: Marks,
}

/// The segment being written.
pub struct Active {
    /// Which one.
    pub segment: Arc<Segment>,
    /// Where the next record goes.
    pub offset: u64,
    /// The chain there.
    pub crc: u32,
    /// The end of the header.
    pub begin: u64,
    /// The chain there.
    pub seed: u32,
    /// Everything before this offset is durable.
    pub synced_to: u64,
    /// How often the log was opened, this time included.
    pub opens: u64,
}

impl Active {
    /// How many bytes of records fit in, a mark before them included.
    pub fn room(&self) -> u64 {
        self.segment
            .bytes
            .saturating_sub(SEAL_LEN)
            .saturating_sub(self.offset)
    }

    /// Nothing has been written since the header.
    pub fn is_fresh(&self) -> bool {
        self.offset == self.begin
    }

    /// Writes records behind a mark. The first `MARK_LEN` bytes of `bytes` are
    /// room for that; `each` is called with every record's offset, length
    /// and the chain before it. Nothing moves if the write fails, so that the
    /// same bytes can be written again.
    pub fn write(
        &mut self,
        bytes: &mut [u8],
        mut each: impl FnMut(u64, u32, u32),
    ) -> io::Result<()> {
        let mark = Mark {
            offset: self.offset,
            synced_to: self.synced_to,
            opens: self.opens,
        };
        bytes[..MARK_LEN].copy_from_slice(&mark.encode(self.seed));
        let mut crc = self.crc;
        let mut at = 0;
        while at < bytes.len() {
            let before = crc;
            let (after, length) = record::seal(&mut bytes[at..], crc);
            if at > 0 {
                each(self.offset + at as u64, length as u32, before);
            }
            crc = after;
            at += length;
        }
        self.segment.file.write_all_at(bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        self.crc = crc;
        Ok(())
    }

    /// Makes all that was written durable.
    pub fn sync(&mut self) -> io::Result<()> {
        failpoint!("walBeforeSync", io::Error::other);
        self.segment.file.sync()?;
        failpoint!("walAfterSync");
        self.synced_to = self.offset;
        Ok(())
    }

    /// Says that the next segment exists: without it, the log is incomplete.
    /// A hint, neither synced nor needed.
    pub fn seal(&self) -> io::Result<()> {
        let mut bytes = Vec::new();
        record::push(&mut bytes, kind::SEAL, |_| {});
        record::seal(&mut bytes, self.crc);
        self.segment.file.write_all_at(&bytes, self.offset)
    }
}

/// Where a new segment stands in the log.
pub struct Place {
    /// Whose log it is.
    pub identity: Identity,
    /// Its sequence.
    pub sequence: u64,
    /// The end of the segment before it.
    pub previous_end: u64,
    /// The chain there.
    pub previous_crc: u32,
    /// How often the log was opened.
    pub opens: u64,
    /// The log's state.
    pub marks: Marks,
}

/// Makes the spare file the next segment, durably: whatever has a segment's
/// name has its header.
pub fn begin(files: &dyn Files, spare: Arc<dyn File>, place: &Place) -> io::Result<Active> {
    let bytes = spare.len()?;
    let header = SegmentHeader {
        format: FORMAT,
        member_id: place.identity.member_id,
        cluster_id: place.identity.cluster_id,
        sequence: place.sequence,
        bytes,
        previous_end: place.previous_end,
        previous_crc: place.previous_crc,
        opens: place.opens,
        vote: place.marks.vote.as_ref().map(codec::vote_to_message),
        committed: place.marks.committed.as_ref().map(codec::log_id_to_message),
        purged: place.marks.purged.as_ref().map(codec::log_id_to_message),
        last: place.marks.last.as_ref().map(codec::log_id_to_message),
        first_index: place.marks.first,
    };
    let mut buffer = MAGIC.to_vec();
    record::push(&mut buffer, kind::HEADER, |buffer| {
        header
            .encode(buffer)
            .expect("a vector grows as much as needed");
    });
    let (crc, _) = record::seal(&mut buffer[MAGIC.len()..], 0);
    spare.write_all_at(&buffer, 0)?;
    spare.sync()?;
    files.rename(SPARE, &name(place.sequence))?;
    files.sync_names()?;
    let segment = Segment {
        sequence: place.sequence,
        file: spare,
        bytes,
        start: place.marks,
    };
    let offset = buffer.len() as u64;
    Ok(Active {
        segment: Arc::new(segment),
        offset,
        crc,
        begin: offset,
        seed: crc,
        synced_to: offset,
        opens: place.opens,
    })
}

/// A segment's header as read back.
pub struct Header {
    /// What it says.
    pub message: SegmentHeader,
    /// The log's state that it says.
    pub marks: Marks,
    /// Where the first record behind it begins.
    pub end: u64,
    /// The chain there.
    pub crc: u32,
}

/// Reads a segment's header; the inner error says what is wrong with it.
pub fn read_header(window: &mut Window) -> io::Result<Result<Header, String>> {
    if window.bytes(0, MAGIC.len())? != MAGIC {
        return Ok(Err("does not begin like a log segment".into()));
    }
    let Some(raw) = window.record(MAGIC.len() as u64, 0)? else {
        return Ok(Err("the header is damaged".into()));
    };
    let decoded = (raw.kind == kind::HEADER).then(|| SegmentHeader::decode(raw.payload));
    let Some(Ok(message)) = decoded else {
        return Ok(Err("the header can't be decoded".into()));
    };
    if message.format != FORMAT {
        return Ok(Err(format!(
            "has format {}, this version reads {FORMAT}",
            message.format
        )));
    }
    let id = |id: &Option<_>| id.as_ref().map(codec::log_id_from_message);
    let marks = Marks {
        vote: message.vote.as_ref().map(codec::vote_from_message),
        committed: id(&message.committed),
        purged: id(&message.purged),
        last: id(&message.last),
        first: message.first_index,
    };
    let end = MAGIC.len() as u64 + raw.len();
    let crc = raw.crc;
    Ok(Ok(Header {
        message,
        marks,
        end,
        crc,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_like_sequences() {
        assert_eq!(name(0x1f), "000000000000001f.log");
        for sequence in [0, 1, u64::MAX] {
            assert_eq!(self::sequence(&name(sequence)), Some(sequence));
        }
        for name in [
            "spare.log",
            "000000000000001F.log",
            "+00000000000001f.log",
            "1.log",
        ] {
            assert_eq!(self::sequence(name), None, "{name}");
        }
    }
}
