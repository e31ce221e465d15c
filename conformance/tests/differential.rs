//! The same random operations to ours and to the reference.
//!
//! `STERNPOST_SEEDS` (`7` or `1-100`, default `1-20`) and `STERNPOST_OPS` (per seed,
//! default 5000) choose how many.

use std::ops::RangeInclusive;
use std::sync::Mutex;
use sternpost_conformance::differential::{self, coverage::Coverage};
use sternpost_conformance::target::{Kind, Plan};

/// Seeds run side by side: a step often waits for a server that waits for its own timer.
const LANES: usize = 2;
/// From so many operations on, everything listed must have come up once.
const ONCE_FROM: u64 = 100_000;
/// And from so many on, a hundred times.
const OFTEN_FROM: u64 = 1_000_000;
const OFTEN: u64 = 100;

#[test]
fn the_reference_does_not_differ_from_itself() {
    compare(Kind::Etcd, 99..=99, 1500);
}

#[test]
fn sternpost_does_not_differ_from_the_reference() {
    let (from, to) = seeds();
    compare(Kind::Sternpost, from..=to, ops());
}

fn compare(kind: Kind, seeds: RangeInclusive<u64>, ops: usize) {
    let seeds = Mutex::new(seeds);
    let mut coverage = Coverage::default();
    let mut reports = Vec::new();
    std::thread::scope(|scope| {
        let lanes = [(); LANES].map(|()| scope.spawn(|| lane(kind, &seeds, ops)));
        for lane in lanes {
            let (counted, differences) = lane.join().expect("a lane does not panic");
            coverage.add(counted);
            reports.extend(differences);
        }
    });
    println!("{coverage}");
    assert!(reports.is_empty(), "{}", reports.join("\n\n"));
    let times = match coverage.operations() {
        OFTEN_FROM.. => OFTEN,
        ONCE_FROM.. => 1,
        _ => 0,
    };
    let missing = coverage.missing(times);
    assert!(
        missing.is_empty(),
        "came up fewer than {times} times:\n{}",
        missing.join("\n")
    );
}

/// One seed after the other. A server ends with the thread that started it, so a
/// lane is a thread.
fn lane(kind: Kind, seeds: &Mutex<RangeInclusive<u64>>, ops: usize) -> (Coverage, Vec<String>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime needs a few file descriptors");
    let next = || seeds.lock().expect("no lane panics").next();
    let mut coverage = Coverage::default();
    let mut reports = Vec::new();
    while let Some(seed) = next() {
        let one = Plan::new(kind).without_fsync().start();
        let other = Plan::new(Kind::Etcd).without_fsync().start();
        let run = differential::run(seed, ops, [&one, &other], &mut coverage);
        if let Err(difference) = runtime.block_on(run) {
            reports.push(difference.report());
            for target in [&one, &other] {
                reports.push(format!("{} logged:\n{}", target.name(), target.log_tail()));
            }
            // One difference is enough to go and mend.
            break;
        }
    }
    (coverage, reports)
}

fn seeds() -> (u64, u64) {
    let text = std::env::var("STERNPOST_SEEDS").unwrap_or_else(|_| "1-20".to_owned());
    let (from, to) = text.split_once('-').unwrap_or((&text, &text));
    let number = |text: &str| text.parse().expect("STERNPOST_SEEDS is N or N-M");
    (number(from), number(to))
}

fn ops() -> usize {
    let text = std::env::var("STERNPOST_OPS").unwrap_or_else(|_| "5000".to_owned());
    text.parse().expect("STERNPOST_OPS is a number")
}
