//! Opening: reads the segments back and decides what their ends mean.
//!
//! - Records must follow one another from the first segment's header to the
//!   last record, across segments too: each header says where the segment
//!   before it ended, and in which state.
//! - In the last segment, reading ends at the first bytes that are no record.
//!   If a later mark says that the log was durable beyond that point, bytes
//!   that were acknowledged are damaged: the log does not open. If none does,
//!   they are a write that a crash cut off, or what a recycled file held
//!   before: the log goes on from there.
//! - Anything else that does not fit refuses to open, with file, offset and
//!   what to do: a log is never repaired by guessing.

use super::{
    files::{File, Files},
    index::Index,
    record::{HEAD_LEN, Mark, Window, kind},
    segment::{self, Active, Header, Segment},
};
use crate::{error::OpenError, options::Identity};
use std::{io, sync::Arc};

/// What to do about a log that can't be trusted.
const ADVICE: &str = "Put the original files back, or restore this member from a snapshot, \
    or remove it from the cluster and add it again with an empty data directory";

/// A log that was found.
pub struct Found {
    /// Whose log it is.
    pub identity: Identity,
    /// What it holds.
    pub index: Index,
    /// Where to go on.
    pub active: Active,
}

/// Reads the log back; `None` if there is none.
pub fn recover(files: &dyn Files) -> Result<Option<Found>, OpenError> {
    let names = files.list().map_err(|error| failed(files, "", &error))?;
    let mut sequences: Vec<u64> = names
        .iter()
        .filter_map(|name| segment::sequence(name))
        .collect();
    sequences.sort_unstable();
    for pair in sequences.windows(2) {
        if pair[1] - pair[0] != 1 {
            return Err(OpenError::Log(format!(
                "{} is missing, though later segments are there. {ADVICE}",
                files.path_of(&segment::name(pair[0] + 1))
            )));
        }
    }
    let mut parts = Vec::with_capacity(sequences.len());
    for sequence in sequences {
        parts.push(Part::open(files, sequence)?);
    }
    let Some(oldest) = parts.first() else {
        return Ok(None);
    };
    let identity = oldest.identity();
    for part in &parts {
        part.check_identity(files, identity)?;
    }
    let mut index = Index::starting_at(oldest.header.marks);
    let mut opens = 0;
    let mut end = (0, 0);
    for (at, part) in parts.iter().enumerate() {
        if part.header.marks != index.marks {
            return Err(part.misplaced(files));
        }
        let next = parts.get(at + 1);
        end = part.scan(files, next, &mut index, &mut opens)?;
    }
    if let Some(missing) = index.missing() {
        return Err(OpenError::Log(format!(
            "entry {missing} and those after it are missing: segments before {} are gone. {ADVICE}",
            files.path_of(&parts[0].name)
        )));
    }
    index.segments = parts.iter().map(|part| part.segment.clone()).collect();
    let last = &parts[parts.len() - 1];
    Ok(Some(Found {
        identity,
        index,
        active: Active {
            segment: last.segment.clone(),
            offset: end.0,
            crc: end.1,
            begin: last.header.end,
            seed: last.header.crc,
            synced_to: end.0,
            opens: opens + 1,
        },
    }))
}

/// One segment while it is read back.
struct Part {
    name: String,
    header: Header,
    segment: Arc<Segment>,
}

impl Part {
    fn open(files: &dyn Files, sequence: u64) -> Result<Self, OpenError> {
        let name = segment::name(sequence);
        let read = || -> io::Result<_> {
            let file: Arc<dyn File> = files.open(&name)?;
            let mut window = Window::new(file.clone())?;
            let header = segment::read_header(&mut window)?;
            Ok((file, window.file_len(), header))
        };
        let (file, length, header) = read().map_err(|error| failed(files, &name, &error))?;
        let header = header.map_err(|detail| damaged(files, &name, 0, &detail))?;
        if header.message.sequence != sequence {
            let detail = format!("is segment {}, under another name", header.message.sequence);
            return Err(damaged(files, &name, 0, &detail));
        }
        if length < header.message.bytes {
            let detail = format!("the file ends here, of {} bytes", header.message.bytes);
            return Err(damaged(files, &name, length, &detail));
        }
        let segment = Arc::new(Segment {
            sequence,
            file,
            bytes: header.message.bytes,
            start: header.marks,
        });
        Ok(Self {
            name,
            header,
            segment,
        })
    }

    fn identity(&self) -> Identity {
        Identity {
            member_id: self.header.message.member_id,
            cluster_id: self.header.message.cluster_id,
        }
    }

    fn check_identity(&self, files: &dyn Files, expected: Identity) -> Result<(), OpenError> {
        let found = self.identity();
        if found == expected {
            return Ok(());
        }
        Err(OpenError::Identity(format!(
            "{} belongs to member {:x} of cluster {:x}, the segments before it to member {:x} of \
             cluster {:x}. {ADVICE}",
            files.path_of(&self.name),
            found.member_id,
            found.cluster_id,
            expected.member_id,
            expected.cluster_id,
        )))
    }

    fn misplaced(&self, files: &dyn Files) -> OpenError {
        let detail = "does not continue the segment before it";
        damaged(files, &self.name, 0, detail)
    }

    /// Reads the records. Returns where they end, and the chain there.
    fn scan(
        &self,
        files: &dyn Files,
        next: Option<&Part>,
        index: &mut Index,
        opens: &mut u64,
    ) -> Result<(u64, u32), OpenError> {
        let io = |error: io::Error| failed(files, &self.name, &error);
        let bad = |offset, detail: &str| damaged(files, &self.name, offset, detail);
        let mut window = Window::new(self.segment.file.clone()).map_err(io)?;
        let (mut offset, mut crc) = (self.header.end, self.header.crc);
        *opens = (*opens).max(self.header.message.opens);
        let end = next.map(|next| next.header.message.previous_end);
        while end != Some(offset) {
            let Some(raw) = window.record(offset, crc).map_err(io)? else {
                break;
            };
            if raw.kind == kind::SEAL {
                if let Some(next) = next {
                    return Err(next.misplaced(files));
                }
                return Err(OpenError::Log(format!(
                    "{} is missing: {} says that it was there. {ADVICE}",
                    files.path_of(&segment::name(self.segment.sequence + 1)),
                    files.path_of(&self.name),
                )));
            } else if raw.kind == kind::MARK {
                let mark = Mark::decode(raw.payload, self.header.crc);
                let mark = mark.filter(|mark| mark.offset == offset);
                let mark = mark.ok_or_else(|| bad(offset, "a mark of another place"))?;
                *opens = (*opens).max(mark.opens);
            } else {
                let op = raw.op().ok_or_else(|| {
                    let detail = format!("a record of kind {} that can't be read", raw.kind);
                    bad(offset, &detail)
                })?;
                let place = (self.segment.sequence, offset, raw.len() as u32, crc);
                let applied = index.apply(&op, place);
                applied.map_err(|error| bad(offset, &error.to_string()))?;
            }
            (offset, crc) = (offset + raw.len(), raw.crc);
        }
        match next {
            Some(_) if end != Some(offset) => {
                return Err(bad(offset, "a damaged record, in front of later segments"));
            }
            Some(next) if crc != next.header.message.previous_crc => {
                return Err(next.misplaced(files));
            }
            Some(_) => {}
            None => self.check_tail(files, &mut window, offset)?,
        }
        Ok((offset, crc))
    }

    /// Tells a write that was cut off from damage to what was durable.
    fn check_tail(
        &self,
        files: &dyn Files,
        window: &mut Window,
        tail: u64,
    ) -> Result<(), OpenError> {
        let io = |error: io::Error| failed(files, &self.name, &error);
        let mut from = tail;
        let mut cut_off = false;
        while let Some(mark) = window.find_mark(from, self.header.crc).map_err(io)? {
            if mark.synced_to > tail {
                let detail = format!(
                    "a damaged record: what was written later, at {}, shows that it was durable",
                    mark.offset
                );
                return Err(damaged(files, &self.name, tail, &detail));
            }
            cut_off = true;
            from = mark.offset + 1;
        }
        let head = window.bytes(tail, HEAD_LEN).map_err(io)?;
        if cut_off || head.iter().any(|byte| *byte != 0) {
            tracing::warn!(
                file = files.path_of(&self.name),
                offset = tail,
                "the log ends here: what follows is no record (a write that a crash cut off \
                 before it was acknowledged, or what a recycled file held before)"
            );
        }
        Ok(())
    }
}

fn damaged(files: &dyn Files, name: &str, offset: u64, detail: &str) -> OpenError {
    let path = files.path_of(name);
    OpenError::Log(format!("{path}: offset {offset}: {detail}. {ADVICE}"))
}

fn failed(files: &dyn Files, name: &str, error: &io::Error) -> OpenError {
    OpenError::Io {
        path: files.path_of(name),
        source: io::Error::new(error.kind(), error.to_string()),
    }
}
