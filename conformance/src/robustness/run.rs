//! One run: a fresh cluster, traffic and watchers on all members, faults one after another, then
//! quiet and the checks.

use super::checks::History;
use super::compactor::{Compactor, Outcome};
use super::ending::{self, Ending};
use super::fault::{self, Fault};
use super::linearizable;
use super::record::Record;
use super::story::Story;
use super::traffic::{PREFIX, Worker};
use super::watching::{self, Wish};
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
/// Of so many runs one keeps everything: so members that come back are sent long histories, too.
const ALL_KEPT_RATIO: u32 = 4;

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
    /// Reads of the past that were answered with keys, and that were refused.
    pub past: (usize, usize),
    /// Compactions that were done, and that were refused.
    pub compactions: (usize, usize),
    /// Watches from creation to end.
    pub watches: usize,
    /// Watches that a compaction ended.
    pub behind: usize,
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
    let mut watchers = watchers(&cluster, seed, &record);
    let mut workers = JoinSet::new();
    for nth in 0..MEMBERS * CLIENTS {
        let member = nth % MEMBERS;
        let client = cluster.client(member);
        workers.spawn(Worker::new(client, member, seed, Arc::clone(&record)).run());
    }
    let compactor = (!rng.random_ratio(1, ALL_KEPT_RATIO)).then(|| {
        let clients = (0..MEMBERS).map(|nth| cluster.client(nth)).collect();
        tokio::spawn(Compactor::new(clients, seed, Arc::clone(&record)).run())
    });
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
    let compactor = match compactor {
        Some(compactor) => Some(compactor.await.expect("the compactor never panics")),
        None => None,
    };
    // The last compaction needs something that none before it may have taken.
    let last = ending::last_write(&cluster).await;
    let compacted = match compactor {
        Some(compactor) => compactor.last().await.map(Some),
        None => Ok(None),
    };
    let digest = cluster.wait_equal().await;
    let mut wrong = Vec::new();
    if digest.revision < last {
        wrong.push(format!("all at {}, told was {last}", digest.revision));
    }
    match compacted {
        Ok(compacted) => {
            let ending = Ending { digest, compacted };
            wrong.extend(ending.look(&cluster, &mut rng, &record).await);
        }
        Err(why) => wrong.push(format!("the last compaction: {why}")),
    }
    watchers.shutdown().await;
    judge(course, &record, wrong)
}

fn judge(
    course: &Course<'_>,
    record: &Record,
    mut wrong: Vec<String>,
) -> Result<Seen, Vec<String>> {
    let watches = std::mem::take(&mut *record.watches());
    let operations = std::mem::take(&mut *record.operations.lock().expect("no holder panics"));
    let compactions = std::mem::take(&mut *record.compactions.lock().expect("no holder panics"));
    let mut story = Story::default();
    for watch in watches.iter().filter(|watch| watch.wish.is_whole()) {
        let events: Vec<_> = watch.events().cloned().collect();
        wrong.extend(story.take_in(&watch.who, &events).into_iter().take(3));
    }
    let history = History {
        story: &story,
        watches: &watches,
        operations: &operations,
        compactions: &compactions,
    };
    wrong.extend(history.check());
    let mut seen = seen(&history);
    match linearizable::check(course.checker, &operations, &story, course.dir) {
        Ok(verdict) => seen.verdict = verdict,
        Err(verdict) => wrong.push(verdict),
    }
    if wrong.is_empty() {
        return Ok(seen);
    }
    write_down(&history, course.dir);
    Err(wrong)
}

/// All that was recorded, a line each, for whoever looks for the reason.
fn write_down(history: &History<'_>, dir: &Path) {
    let compactions = history.compactions.iter().map(|one| format!("{one:?}"));
    let operations = history.operations.iter().map(|one| format!("{one:?}"));
    let watches = history.watches.iter().map(|one| format!("{one:?}"));
    let lines: Vec<String> = compactions.chain(operations).chain(watches).collect();
    let file = dir.join("record.txt");
    std::fs::write(file, lines.join("\n")).expect("the run's directory is writable");
}

fn seen(history: &History<'_>) -> Seen {
    let operations = history.operations.iter();
    let answered = operations.clone().filter(|one| one.told.known);
    let past = operations.filter(|one| one.told.known && one.ask.past().is_some());
    let compactions = history.compactions.iter();
    let done = compactions.clone().map(|one| &one.outcome);
    let refused = compactions.filter(|one| matches!(one.outcome, Outcome::Refused(_)));
    let watches = history.watches.iter();
    let answered = answered.count();
    let refused_reads = past
        .clone()
        .filter(|one| one.told.refusal.is_some())
        .count();
    Seen {
        answered,
        open: history.operations.len() - answered,
        past: (past.count() - refused_reads, refused_reads),
        compactions: (
            done.filter(|outcome| matches!(outcome, Outcome::Done(_)))
                .count(),
            refused.count(),
        ),
        watches: history.watches.len(),
        behind: watches
            .clone()
            .filter(|watch| watch.behind.is_some())
            .count(),
        events: watches.map(|watch| watch.events().count()).sum(),
        revision: history.story.last(),
        verdict: String::new(),
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

/// Four of each member: everything from the first revision, one key from now on, deletions, and
/// everything from some recent revision again and again.
fn watchers(cluster: &Cluster, seed: u64, record: &Arc<Record>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for nth in 0..cluster.size() {
        let wishes = [
            Wish::everything(1),
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
        let name = cluster.member(nth).name();
        for (number, wish) in wishes.into_iter().enumerate() {
            let who = format!("watch {number} of {name}");
            let client = cluster.client(nth);
            tasks.spawn(watching::follow(client, who, wish, Arc::clone(record)));
        }
        let who = format!("a look back at {name}");
        let rng = StdRng::seed_from_u64(seed ^ ((nth as u64 + 1) << 48));
        let client = cluster.client(nth);
        tasks.spawn(watching::look_back(client, who, rng, Arc::clone(record)));
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

/// How often each kind came.
#[must_use]
pub fn counts(faults: &[Fault]) -> BTreeMap<Fault, usize> {
    let mut counts = BTreeMap::new();
    for fault in faults {
        *counts.entry(*fault).or_default() += 1;
    }
    counts
}
