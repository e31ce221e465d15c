//! A follower that was away for long comes back while writes go on.

use super::budget::{Check, Limit};
use super::options::Options;
use super::paced::{Make, Paced};
use super::proc::{self, Sampler};
use super::report::Section;
use super::values::{self, Content};
use crate::cluster::{Cluster, Plan};
use crate::target::Kind;
use crate::wait;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use sternpost_proto::etcdserverpb as pb;

/// Writes that the follower misses.
const MISSED: u64 = 200_000;
/// Of so many bytes each.
const VALUE: usize = 1024;
/// Different keys among them.
const KEYS: u64 = 50_000;
/// Writes a second while it comes back.
const RATE: u64 = 2000;
/// The same writes before, to compare with.
const WINDOW_SECS: u64 = 10;
/// Writes at once while the follower is away.
const LOADERS: u64 = 64;
/// Nobody takes longer.
const LIMIT: Duration = Duration::from_secs(600);
/// Connections to the leader.
const CONNECTIONS: usize = 10;

/// How the follower gets what it has missed, and the flag that makes it so on both servers.
const WAYS: [(&str, &str); 2] = [
    ("log", "--snapshot-count=10000000"),
    ("snapshot", "--snapshot-count=10000"),
];

/// What one side has shown.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    /// From the start of the process until it has everything.
    took_secs: f64,
    /// Latencies of writes meanwhile.
    p99_ms: f64,
    max_ms: f64,
    /// The same before.
    quiet_p99_ms: f64,
    /// How much more memory the leader took at its peak than before.
    leader_mib: f64,
    /// The follower's peak.
    follower_mib: f64,
}

/// Measures both ways on both servers.
pub async fn section(options: &Options) -> Section {
    let mut text = format!(
        "A follower is killed, misses {} writes of {VALUE} bytes, and is started again under {} writes a second.\n\n\
         | by | server | has all after s | p99 ms | max ms | p99 before ms | leader MiB more | follower MiB |\n\
         |---|---|---|---|---|---|---|---|\n",
        options.keys.unwrap_or(MISSED),
        options.rate.unwrap_or(RATE)
    );
    let mut checks = Vec::new();
    for (way, flag) in WAYS {
        let etcd = measure(Kind::Etcd, flag, options).await;
        let ours = measure(Kind::Sternpost, flag, options).await;
        for (name, side) in [("etcd", etcd), ("sternpost", ours)] {
            println!("catch-up by {way}, {name}: {side:.2?}");
            let _ = writeln!(
                text,
                "| {way} | {name} | {:.1} | {:.2} | {:.1} | {:.2} | {:.0} | {:.0} |",
                side.took_secs,
                side.p99_ms,
                side.max_ms,
                side.quiet_p99_ms,
                side.leader_mib,
                side.follower_mib
            );
        }
        let name = |what: &str| format!("catch-up by {way}: {what}");
        let one = Limit::AtMost(1.0);
        checks.push(Check::ratio(
            &name("p99"),
            ours.p99_ms,
            etcd.p99_ms,
            one,
            one,
        ));
        checks.push(Check::absolute(
            &name("longest put"),
            ours.max_ms,
            " ms",
            Limit::AtMost(1000.0),
        ));
        checks.push(Check::absolute(
            &name("leader's memory"),
            ours.leader_mib,
            " MiB",
            Limit::AtMost(64.0),
        ));
    }
    Section {
        title: "A follower catches up".to_owned(),
        text,
        checks,
    }
}

async fn measure(kind: Kind, flag: &str, options: &Options) -> Sample {
    let mut cluster = Plan::new(kind, 3).flag(flag).start();
    let leader = cluster.wait_leader().await;
    let follower = (leader + 1) % 3;
    cluster.kill(follower);
    fill(&cluster, leader, options.keys.unwrap_or(MISSED), KEYS).await;
    let clients = (0..CONNECTIONS).map(|_| cluster.client(leader)).collect();
    let paced = Paced::over(kind, clients, options.rate.unwrap_or(RATE), writes(KEYS));
    let window = Duration::from_secs(options.secs.unwrap_or(WINDOW_SECS));
    tokio::time::sleep(window).await;
    let quiet_end = Instant::now();
    let pid = cluster.member(leader).pid();
    let before = proc::rss_mib(pid);
    let sampler = Sampler::start(pid);
    let begun = Instant::now();
    cluster.spawn(follower);
    let follower_sampler = Sampler::start(cluster.member(follower).pid());
    wait_caught_up(&cluster, leader, follower).await;
    let took = begun.elapsed();
    // A short way back leaves few writes to judge by.
    tokio::time::sleep(window.saturating_sub(took)).await;
    let end = Instant::now();
    let mut meanwhile = paced.window(begun, end).await;
    let mut quiet = paced.window(quiet_end - window / 2, quiet_end).await;
    paced.finish().await;
    Sample {
        took_secs: took.as_secs_f64(),
        p99_ms: meanwhile.quantile_ms(0.99),
        max_ms: meanwhile.max_ms(),
        quiet_p99_ms: quiet.quantile_ms(0.99),
        leader_mib: sampler.take_peak_mib() - before,
        follower_mib: follower_sampler.take_peak_mib(),
    }
}

/// Until it has applied what the leader had committed when it was asked.
async fn wait_caught_up(cluster: &Cluster, leader: usize, follower: usize) {
    wait::until_async("a follower that has everything", LIMIT, || async {
        let there = cluster.status(leader).await?.raft_index;
        let here = cluster.status(follower).await?.raft_applied_index;
        (here >= there).then_some(())
    })
    .await;
}

/// So many writes to so many keys, as fast as they are answered.
///
/// # Panics
/// When one of them fails.
pub async fn fill(cluster: &Cluster, leader: usize, count: u64, keys: u64) {
    let make = writes(keys);
    let loaders = (0..LOADERS).map(|first| {
        let (mut client, make) = (cluster.client(leader), Arc::clone(&make));
        tokio::spawn(async move {
            let mut number = first;
            while number < count {
                let put = client.kv.put(make(number)).await;
                put.expect("there is a quorum");
                number += LOADERS;
            }
        })
    });
    for loader in loaders.collect::<Vec<_>>() {
        loader.await.expect("a loader never panics");
    }
}

fn writes(keys: u64) -> Make {
    let content = Content {
        kind: values::Kind::Random,
        bytes: VALUE,
        seed: 1,
    };
    Arc::new(move |number| pb::PutRequest {
        key: content.key(number % keys).into(),
        value: content.value(number).into(),
        ..Default::default()
    })
}
