//! The store as the changes make it: keys, leases, and who is behind each revision.

use super::action::{Change, Row, Rows};
use super::history::{Changes, change};
use super::{Ack, Action, Entry, Outcome};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use sternpost_proto::mvccpb::Event;

/// Leases shorter than this are meant to end by themselves; those of at least this outlive a run.
pub const LONG_TTL: i64 = 10_000;

/// What is known of a lease.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    /// Its time to live in seconds.
    pub ttl: i64,
    /// When a renewal that was answered, or else the grant, was asked for.
    pub renewed: Instant,
    /// Whether it must be there.
    pub sure: bool,
}

/// Everything that has been proved so far.
#[derive(Default)]
pub struct Model {
    /// All keys.
    pub rows: Rows,
    /// The leases that may be there.
    pub leases: BTreeMap<i64, Lease>,
    /// The last revision taken in.
    pub revision: i64,
}

/// What a replay has found.
#[derive(Debug, Default)]
pub struct Found {
    /// Acknowledged writes found in their revisions.
    pub acked: usize,
    /// Operations without an answer that have happened.
    pub unknown_done: usize,
    /// Leases that ended by themselves, and took keys with them.
    pub expired: usize,
}

/// A revision nobody was told of, and who can have made it.
struct Orphan<'a> {
    revision: i64,
    changes: &'a Changes,
    makers: BTreeSet<usize>,
    lease: Option<i64>,
    told: Instant,
}

impl Model {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self {
            revision: 1,
            ..Self::default()
        }
    }

    /// These leases are there: what is there is known from now on.
    pub fn settle_leases(&mut self, there: &BTreeSet<i64>) {
        self.leases.retain(|id, _| there.contains(id));
        for lease in self.leases.values_mut() {
            lease.sure = lease.ttl >= LONG_TTL;
        }
    }

    /// Takes in all changes up to revision `to`, and finds for each revision the
    /// operation that made it.
    pub fn replay(
        &mut self,
        entries: &[Entry],
        told: &BTreeMap<i64, (Changes, Instant)>,
        to: i64,
        wrong: &mut Vec<String>,
    ) -> Found {
        let mut found = Found::default();
        self.begin_leases(entries);
        let by_revision = self.promised(entries, to, wrong);
        let mut orphans = Vec::new();
        self.without_effect(&by_revision, self.revision, entries, wrong);
        for revision in self.revision + 1..=to {
            let Some((changes, at)) = told.get(&revision) else {
                wrong.push(format!("revision {revision} was never told"));
                return found;
            };
            let made: Vec<Change> = changes.iter().map(change_of).collect();
            match by_revision.get(&(revision, true)).map(Vec::as_slice) {
                Some([number]) => {
                    found.acked += 1;
                    self.promise(&entries[*number], revision, &made, wrong);
                }
                Some(more) => wrong.push(format!("revision {revision} was given to {more:?}")),
                None => orphans.push(Orphan {
                    revision,
                    changes,
                    makers: self.makers(entries, &made),
                    lease: self.ended_lease(&made),
                    told: *at,
                }),
            }
            for event in changes {
                self.take_in(event, wrong);
            }
            self.revision = revision;
            self.without_effect(&by_revision, revision, entries, wrong);
        }
        self.end_leases(entries, &mut orphans, &mut found, wrong);
        assign(orphans, &mut found, wrong);
        found
    }

    /// Acknowledged writes by their revision, and whether they made it.
    fn promised(
        &self,
        entries: &[Entry],
        to: i64,
        wrong: &mut Vec<String>,
    ) -> BTreeMap<(i64, bool), Vec<usize>> {
        let mut all: BTreeMap<(i64, bool), Vec<usize>> = BTreeMap::new();
        for (number, entry) in entries.iter().enumerate() {
            let (Action::Write(_), Outcome::Acked(ack)) = (&entry.action, &entry.outcome) else {
                continue;
            };
            if ack.revision > to {
                wrong.push(format!("lost, now at {to}: {entry:?}"));
            } else if ack.revision < self.revision || (ack.made && ack.revision == self.revision) {
                wrong.push(format!("a revision was given out again: {entry:?}"));
            } else {
                all.entry((ack.revision, ack.made))
                    .or_default()
                    .push(number);
            }
        }
        all
    }

    /// An acknowledged write is what its revision holds, and nothing else is.
    fn promise(&self, entry: &Entry, revision: i64, made: &[Change], wrong: &mut Vec<String>) {
        let (Action::Write(write), Outcome::Acked(ack)) = (&entry.action, &entry.outcome) else {
            return;
        };
        let expected = write.changes(&self.rows);
        if expected != made {
            wrong.push(format!(
                "revision {revision} must hold {expected:?}, holds {made:?}: {entry:?}"
            ));
        }
        self.condition(write.succeeds(&self.rows), *ack, entry, wrong);
    }

    fn condition(&self, holds: bool, ack: Ack, entry: &Entry, wrong: &mut Vec<String>) {
        if holds != ack.succeeded {
            wrong.push(format!("the condition held: {holds}, told: {entry:?}"));
        }
    }

    /// Writes that were told that they changed nothing, at this revision.
    fn without_effect(
        &self,
        by_revision: &BTreeMap<(i64, bool), Vec<usize>>,
        revision: i64,
        entries: &[Entry],
        wrong: &mut Vec<String>,
    ) {
        for number in by_revision.get(&(revision, false)).into_iter().flatten() {
            let entry = &entries[*number];
            if let (Action::Write(write), Outcome::Acked(ack)) = (&entry.action, &entry.outcome) {
                let changes = write.changes(&self.rows);
                if !changes.is_empty() {
                    wrong.push(format!(
                        "at {revision} it makes {changes:?}, and was told it makes none: {entry:?}"
                    ));
                }
                self.condition(write.succeeds(&self.rows), *ack, entry, wrong);
            }
        }
    }

    /// The operations without an answer that make just these changes now.
    fn makers(&self, entries: &[Entry], made: &[Change]) -> BTreeSet<usize> {
        let makes = |entry: &Entry| match (&entry.action, &entry.outcome) {
            (Action::Write(write), Outcome::Unknown) => write.changes(&self.rows) == made,
            (Action::Revoke(id), Outcome::Unknown) => self.ended_lease(made) == Some(*id),
            _ => false,
        };
        let numbers = entries.iter().enumerate();
        numbers
            .filter(|(_, entry)| makes(entry))
            .map(|(number, _)| number)
            .collect()
    }

    /// The lease all of whose keys, and nothing else, are deleted in key order.
    fn ended_lease(&self, made: &[Change]) -> Option<i64> {
        let lease = self.rows.get(&made.first()?.0)?.lease;
        let its_keys = self.keys_of(lease).into_iter().map(|key| (key, None));
        (lease != 0 && its_keys.eq(made.iter().cloned())).then_some(lease)
    }

    /// The keys attached to a lease.
    #[must_use]
    pub fn keys_of(&self, lease: i64) -> Vec<String> {
        let its = self.rows.iter().filter(|(_, row)| row.lease == lease);
        its.map(|(key, _)| key.clone()).collect()
    }

    /// One event: what it says of the key must follow from the changes before it.
    fn take_in(&mut self, event: &Event, wrong: &mut Vec<String>) {
        let kv = event.kv.clone().unwrap_or_default();
        let (key, put) = change_of(event);
        let before = self.rows.remove(&key);
        let Some((value, lease)) = put else {
            if before.is_none() {
                wrong.push(format!("deleted, and was not there: {event:?}"));
            }
            return;
        };
        let row = Row {
            value,
            lease,
            created: before.as_ref().map_or(kv.mod_revision, |row| row.created),
            modified: kv.mod_revision,
            version: before.as_ref().map_or(1, |row| row.version + 1),
        };
        if (kv.create_revision, kv.version) != (row.created, row.version) {
            wrong.push(format!("{event:?} must make {row:?}"));
        }
        self.rows.insert(key, row);
    }

    fn begin_leases(&mut self, entries: &[Entry]) {
        for entry in entries {
            match (&entry.action, &entry.outcome) {
                (Action::Grant(id, ttl), Outcome::Acked(_) | Outcome::Unknown) => {
                    let sure = *ttl >= LONG_TTL && entry.outcome != Outcome::Unknown;
                    let lease = Lease {
                        ttl: *ttl,
                        renewed: entry.at,
                        sure,
                    };
                    self.leases.insert(*id, lease);
                }
                (Action::KeepAlive(id), Outcome::Acked(_)) => {
                    if let Some(lease) = self.leases.get_mut(id) {
                        lease.renewed = lease.renewed.max(entry.at);
                    }
                }
                _ => {}
            }
        }
    }

    /// Revokes and expiries. Each ends a lease once; an expiry never too early.
    fn end_leases(
        &mut self,
        entries: &[Entry],
        orphans: &mut Vec<Orphan<'_>>,
        found: &mut Found,
        wrong: &mut Vec<String>,
    ) {
        let mut revoked = BTreeSet::new();
        for entry in entries {
            match (&entry.action, &entry.outcome) {
                (Action::Revoke(id), Outcome::Acked(_)) => {
                    revoked.insert(*id);
                }
                (Action::Revoke(id), Outcome::Unknown) => {
                    if let Some(lease) = self.leases.get_mut(id) {
                        lease.sure = false;
                    }
                }
                _ => {}
            }
        }
        // Nothing is attached after the end: the last such revision is it. One before
        // was a client that deleted just these keys.
        let lasts = orphans
            .iter()
            .filter_map(|orphan| Some((orphan.lease?, orphan.revision)));
        let lasts: BTreeMap<i64, i64> = lasts.collect();
        orphans.retain(|orphan| {
            let last = orphan
                .lease
                .filter(|id| lasts.get(id) == Some(&orphan.revision));
            let Some((id, lease)) = last.and_then(|id| Some((id, *self.leases.get(&id)?))) else {
                return true;
            };
            if revoked.contains(&id) {
                self.leases.remove(&id);
                return false;
            }
            if lease.ttl >= LONG_TTL || !orphan.makers.is_empty() {
                return true;
            }
            let lived = orphan.told - lease.renewed;
            if lived < Duration::from_secs(lease.ttl.unsigned_abs()) {
                wrong.push(format!("lease {id} ended {lived:?} after its last renewal"));
            }
            found.expired += 1;
            self.leases.remove(&id);
            false
        });
        for id in &revoked {
            self.leases.remove(id);
            // Whoever holds on to a lease that is gone has been forgotten.
            let left = self.keys_of(*id);
            if !left.is_empty() {
                wrong.push(format!("lease {id} was revoked, and keeps {left:?}"));
            }
        }
    }
}

/// Gives each revision that nobody was told of to one operation without an answer;
/// those that only one can have made first.
fn assign(mut orphans: Vec<Orphan<'_>>, found: &mut Found, wrong: &mut Vec<String>) {
    for choices in [1, usize::MAX] {
        while let Some(at) = orphans
            .iter()
            .position(|orphan| (1..=choices).contains(&orphan.makers.len()))
        {
            let orphan = orphans.swap_remove(at);
            let maker = orphan.makers.first().copied().expect("there is one");
            for other in &mut orphans {
                other.makers.remove(&maker);
            }
            found.unknown_done += 1;
        }
    }
    for orphan in orphans {
        wrong.push(format!(
            "nobody asked for revision {}: {:?}",
            orphan.revision, orphan.changes
        ));
    }
}

/// Key, and unless it was deleted value and lease.
fn change_of(event: &Event) -> Change {
    let lease = event.kv.as_ref().map_or(0, |kv| kv.lease);
    let (key, value) = change(event);
    (key, value.map(|value| (value, lease)))
}
