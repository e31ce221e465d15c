//! Simulation: a cluster of real members on one thread, with simulated time,
//! network and disks, driven through faults by a seed.
//!
//! Real are the raft log over files that forget what was not synced, openraft
//! and all tasks around it, the messages and their encoding, the forwarding of
//! commands and reads, the apply worker and the state machine over the store
//! in memory. Not here: gRPC, RocksDB, threads; other suites have them.
//!
//! - `cargo test -p sternpost-raft --test sim`: 200 seeds.
//! - `SEEDS=1-2000 cargo test ...`: these.
//! - `make sim SEED=17`: one, with all that happened in it.
//!
//! Each seed runs in a process of its own, where random bytes and the time are
//! the simulation's, so that a seed always takes the same way: two runs of one
//! seed have the same trace (see `one_seed_twice_takes_the_same_way`).
#![allow(clippy::unwrap_used)]

mod chance;
mod churn;
mod clients;
mod faults;
#[path = "../support/forgetful.rs"]
#[allow(dead_code)]
mod forgetful;
mod host;
mod invariants;
mod member;
mod net;
mod plan;
mod runner;
mod trace;
mod world;

use runner::{Run, run_all, seeds};

/// What a child process runs: one seed.
#[test]
fn one_seed() {
    runner::child();
}

#[test]
fn seeds_keep_every_promise() {
    let seeds = seeds();
    let runs = run_all(&seeds);
    let wrong: Vec<&Run> = runs.iter().filter(|run| run.wrong.is_some()).collect();
    for run in &wrong {
        println!("{}", run.report());
    }
    let answers: u64 = runs.iter().map(|run| run.answers).sum();
    let messages: u64 = runs.iter().map(|run| run.messages).sum();
    println!(
        "{} seeds, {messages} messages, {answers} answers, {} wrong",
        runs.len(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{} seeds went wrong", wrong.len());
    // A cluster that answers nobody keeps every promise.
    let least = runs.len() as u64 * 20;
    assert!(answers >= least, "only {answers} answers");
}

#[test]
fn one_seed_twice_takes_the_same_way() {
    let seeds: Vec<u64> = vec![1, 1, 7, 7, 23, 23];
    let runs = run_all(&seeds);
    for pair in runs.chunks(2) {
        let [first, second] = pair else { continue };
        assert_eq!(
            (&first.trace, first.messages),
            (&second.trace, second.messages),
            "seed {} took another way",
            first.seed
        );
    }
}
