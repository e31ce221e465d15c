//! A cluster in one thread and in simulated time: real consensus, log,
//! forwarding and reads; a network and disks that a seed plays with.
//!
//! `SIM_SEED=n` runs one seed, `SIM_SEEDS=n` the first n, `SIM_FROM=n` from
//! there on. A seed replays most often, not always: openraft draws election
//! timeouts from a generator of its own.
#![allow(clippy::unwrap_used)]

mod clients;
mod faults;
#[path = "../support/forgetful.rs"]
#[allow(dead_code)]
mod forgetful;
mod history;
mod invariants;
mod network;
mod world;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Seeds of one run of the tests.
const SEEDS: u64 = 200;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs one seed; what it violates, if anything.
fn run(seed: u64) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let outcome = runtime.block_on(world::run(seed));
    runtime.shutdown_timeout(Duration::ZERO);
    outcome
}

#[test]
fn every_seed_keeps_what_is_promised() {
    let (from, seeds) = match number("SIM_SEED") {
        Some(seed) => (seed, 1),
        None => (
            number("SIM_FROM").unwrap_or(0),
            number("SIM_SEEDS").unwrap_or(SEEDS),
        ),
    };
    let (next, failed) = (AtomicU64::new(from), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds {
                        return;
                    }
                    let outcome = catch_unwind(AssertUnwindSafe(|| run(seed)));
                    match outcome.unwrap_or_else(|_| Err("it panicked".into())) {
                        Ok(summary) => println!("seed {seed}: {summary}"),
                        Err(violation) => {
                            println!("seed {seed}: {violation}");
                            failed.lock().unwrap().push(seed);
                        }
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    for seed in &failed {
        println!("replay: SIM_SEED={seed} cargo test -p sternpost-raft --test sim -- --nocapture");
    }
    assert!(
        failed.is_empty(),
        "{} of {seeds} seeds: {failed:?}",
        failed.len()
    );
}
