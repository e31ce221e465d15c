//! What must hold after a crash.

use super::action::Row;
use super::history::{History, WatchEnd};
use super::model::{Found, Model};
use super::{HashSample, Ledger};
use crate::client::Client;
use std::collections::BTreeSet;
use std::time::Duration;
use sternpost_proto::etcdserverpb as pb;
use sternpost_proto::mvccpb::KeyValue;
use tonic::{Code, Status};

/// Reading some thousand revisions takes far less.
const WATCH_LIMIT: Duration = Duration::from_secs(30);
/// More would only repeat.
const REPORTS_MAX: usize = 20;
/// The newest hashes told; older ones are mostly compacted.
const HASHES: usize = 60;

/// How much was really looked at.
#[derive(Debug, Default)]
pub struct Seen {
    /// Operations found again.
    pub found: Found,
    /// Leases whose keys were compared.
    pub leases: usize,
    /// Hashes compared.
    pub hashes: usize,
    /// Revisions told by the watch of the past.
    pub revisions: usize,
}

/// Prints what a check has seen, and hands it on.
///
/// # Panics
/// With every broken promise that it has found.
pub fn report(when: &str, checked: Result<Seen, Vec<String>>) -> Seen {
    match checked {
        Ok(seen) => {
            println!("{when}: {seen:?}");
            seen
        }
        Err(wrong) => panic!("{when}:\n{}", wrong.join("\n")),
    }
}

/// Looks at a restarted server; what is found is settled.
///
/// # Errors
/// Every broken promise found.
pub async fn check(
    client: &mut Client,
    ledger: &Ledger,
    history: &History,
    model: &mut Model,
) -> Result<Seen, Vec<String>> {
    let mut wrong = ledger.broken();
    let mut seen = Seen::default();
    let looked = look(client, ledger, history, model, &mut wrong, &mut seen).await;
    if let Err(status) = looked {
        wrong.push(format!("a read after the restart fails: {status}"));
    }
    if wrong.is_empty() {
        return Ok(seen);
    }
    wrong.truncate(REPORTS_MAX);
    Err(wrong)
}

async fn look(
    client: &mut Client,
    ledger: &Ledger,
    history: &History,
    model: &mut Model,
    wrong: &mut Vec<String>,
    seen: &mut Seen,
) -> Result<(), Status> {
    // A lease may end at any moment: then it is looked at again.
    loop {
        let (current, _) = everything(client).await?;
        let told_before = history.last();
        if current < told_before {
            wrong.push(format!(
                "at {current}, but a watcher was told {told_before}"
            ));
            return Ok(());
        }
        seen.revisions += read_back(client, history, current, wrong).await?;
        let told = history.since(model.revision);
        let found = model.replay(&ledger.settle(), &told, current, wrong);
        seen.found.acked += found.acked;
        seen.found.unknown_done += found.unknown_done;
        seen.found.expired += found.expired;
        let (now, kvs) = everything(client).await?;
        let mut unlike = Vec::new();
        newest_state(&kvs, model, &mut unlike);
        let there = leases(client, model, &mut unlike).await?;
        let (after, _) = everything(client).await?;
        if (now, after) == (current, current) {
            wrong.append(&mut unlike);
            seen.leases = there.len();
            model.settle_leases(&there);
            break;
        }
    }
    hashes(client, ledger, wrong, seen).await?;
    let last = sample(client, model.revision).await?;
    ledger.note_hash(last);
    history.forget_before(last.compacted.max(2));
    Ok(())
}

/// All keys, and the revision.
async fn everything(client: &mut Client) -> Result<(i64, Vec<KeyValue>), Status> {
    let request = pb::RangeRequest {
        key: "\0".into(),
        range_end: "\0".into(),
        ..Default::default()
    };
    let reply = client.kv.range(request).await?.into_inner();
    Ok((reply.header.map_or(0, |header| header.revision), reply.kvs))
}

/// Watches from the oldest revision left; the history checks that it is told as before.
async fn read_back(
    client: &mut Client,
    history: &History,
    current: i64,
    wrong: &mut Vec<String>,
) -> Result<usize, Status> {
    let mut start = history.first();
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

/// The hash of a revision, for the next time.
async fn sample(client: &mut Client, revision: i64) -> Result<HashSample, Status> {
    let request = pb::HashKvRequest { revision };
    let reply = client.maintenance.hash_kv(request).await?.into_inner();
    Ok(HashSample {
        revision,
        compacted: reply.compact_revision,
        hash: reply.hash,
    })
}

/// The newest state is what all changes together make.
fn newest_state(kvs: &[KeyValue], model: &Model, wrong: &mut Vec<String>) {
    let found = kvs.iter().map(|kv| {
        let row = Row {
            value: String::from_utf8_lossy(&kv.value).into_owned(),
            lease: kv.lease,
            created: kv.create_revision,
            modified: kv.mod_revision,
            version: kv.version,
        };
        (String::from_utf8_lossy(&kv.key).into_owned(), row)
    });
    let found: Vec<(String, Row)> = found.collect();
    let made = model.rows.iter();
    let made: Vec<(String, Row)> = made.map(|(key, row)| (key.clone(), row.clone())).collect();
    if made != found {
        let at = made
            .iter()
            .zip(&found)
            .position(|(made, found)| made != found);
        let at = at.unwrap_or(made.len().min(found.len()));
        wrong.push(format!(
            "the newest state differs first in {:?}, the changes make {:?}",
            found.get(at),
            made.get(at)
        ));
    }
}

/// The leases there, with time to live and keys.
async fn leases(
    client: &mut Client,
    model: &Model,
    wrong: &mut Vec<String>,
) -> Result<BTreeSet<i64>, Status> {
    let list = client.lease.lease_leases(pb::LeaseLeasesRequest {}).await?;
    let list = list.into_inner().leases;
    let there: BTreeSet<i64> = list.iter().map(|lease| lease.id).collect();
    let must = model.leases.iter().filter(|(_, lease)| lease.sure);
    let lost: Vec<i64> = must
        .map(|(id, _)| *id)
        .filter(|id| !there.contains(id))
        .collect();
    let may = |id: &&i64| !model.leases.contains_key(id);
    let invented: Vec<&i64> = there.iter().filter(may).collect();
    if !lost.is_empty() || !invented.is_empty() {
        wrong.push(format!("leases lost {lost:?}, not wanted {invented:?}"));
    }
    let there_too = model.leases.iter().filter(|(id, _)| there.contains(id));
    for (id, lease) in there_too {
        let request = pb::LeaseTimeToLiveRequest {
            id: *id,
            keys: true,
        };
        let told = client.lease.lease_time_to_live(request).await?.into_inner();
        let keys = told.keys.iter();
        let mut keys: Vec<String> = keys
            .map(|key| String::from_utf8_lossy(key).into_owned())
            .collect();
        // The reference tells them in no order.
        keys.sort_unstable();
        let sound = told.granted_ttl == lease.ttl && told.ttl <= lease.ttl;
        let ended = told.ttl < 0 && !lease.sure;
        if !ended && (!sound || keys != model.keys_of(*id)) {
            wrong.push(format!(
                "lease {id} {lease:?} must have {:?}, is {told:?}",
                model.keys_of(*id)
            ));
        }
    }
    Ok(there)
}

/// A hash told before must be told again, where the compaction is still the same one.
/// The reference answers a compacted revision from a cache, so those are left out.
async fn hashes(
    client: &mut Client,
    ledger: &Ledger,
    wrong: &mut Vec<String>,
    seen: &mut Seen,
) -> Result<(), Status> {
    for sample in ledger.hashes(HASHES) {
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
