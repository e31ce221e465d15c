//! Three local members of each server in turn: puts through all of them, reads on followers.

use super::budget::{Check, Limit};
use super::lines::{self, Sample};
use super::options::Options;
use super::proc;
use super::report::Section;
use crate::cluster::{Cluster, Plan};
use crate::target::Kind;
use std::fmt::Write as _;

const MEMBERS: usize = 3;
/// Keys that are read.
const FILL: &str = "--conns=50 --clients=200 put --key-size=8 --sequential-keys --key-space-size=10000 --total=10000 --val-size=256";

/// One line of the load tool.
struct Line {
    name: &'static str,
    arguments: &'static str,
    operations: u32,
    /// Asks followers alone.
    followers: bool,
}

const LINES: [Line; 4] = [
    Line {
        name: "put-1",
        arguments: "--conns=1 --clients=1 put --key-size=8 --sequential-keys --key-space-size=100000 --total=10000 --val-size=256",
        operations: 10_000,
        followers: false,
    },
    Line {
        name: "put-1000",
        arguments: "--conns=100 --clients=1000 put --key-size=8 --sequential-keys --key-space-size=100000 --total=60000 --val-size=256",
        operations: 60_000,
        followers: false,
    },
    Line {
        name: "range-followers",
        arguments: "--conns=50 --clients=200 range 00000000 --total=40000 --consistency=l",
        operations: 40_000,
        followers: true,
    },
    Line {
        name: "range-followers-serializable",
        arguments: "--conns=50 --clients=200 range 00000000 --total=40000 --consistency=s",
        operations: 40_000,
        followers: true,
    },
];

/// Measures all lines, A B A B.
pub async fn section(options: &Options) -> Section {
    let rounds = options.rounds.unwrap_or(3);
    let mut samples = LINES.map(|_| [Vec::new(), Vec::new()]);
    for round in 1..=rounds {
        for (side, kind) in [Kind::Etcd, Kind::Sternpost].into_iter().enumerate() {
            let cluster = Plan::new(kind, MEMBERS).start();
            let leader = cluster.wait_leader().await;
            lines::load(&cluster.endpoints(), FILL);
            for (line, samples) in LINES.iter().zip(&mut samples) {
                let sample = measure(&cluster, leader, line);
                println!("{} round {round} {}: {sample:.2?}", line.name, kind.name());
                samples[side].push(sample);
            }
        }
    }
    let middle = |samples: &[Vec<Sample>; 2]| {
        let [etcd, ours] = samples;
        (lines::middle(etcd), lines::middle(ours))
    };
    let middles: Vec<(Sample, Sample)> = samples.iter().map(middle).collect();
    Section {
        title: "Three members".to_owned(),
        text: table(&middles, rounds),
        checks: checks(&middles),
    }
}

fn measure(cluster: &Cluster, leader: usize, line: &Line) -> Sample {
    let all = 0..cluster.size();
    let asked = all.filter(|nth| !(line.followers && *nth == leader));
    let endpoints: Vec<&str> = asked.map(|nth| cluster.endpoint(nth)).collect();
    let pids: Vec<u32> = (0..cluster.size())
        .map(|nth| cluster.member(nth).pid())
        .collect();
    let cpu = || -> f64 { pids.iter().map(|pid| proc::cpu_secs(*pid)).sum() };
    let before = cpu();
    let text = lines::load(&endpoints.join(","), line.arguments);
    let cpu = cpu() - before;
    Sample {
        cpu_us: cpu * 1e6 / f64::from(line.operations),
        rss_mib: pids.iter().map(|pid| proc::rss_mib(*pid)).sum(),
        ..lines::read(&text)
    }
}

fn checks(middles: &[(Sample, Sample)]) -> Vec<Check> {
    let mut checks = Vec::new();
    for (line, (etcd, ours)) in LINES.iter().zip(middles) {
        let name = |what: &str| format!("three members, {}: {what}", line.name);
        let ratio =
            |what: &str, ours, etcd, limit| Check::ratio(&name(what), ours, etcd, limit, limit);
        let least = if line.name == "put-1000" { 1.2 } else { 1.0 };
        checks.push(ratio(
            "CPU of all members per op",
            ours.cpu_us,
            etcd.cpu_us,
            Limit::AtMost(0.7),
        ));
        checks.push(ratio(
            "ops/s",
            ours.per_sec,
            etcd.per_sec,
            Limit::AtLeast(least),
        ));
        checks.push(ratio("p99", ours.p99, etcd.p99, Limit::AtMost(1.0)));
    }
    checks
}

fn table(middles: &[(Sample, Sample)], rounds: usize) -> String {
    let mut text = format!(
        "Three members on one machine, each server in turn, {rounds} rounds, medians. CPU and memory are those of \
         all three members; puts go to all of them, reads to the two followers.\n\n\
         | line | server | ops/s | p50 ms | p99 ms | CPU us/op | RSS MiB |\n|---|---|---|---|---|---|---|\n"
    );
    for (line, (etcd, ours)) in LINES.iter().zip(middles) {
        for (name, sample) in [("etcd", etcd), ("sternpost", ours)] {
            let _ = writeln!(
                text,
                "| {} | {name} | {:.0} | {:.2} | {:.2} | {:.0} | {:.0} |",
                line.name, sample.per_sec, sample.p50, sample.p99, sample.cpu_us, sample.rss_mib
            );
        }
    }
    text
}
