//! The result as a table in Markdown.

use super::run::Sample;
use std::fmt::Write as _;

/// Medians of both servers, and the ratio of ours to the reference's.
#[must_use]
pub fn markdown(rows: &[(&str, Sample, Sample)], rounds: usize) -> String {
    let mut text = format!(
        "Medians of {rounds} rounds, etcd and Sternpost in turn on one machine, a fresh server for each line; \
         server CPU is user and system time per operation. The load tool runs on the same cores.\n\n\
         | line | server | ops/s | p50 ms | p99 ms | CPU us/op | RSS MiB |\n\
         |---|---|---:|---:|---:|---:|---:|\n"
    );
    for (name, etcd, ours) in rows {
        for (server, sample) in [("etcd 3.7.1", etcd), ("Sternpost", ours)] {
            let _ = writeln!(
                text,
                "| {name} | {server} | {:.0} | {:.2} | {:.2} | {:.1} | {:.0} |",
                sample.per_sec, sample.p50, sample.p99, sample.cpu_us, sample.rss_mib
            );
        }
        let _ = writeln!(
            text,
            "| {name} | **ratio** | {} | {} | {} | {} | {} |",
            ratio(ours.per_sec, etcd.per_sec),
            ratio(ours.p50, etcd.p50),
            ratio(ours.p99, etcd.p99),
            ratio(ours.cpu_us, etcd.cpu_us),
            ratio(ours.rss_mib, etcd.rss_mib)
        );
    }
    text
}

fn ratio(ours: f64, theirs: f64) -> String {
    if theirs > 0.0 {
        format!("**{:.2}x**", ours / theirs)
    } else {
        "-".to_owned()
    }
}
