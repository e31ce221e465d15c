//! The same random operations to ours and to the reference.
//!
//! `STERNPOST_SEEDS` (`7` or `1-20`, default `1-4`) and `STERNPOST_OPS` (per seed,
//! default 5000) choose how many.

use sternpost_conformance::differential::{self, coverage::Coverage};
use sternpost_conformance::target::{Kind, Plan};

/// Each must have come up in a run of the default length.
const REFUSALS: [&str; 18] = [
    "etcdserver: key is not provided",
    "etcdserver: key not found",
    "etcdserver: value is provided",
    "etcdserver: lease is provided",
    "etcdserver: too many operations in txn request",
    "etcdserver: duplicate key given in txn request",
    "etcdserver: invalid client api version",
    "etcdserver: invalid sort option",
    "etcdserver: mvcc: required revision has been compacted",
    "etcdserver: mvcc: required revision is a future revision",
    "etcdserver: mvcc: database space exceeded",
    "etcdserver: requested lease not found",
    "etcdserver: lease already exists",
    "etcdserver: too large lease TTL",
    "etcdserver: corrupt cluster",
    "etcdserver: request is too large",
    "mvcc: watcher range is empty",
    "mvcc: duplicate watch ID provided on the WatchStream",
];
/// Below this a run is a replay of one difference, and its coverage says nothing.
const COVERAGE_FROM: usize = 15_000;

#[tokio::test]
async fn the_reference_does_not_differ_from_itself() {
    compare(Kind::Etcd, 99..=99, 1500).await;
}

#[tokio::test]
async fn sternpost_does_not_differ_from_the_reference() {
    let (from, to) = seeds();
    compare(Kind::Sternpost, from..=to, ops()).await;
}

async fn compare(kind: Kind, seeds: std::ops::RangeInclusive<u64>, ops: usize) {
    let mut coverage = Coverage::default();
    let mut reports = Vec::new();
    let total = seeds.clone().count() * ops;
    for seed in seeds {
        let one = Plan::new(kind).without_fsync().start();
        let other = Plan::new(Kind::Etcd).without_fsync().start();
        let run = differential::run(seed, ops, [&one, &other], &mut coverage);
        if let Err(difference) = run.await {
            reports.push(difference.report());
            for target in [&one, &other] {
                reports.push(format!("{} logged:\n{}", target.name(), target.log_tail()));
            }
        }
    }
    println!("{coverage}");
    assert!(reports.is_empty(), "{}", reports.join("\n\n"));
    if total >= COVERAGE_FROM {
        for text in REFUSALS {
            assert!(coverage.has_error(text), "never refused with: {text}");
        }
    }
}

fn seeds() -> (u64, u64) {
    let text = std::env::var("STERNPOST_SEEDS").unwrap_or_else(|_| "1-4".to_owned());
    let (from, to) = text.split_once('-').unwrap_or((&text, &text));
    let number = |text: &str| text.parse().expect("STERNPOST_SEEDS is N or N-M");
    (number(from), number(to))
}

fn ops() -> usize {
    let text = std::env::var("STERNPOST_OPS").unwrap_or_else(|_| "5000".to_owned());
    text.parse().expect("STERNPOST_OPS is a number")
}
