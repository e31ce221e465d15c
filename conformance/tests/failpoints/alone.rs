//! Points that a single member meets.

use crate::{HESITATE, assert_ended_at, build};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use sternpost_conformance::client::Client;
use sternpost_conformance::failpoints::Failpoints;
use sternpost_conformance::ledger::round::Rounds;
use sternpost_conformance::ledger::{Ledger, check, load};
use sternpost_conformance::target::Target;
use sternpost_conformance::wait;
use sternpost_proto::etcdserverpb as pb;
use tokio::task::JoinSet;

const SEED: u64 = 8;
/// A point is met within this even on a very busy machine.
const MET_LIMIT: Duration = Duration::from_secs(60);
/// Fills a segment of the log soon.
const LARGE: usize = 32 << 10;
/// What leads to a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The load, with its own compactions and defragmentations.
    Load,
    /// A start.
    Start,
    /// Large values, which fill the log's segments.
    Large,
    /// A learner that is added, and removed.
    Member,
}

/// Each, and the way there. The log's segments come last: they need many entries.
pub const POINTS: [(&str, Way); 27] = [
    ("raftBeforeSaveVote", Way::Start),
    ("raftAfterSaveVote", Way::Start),
    ("raftBeforeSave", Way::Load),
    ("raftAfterSave", Way::Load),
    ("walBeforeSync", Way::Load),
    ("walAfterSync", Way::Load),
    ("beforeCommit", Way::Load),
    ("afterCommit", Way::Load),
    ("applyBeforeAnswer", Way::Load),
    ("beforeSendWatchResponse", Way::Load),
    ("beforeRevokeLease", Way::Load),
    ("stateBeforeFlush", Way::Load),
    ("stateAfterFlush", Way::Load),
    ("compactBeforeSetScheduledCompact", Way::Load),
    ("compactAfterSetScheduledCompact", Way::Load),
    ("compactBeforeCommitBatch", Way::Load),
    ("compactAfterCommitBatch", Way::Load),
    ("compactBeforeSetFinishedCompact", Way::Load),
    ("compactAfterSetFinishedCompact", Way::Load),
    ("defragBeforeCopy", Way::Load),
    ("defragAfterCopy", Way::Load),
    ("beforeApplyOneConfChange", Way::Member),
    ("afterApplyOneConfChange", Way::Member),
    ("walBeforeRotate", Way::Large),
    ("walAfterRotate", Way::Large),
    ("raftBeforeWALRelease", Way::Large),
    ("raftAfterWALRelease", Way::Large),
];

/// A server with failpoints, and the load to come.
struct Scene {
    points: Failpoints,
    run: Rounds,
    target: Target,
}

impl Scene {
    fn new() -> Self {
        // A short log, so that the state is flushed and the log purged often.
        let (target, points) =
            build::server(&["--snapshot-count=200", "--snapshot-catchup-entries=10"]);
        Self {
            points,
            run: Rounds::new(SEED).brief(),
            target,
        }
    }

    /// Under load, the process ends at the point.
    async fn dies_at(&mut self, point: &'static str, way: Way) {
        let points = &self.points;
        let ledger = self.run.ledger();
        let mut last = None;
        let crash = async |target: &mut Target| {
            if way == Way::Start {
                target.kill();
                target.set_environment(points.environment_with(&format!("{point}=panic")));
                target.try_restart().expect_err("it dies as it starts");
                target.set_environment(points.environment());
                last = Some(target.wait_end());
                return;
            }
            let client = target.client().await;
            points.arm_with_panic(point);
            let mut walk = walk(way, point, &client, &ledger);
            last = Some(target.wait_end());
            walk.shutdown().await;
        };
        self.run.load_and_crash(&mut self.target, crash).await;
        assert_ended_at(point, last.expect("the process was waited for"));
    }

    /// Everything promised is there, and service goes on.
    async fn comes_back(&mut self, after: &str) {
        self.target.restart();
        remove_learners(&mut self.target.client().await).await;
        let checked = self.run.check(&self.target).await;
        check::report(&format!("after {after}"), checked);
    }
}

/// Goes the way to a point, until it is shut down or the server is gone.
fn walk(way: Way, point: &'static str, client: &Client, ledger: &Arc<Ledger>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    match way {
        Way::Load | Way::Start => {}
        Way::Large => {
            for task in 0..load::CLIENTS {
                let (mut client, ledger) = (client.clone(), Arc::clone(ledger));
                tasks.spawn(async move {
                    let pad = "x".repeat(LARGE);
                    for number in 0.. {
                        let value = format!("{point}-{task}-{number}-{pad}");
                        if load::put(&mut client, &ledger, &value).await.is_err() {
                            return;
                        }
                    }
                });
            }
        }
        Way::Member => {
            let mut client = client.clone();
            tasks.spawn(async move {
                let learner = pb::MemberAddRequest {
                    peer_ur_ls: vec![nobody()],
                    is_learner: true,
                };
                if client.cluster.member_add(learner).await.is_ok() {
                    remove_learners(&mut client).await;
                }
            });
        }
    }
    tasks
}

/// The peer URL of a member that will never be there. The same URL within the same second would
/// be the same member, who can't come back once it has been removed.
fn nobody() -> String {
    static PORT: AtomicU16 = AtomicU16::new(1);
    format!("http://127.0.0.1:{}", PORT.fetch_add(1, Ordering::Relaxed))
}

async fn remove_learners(client: &mut Client) {
    let request = pb::MemberListRequest::default();
    let Ok(listed) = client.cluster.member_list(request).await else {
        return;
    };
    for member in listed.into_inner().members {
        if member.is_learner {
            let request = pb::MemberRemoveRequest { id: member.id };
            let _ = client.cluster.member_remove(request).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_anywhere_in_a_member_loses_nothing() {
    let mut scene = Scene::new();
    for (point, way) in POINTS {
        let begun = Instant::now();
        scene.dies_at(point, way).await;
        scene.comes_back(point).await;
        println!("{point}: {:?}", begun.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_hesitates_anywhere_is_only_slow() {
    let mut scene = Scene::new();
    let (points, ledger) = (&scene.points, scene.run.ledger());
    let crash = async |target: &mut Target| {
        for (point, way) in POINTS {
            if way != Way::Start {
                hesitates(point, way, points, target, &ledger).await;
            }
        }
        target.kill();
    };
    scene.run.load_and_crash(&mut scene.target, crash).await;
    let starts = POINTS.iter().filter(|(_, way)| *way == Way::Start);
    for (point, _) in starts {
        let armed = format!("{point}={HESITATE}");
        let variables = scene.points.environment_with(&armed);
        scene.target.set_environment(variables);
        scene.comes_back(point).await;
        assert!(scene.points.passed(point) > 0, "{point} was not met");
        scene.target.kill();
    }
    scene.comes_back("all").await;
}

/// While the load goes on, the member hesitates at the point, and answers a put.
async fn hesitates(
    point: &'static str,
    way: Way,
    points: &Failpoints,
    target: &Target,
    ledger: &Arc<Ledger>,
) {
    let mut client = target.client().await;
    points.arm(point, HESITATE);
    let mut walk = walk(way, point, &client, ledger);
    wait::until_async(point, MET_LIMIT, || async {
        (points.passed(point) > 0).then_some(())
    })
    .await;
    let answer = load::put(&mut client, ledger, &format!("{point}, slow")).await;
    answer.unwrap_or_else(|status| panic!("{point}: not only slow: {status}"));
    points.disarm(point);
    match way {
        // It must not be left half way.
        Way::Member => while walk.join_next().await.is_some() {},
        _ => walk.shutdown().await,
    }
}

/// A failed step of log or state is the end; a failed rewrite of files is only told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_fails_is_not_called_done() {
    let mut scene = Scene::new();
    for (point, step) in [
        ("walBeforeSync", "fdatasync of"),
        ("beforeCommit", "storage engine: "),
        ("stateBeforeFlush", "storage engine: "),
    ] {
        let points = &scene.points;
        let mut last = None;
        let crash = async |target: &mut Target| {
            points.arm(point, "return(\"planted here\")");
            last = Some(target.wait_end());
        };
        scene.run.load_and_crash(&mut scene.target, crash).await;
        let (status, line) = last.expect("the process was waited for");
        assert_eq!(status.code(), Some(1), "{point}: {line}");
        let says = line.contains(step) && line.contains("planted here");
        assert!(says, "{point}: {line}");
        scene.comes_back(point).await;
    }
    let mut client = scene.target.client().await;
    let defragment = pb::DefragmentRequest {};
    scene
        .points
        .arm("defragBeforeCopy", "return(\"planted here\")");
    let told = client.maintenance.defragment(defragment).await;
    assert!(told.is_err(), "it was not done");
    scene.points.disarm("defragBeforeCopy");
    let told = client.maintenance.defragment(defragment).await;
    told.expect("it can be done");
    scene.target.kill();
    scene.comes_back("defragBeforeCopy").await;
}
