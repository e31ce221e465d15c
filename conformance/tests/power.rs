//! Power loss under mixed load: what was acknowledged was synced.
//!
//! Takes root for the loop device. Where that is missing the tests say so and
//! pass, unless `STERNPOST_POWER=required`. `STERNPOST_POWER_ROUNDS` (default 3)
//! rounds on one disk.

use sternpost_conformance::ledger::restarts::{Restarts, number};
use sternpost_conformance::ledger::round::Rounds;
use sternpost_conformance::power::Disk;
use sternpost_conformance::target::{Kind, Plan, Target};

const SEED: u64 = 5;
/// A server that never syncs is found out within so many rounds.
const FOUND_OUT_WITHIN: u64 = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_loss_loses_nothing() {
    let rounds = number("STERNPOST_POWER_ROUNDS", 3);
    let Some(disk) = disk() else { return };
    let mut target = plan(&disk).start();
    if let Err(wrong) = lose_power(&disk, &mut target, rounds).await {
        panic!("{}", wrong.join("\n"));
    }
}

/// Without this the test above might pass because the disk forgets nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_sync_is_found_out() {
    let Some(disk) = disk() else { return };
    // The empty store is synced, so that what is lost is what was acknowledged.
    plan(&disk).start().stop();
    let mut target = plan(&disk).without_fsync().start();
    let found = lose_power(&disk, &mut target, FOUND_OUT_WITHIN).await;
    let wrong = found.expect_err("a log that is not synced loses what was acknowledged");
    println!("found out: {}", wrong.join("\n"));
}

async fn lose_power(disk: &Disk, target: &mut Target, rounds: u64) -> Result<(), Vec<String>> {
    let mut run = Rounds::new(number("STERNPOST_SEED", SEED));
    let mut restarts = Restarts::default();
    for round in 0..rounds {
        let crash = async |target: &mut Target| {
            disk.lose_power();
            target.kill();
        };
        run.load_and_crash(target, crash).await;
        disk.power_on();
        if run.one_in(3) {
            run.kill_starts(target);
        }
        let took = target.try_restart().map_err(|log| vec![log])?;
        restarts.note(took, target.pid());
        let seen = run.check(target).await?;
        println!("round {round}: restart {took:?}, {seen:?}");
    }
    println!("{restarts}");
    restarts.assert_quick();
    Ok(())
}

fn plan(disk: &Disk) -> Plan {
    // A short log, so that power goes in the middle of flushes and purges too.
    Plan::new(Kind::Sternpost)
        .data_dir(&disk.mount_point().join("data"))
        .flag("--snapshot-count=100")
}

fn disk() -> Option<Disk> {
    match Disk::create() {
        Ok(disk) => Some(disk),
        Err(why) => {
            let required = std::env::var("STERNPOST_POWER").is_ok_and(|word| word == "required");
            assert!(!required, "no disk that can lose power: {why}");
            println!("NOT TESTED: no disk that can lose power here: {why}");
            None
        }
    }
}
