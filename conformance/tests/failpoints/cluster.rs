//! Points that members meet who talk to each other.

use crate::{HESITATE, assert_ended_at};
use std::time::Instant;
use sternpost_conformance::binaries;
use sternpost_conformance::cluster::{Cluster, Plan};
use sternpost_conformance::failpoints::Failpoints;
use sternpost_conformance::ledger::cluster::Blow;
use sternpost_conformance::ledger::round::Rounds;
use sternpost_conformance::ledger::{check, load};
use sternpost_conformance::target::Kind;
use tokio::task::JoinSet;

const SEED: u64 = 9;
const SIZE: usize = 3;
/// The log is purged by so many entries at a time; more than those, with what it keeps.
const BEHIND: usize = 1_400;

/// Who meets a point under load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// The leader.
    Leader,
    /// A follower.
    Follower,
    /// A follower whose leader has died.
    Heir,
}

/// Points that any traffic leads to.
const TALK: [(&str, Who); 5] = [
    ("raftBeforeLeaderSend", Who::Leader),
    ("raftBeforeFollowerSend", Who::Follower),
    ("raftBeforeForwardPropose", Who::Follower),
    ("raftBeforeSaveVote", Who::Heir),
    ("raftAfterSaveVote", Who::Heir),
];
/// Where a member passes that takes a whole state, in this order.
const RECEIVE: [&str; 7] = [
    "snapBeforeReceive",
    "snapBeforeVerify",
    "raftBeforeApplySnap",
    "snapBeforeRename",
    "snapAfterRename",
    "applyBeforeOpenSnapshot",
    "raftAfterApplySnap",
];
/// The first of them behind which the state counts.
const PLACED: usize = 4;
/// Where the leader passes that sends one.
const SEND: &str = "snapBeforeSend";

/// The names of all.
pub fn points() -> impl Iterator<Item = &'static str> {
    let talk = TALK.iter().map(|(name, _)| *name);
    talk.chain(RECEIVE).chain([SEND])
}

/// A cluster with failpoints, and the load to come.
struct Scene {
    cluster: Cluster,
    points: Vec<Failpoints>,
    run: Rounds,
}

impl Scene {
    fn new() -> Self {
        // Whoever is away for a while needs a whole state.
        let mut cluster = Plan::new(Kind::Sternpost, SIZE)
            .program(binaries::sternpost_with_failpoints())
            .flag("--snapshot-count=100")
            .flag("--snapshot-catchup-entries=10")
            .prepare();
        let endpoints = (0..SIZE).map(|nth| cluster.endpoint(nth));
        let points: Vec<Failpoints> = endpoints.map(Failpoints::beside).collect();
        for (nth, points) in points.iter().enumerate() {
            cluster.set_environment(nth, points.environment());
            cluster.spawn(nth);
        }
        cluster.wait_healthy_all();
        Self {
            cluster,
            points,
            run: Rounds::new(SEED).brief(),
        }
    }

    /// Under load, a member dies at the point; the others go on if they are a quorum.
    async fn dies_at(&mut self, point: &'static str, who: Who) {
        let leader = self.cluster.wait_leader().await;
        let follower = self.cluster.follower().await;
        let (dying, hit): (usize, &[usize]) = match who {
            Who::Leader => (leader, &[leader]),
            Who::Follower => (follower, &[follower]),
            Who::Heir => (follower, &[leader, follower]),
        };
        let mut end = None;
        let points = &self.points[dying];
        let blow = Blow {
            members: hit,
            crash: |cluster: &mut Cluster| {
                points.arm_with_panic(point);
                if who == Who::Heir {
                    cluster.kill(leader);
                }
                end = Some(cluster.wait_end(dying));
            },
            goes_on: who != Who::Heir,
        };
        self.run.load_and_kill(&mut self.cluster, blow).await;
        assert_ended_at(point, end.expect("the process was waited for"));
        for nth in hit {
            self.cluster.spawn(*nth);
        }
        self.look(point).await;
    }

    /// Everything promised is there, on all members.
    async fn look(&mut self, after: &str) {
        self.cluster.wait_healthy_all();
        let checked = self.run.check_cluster(&self.cluster).await;
        check::report(&format!("after {after}"), checked);
    }

    /// A follower dies, and the others go on until it needs a whole state.
    async fn leave_behind(&mut self, nth: usize) {
        let blow = Blow {
            members: &[nth],
            crash: |cluster: &mut Cluster| cluster.kill(nth),
            goes_on: true,
        };
        self.run.load_and_kill(&mut self.cluster, blow).await;
        let client = self.cluster.client(self.cluster.wait_leader().await);
        let mut tasks = JoinSet::new();
        let each = BEHIND / SIZE;
        for task in 0..SIZE {
            let (mut client, ledger) = (client.clone(), self.run.ledger());
            tasks.spawn(async move {
                let stamp = Instant::now();
                let mut acked = 0;
                for number in 0..2 * each {
                    let value = format!("{nth} is away: {task}-{number}, {stamp:?}");
                    // A busy machine may elect another leader meanwhile.
                    acked += usize::from(load::put(&mut client, &ledger, &value).await.is_ok());
                    if acked == each {
                        return;
                    }
                }
                panic!("only {acked} puts of {each} are acknowledged");
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.expect("a writer never panics");
        }
    }

    /// A start of a member that dies at the point.
    fn starts_and_dies_at(&mut self, nth: usize, point: &str) {
        let armed = format!("{point}=panic");
        let variables = self.points[nth].environment_with(&armed);
        self.cluster.set_environment(nth, variables);
        self.cluster.spawn(nth);
        assert_ended_at(point, self.cluster.wait_end(nth));
        let variables = self.points[nth].environment();
        self.cluster.set_environment(nth, variables);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_between_members_loses_nothing() {
    let mut scene = Scene::new();
    for (point, who) in TALK {
        let begun = Instant::now();
        scene.dies_at(point, who).await;
        println!("{point}: {:?}", begun.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_anywhere_in_a_state_s_way_loses_nothing() {
    let mut scene = Scene::new();
    let nth = scene.cluster.follower().await;
    scene.leave_behind(nth).await;
    // Until the state has its place, the next start needs it again.
    for point in &RECEIVE[..=PLACED] {
        let begun = Instant::now();
        scene.starts_and_dies_at(nth, point);
        println!("{point}: {:?}", begun.elapsed());
    }
    scene.cluster.start(nth);
    scene.look(RECEIVE[PLACED]).await;
    for point in &RECEIVE[PLACED + 1..] {
        scene.leave_behind(nth).await;
        scene.starts_and_dies_at(nth, point);
        scene.cluster.start(nth);
        scene.look(point).await;
    }

    scene.leave_behind(nth).await;
    let leader = scene.cluster.wait_leader().await;
    scene.points[leader].arm_with_panic(SEND);
    scene.cluster.spawn(nth);
    assert_ended_at(SEND, scene.cluster.wait_end(leader));
    scene.cluster.start(leader);
    scene.look(SEND).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_hesitate_are_only_slow() {
    let mut scene = Scene::new();
    let nth = scene.cluster.follower().await;
    scene.leave_behind(nth).await;
    let leader = scene.cluster.wait_leader().await;
    // The first try fails, and the next one goes slowly.
    let fails_first = format!("1*return(\"planted here\")->{HESITATE}");
    scene.points[leader].arm(SEND, &fails_first);
    let armed = RECEIVE.map(|point| format!("{point}={HESITATE}")).join(";");
    let variables = scene.points[nth].environment_with(&armed);
    scene.cluster.set_environment(nth, variables);
    scene.cluster.start(nth);
    for (nth, point) in RECEIVE
        .map(|point| (nth, point))
        .into_iter()
        .chain([(leader, SEND)])
    {
        assert!(scene.points[nth].passed(point) > 0, "{point} was not met");
    }
    let follower = scene.cluster.follower().await;
    let leader = scene.cluster.wait_leader().await;
    let met = [
        (leader, "raftBeforeLeaderSend"),
        (follower, "raftBeforeFollowerSend"),
        (follower, "raftBeforeForwardPropose"),
    ];
    for (nth, point) in met {
        scene.points[nth].arm(point, HESITATE);
    }
    let ledger = scene.run.ledger();
    for nth in 0..SIZE {
        let mut client = scene.cluster.client(nth);
        let answer = load::put(&mut client, &ledger, &format!("slow through {nth}")).await;
        answer.expect("only slow");
    }
    for (nth, point) in met {
        assert!(scene.points[nth].passed(point) > 0, "{point} was not met");
        scene.points[nth].disarm(point);
    }
    scene.look("all").await;
}
