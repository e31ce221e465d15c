//! Where each entry of the log is in the files.

use super::{
    marks::{Marks, Op},
    record,
    segment::Segment,
};
use crate::types::Entry;
use std::{collections::VecDeque, io, sync::Arc};

/// One record in the files. 16 bytes an entry, bounded because the log is
/// purged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The segment's sequence, its lower half.
    segment: u32,
    offset: u32,
    length: u32,
    /// The chain before the record, to check it when it is read back.
    crc: u32,
}

/// The log as it is in the files, in the order of the records.
#[derive(Default)]
pub struct Index {
    /// The marks after the last record.
    pub marks: Marks,
    /// The segments, oldest first, without a gap.
    pub segments: VecDeque<Arc<Segment>>,
    /// Positions of the entries from `base` on.
    positions: VecDeque<Position>,
    base: u64,
    /// Where the last record ends in its segment.
    end: u64,
}

impl Index {
    /// The log as its oldest segment begins. Entries before it may be live in
    /// its header's eyes: a purge behind it must have covered them.
    pub fn starting_at(marks: Marks) -> Self {
        Self {
            base: marks.end(),
            marks,
            ..Self::default()
        }
    }

    /// The first entry that the files must hold and don't.
    pub fn missing(&self) -> Option<u64> {
        (self.marks.first < self.base && self.marks.first < self.marks.end())
            .then_some(self.marks.first)
    }

    /// Takes in a record that has been written, or read back.
    pub fn apply(&mut self, op: &Op, place: (u64, u64, u32, u32)) -> io::Result<()> {
        self.marks.apply(op)?;
        self.end = place.1 + u64::from(place.2);
        match op {
            Op::Append(id) => {
                if self.positions.is_empty() {
                    self.base = id.index;
                }
                let (segment, offset, length, crc) = place;
                self.positions.push_back(Position {
                    segment: segment as u32,
                    offset: u32::try_from(offset).map_err(io::Error::other)?,
                    length,
                    crc,
                });
            }
            Op::Truncate(_) | Op::Purge(_) => self.trim(),
            Op::Vote(_) | Op::Committed(_) => {}
        }
        Ok(())
    }

    fn trim(&mut self) {
        let end = self.marks.end();
        while self.base < self.marks.first && self.positions.pop_front().is_some() {
            self.base += 1;
        }
        let keep = end.saturating_sub(self.base);
        self.positions
            .truncate(usize::try_from(keep).unwrap_or(usize::MAX));
        if self.positions.is_empty() && (self.base < self.marks.first || self.base > end) {
            self.base = end;
        }
    }

    /// The entry's position; `None` if the files don't hold it.
    pub fn position(&self, index: u64) -> Option<Position> {
        let at = usize::try_from(index.checked_sub(self.base)?).ok()?;
        self.positions.get(at).copied()
    }

    /// The segment of a position.
    pub fn segment(&self, position: &Position) -> Option<&Arc<Segment>> {
        let front = self.segments.front()?.sequence as u32;
        self.segments
            .get(position.segment.wrapping_sub(front) as usize)
    }

    /// The segments, oldest first, that hold nothing behind `purged`; never
    /// the last one.
    pub fn removable(&self, purged: u64) -> usize {
        let next = self.segments.iter().skip(1);
        next.take_while(|segment| segment.start.end() <= purged.saturating_add(1))
            .count()
    }

    /// About how many bytes of records there are from `index` on.
    pub fn bytes_since(&self, index: u64) -> u64 {
        let Some(position) = self.position(index.max(self.base)) else {
            return 0;
        };
        let own = u64::from(position.offset);
        let whole: u64 = self
            .segments
            .iter()
            .rev()
            .skip(1)
            .take_while(|segment| segment.sequence as u32 != position.segment)
            .map(|segment| segment.bytes)
            .sum();
        match (self.segment(&position), self.segments.back()) {
            (Some(first), Some(last)) if first.sequence != last.sequence => {
                first.bytes.saturating_sub(own) + whole + self.end
            }
            _ => self.end.saturating_sub(own),
        }
    }

    /// The end of the longest range from `range.start` on that takes no more
    /// than `bytes_max` in the files, at least one entry long.
    pub fn limit(&self, range: std::ops::Range<u64>, bytes_max: u64) -> u64 {
        let mut bytes = 0u64;
        let fits = |index: &u64| {
            let length = self.position(*index).map_or(0, |position| position.length);
            bytes = bytes.saturating_add(u64::from(length));
            *index == range.start || bytes <= bytes_max
        };
        range.start + range.clone().take_while(fits).count() as u64
    }
}

/// Entries to be read back from one stretch of one file.
pub struct Stretch {
    segment: Arc<Segment>,
    positions: Vec<Position>,
}

impl Stretch {
    /// Cuts positions into stretches that one read each can serve.
    pub fn plan(
        index: &Index,
        range: std::ops::Range<u64>,
        bytes_max: u64,
    ) -> io::Result<Vec<Self>> {
        let mut stretches: Vec<Self> = Vec::new();
        for at in range {
            let missing = || io::Error::other(format!("log entry {at} is not in the files"));
            let position = index.position(at).ok_or_else(missing)?;
            let segment = index.segment(&position).ok_or_else(missing)?;
            match stretches.last_mut() {
                Some(last) if last.takes(&position, bytes_max) => last.positions.push(position),
                _ => stretches.push(Self {
                    segment: segment.clone(),
                    positions: vec![position],
                }),
            }
        }
        Ok(stretches)
    }

    fn takes(&self, next: &Position, bytes_max: u64) -> bool {
        let first = self.positions[0];
        first.segment == next.segment
            && next.offset > first.offset
            && u64::from(next.offset - first.offset) + u64::from(next.length) <= bytes_max
    }

    /// Reads the entries and checks each one.
    pub fn read(&self, name: impl Fn(u64) -> String) -> io::Result<Vec<Entry>> {
        let first = self.positions[0].offset;
        let last = self.positions[self.positions.len() - 1];
        let mut bytes = vec![0; (last.offset - first + last.length) as usize];
        let at = |offset: u32, detail: &str| {
            let file = name(self.segment.sequence);
            io::Error::other(format!("{file}: offset {offset}: {detail}"))
        };
        let file = &self.segment.file;
        file.read_exact_at(&mut bytes, u64::from(first))
            .map_err(|error| at(first, &error.to_string()))?;
        let mut entries = Vec::with_capacity(self.positions.len());
        for position in &self.positions {
            let start = (position.offset - first) as usize;
            let record = record::parse(
                &bytes[start..start + position.length as usize],
                position.crc,
            )
            .ok_or_else(|| at(position.offset, "the log entry is damaged"))?;
            let entry = record.entry();
            entries.push(entry.map_err(|error| at(position.offset, &error.to_string()))?);
        }
        Ok(entries)
    }
}
