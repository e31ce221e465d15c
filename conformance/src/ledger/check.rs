//! What must hold after a crash.

use super::history::{Changes, History, WatchEnd, change};
use super::{Action, Entry, Ledger, Outcome};
use crate::client::Client;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use sternpost_proto::etcdserverpb as pb;
use sternpost_proto::mvccpb::KeyValue;
use tonic::{Code, Status};

/// Reading some thousand revisions takes far less.
const WATCH_LIMIT: Duration = Duration::from_secs(30);
/// More would only repeat.
const REPORTS_MAX: usize = 20;

/// How much was really looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Acknowledged operations found again.
    pub acked: usize,
    /// Operations without an answer that have happened.
    pub unknown_done: usize,
    /// Hashes compared.
    pub hashes: usize,
    /// Revisions told by the watch of the past.
    pub revisions: usize,
}

/// Looks at a restarted server.
///
/// # Errors
/// Every broken promise found.
pub async fn check(
    client: &mut Client,
    ledger: &Ledger,
    history: &History,
) -> Result<Seen, Vec<String>> {
    let mut wrong = Vec::new();
    let mut seen = Seen::default();
    match look(client, ledger, history, &mut wrong, &mut seen).await {
        Ok(()) if wrong.is_empty() => Ok(seen),
        Ok(()) => {
            wrong.truncate(REPORTS_MAX);
            Err(wrong)
        }
        Err(status) => {
            wrong.push(format!("a read after the restart fails: {status}"));
            Err(wrong)
        }
    }
}

async fn look(
    client: &mut Client,
    ledger: &Ledger,
    history: &History,
    wrong: &mut Vec<String>,
    seen: &mut Seen,
) -> Result<(), Status> {
    let everything = pb::RangeRequest {
        key: "\0".into(),
        range_end: "\0".into(),
        ..Default::default()
    };
    let now = client.kv.range(everything).await?.into_inner();
    let current = now.header.as_ref().map_or(0, |header| header.revision);
    let told_before = history.last();
    if current < told_before {
        wrong.push(format!(
            "revision {current}, but a watcher was told {told_before}"
        ));
        return Ok(());
    }
    seen.revisions = read_back(client, history, current, wrong).await?;
    let all = history.all();
    let entries = ledger.entries();
    promises(&entries, &all, current, wrong, seen);
    newest_state(&now.kvs, &all, wrong);
    leases(client, &entries, wrong).await?;
    hashes(client, ledger, &entries, wrong, seen).await
}

/// Watches from the oldest revision left; the history checks that it is told as before.
async fn read_back(
    client: &mut Client,
    history: &History,
    current: i64,
    wrong: &mut Vec<String>,
) -> Result<usize, Status> {
    let mut start = 2;
    loop {
        let told = history.follow(client, start, Some(current));
        match tokio::time::timeout(WATCH_LIMIT, told).await {
            Err(_) => {
                let last = history.last();
                wrong.push(format!(
                    "a watch from {start} stops at {last}, not at {current}"
                ));
                return Ok(0);
            }
            Ok(Ok(unlike)) => {
                wrong.extend(unlike);
                return Ok(usize::try_from(current - start + 1).unwrap_or(0));
            }
            Ok(Err(WatchEnd::Compacted(compacted))) if compacted > start => start = compacted,
            Ok(Err(WatchEnd::Compacted(compacted))) => {
                wrong.push(format!("a watch from {start} is compacted at {compacted}"));
                return Ok(0);
            }
            Ok(Err(WatchEnd::Broken(status))) => return Err(status),
        }
    }
}

/// Each acknowledged write is in its revision and nothing else is; each other
/// revision is one operation without an answer, used once.
fn promises(
    entries: &[Entry],
    all: &BTreeMap<i64, Changes>,
    current: i64,
    wrong: &mut Vec<String>,
    seen: &mut Seen,
) {
    let mut owned = BTreeSet::new();
    for entry in entries {
        let Outcome::Acked(revision) = entry.outcome else {
            continue;
        };
        if revision == 0 || !matches!(entry.action, Action::Write { .. }) {
            continue;
        }
        if revision > current {
            wrong.push(format!(
                "acknowledged at {revision}, now at {current}: {entry:?}"
            ));
        } else if !all
            .get(&revision)
            .is_some_and(|changes| fits(entry, changes))
        {
            let found = all.get(&revision);
            wrong.push(format!(
                "revision {revision} must hold {entry:?}, holds {found:?}"
            ));
        } else if !owned.insert(revision) {
            wrong.push(format!("revision {revision} was given twice: {entry:?}"));
        } else {
            seen.acked += 1;
        }
    }
    // A revoked lease without keys makes no revision; the answer then names another's.
    let revoked = revocations(all);
    for entry in entries {
        if let (Action::Revoke(id), Outcome::Acked(_)) = (&entry.action, &entry.outcome) {
            owned.extend(revoked.get(id));
        }
    }
    let is_open = |entry: &&Entry| entry.outcome == Outcome::Unknown;
    let open: Vec<&Entry> = entries.iter().filter(is_open).collect();
    let orphans = all
        .iter()
        .filter(|(revision, _)| !owned.contains(*revision));
    seen.unknown_done = assign(orphans, &revoked, open, wrong);
}

/// Gives each revision that nobody was told of to one operation without an answer;
/// those that only one can have made first.
fn assign<'a>(
    orphans: impl Iterator<Item = (&'a i64, &'a Changes)>,
    revoked: &BTreeMap<i64, i64>,
    mut open: Vec<&Entry>,
    wrong: &mut Vec<String>,
) -> usize {
    let made = |entry: &Entry, revision: i64, changes: &Changes| match &entry.action {
        Action::Revoke(id) => revoked.get(id) == Some(&revision),
        _ => fits(entry, changes),
    };
    let mut left: Vec<(i64, &Changes)> = orphans.map(|(at, changes)| (*at, changes)).collect();
    let total = left.len();
    for choices in [1, usize::MAX] {
        loop {
            let before = left.len();
            left.retain(|(revision, changes)| {
                let fitting = open.iter().enumerate();
                let mut fitting = fitting.filter(|(_, entry)| made(entry, *revision, changes));
                let first = fitting.next().map(|(nth, _)| nth);
                let certain = choices > 1 || fitting.next().is_none();
                match first.filter(|_| certain) {
                    Some(nth) => {
                        open.swap_remove(nth);
                        false
                    }
                    None => true,
                }
            });
            if left.len() == before {
                break;
            }
        }
    }
    for (revision, changes) in &left {
        wrong.push(format!("nobody asked for revision {revision}: {changes:?}"));
    }
    total - left.len()
}

/// Leases by the revision in which all their keys, and nothing else, were deleted
/// in key order; a lease is given out once, so the last such revision is its end.
fn revocations(all: &BTreeMap<i64, Changes>) -> BTreeMap<i64, i64> {
    let mut attached: BTreeMap<String, i64> = BTreeMap::new();
    let mut ends = BTreeMap::new();
    for (revision, changes) in all {
        let keys: Vec<(String, Option<String>)> = changes.iter().map(change).collect();
        if let Some(lease) = keys.first().and_then(|(key, _)| attached.get(key).copied()) {
            let its_keys = attached.iter().filter(|(_, of)| **of == lease);
            let its_keys = its_keys.map(|(key, _)| (key.clone(), None));
            if its_keys.eq(keys.iter().cloned()) {
                ends.insert(lease, *revision);
            }
        }
        for event in changes {
            let (key, value) = change(event);
            let lease = event.kv.as_ref().map_or(0, |kv| kv.lease);
            if value.is_some() && lease != 0 {
                attached.insert(key, lease);
            } else {
                attached.remove(&key);
            }
        }
    }
    ends
}

/// Whether a revision can be the work of this operation.
fn fits(entry: &Entry, changes: &Changes) -> bool {
    match &entry.action {
        Action::Write { puts, deletes } => {
            let mut changes = changes.iter().map(change);
            let all_put = puts
                .iter()
                .all(|(key, value, _)| changes.next() == Some((key.clone(), Some(value.clone()))));
            // A key that was not there is not deleted; order is that of the request.
            let mut deletes = deletes.iter();
            all_put
                && changes.all(|(key, value)| value.is_none() && deletes.any(|asked| *asked == key))
        }
        Action::Grant(_) | Action::Revoke(_) | Action::Compact(_) => false,
    }
}

/// The newest state is what all changes together make.
fn newest_state(kvs: &[KeyValue], all: &BTreeMap<i64, Changes>, wrong: &mut Vec<String>) {
    let mut state: BTreeMap<String, KeyValue> = BTreeMap::new();
    for event in all.values().flatten() {
        match change(event) {
            (key, None) => {
                state.remove(&key);
            }
            (key, Some(_)) => {
                state.insert(key, event.kv.clone().unwrap_or_default());
            }
        }
    }
    let made: Vec<&KeyValue> = state.values().collect();
    let found: Vec<&KeyValue> = kvs.iter().collect();
    if made != found {
        wrong.push(format!(
            "the newest state is {found:?}, the changes make {made:?}"
        ));
    }
}

async fn leases(
    client: &mut Client,
    entries: &[Entry],
    wrong: &mut Vec<String>,
) -> Result<(), Status> {
    let list = client.lease.lease_leases(pb::LeaseLeasesRequest {}).await?;
    let there: BTreeSet<i64> = list
        .into_inner()
        .leases
        .iter()
        .map(|lease| lease.id)
        .collect();
    let mut may = BTreeSet::new();
    let mut must = BTreeSet::new();
    for entry in entries {
        match (&entry.action, &entry.outcome) {
            (Action::Grant(id), Outcome::Acked(_)) => {
                may.insert(*id);
                must.insert(*id);
            }
            (Action::Grant(id), Outcome::Unknown) => {
                may.insert(*id);
            }
            (Action::Revoke(id), Outcome::Acked(_)) => {
                may.remove(id);
                must.remove(id);
            }
            (Action::Revoke(id), Outcome::Unknown) => {
                must.remove(id);
            }
            _ => {}
        }
    }
    let lost: Vec<_> = must.difference(&there).collect();
    let invented: Vec<_> = there.difference(&may).collect();
    if !lost.is_empty() || !invented.is_empty() {
        wrong.push(format!("leases lost {lost:?}, not wanted {invented:?}"));
    }
    Ok(())
}

/// A hash told before must be told again, where the compaction is still the same one.
/// The reference answers a compacted revision from a cache, so those are left out.
async fn hashes(
    client: &mut Client,
    ledger: &Ledger,
    entries: &[Entry],
    wrong: &mut Vec<String>,
    seen: &mut Seen,
) -> Result<(), Status> {
    let is_compaction = |revision: i64| {
        let is = |entry: &Entry| entry.action == Action::Compact(revision);
        entries.iter().any(is)
    };
    for sample in ledger.hashes().iter().rev().take(60) {
        if is_compaction(sample.revision) {
            continue;
        }
        let request = pb::HashKvRequest {
            revision: sample.revision,
        };
        let reply = match client.maintenance.hash_kv(request).await {
            Ok(reply) => reply.into_inner(),
            Err(status) if status.code() == Code::OutOfRange => continue,
            Err(status) => return Err(status),
        };
        if reply.compact_revision == sample.compacted {
            seen.hashes += 1;
            if reply.hash != sample.hash {
                wrong.push(format!("{sample:?}, now {}", reply.hash));
            }
        }
    }
    Ok(())
}
