//! HashKV by etcd's own rule: walk all rows that a finished compaction would
//! have left, and ask a set of rows to keep.

use super::Model;
use crate::{error::Rejection, event::Event, ids::Revision, read::HashKv};
use prost::Message as _;
use std::collections::{BTreeMap, BTreeSet};

impl Model {
    /// The checksum of the history up to `revision` (0: the current one).
    pub fn hash_kv(&self, revision: i64) -> Result<HashKv, Rejection> {
        if revision > 0 && revision < self.compact_revision {
            return Err(Rejection::Compacted);
        }
        if revision > self.revision {
            return Err(Rejection::FutureRevision);
        }
        let hash_revision = if revision == 0 {
            self.revision
        } else {
            revision
        };
        let rows = self.rows();
        let keep = keep(&rows, hash_revision);
        let mut hash = crc32c::crc32c(b"key");
        for row in rows {
            if row.revision.main > hash_revision {
                continue;
            }
            // With nothing to keep, nothing is skipped.
            let compacted = row.revision.main <= self.compact_revision;
            if compacted && !keep.is_empty() && !keep.contains(&row.revision) {
                continue;
            }
            if row.revision.main == self.compact_revision && row.is_delete() {
                continue;
            }
            hash = crc32c::crc32c_append(hash, &row_key(row));
            hash = crc32c::crc32c_append(hash, &row_value(row));
        }
        Ok(HashKv {
            hash,
            hash_revision,
            compact_revision: self.compact_revision,
            current_revision: self.revision,
        })
    }

    /// The rows on disk after the last compaction has run to its end: of those
    /// at or below its revision, the newest of each key, unless that is a
    /// tombstone from before it.
    fn rows(&self) -> Vec<&Event> {
        let compact_revision = self.compact_revision;
        let below = self
            .events
            .iter()
            .filter(|event| event.revision.main <= compact_revision);
        let newest: BTreeMap<&[u8], Revision> = below
            .map(|event| (&event.key[..], event.revision))
            .collect();
        let survives = |event: &&Event| {
            let main = event.revision.main;
            main > compact_revision
                || (newest.get(&event.key[..]) == Some(&event.revision)
                    && (!event.is_delete() || main == compact_revision))
        };
        self.events.iter().filter(survives).collect()
    }
}

/// The newest row of each key that is alive at `revision`.
fn keep(rows: &[&Event], revision: i64) -> BTreeSet<Revision> {
    let mut newest: BTreeMap<&[u8], &Event> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.revision.main <= revision) {
        newest.insert(&row.key, row);
    }
    newest
        .into_values()
        .filter(|row| !row.is_delete())
        .map(|row| row.revision)
        .collect()
}

fn row_key(row: &Event) -> Vec<u8> {
    let mut key = row.revision.main.to_be_bytes().to_vec();
    key.push(b'_');
    key.extend(row.revision.sub.to_be_bytes());
    if row.is_delete() {
        key.push(b't');
    }
    key
}

/// A tombstone's row holds the key alone.
fn row_value(row: &Event) -> Vec<u8> {
    let mut kv = row.key_value();
    if row.is_delete() {
        kv.mod_revision = 0;
    }
    kv.encode_to_vec()
}
