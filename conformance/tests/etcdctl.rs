//! The unmodified etcdctl 3.7.1 prints for ours what it prints for the reference.

use sternpost_conformance::etcdctl;
use sternpost_conformance::target::{Kind, Plan, Target};

#[test]
fn keys() {
    same(include_str!("../scripts/kv.txt"));
}

#[test]
fn transactions() {
    same(include_str!("../scripts/txn.txt"));
}

#[test]
fn watches() {
    same(include_str!("../scripts/watch.txt"));
}

#[test]
fn leases() {
    same(include_str!("../scripts/lease.txt"));
}

#[test]
fn maintenance() {
    same(include_str!("../scripts/maintenance.txt"));
}

#[test]
fn alarms() {
    let start = |kind| Plan::new(kind).flag("--quota-backend-bytes=1").start();
    same_on(
        include_str!("../scripts/alarm.txt"),
        &start(Kind::Sternpost),
        &start(Kind::Etcd),
    );
}

/// A minute of light load, as the tool defines it; it wants an empty server.
#[test]
fn check_perf() {
    same("check perf --load=s\n");
}

#[test]
fn progress_is_notified() {
    let start = |kind| {
        Plan::new(kind)
            .flag("--watch-progress-notify-interval=1s")
            .start()
    };
    same_on(
        "put a 1\nput b 1\nwatch a --progress-notify until 2 lines\nwatch a --progress-notify -w json until 1 lines\n",
        &start(Kind::Sternpost),
        &start(Kind::Etcd),
    );
}

fn same(script: &str) {
    same_on(
        script,
        &Target::fresh(Kind::Sternpost),
        &Target::fresh(Kind::Etcd),
    );
}

fn same_on(script: &str, ours: &Target, reference: &Target) {
    let differences = etcdctl::differences(script, [ours, reference]);
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences.join("\n")
    );
}
