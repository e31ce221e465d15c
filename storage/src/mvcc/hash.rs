//! HashKV with etcd's exact bytes, whatever the scrub has done so far.
//!
//! etcd hashes the rows on its disk, skipping those at or below the compact
//! revision C that are not the newest version of a key that lives at the
//! *hashed* revision R, unless nothing lives there; then it skips none. It
//! never hashes a deletion at C. Ours has to leave out in addition what a
//! finished scrub would have deleted. So two walks over `log`, or only the
//! second when nothing was compacted:
//!
//! 1. (C, R]: which rows at or below C these events superseded, and by how
//!    much they changed the number of live keys; then what is left to scrub.
//! 2. up to R: the hash. Up to C it is kept with and without the superseded
//!    rows, because only there it turns out whether anything lives at R.

use super::{compaction, history};
use crate::{
    backend::Read,
    error::Fault,
    ids::Revision,
    schema::{
        rows::{LogChange, LogRow},
        varint,
    },
};
use std::ops::ControlFlow;

/// What is hashed, and of which state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HashScope {
    /// R; a negative one hashes no row.
    pub revision: i64,
    /// C, -1 for none.
    pub compact_revision: i64,
    /// Where the scrub goes on.
    pub scrub_next: Revision,
}

/// A hash in progress.
pub(crate) struct Hasher {
    scope: HashScope,
    walk: Walk,
    next: Revision,
    /// Rows at or below C that (C, R] superseded.
    superseded: Drain,
    /// Rows at or below C that are still to be scrubbed.
    scrubbable: Drain,
    /// Live keys at R less live keys at C.
    live_change: i64,
    /// Live keys at C: rows at or below C that a scrub leaves, except
    /// deletions.
    survivors: i64,
    /// Without and with the superseded rows; equal from C on.
    sum: u32,
    sum_unskipped: u32,
    joined: bool,
    scratch: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Walk {
    Window,
    Scrubbable,
    Rows,
}

/// Revisions collected in any order, then asked for in rising order.
#[derive(Default)]
struct Drain {
    revisions: Vec<Revision>,
    at: usize,
}

impl Drain {
    fn sort(&mut self) {
        self.revisions.sort_unstable();
    }

    fn contains(&mut self, revision: Revision) -> bool {
        while self
            .revisions
            .get(self.at)
            .is_some_and(|&next| next < revision)
        {
            self.at += 1;
        }
        self.revisions.get(self.at) == Some(&revision)
    }
}

impl Hasher {
    /// Before the first row.
    pub(crate) fn new(scope: HashScope) -> Self {
        let sum = crc32c::crc32c(b"key");
        // Nothing at or below C: the first two walks would find nothing.
        let (walk, next) = if scope.compact_revision > 0 {
            let after = Revision::new(scope.compact_revision + 1, 0);
            (Walk::Window, after)
        } else {
            (Walk::Rows, Revision::default())
        };
        Self {
            scope,
            walk,
            next,
            superseded: Drain::default(),
            scrubbable: Drain::default(),
            live_change: 0,
            survivors: 0,
            sum,
            sum_unskipped: sum,
            joined: false,
            scratch: Vec::new(),
        }
    }

    /// Goes on for `rows_max` rows; the hash once done.
    pub(crate) fn step(&mut self, read: &dyn Read, rows_max: usize) -> Result<Option<u32>, Fault> {
        if self.scope.revision < 0 {
            return Ok(Some(self.sum));
        }
        let mut left = rows_max.max(1);
        loop {
            let end = match self.walk {
                Walk::Window | Walk::Rows => self.scope.revision,
                Walk::Scrubbable => self.scope.compact_revision.min(self.scope.revision),
            };
            let mut stopped = None;
            history::walk(read, self.next, end, &mut |revision, row| {
                if left == 0 {
                    stopped = Some(revision);
                    return Ok(ControlFlow::Break(()));
                }
                left -= 1;
                self.visit(revision, &row);
                Ok(ControlFlow::Continue(()))
            })?;
            if let Some(revision) = stopped {
                self.next = revision;
                return Ok(None);
            }
            if self.finish_walk() {
                return Ok(Some(self.sum));
            }
        }
    }

    /// Goes to the next walk; `true` after the last.
    fn finish_walk(&mut self) -> bool {
        match self.walk {
            Walk::Window => {
                self.walk = Walk::Scrubbable;
                self.next = self.scope.scrub_next;
                false
            }
            Walk::Scrubbable => {
                self.superseded.sort();
                self.scrubbable.sort();
                self.walk = Walk::Rows;
                self.next = Revision::default();
                false
            }
            Walk::Rows => {
                self.join();
                true
            }
        }
    }

    fn visit(&mut self, revision: Revision, row: &LogRow<'_>) {
        match self.walk {
            Walk::Window => self.visit_window(row),
            Walk::Scrubbable => {
                let dead = compaction::dead(revision, row, self.scope.compact_revision);
                self.scrubbable.revisions.extend(dead.previous);
                self.scrubbable
                    .revisions
                    .extend(dead.itself.then_some(revision));
            }
            Walk::Rows => self.visit_row(revision, row),
        }
    }

    fn visit_window(&mut self, row: &LogRow<'_>) {
        let compact_revision = self.scope.compact_revision;
        self.superseded.revisions.extend(
            row.previous
                .filter(|previous| previous.main <= compact_revision),
        );
        self.live_change += match row.change {
            LogChange::Delete => -1,
            LogChange::Put { version: 1, .. } => 1,
            LogChange::Put { .. } => 0,
        };
    }

    fn visit_row(&mut self, revision: Revision, row: &LogRow<'_>) {
        if revision.main > self.scope.compact_revision {
            self.join();
            self.encode(revision, row);
            self.sum = crc32c::crc32c_append(self.sum, &self.scratch);
            return;
        }
        if row.change == LogChange::Delete && revision.main == self.scope.compact_revision {
            return;
        }
        if self.scrubbable.contains(revision) {
            return;
        }
        if row.change != LogChange::Delete {
            self.survivors += 1;
        }
        self.encode(revision, row);
        self.sum_unskipped = crc32c::crc32c_append(self.sum_unskipped, &self.scratch);
        if !self.superseded.contains(revision) {
            self.sum = crc32c::crc32c_append(self.sum, &self.scratch);
        }
    }

    /// All rows up to C are seen: now it is known whether a key lives at R.
    fn join(&mut self) {
        if !self.joined {
            self.joined = true;
            if self.survivors + self.live_change == 0 {
                self.sum = self.sum_unskipped;
            }
        }
    }

    /// etcd's row: key, then the encoded `mvccpb.KeyValue`.
    fn encode(&mut self, revision: Revision, row: &LogRow<'_>) {
        let out = &mut self.scratch;
        out.clear();
        out.extend_from_slice(&revision.main.to_be_bytes());
        out.push(b'_');
        out.extend_from_slice(&revision.sub.to_be_bytes());
        match row.change {
            LogChange::Delete => {
                out.push(b't');
                put_bytes_field(out, 1, row.key);
            }
            LogChange::Put {
                create_revision,
                version,
                lease,
                value,
            } => {
                put_bytes_field(out, 1, row.key);
                put_number_field(out, 2, create_revision);
                put_number_field(out, 3, revision.main);
                put_number_field(out, 4, version);
                put_bytes_field(out, 5, value);
                put_number_field(out, 6, lease);
            }
        }
    }
}

fn put_bytes_field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    if !bytes.is_empty() {
        out.push(number << 3 | 2);
        varint::put(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }
}

fn put_number_field(out: &mut Vec<u8>, number: u8, value: i64) {
    if value != 0 {
        out.push(number << 3);
        varint::put_signed(out, value);
    }
}

#[cfg(test)]
#[cfg(feature = "rocksdb")]
mod tests;
