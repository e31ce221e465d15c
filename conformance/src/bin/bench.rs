//! Runs the reference's load tool against the reference and ours in turn.
//!
//! `bench [--out FILE] [--rounds N] [--only NAME,NAME]`: prints each sample as it
//! comes, and writes a table of medians to FILE between the marks it finds there
//! (or as the whole file).

use std::fs;
use sternpost_conformance::measure::cases::{CASES, Case};
use sternpost_conformance::measure::run::{self, Sample};
use sternpost_conformance::measure::table;
use sternpost_conformance::target::Kind;

/// What is between these lines is ours to replace.
const MARKS: (&str, &str) = ("<!-- bench: begin -->", "<!-- bench: end -->");

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let rounds = value("--rounds").map_or(3, |text| text.parse().expect("--rounds N"));
    let only = value("--only");
    let chosen = |case: &&Case| {
        let names = only.as_deref().map(|names| names.split(','));
        names.is_none_or(|mut names| names.any(|name| name == case.name))
    };
    let mut rows = Vec::new();
    for case in CASES.iter().filter(chosen) {
        let (etcd, ours) = measure(case, rounds);
        rows.push((case.name, etcd, ours));
    }
    let table = table::markdown(&rows, rounds);
    println!("\n{table}");
    if let Some(file) = value("--out") {
        let old = fs::read_to_string(&file).unwrap_or_default();
        fs::write(&file, merged(&old, &table)).expect("--out can be written");
    }
}

/// A B A B: what else the machine does hits both.
fn measure(case: &Case, rounds: usize) -> (Sample, Sample) {
    let mut samples = [Vec::new(), Vec::new()];
    for round in 1..=rounds {
        for (side, kind) in [Kind::Etcd, Kind::Sternpost].into_iter().enumerate() {
            let sample = run::sample(kind, case);
            println!("{} round {round} {}: {sample:.2?}", case.name, kind.name());
            samples[side].push(sample);
        }
    }
    (run::median(&samples[0]), run::median(&samples[1]))
}

fn merged(old: &str, table: &str) -> String {
    let (begin, end) = MARKS;
    match (old.split_once(begin), old.split_once(end)) {
        (Some((before, _)), Some((_, after))) => {
            format!("{before}{begin}\n{table}{end}{after}")
        }
        _ if old.is_empty() => format!("# Benchmarks\n\n{begin}\n{table}{end}\n"),
        _ => format!("{old}\n{begin}\n{table}{end}\n"),
    }
}
