//! The lines of the load tool that the budgets are about.

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
    },
    Case {
        name: "put-1000",
        before: None,
        arguments: "--conns=100 --clients=1000 put --key-size=8 --sequential-keys --key-space-size=100000 --total=60000 --val-size=256",
        operations: 60_000,
    },
    Case {
        name: "range-lin",
        before: None,
        arguments: "--conns=100 --clients=1000 range k --consistency=l --total=60000",
        operations: 60_000,
    },
    Case {
        name: "range-ser",
        before: None,
        arguments: "--conns=100 --clients=1000 range k --consistency=s --total=60000",
        operations: 60_000,
    },
    Case {
        name: "txn-mixed",
        before: Some(FILL),
        arguments: "--conns=50 --clients=200 txn-mixed --total=3000 --rw-ratio=4 --key-space-size=10000 --val-size=256",
        operations: 3000,
    },
    Case {
        name: "txn-put",
        before: None,
        arguments: "--conns=50 --clients=200 txn-put --total=20000 --txn-ops=4 --val-size=128 --key-space-size=10000",
        operations: 20_000,
    },
    Case {
        name: "lease",
        before: None,
        arguments: "--conns=50 --clients=200 lease-keepalive --total=20000",
        operations: 20_000,
    },
    Case {
        name: "watch-lat",
        before: None,
        arguments: "--conns=10 --clients=50 watch-latency --streams=10 --watchers-per-stream=50 --put-total=400 --put-rate=100 --key-size=8 --val-size=64",
        operations: 400,
    },
];
