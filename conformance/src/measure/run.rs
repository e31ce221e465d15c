//! One line on one fresh server.

use super::cases::Case;
use super::proc;
use crate::binaries;
use crate::target::{Kind, Plan, Target};
use std::process::{Command, Stdio};

/// What came out. Latencies in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// Operations in a second, as the tool counts.
    pub per_sec: f64,
    /// Median latency.
    pub p50: f64,
    /// 99th percentile, or the last one the tool tells.
    pub p99: f64,
    /// Server CPU per operation, in microseconds.
    pub cpu_us: f64,
    /// Server memory at the end.
    pub rss_mib: f64,
}

/// Starts a server, runs the line, looks, stops it.
///
/// # Panics
/// When the server does not start or the tool fails.
#[must_use]
pub fn sample(kind: Kind, case: &Case) -> Sample {
    let target = Plan::new(kind).start();
    if let Some(arguments) = case.before {
        load(&target, arguments);
    }
    let before = proc::cpu_secs(target.pid());
    let text = load(&target, case.arguments);
    let cpu = proc::cpu_secs(target.pid()) - before;
    Sample {
        cpu_us: cpu * 1e6 / f64::from(case.operations),
        rss_mib: proc::rss_mib(target.pid()),
        ..read(&text)
    }
}

fn load(target: &Target, arguments: &str) -> String {
    let output = Command::new(binaries::benchmark())
        .arg(format!("--endpoints={}", target.endpoint()))
        .args(arguments.split(' '))
        .stderr(Stdio::null())
        .output()
        .expect("the load tool starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments}: {text}");
    text
}

/// The tool prints one summary for each kind of operation; of several, the last is
/// what the line is named for, and rates of all are added.
fn read(text: &str) -> Sample {
    let mut sample = Sample::default();
    for line in text.lines().map(str::trim) {
        if let Some(rate) = line.strip_prefix("Requests/sec:") {
            sample.per_sec += rate.trim().parse().unwrap_or(0.0);
        }
        if let Some((share, time)) = line.split_once("% in ") {
            let time = time.trim_end_matches(" secs.").parse().unwrap_or(0.0) * 1e3;
            match share.parse().unwrap_or(0.0) {
                50.0 => sample.p50 = time,
                99.0 => sample.p99 = time,
                _ => {}
            }
        }
    }
    sample
}

/// The middle one by each number.
///
/// # Panics
/// Without samples.
#[must_use]
pub fn median(samples: &[Sample]) -> Sample {
    let middle = |of: fn(&Sample) -> f64| {
        let mut numbers: Vec<f64> = samples.iter().map(of).collect();
        numbers.sort_by(f64::total_cmp);
        numbers[numbers.len() / 2]
    };
    Sample {
        per_sec: middle(|sample| sample.per_sec),
        p50: middle(|sample| sample.p50),
        p99: middle(|sample| sample.p99),
        cpu_us: middle(|sample| sample.cpu_us),
        rss_mib: middle(|sample| sample.rss_mib),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_read() {
        let text = "  Requests/sec:\t100.5\n  50% in 0.0050 secs.\n  99% in 0.0315 secs.\n";
        let sample = read(text);
        assert!((sample.per_sec - 100.5).abs() < 1e-9);
        assert!((sample.p50 - 5.0).abs() < 1e-9 && (sample.p99 - 31.5).abs() < 1e-9);
    }
}
