//! kill -9 of members under load: any one of three, any two of five, all at once; no
//! acknowledged write is lost, and what a quorum is left of goes on.
//!
//! `STERNPOST_CLUSTER_ROUNDS` (default 2) rounds of each kind.

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use sternpost_conformance::cluster::{Cluster, Plan};
use sternpost_conformance::ledger::check;
use sternpost_conformance::ledger::cluster::Blow;
use sternpost_conformance::ledger::restarts::number;
use sternpost_conformance::ledger::round::Rounds;
use sternpost_conformance::power::Disk;
use sternpost_conformance::target::Kind;

const SEED: u64 = 11;
const ROUNDS: u64 = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_three_is_killed() {
    some_are_killed(3, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_five_are_killed() {
    some_are_killed(5, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_are_killed() {
    let mut cluster = plan(3).start();
    let mut run = Rounds::new(number("STERNPOST_SEED", SEED));
    for round in 0..number("STERNPOST_CLUSTER_ROUNDS", ROUNDS) {
        all_at_once(&mut run, &mut cluster, round, |cluster| cluster.kill_all()).await;
    }
}

/// Takes root for the loop device, as the suite of one member does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_lose_power() {
    let disk = match Disk::create() {
        Ok(disk) => disk,
        Err(why) => {
            let required = std::env::var("STERNPOST_POWER").is_ok_and(|word| word == "required");
            assert!(!required, "no disk that can lose power: {why}");
            println!("NOT TESTED: no disk that can lose power here: {why}");
            return;
        }
    };
    let mut cluster = plan(3).below(disk.mount_point()).start();
    let mut run = Rounds::new(number("STERNPOST_SEED", SEED));
    for round in 0..number("STERNPOST_CLUSTER_ROUNDS", ROUNDS) {
        all_at_once(&mut run, &mut cluster, round, |cluster| {
            disk.lose_power();
            cluster.kill_all();
            disk.power_on();
        })
        .await;
    }
    drop(cluster);
}

async fn some_are_killed(size: usize, count: usize) {
    let mut cluster = plan(size).start();
    let mut run = Rounds::new(number("STERNPOST_SEED", SEED));
    for round in 0..number("STERNPOST_CLUSTER_ROUNDS", ROUNDS) {
        let leader = cluster.wait_leader().await;
        let mut members: Vec<usize> = (0..size).collect();
        members.shuffle(&mut StdRng::seed_from_u64(SEED ^ round));
        if run.one_in(2) {
            // The leader among them.
            members.retain(|nth| *nth != leader);
            members.insert(0, leader);
        }
        members.truncate(count);
        let blow = Blow {
            members: &members,
            crash: |cluster: &mut Cluster| members.iter().for_each(|nth| cluster.kill(*nth)),
            goes_on: true,
        };
        run.load_and_kill(&mut cluster, blow).await;
        for nth in &members {
            cluster.start(*nth);
        }
        look(
            &mut run,
            &cluster,
            round,
            &format!("{members:?} killed, {leader} led"),
        )
        .await;
    }
}

async fn all_at_once(
    run: &mut Rounds,
    cluster: &mut Cluster,
    round: u64,
    crash: impl FnOnce(&mut Cluster),
) {
    let blow = Blow {
        members: &[],
        crash,
        goes_on: false,
    };
    run.load_and_kill(cluster, blow).await;
    let mut order: Vec<usize> = (0..cluster.size()).collect();
    order.shuffle(&mut StdRng::seed_from_u64(SEED ^ round));
    for nth in &order {
        cluster.spawn(*nth);
    }
    cluster.wait_healthy_all();
    look(
        run,
        cluster,
        round,
        &format!("all killed, started as {order:?}"),
    )
    .await;
}

async fn look(run: &mut Rounds, cluster: &Cluster, round: u64, what: &str) {
    let checked = run.check_cluster(cluster).await;
    check::report(&format!("round {round}, {what}"), checked);
}

/// A short log, so that snapshots and purges are under way too.
fn plan(size: usize) -> Plan {
    Plan::new(Kind::Sternpost, size).flag("--snapshot-count=500")
}
