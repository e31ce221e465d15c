//! The lines of the load tool that the budgets are about.

use super::budget::{Check, Limit};
use super::lines::Sample;

/// One line.
pub struct Case {
    /// Its name in tables.
    pub name: &'static str,
    /// Arguments of a run before it, which is not measured: keys to read.
    pub before: Option<&'static str>,
    /// Arguments after the endpoint.
    pub arguments: &'static str,
    /// Operations in it, to share the server's CPU time among.
    pub operations: u32,
    /// The tool sets the pace, so that a rate says nothing.
    pub paced: bool,
    /// What ours (first) is to be beside the reference's.
    pub budgets: fn(&Sample, &Sample) -> Vec<Check>,
}

/// The key space that txn-mixed reads in, full.
const FILL: &str = "--conns=50 --clients=200 put --key-size=8 --sequential-keys --key-space-size=10000 --total=10000 --val-size=256";

/// All of them. The tool's defaults are one connection and one constant value, so each says everything.
pub const CASES: &[Case] = &[
    Case {
        name: "put-1",
        before: None,
        arguments: "--conns=1 --clients=1 put --key-size=8 --sequential-keys --key-space-size=100000 --total=2000 --val-size=256",
        operations: 2000,
        paced: false,
        budgets: |ours, etcd| {
            vec![
                at_most("put-1: p50", ours.p50, etcd.p50, 1.0, 0.8),
                at_most("put-1: p99", ours.p99, etcd.p99, 1.0, 0.8),
                at_most(
                    "put-1: server CPU per op",
                    ours.cpu_us,
                    etcd.cpu_us,
                    0.8,
                    0.63,
                ),
            ]
        },
    },
    Case {
        name: "put-1000",
        before: None,
        arguments: "--conns=100 --clients=1000 put --key-size=8 --sequential-keys --key-space-size=100000 --total=60000 --val-size=256",
        operations: 60_000,
        paced: false,
        budgets: |ours, etcd| {
            let (first, goal) = (Limit::AtLeast(1.3), Limit::AtLeast(2.0));
            vec![
                at_most(
                    "put-1000: server CPU per op",
                    ours.cpu_us,
                    etcd.cpu_us,
                    0.5,
                    0.33,
                ),
                Check::ratio("put-1000: ops/s", ours.per_sec, etcd.per_sec, first, goal),
                at_most("put-1000: p99", ours.p99, etcd.p99, 0.8, 0.5),
            ]
        },
    },
    Case {
        name: "range-lin",
        before: None,
        arguments: "--conns=100 --clients=1000 range k --consistency=l --total=60000",
        operations: 60_000,
        paced: false,
        budgets: |ours, etcd| {
            vec![at_most(
                "range-lin: server CPU per op",
                ours.cpu_us,
                etcd.cpu_us,
                0.5,
                0.33,
            )]
        },
    },
    Case {
        name: "range-ser",
        before: None,
        arguments: "--conns=100 --clients=1000 range k --consistency=s --total=60000",
        operations: 60_000,
        paced: false,
        budgets: |ours, etcd| {
            vec![at_most(
                "range-ser: server CPU per op",
                ours.cpu_us,
                etcd.cpu_us,
                0.5,
                0.33,
            )]
        },
    },
    Case {
        name: "txn-mixed",
        before: Some(FILL),
        arguments: "--conns=50 --clients=200 txn-mixed --total=3000 --rw-ratio=4 --key-space-size=10000 --val-size=256",
        operations: 3000,
        paced: false,
        budgets: |ours, etcd| {
            vec![at_most(
                "txn-mixed: server CPU per op",
                ours.cpu_us,
                etcd.cpu_us,
                0.5,
                0.15,
            )]
        },
    },
    Case {
        name: "txn-put",
        before: None,
        arguments: "--conns=50 --clients=200 txn-put --total=20000 --txn-ops=4 --val-size=128 --key-space-size=10000",
        operations: 20_000,
        paced: false,
        budgets: |ours, etcd| {
            vec![at_most(
                "txn-put: server CPU per op",
                ours.cpu_us,
                etcd.cpu_us,
                0.5,
                0.33,
            )]
        },
    },
    Case {
        name: "lease",
        before: None,
        arguments: "--conns=50 --clients=200 lease-keepalive --total=20000",
        operations: 20_000,
        paced: false,
        budgets: |ours, etcd| {
            vec![at_most(
                "lease: server CPU per op",
                ours.cpu_us,
                etcd.cpu_us,
                0.5,
                0.35,
            )]
        },
    },
    Case {
        name: "watch-lat",
        before: None,
        arguments: "--conns=10 --clients=50 watch-latency --streams=10 --watchers-per-stream=50 --put-total=400 --put-rate=100 --key-size=8 --val-size=64",
        operations: 400,
        paced: true,
        budgets: |ours, etcd| {
            vec![at_most(
                "watch-lat: server CPU per put",
                ours.cpu_us,
                etcd.cpu_us,
                0.5,
                0.2,
            )]
        },
    },
];

fn at_most(what: &str, ours: f64, etcd: f64, first: f64, goal: f64) -> Check {
    let (first, goal) = (Limit::AtMost(first), Limit::AtMost(goal));
    Check::ratio(what, ours, etcd, first, goal)
}
