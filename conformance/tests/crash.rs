//! SIGTERM, and kill -9 under everything at once, also of starts, defragments and compactions; restart, and
//! everything that was promised is there.
//!
//! `STERNPOST_ROUNDS` (default 8) rounds on one data directory; `STERNPOST_RESTART_MS`
//! (default 20000) is what a restart may take at most, from exec to healthy.

use sternpost_conformance::ledger::check;
use sternpost_conformance::ledger::restarts::{Restarts, number};
use sternpost_conformance::ledger::round::Rounds;
use sternpost_conformance::target::{Kind, Plan, Target};

const SEED: u64 = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_loses_nothing() {
    let rounds = number("STERNPOST_ROUNDS", 8);
    let mut run = Rounds::new(number("STERNPOST_SEED", SEED));
    // A short log, so that snapshots, flushes and purges are killed too.
    let plan = Plan::new(Kind::Sternpost).flag("--snapshot-count=200");
    let mut target = plan.start();
    let mut restarts = Restarts::default();
    let (mut hashes, mut expired, mut unknown) = (0, 0, 0);
    for round in 0..rounds {
        run.load_and_crash(&mut target, async |target| target.kill())
            .await;
        if run.one_in(4) {
            // Twice in a row: what the first crash left is not looked at in between.
            target.restart();
            run.load_and_crash(&mut target, async |target| target.kill())
                .await;
        }
        if run.one_in(3) {
            run.kill_starts(&mut target);
        }
        let took = match target.try_restart() {
            Ok(took) => took,
            Err(log) => panic!("round {round}: does not restart:\n{log}"),
        };
        restarts.note(took, target.pid());
        let checked = run.check(&target).await;
        let seen = check::report(&format!("round {round}, restart {took:?}"), checked);
        hashes += seen.hashes;
        expired += seen.found.expired;
        unknown += seen.found.unknown_done;
    }
    let seen = check::report("at the end", run.check_expiries(&target).await);
    expired += seen.found.expired;
    // A crash of a server that nobody uses, so that there is a hash to compare.
    target.kill();
    target.restart();
    hashes += check::report("after the last crash", run.check(&target).await).hashes;
    println!(
        "{restarts}; {hashes} hashes, {expired} expiries, {unknown} unanswered operations that happened"
    );
    assert!(hashes > 0, "no hash was compared");
    assert!(expired > 0, "no lease ended by itself");
    restarts.assert_quick();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_loses_nothing_and_ends_as_the_reference_does() {
    let mut ends = Vec::new();
    for kind in [Kind::Sternpost, Kind::Etcd] {
        let mut run = Rounds::new(SEED + 1);
        let mut target = Target::fresh(kind);
        run.load_and_crash(&mut target, async |target| ends.push(target.stop()))
            .await;
        target.restart();
        check::report(target.name(), run.check(&target).await);
    }
    assert_eq!(ends[0], ends[1], "exit status or signal");
}
