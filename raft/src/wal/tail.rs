//! The log as its callers see it: what they have asked for is there at once,
//! and the newest entries are served from memory.

use super::marks::{Marks, Op};
use crate::types::{Entry, EntryPayload};
use std::{collections::VecDeque, io, ops::Range};

/// Newest entries kept in memory for replication and apply, in bytes as
/// encoded: enough for a follower that is seconds behind.
pub const CACHE_BYTES_MAX: usize = 32 << 20;

/// The same for a sole member: nobody follows, and apply reads at once.
pub const CACHE_BYTES_ALONE_MAX: usize = 1 << 20;

/// The callers' view of the log.
#[derive(Default)]
pub struct Tail {
    /// The marks after the last call.
    pub marks: Marks,
    /// The newest entries, up to the end of the log.
    cache: VecDeque<Cached>,
    cache_bytes: usize,
    cache_bytes_max: usize,
    /// Records asked for so far.
    queued: u64,
    /// Ends of the log not durable yet, each with the record it waits for.
    waiting: VecDeque<(u64, u64)>,
    durable_end: u64,
}

struct Cached {
    entry: Entry,
    record: u64,
    bytes: usize,
}

impl Tail {
    /// The view of a log that is durable as far as `marks` go.
    pub fn new(marks: Marks, cache_bytes_max: usize) -> Self {
        Self {
            durable_end: marks.end(),
            marks,
            cache_bytes_max,
            ..Self::default()
        }
    }

    /// Changes how much is kept in memory, from the next write on.
    pub fn set_cache_bytes_max(&mut self, bytes: usize) {
        self.cache_bytes_max = bytes;
    }

    /// Records asked for so far.
    pub fn queued(&self) -> u64 {
        self.queued
    }

    /// Takes in an entry that takes `bytes` as encoded.
    pub fn append(&mut self, entry: Entry, bytes: usize) -> io::Result<()> {
        self.marks.apply(&Op::Append(entry.log_id))?;
        self.queued += 1;
        self.cache_bytes += bytes;
        self.cache.push_back(Cached {
            entry,
            record: self.queued,
            bytes,
        });
        self.waiting.push_back((self.queued, self.marks.end()));
        Ok(())
    }

    /// Takes in any other change.
    pub fn apply(&mut self, op: &Op) -> io::Result<()> {
        let cache_start = self.cache_start();
        self.marks.apply(op)?;
        self.queued += 1;
        let (first, end) = (self.marks.first, self.marks.end());
        match op {
            Op::Truncate(_) => {
                let keep = usize::try_from(end.saturating_sub(cache_start)).unwrap_or(usize::MAX);
                for dropped in self.cache.drain(keep.min(self.cache.len())..) {
                    self.cache_bytes -= dropped.bytes;
                }
                for (_, waiting) in &mut self.waiting {
                    *waiting = (*waiting).min(end);
                }
                self.durable_end = self.durable_end.min(end);
            }
            Op::Purge(_) => {
                let drop = usize::try_from(first.saturating_sub(cache_start)).unwrap_or(usize::MAX);
                for dropped in self.cache.drain(..drop.min(self.cache.len())) {
                    self.cache_bytes -= dropped.bytes;
                }
                // What is purged lives on in the state machine.
                self.durable_end = self.durable_end.max(first);
            }
            Op::Append(_) | Op::Vote(_) | Op::Committed(_) => {}
        }
        Ok(())
    }

    /// The index of the oldest entry in memory; the end if there is none.
    pub fn cache_start(&self) -> u64 {
        match self.cache.front() {
            Some(front) => front.entry.log_id.index,
            None => self.marks.end(),
        }
    }

    /// The entries of `range`, which must lie in memory, up to `bytes_max`
    /// together but at least one.
    pub fn cached(&self, range: Range<u64>, bytes_max: usize) -> Vec<Entry> {
        let start = self.cache_start();
        let from = (range.start - start) as usize;
        let to = (range.end - start) as usize;
        let mut bytes = 0usize;
        let fits = |cached: &&Cached| {
            let first = bytes == 0;
            bytes = bytes.saturating_add(cached.bytes.max(1));
            first || bytes <= bytes_max
        };
        let entries = self.cache.range(from..to).take_while(fits);
        entries.map(|cached| cached.entry.clone()).collect()
    }

    /// The first `record` records are in the files: entries may leave the
    /// memory. Not while somebody waits for their answer, which is in memory
    /// alone; what may be on its way is bounded where it is admitted.
    pub fn written(&mut self, record: u64) {
        while self.cache_bytes > self.cache_bytes_max
            && let Some(front) = self.cache.front()
            && front.record <= record
            && !is_awaited(&front.entry)
        {
            self.cache_bytes -= front.bytes;
            self.cache.pop_front();
        }
    }

    /// The first `record` records are durable. Returns up to where the log is
    /// durable now: that end is not.
    pub fn synced(&mut self, record: u64) -> u64 {
        while let Some((waits_for, end)) = self.waiting.front().copied()
            && waits_for <= record
        {
            self.durable_end = self.durable_end.max(end);
            self.waiting.pop_front();
        }
        self.durable_end
    }

    /// Up to where the log is durable: that end is not.
    pub fn durable_end(&self) -> u64 {
        self.durable_end
    }
}

fn is_awaited(entry: &Entry) -> bool {
    matches!(&entry.payload, EntryPayload::Normal(data) if data.is_awaited())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        reply::Reply,
        types::{Data, log_id},
    };
    use sternpost_proto::internal::Command;
    use tokio::sync::oneshot;

    fn entry(term: u64, index: u64) -> Entry {
        Entry {
            log_id: log_id(term, index),
            payload: EntryPayload::Blank,
        }
    }

    fn tail(entries: u64) -> Tail {
        let mut tail = Tail::new(Marks::default(), 100);
        for index in 0..entries {
            tail.append(entry(1, index), 30).unwrap();
        }
        tail
    }

    #[test]
    fn entries_stay_in_memory_until_they_are_answered() {
        let mut tail = tail(0);
        let (sender, _receiver) = oneshot::channel();
        let reply = Reply { thread: 0, sender };
        let data = Data::propose(&Command::default(), Some(reply)).unwrap();
        let awaited = Entry {
            log_id: log_id(1, 0),
            payload: EntryPayload::Normal(data.clone()),
        };
        tail.append(awaited, 30).unwrap();
        for index in 1..10 {
            tail.append(entry(1, index), 30).unwrap();
        }
        tail.written(10);
        assert_eq!(tail.cache_start(), 0);
        data.take_reply();
        tail.written(10);
        assert_eq!(tail.cache_start(), 7);
    }

    #[test]
    fn only_written_entries_leave_the_memory() {
        let mut tail = tail(10);
        assert_eq!(tail.cache_start(), 0);
        tail.written(4);
        assert_eq!(tail.cache_start(), 4);
        tail.written(10);
        assert_eq!(tail.cache_start(), 7);
        assert_eq!(tail.cached(7..10, usize::MAX).len(), 3);
        assert_eq!(tail.cached(7..10, 60).len(), 2);
        assert_eq!(tail.cached(8..10, 1).len(), 1);
    }

    #[test]
    fn an_entry_written_anew_does_not_leave_by_its_predecessors_write() {
        let mut tail = tail(4);
        tail.apply(&Op::Truncate(Some(log_id(1, 0)))).unwrap();
        for index in 1..5 {
            tail.append(entry(2, index), 60).unwrap();
        }
        // The four first records are in the files, none of the new entries is.
        tail.written(4);
        assert_eq!(tail.cache_start(), 1);
    }

    #[test]
    fn durable_means_the_entry_that_is_there_now() {
        let mut tail = tail(4);
        assert_eq!(tail.synced(2), 2);
        tail.apply(&Op::Truncate(Some(log_id(1, 0)))).unwrap();
        assert_eq!(tail.durable_end(), 1);
        tail.append(entry(2, 1), 30).unwrap();
        tail.append(entry(2, 2), 30).unwrap();
        // The old entries 2 and 3 become durable: the new ones are not.
        assert_eq!(tail.synced(4), 1);
        assert_eq!(tail.synced(6), 2);
        assert_eq!(tail.synced(7), 3);
    }

    #[test]
    fn what_is_purged_needs_no_log() {
        let mut tail = tail(4);
        tail.apply(&Op::Purge(log_id(1, 1))).unwrap();
        assert_eq!((tail.cache_start(), tail.durable_end()), (2, 2));
        tail.apply(&Op::Purge(log_id(3, 70))).unwrap();
        assert_eq!((tail.cache_start(), tail.durable_end()), (71, 71));
        assert_eq!(tail.synced(tail.queued()), 71);
    }
}
