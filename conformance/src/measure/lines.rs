//! etcd's own load tool against both servers in turn.

use super::budget::number;
use super::cases::{CASES, Case};
use super::options::Options;
use super::proc;
use super::report::Section;
use super::stats::{Of, median};
use crate::binaries;
use crate::target::{Kind, Plan};
use std::fmt::Write as _;
use std::process::{Command, Stdio};

/// What came out. Latencies in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// Operations in a second, as the tool counts.
    pub per_sec: f64,
    /// Median latency.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile; of few operations the slowest.
    pub p999: f64,
    /// Server CPU per operation, in microseconds.
    pub cpu_us: f64,
    /// Server memory at the end.
    pub rss_mib: f64,
    /// What its data directory takes at the end.
    pub disk_mib: f64,
}

/// Column headings and what stands in them.
const COLUMNS: [(&str, Of<Sample>); 7] = [
    ("ops/s", |sample| sample.per_sec),
    ("p50 ms", |sample| sample.p50),
    ("p99 ms", |sample| sample.p99),
    ("p99.9 ms", |sample| sample.p999),
    ("CPU us/op", |sample| sample.cpu_us),
    ("RSS MiB", |sample| sample.rss_mib),
    ("disk MiB", |sample| sample.disk_mib),
];

/// Runs the lines that are wanted; nothing when none is.
#[must_use]
pub fn section(options: &Options) -> Option<Section> {
    let rounds = options.rounds.unwrap_or(3);
    let wants = |case: &&Case| options.wants(case.name) || options.wants("lines");
    let cases: Vec<&Case> = CASES.iter().filter(wants).collect();
    let rows: Vec<_> = cases
        .into_iter()
        .map(|case| {
            let (etcd, ours) = measure(case, rounds);
            (case, etcd, ours)
        })
        .collect();
    if rows.is_empty() {
        return None;
    }
    Some(Section {
        title: "Lines of etcd's load tool".to_owned(),
        text: table(&rows, rounds),
        checks: rows
            .iter()
            .flat_map(|(case, etcd, ours)| (case.budgets)(ours, etcd))
            .collect(),
    })
}

/// A B A B: what else the machine does hits both.
fn measure(case: &Case, rounds: usize) -> (Sample, Sample) {
    let mut samples = [Vec::new(), Vec::new()];
    for round in 1..=rounds {
        for (side, kind) in [Kind::Etcd, Kind::Sternpost].into_iter().enumerate() {
            let sample = sample(kind, case);
            println!("{} round {round} {}: {sample:.2?}", case.name, kind.name());
            samples[side].push(sample);
        }
    }
    (middle(&samples[0]), middle(&samples[1]))
}

/// Starts a server, runs the line, looks, stops it.
fn sample(kind: Kind, case: &Case) -> Sample {
    let target = Plan::new(kind).start();
    if let Some(arguments) = case.before {
        load(target.endpoint(), arguments);
    }
    let before = proc::cpu_secs(target.pid());
    let text = load(target.endpoint(), case.arguments);
    let cpu = proc::cpu_secs(target.pid()) - before;
    Sample {
        cpu_us: cpu * 1e6 / f64::from(case.operations),
        rss_mib: proc::rss_mib(target.pid()),
        disk_mib: proc::disk_mib(target.data_dir()),
        ..read(&text)
    }
}

/// Runs the tool against endpoints with commas between, and returns what it prints.
pub(super) fn load(endpoints: &str, arguments: &str) -> String {
    let output = Command::new(binaries::benchmark())
        .arg(format!("--endpoints={endpoints}"))
        .arg("--precise")
        .args(arguments.split(' '))
        .stderr(Stdio::null())
        .output()
        .expect("the load tool starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments}: {text}");
    // It counts refused operations, and is content.
    assert!(!text.contains("Error distribution"), "{arguments}: {text}");
    text
}

/// The tool prints one summary for each kind of operation; of several, the last is
/// what the line is named for, and rates of all are added.
pub(super) fn read(text: &str) -> Sample {
    let mut sample = Sample::default();
    for line in text.lines().map(str::trim) {
        if let Some(rate) = line.strip_prefix("Requests/sec:") {
            sample.per_sec += rate.trim().parse().unwrap_or(0.0);
        }
        if let Some(time) = line.strip_prefix("Slowest:") {
            // Percentiles that few operations do not have are not printed.
            let slowest = millis(time);
            (sample.p50, sample.p99, sample.p999) = (slowest, slowest, slowest);
        }
        if let Some((share, time)) = line.split_once("% in ") {
            match share.parse().unwrap_or(0.0) {
                50.0 => sample.p50 = millis(time),
                99.0 => sample.p99 = millis(time),
                99.9 => sample.p999 = millis(time),
                _ => {}
            }
        }
    }
    sample
}

fn millis(text: &str) -> f64 {
    let secs: f64 = text
        .trim()
        .trim_end_matches(" secs.")
        .parse()
        .unwrap_or(0.0);
    secs * 1e3
}

/// The middle one by each number.
pub(super) fn middle(samples: &[Sample]) -> Sample {
    let middle = |of: fn(&Sample) -> f64| median(&samples.iter().map(of).collect::<Vec<_>>());
    Sample {
        per_sec: middle(|sample| sample.per_sec),
        p50: middle(|sample| sample.p50),
        p99: middle(|sample| sample.p99),
        p999: middle(|sample| sample.p999),
        cpu_us: middle(|sample| sample.cpu_us),
        rss_mib: middle(|sample| sample.rss_mib),
        disk_mib: middle(|sample| sample.disk_mib),
    }
}

/// Medians of both servers, and the ratio of ours to the reference's.
fn table(rows: &[(&Case, Sample, Sample)], rounds: usize) -> String {
    let heads: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
    let mut text = format!(
        "Medians of {rounds} rounds, etcd and Sternpost in turn, a fresh server with default flags for each; server CPU is \
         user and system time. The load tool runs on the same cores. watch-lat: latency of an event at one of 500 \
         watchers, CPU of a put to all of them.\n\n| line | server | {} |\n|---|---|{}\n",
        heads.join(" | "),
        "---:|".repeat(heads.len())
    );
    for (case, etcd, ours) in rows {
        let hidden = |name: &str| case.paced && name == "ops/s";
        for (server, sample) in [("etcd", etcd), ("Sternpost", ours)] {
            let _ = write!(text, "| {} | {server} |", case.name);
            for (name, of) in COLUMNS {
                let cell = if hidden(name) {
                    String::new()
                } else {
                    number(of(sample))
                };
                let _ = write!(text, " {cell} |");
            }
            text.push('\n');
        }
        let _ = write!(text, "| {} | **ratio** |", case.name);
        for (name, of) in COLUMNS {
            let cell = if hidden(name) {
                String::new()
            } else {
                format!("**{}x**", number(of(ours) / of(etcd)))
            };
            let _ = write!(text, " {cell} |");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_read() {
        let text = "  Slowest:\t0.0920 secs.\n  Requests/sec:\t100.5\n  50% in 0.0050 secs.\n  99% in 0.0315 secs.\n";
        let sample = read(text);
        assert!((sample.per_sec - 100.5).abs() < 1e-9);
        assert!((sample.p50 - 5.0).abs() < 1e-9 && (sample.p99 - 31.5).abs() < 1e-9);
        assert!((sample.p999 - 92.0).abs() < 1e-9, "the slowest stands in");
    }
}
