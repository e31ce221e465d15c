//! Where the log begins and ends: the state that each record moves.
//!
//! The same rules serve the callers' view (what has been asked for), the
//! writer's (what is in the files) and recovery's (what was found there), so
//! the three can't disagree.

use crate::types::{LogId, Vote};
use std::io;

/// One change of the log, without the entry's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// The vote is now this one.
    Vote(Vote),
    /// This entry follows the last one.
    Append(LogId),
    /// The entries after this one are gone; all of them without one.
    Truncate(Option<LogId>),
    /// The entries up to this one are no longer needed.
    Purge(LogId),
    /// A hint: everything up to here is committed.
    Committed(Option<LogId>),
}

/// The ends of the log, the vote and the committed hint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// The last vote.
    pub vote: Option<Vote>,
    /// The last committed hint.
    pub committed: Option<LogId>,
    /// The last entry that was purged.
    pub purged: Option<LogId>,
    /// The last entry; the last purged one if there is none.
    pub last: Option<LogId>,
    /// The index of the first entry; equals `end` if there is none.
    pub first: u64,
}

impl Marks {
    /// The index after the last entry.
    pub fn end(&self) -> u64 {
        match self.last {
            Some(last) => last.index.saturating_add(1).max(self.first),
            None => self.first,
        }
    }

    /// Moves the marks; an error names what would leave a hole in the log.
    pub fn apply(&mut self, op: &Op) -> io::Result<()> {
        match *op {
            Op::Vote(vote) => self.vote = Some(vote),
            Op::Committed(committed) => self.committed = committed,
            Op::Append(id) => self.append(id)?,
            Op::Truncate(after) => self.truncate(after),
            Op::Purge(id) => self.purge(id),
        }
        Ok(())
    }

    fn append(&mut self, id: LogId) -> io::Result<()> {
        match self.last {
            // A log that never held anything may begin anywhere.
            None => self.first = id.index,
            Some(last) if id.index == self.end() && id.leader_id >= last.leader_id => {}
            Some(last) => return Err(broken(format!("entry {id} can't follow entry {last}"))),
        }
        self.last = Some(id);
        Ok(())
    }

    fn truncate(&mut self, after: Option<LogId>) {
        let end = after.map_or(0, |id| id.index.saturating_add(1));
        if end >= self.end() {
            // Nothing is behind it.
        } else if end > self.first {
            self.last = after;
        } else {
            self.last = self.purged;
            self.first = self.purged.map_or(0, |id| id.index + 1);
        }
    }

    fn purge(&mut self, id: LogId) {
        if self.purged.is_some_and(|purged| purged.index >= id.index) {
            return;
        }
        self.purged = Some(id);
        if id.index >= self.end() || self.last.is_none_or(|last| last.index <= id.index) {
            self.last = Some(id);
        }
        self.first = self.first.max(id.index.saturating_add(1));
    }
}

fn broken(detail: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::log_id;

    fn marks(ops: &[Op]) -> Marks {
        let mut marks = Marks::default();
        for op in ops {
            marks.apply(op).unwrap();
        }
        marks
    }

    #[test]
    fn entries_must_follow_one_another() {
        let mut marks = marks(&[Op::Append(log_id(1, 0)), Op::Append(log_id(2, 1))]);
        assert!(marks.apply(&Op::Append(log_id(2, 3))).is_err());
        assert!(marks.apply(&Op::Append(log_id(2, 1))).is_err());
        assert!(marks.apply(&Op::Append(log_id(1, 2))).is_err());
        marks.apply(&Op::Append(log_id(2, 2))).unwrap();
        assert_eq!((marks.first, marks.end()), (0, 3));
    }

    #[test]
    fn truncation_ends_at_the_kept_entry() {
        let appends: Vec<Op> = (0..5).map(|i| Op::Append(log_id(1, i))).collect();
        let mut log = marks(&appends);
        log.apply(&Op::Truncate(Some(log_id(1, 2)))).unwrap();
        assert_eq!((log.last, log.end()), (Some(log_id(1, 2)), 3));
        log.apply(&Op::Truncate(Some(log_id(1, 9)))).unwrap();
        assert_eq!(log.end(), 3);
        log.apply(&Op::Truncate(None)).unwrap();
        assert_eq!(log, Marks::default());
    }

    #[test]
    fn purging_all_leaves_the_mark_as_last() {
        let appends: Vec<Op> = (0..5).map(|i| Op::Append(log_id(1, i))).collect();
        let mut log = marks(&appends);
        log.apply(&Op::Purge(log_id(1, 2))).unwrap();
        assert_eq!((log.first, log.end()), (3, 5));
        log.apply(&Op::Truncate(Some(log_id(1, 2)))).unwrap();
        assert_eq!((log.last, log.first), (Some(log_id(1, 2)), 3));
        log.apply(&Op::Purge(log_id(4, 90))).unwrap();
        assert_eq!((log.first, log.end()), (91, 91));
        assert_eq!(log.last, log.purged);
        log.apply(&Op::Purge(log_id(1, 2))).unwrap();
        assert_eq!(log.purged, Some(log_id(4, 90)));
        log.apply(&Op::Append(log_id(4, 91))).unwrap();
        assert_eq!((log.first, log.end()), (91, 92));
    }
}
