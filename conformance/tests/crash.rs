//! SIGTERM, and kill -9 under mixed load, restart, and everything that was promised is there.
//!
//! `STERNPOST_ROUNDS` (default 8) rounds on one data directory.

use sternpost_conformance::ledger::round::Rounds;
use sternpost_conformance::target::{Kind, Plan, Target};

const SEED: u64 = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_loses_nothing() {
    let rounds = std::env::var("STERNPOST_ROUNDS").unwrap_or_else(|_| "8".to_owned());
    let rounds: u32 = rounds.parse().expect("STERNPOST_ROUNDS is a number");
    let mut run = Rounds::new(SEED);
    // A short log, so that snapshots, flushes and purges are killed too.
    let plan = Plan::new(Kind::Sternpost).flag("--snapshot-count=200");
    let mut target = plan.start();
    let mut hashes = 0;
    for round in 0..rounds {
        run.load_and_crash(&mut target, Target::kill).await;
        if run.one_in(3) {
            target.kill_while_starting();
        }
        target.restart();
        match run.check(&target).await {
            Ok(seen) => {
                println!("round {round}: {seen:?}");
                hashes += seen.hashes;
            }
            Err(wrong) => panic!("round {round}:\n{}", wrong.join("\n")),
        }
    }
    assert!(hashes > 0, "no hash was compared");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_loses_nothing_and_ends_as_the_reference_does() {
    let mut ends = Vec::new();
    for kind in [Kind::Sternpost, Kind::Etcd] {
        let mut run = Rounds::new(SEED + 1);
        let mut target = Target::fresh(kind);
        run.load_and_crash(&mut target, |target| ends.push(target.stop()))
            .await;
        target.restart();
        if let Err(wrong) = run.check(&target).await {
            panic!("{}:\n{}", target.name(), wrong.join("\n"));
        }
    }
    assert_eq!(ends[0], ends[1], "exit status or signal");
}
