//! One run: a fresh cluster, traffic and watchers on all members, faults one after another, then
//! quiet and the checks.

use super::fault::{self, Fault};
use super::operation::Operation;
use super::story::Story;
use super::traffic::{PREFIX, Record, Worker};
use super::watching::{self, Watch, Watches, Wish};
use super::{checks, linearizable};
use crate::cluster::{Addresses, Cluster, Plan};
use crate::disk::faults::Faults;
use crate::target::Kind;
use crate::wait;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use sternpost_proto::etcdserverpb as pb;
use tokio::task::JoinSet;

/// Members of a run.
pub const MEMBERS: usize = 3;
/// Clients of each member.
const CLIENTS: usize = 3;
/// So many operations must be answered before the first fault, and after the last.
const AT_WORK: usize = 100;
/// They are within this even on a very busy machine.
const WORK_LIMIT: Duration = Duration::from_secs(60);
/// Between two faults.
const REST_MS: std::ops::Range<u64> = 200..600;
/// A watch from the first revision takes far less.
const WHOLE_LIMIT: Duration = Duration::from_secs(60);

/// What runs have in common.
pub struct Course<'a> {
    /// Whose members.
    pub kind: Kind,
    /// The checker of linearizability.
    pub checker: &'a Path,
    /// Where members listen.
    pub addresses: Addresses,
    /// Faults of one run.
    pub faults: Vec<Fault>,
    /// What members' disks do; it reaches programs that use the C library.
    pub disk: &'a Faults,
    /// Where the history goes.
    pub dir: &'a Path,
}

/// What one run has shown.
#[derive(Debug, Default)]
pub struct Seen {
    /// Operations that were answered.
    pub answered: usize,
    /// Operations that were not.
    pub open: usize,
    /// Watches from creation to end.
    pub watches: usize,
    /// Events told to all of them.
    pub events: usize,
    /// The revision at the end.
    pub revision: i64,
    /// What the checker of linearizability says.
    pub verdict: String,
}

/// Draws `count` kinds of fault, each as often as the others.
#[must_use]
pub fn draw(kinds: &[Fault], count: usize, seed: u64) -> Vec<Fault> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut drawn = Vec::new();
    while drawn.len() < count {
        let mut all = kinds.to_vec();
        all.shuffle(&mut rng);
        drawn.extend(all);
    }
    drawn.truncate(count);
    drawn
}

/// One run.
///
/// # Errors
/// Every broken promise found.
///
/// # Panics
/// When a member does not come back, or nothing is answered any more.
pub async fn run(course: &Course<'_>, seed: u64) -> Result<Seen, Vec<String>> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut cluster = plan(course, &mut rng).start();
    let record = Arc::new(Record::default());
    let watches = Watches::default();
    let mut watchers = watchers(&cluster, &watches);
    let mut workers = JoinSet::new();
    for nth in 0..MEMBERS * CLIENTS {
        let member = nth % MEMBERS;
        let client = cluster.client(member);
        workers.spawn(Worker::new(client, member, seed, Arc::clone(&record)).run());
    }
    at_work(&record).await;
    for fault in &course.faults {
        fault::happen(*fault, &mut cluster, course.disk, &mut rng).await;
        let rest = rng.random_range(REST_MS);
        tokio::time::sleep(Duration::from_millis(rest)).await;
    }
    at_work(&record).await;
    record.stop.store(true, Ordering::Relaxed);
    while let Some(worker) = workers.join_next().await {
        worker.expect("a worker never panics");
    }
    let last = last_write(&cluster).await;
    let digest = cluster.wait_equal().await;
    let mut wrong = Vec::new();
    if digest.revision < last {
        wrong.push(format!("all at {}, told was {last}", digest.revision));
    }
    let whole = whole(&cluster, digest.revision, &mut wrong).await;
    watchers.shutdown().await;
    let mut watches = std::mem::take(&mut *watches.lock().expect("no holder panics"));
    watches.extend(whole);
    let operations = std::mem::take(&mut *record.operations.lock().expect("no holder panics"));
    judge(course, &watches, &operations, wrong)
}

fn judge(
    course: &Course<'_>,
    watches: &[Watch],
    operations: &[Operation],
    mut wrong: Vec<String>,
) -> Result<Seen, Vec<String>> {
    let mut story = Story::default();
    for watch in watches {
        if watch.wish.prefix.is_empty() && !watch.wish.no_puts {
            let events: Vec<_> = watch.events().cloned().collect();
            wrong.extend(story.take_in(&watch.who, &events).into_iter().take(3));
        }
    }
    wrong.extend(checks::all(&story, watches, operations));
    let mut seen = Seen {
        answered: operations.iter().filter(|one| one.told.known).count(),
        watches: watches.len(),
        events: watches.iter().map(|watch| watch.events().count()).sum(),
        revision: story.last(),
        ..Seen::default()
    };
    seen.open = operations.len() - seen.answered;
    match linearizable::check(course.checker, operations, &story, course.dir) {
        Ok(verdict) => seen.verdict = verdict,
        Err(verdict) => wrong.push(verdict),
    }
    if wrong.is_empty() {
        Ok(seen)
    } else {
        Err(wrong)
    }
}

/// Logs so short that members which were away need a snapshot; elections at three speeds.
fn plan(course: &Course<'_>, rng: &mut StdRng) -> Plan {
    let times = [(100, 1000), (50, 500), (30, 300)];
    let (heartbeat, election) = times[rng.random_range(0..times.len())];
    let entries = [50, 200, 10_000][rng.random_range(0..3)];
    Plan::new(course.kind, MEMBERS)
        .on(&course.addresses)
        .environment(course.disk.environment())
        .flag(&format!("--heartbeat-interval={heartbeat}"))
        .flag(&format!("--election-timeout={election}"))
        .flag(&format!("--snapshot-count={entries}"))
        .flag("--watch-progress-notify-interval=200ms")
        .flag("--strict-reconfig-check=false")
}

/// Three of each member: everything from the first revision, one key from now on,
/// deletions.
fn watchers(cluster: &Cluster, watches: &Watches) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for nth in 0..cluster.size() {
        let wishes = [
            Wish {
                start: 1,
                previous: true,
                ..Wish::default()
            },
            Wish {
                prefix: format!("{PREFIX}{nth}"),
                ..Wish::default()
            },
            Wish {
                no_puts: true,
                previous: true,
                ..Wish::default()
            },
        ];
        for (number, wish) in wishes.into_iter().enumerate() {
            let who = format!("watch {number} of {}", cluster.member(nth).name());
            let client = cluster.client(nth);
            tasks.spawn(watching::follow(client, who, wish, Arc::clone(watches)));
        }
    }
    tasks
}

/// Waits until operations are answered.
async fn at_work(record: &Record) {
    let enough = record.answered() + AT_WORK;
    wait::until_async("answers", WORK_LIMIT, || async {
        (record.answered() >= enough).then_some(())
    })
    .await;
}

/// One that must succeed, through every member; the last revision told.
async fn last_write(cluster: &Cluster) -> i64 {
    let mut last = 0;
    for nth in 0..cluster.size() {
        let answer = wait::until_async("the last write", WORK_LIMIT, || async {
            let request = pb::PutRequest {
                key: format!("last{nth}").into(),
                ..Default::default()
            };
            cluster.client(nth).kv.put(request).await.ok()
        })
        .await;
        let header = answer.into_inner().header;
        last = last.max(header.map_or(0, |header| header.revision));
    }
    last
}

/// Every member tells everything.
async fn whole(cluster: &Cluster, end: i64, wrong: &mut Vec<String>) -> Vec<Watch> {
    let mut watches = Vec::new();
    for nth in 0..cluster.size() {
        let who = format!("the last watch of {}", cluster.member(nth).name());
        let told = watching::whole(cluster.client(nth), who, end);
        let watch = tokio::time::timeout(WHOLE_LIMIT, told).await;
        match watch {
            Ok(watch) if watch.last() >= end => watches.push(watch),
            Ok(watch) => wrong.push(format!(
                "{} ends at {}, not at {end}",
                watch.who,
                watch.last()
            )),
            Err(_) => wrong.push(format!("member {nth} does not tell everything")),
        }
    }
    watches
}

/// How often each kind came.
#[must_use]
pub fn counts(faults: &[Fault]) -> BTreeMap<Fault, usize> {
    let mut counts = BTreeMap::new();
    for fault in faults {
        *counts.entry(*fault).or_default() += 1;
    }
    counts
}
