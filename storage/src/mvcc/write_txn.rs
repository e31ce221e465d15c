//! One entry's changes. All of them get one main revision, and numbers within
//! it in the order they are made; events are collected as they are written.

use super::{current, digest, digest::Part, overlay::Pending, range::Source, writer::Writer};
use crate::{
    apply::StateChange,
    error::Fault,
    event::{Change, Event, RevisionEvents},
    ids::{LeaseId, Revision},
    lease,
    read::LeaseInfo,
    schema::{
        Family, meta,
        rows::{self, Header, LogChange, LogRow, VerRow},
    },
};
use bytes::Bytes;
use prost::Message as _;
use sternpost_proto::internal::LeaseRecord;

/// The running entry.
pub(crate) struct WriteTxn<'w> {
    writer: &'w mut Writer,
    begin: i64,
    events: Vec<Event>,
    changes: Vec<StateChange>,
}

/// What an entry did.
pub(crate) struct Finished {
    pub revision: i64,
    pub events: Option<RevisionEvents>,
    pub changes: Vec<StateChange>,
}

impl<'w> WriteTxn<'w> {
    /// Begins at the writer's revision.
    pub(crate) fn begin(writer: &'w mut Writer) -> Self {
        let begin = writer.state.revision;
        Self {
            writer,
            begin,
            events: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// Ends the entry: the revision moves if a key changed.
    pub(crate) fn finish(self) -> Finished {
        let revision = self.revision();
        self.writer.state.revision = revision;
        let events = (!self.events.is_empty()).then_some(RevisionEvents {
            revision,
            events: self.events,
        });
        Finished {
            revision,
            events,
            changes: self.changes,
        }
    }

    /// The revision that reads see now: one more once something has changed.
    pub(crate) fn revision(&self) -> i64 {
        self.begin + i64::from(!self.events.is_empty())
    }

    /// The revision before this entry.
    pub(crate) fn begin_revision(&self) -> i64 {
        self.begin
    }

    /// The whole writer, for verbs beside the keys.
    pub(crate) fn writer(&mut self) -> &mut Writer {
        self.writer
    }

    /// Reads, changes of this chunk included.
    pub(crate) fn pending(&self) -> Pending<'_> {
        self.writer.pending()
    }

    /// The state as the entry has made it so far, laid over `pending`.
    pub(crate) fn source<'a>(&'a self, pending: &'a Pending<'a>) -> Source<'a> {
        Source {
            read: pending,
            revision: self.revision(),
            compact_revision: self.writer.state.compact_revision,
            counts: Some(self.writer.counts.table()),
        }
    }

    /// The state before the entry, for reads at an old revision. The caller
    /// has seen to it that earlier entries are written.
    pub(crate) fn before(&self) -> Source<'_> {
        self.writer.written()
    }

    /// Says what else has changed.
    pub(crate) fn changed(&mut self, change: StateChange) {
        self.changes.push(change);
    }

    /// Moves the digest by a change beside the keys.
    pub(crate) fn digest(&mut self, part: Part<'_>) {
        self.writer.state.digest = digest::part(self.writer.state.digest, part);
    }

    /// Writes a key; `old` is its newest version, which the caller has read.
    pub(crate) fn put(&mut self, key: &Bytes, value: &Bytes, lease: i64, old: Option<Header>) {
        let revision = self.next_revision();
        let header = Header {
            create_revision: old.map_or(revision.main, |old| old.create_revision),
            modified: revision,
            version: old.map_or(1, |old| old.version.saturating_add(1)),
            lease,
        };
        let overlay = &mut self.writer.overlay;
        overlay.put_current(key, |out| rows::encode_current(out, &header, value));
        let change = LogChange::Put {
            create_revision: header.create_revision,
            version: header.version,
            lease,
            value,
        };
        self.log(
            revision,
            &LogRow {
                key,
                previous: old.map(|old| old.modified),
                change,
            },
        );
        match old {
            Some(old) => self.supersede(key, &old),
            None => self.writer.counts.created(key),
        }
        self.move_lease(key, old.map_or(0, |old| old.lease), lease);
        self.events.push(Event {
            revision,
            key: key.clone(),
            change: Change::Put {
                value: value.clone(),
                create_revision: header.create_revision,
                version: header.version,
                lease,
            },
            previous: old.map(|old| old.modified),
        });
    }

    /// Deletes a key whose newest version is `old`.
    pub(crate) fn delete(&mut self, key: &Bytes, old: &Header) -> Result<(), Fault> {
        let revision = self.next_revision();
        self.writer.overlay.delete_current(key);
        self.log(
            revision,
            &LogRow {
                key,
                previous: Some(old.modified),
                change: LogChange::Delete,
            },
        );
        self.supersede(key, old);
        self.writer.overlay.batch().put_with(
            Family::Ver,
            |out| rows::put_ver_key(out, key, revision),
            |out| rows::encode_ver(out, VerRow::Tombstone),
        );
        self.writer.counts.deleted(key)?;
        self.move_lease(key, old.lease, 0);
        self.events.push(Event {
            revision,
            key: key.clone(),
            change: Change::Delete,
            previous: Some(old.modified),
        });
        Ok(())
    }

    fn next_revision(&self) -> Revision {
        Revision::new(self.begin + 1, self.events.len() as i64)
    }

    fn log(&mut self, revision: Revision, row: &LogRow<'_>) {
        let key = rows::log_key(revision);
        let batch = self.writer.overlay.batch();
        let value = batch.put_with(
            Family::Log,
            |out| out.extend_from_slice(&key),
            |out| rows::encode_log(out, row),
        );
        // Key and value lie side by side in the batch.
        let both = batch.slice(value.start - key.len()..value.end);
        self.writer.state.digest = digest::event(self.writer.state.digest, both);
    }

    /// Lists the version that is no longer the newest.
    fn supersede(&mut self, key: &[u8], old: &Header) {
        let row = VerRow::Live {
            create_revision: old.create_revision,
            version: old.version,
        };
        self.writer.overlay.batch().put_with(
            Family::Ver,
            |out| rows::put_ver_key(out, key, old.modified),
            |out| rows::encode_ver(out, row),
        );
    }

    fn move_lease(&mut self, key: &[u8], from: i64, to: i64) {
        if from == to {
            return;
        }
        if from != 0 {
            self.writer
                .overlay
                .delete_meta(&meta::lease_key(LeaseId(from), key));
        }
        if to != 0 {
            self.writer
                .overlay
                .put_meta(&meta::lease_key(LeaseId(to), key), &[]);
        }
    }

    /// The newest version's header of a key.
    pub(crate) fn header(&self, key: &[u8]) -> Result<Option<Header>, Fault> {
        current::header(&self.pending(), key)
    }

    /// A lease, if it exists.
    pub(crate) fn lease(&self, id: LeaseId) -> Result<Option<LeaseInfo>, Fault> {
        lease::get(&self.pending(), id)
    }

    /// The keys attached to a lease, in order.
    pub(crate) fn lease_keys(&self, id: LeaseId) -> Result<Vec<Bytes>, Fault> {
        lease::keys(&self.pending(), id)
    }

    /// Stores a lease, new or changed.
    pub(crate) fn put_lease(&mut self, lease: LeaseInfo) {
        let record = LeaseRecord {
            ttl_secs: lease.ttl_secs,
            remaining_secs: lease.remaining_secs,
        };
        self.writer
            .overlay
            .put_meta(&meta::lease(lease.id), &record.encode_to_vec());
        let LeaseInfo {
            id,
            ttl_secs,
            remaining_secs,
        } = lease;
        self.digest(Part::Lease {
            id,
            ttl_secs,
            remaining_secs,
        });
    }

    /// Forgets a lease; its keys are deleted before.
    pub(crate) fn remove_lease(&mut self, id: LeaseId) {
        self.writer.overlay.delete_meta(&meta::lease(id));
        self.digest(Part::LeaseGone { id });
        self.changed(StateChange::LeaseRevoked(id));
    }
}
