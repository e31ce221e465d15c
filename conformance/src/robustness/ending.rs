//! When all is quiet: what every member must say of the end, of what is left and of what is
//! compacted.

use super::operation::{Ask, Refusal, Told};
use super::record::Record;
use super::traffic::Worker;
use super::watching::{self, Watch, Wish};
use crate::cluster::Cluster;
use crate::cluster::look::Digest;
use crate::wait;
use rand::RngExt;
use rand::rngs::StdRng;
use std::sync::Arc;
use std::time::Duration;
use sternpost_proto::etcdserverpb as pb;

/// A member answers within this even on a very busy machine.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// A watch from the first revision takes far less.
const WHOLE_LIMIT: Duration = Duration::from_secs(60);
/// So many of the revisions that are left are read, about.
const READS: usize = 20;

/// What all members agree on.
pub struct Ending {
    /// Their revision, hash and compaction.
    pub digest: Digest,
    /// The last compaction asked for, if any was.
    pub compacted: Option<i64>,
}

/// One that must succeed, through every member; the last revision told.
///
/// # Panics
/// When a member refuses for long.
pub async fn last_write(cluster: &Cluster) -> i64 {
    let mut last = 0;
    for nth in 0..cluster.size() {
        let answer = wait::until_async("the last write", ANSWER_LIMIT, || async {
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

impl Ending {
    /// Asks every member, and says what is wrong. All answers are written down besides.
    ///
    /// # Panics
    /// When a member does not answer for long.
    pub async fn look(
        &self,
        cluster: &Cluster,
        rng: &mut StdRng,
        record: &Arc<Record>,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        // Etcd has -1 for none.
        if self.digest.compacted.max(0) != self.compacted.unwrap_or(0) {
            let (all, told) = (self.digest.compacted, self.compacted);
            wrong.push(format!("all are compacted at {all}, told was {told:?}"));
        }
        for nth in 0..cluster.size() {
            wrong.extend(self.whole(cluster, nth, record).await);
            let compacted = self.compacted.unwrap_or(0);
            if compacted > 1 {
                let below = rng.random_range(1..compacted);
                wrong.extend(gone(cluster, nth, [below, compacted - 1], record).await);
                wrong.extend(behind(cluster, nth, compacted, record).await);
            }
            wrong.extend(self.left(cluster, nth, record).await);
        }
        wrong
    }

    fn first(&self) -> i64 {
        self.compacted.unwrap_or(0).max(1)
    }

    /// It tells everything that is left.
    async fn whole(&self, cluster: &Cluster, nth: usize, record: &Record) -> Option<String> {
        let end = self.digest.revision;
        let who = format!("the last watch of {}", cluster.member(nth).name());
        let wish = Wish::everything(self.first());
        let enough = |watch: &Watch| watch.due() > end;
        let told = watching::watch(cluster.client(nth), &who, &wish, record, enough);
        let Ok(number) = tokio::time::timeout(WHOLE_LIMIT, told).await else {
            return Some(format!("{who} does not tell everything"));
        };
        let due = record.watches()[number].due();
        (due <= end).then(|| format!("{who} ends before {due}, not at {end}"))
    }

    /// It knows the states that are left, the compaction's own included.
    async fn left(&self, cluster: &Cluster, nth: usize, record: &Arc<Record>) -> Vec<String> {
        let revisions = self.first()..=self.digest.revision;
        let step = (revisions.clone().count() / READS).max(1);
        let mut wrong = Vec::new();
        for revision in revisions.step_by(step) {
            let told = read(cluster, nth, revision, true, record).await;
            if let Some(refusal) = told.refusal {
                let name = cluster.member(nth).name();
                wrong.push(format!(
                    "{name} refuses {revision}, which is left: {refusal:?}"
                ));
            }
        }
        wrong
    }
}

/// It refuses to read what is compacted.
async fn gone(
    cluster: &Cluster,
    nth: usize,
    revisions: [i64; 2],
    record: &Arc<Record>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for revision in revisions {
        for local in [true, false] {
            let told = read(cluster, nth, revision, local, record).await;
            if told.refusal != Some(Refusal::Compacted) {
                let name = cluster.member(nth).name();
                wrong.push(format!("{name} reads {revision}, which is gone: {told:?}"));
            }
        }
    }
    wrong
}

/// It refuses to watch from what is compacted, and says where the rest begins.
async fn behind(cluster: &Cluster, nth: usize, compacted: i64, record: &Record) -> Option<String> {
    let who = format!(
        "a watch of {} from too far back",
        cluster.member(nth).name()
    );
    let wish = Wish::everything(compacted - 1);
    let told = |watch: &Watch| watch.events().next().is_some();
    let number = wait::until_async("a watch that is refused", ANSWER_LIMIT, || async {
        let client = cluster.client(nth);
        let number = watching::watch(client, &who, &wish, record, told).await;
        let watch = &record.watches()[number];
        (watch.behind.is_some() || told(watch)).then_some(number)
    })
    .await;
    let behind = record.watches()[number].behind;
    let same = behind.is_some_and(|behind| behind.compacted == compacted);
    (!same).then(|| format!("{who}: compacted is {compacted}, told was {behind:?}"))
}

async fn read(
    cluster: &Cluster,
    nth: usize,
    revision: i64,
    local: bool,
    record: &Arc<Record>,
) -> Told {
    let client = cluster.client(nth);
    wait::until_async("a read of the past", ANSWER_LIMIT, || async {
        let mut worker = Worker::new(client.clone(), nth, 0, Arc::clone(record));
        let told = worker.ask(Ask::Past(revision), local).await;
        told.known.then_some(told)
    })
    .await
}
