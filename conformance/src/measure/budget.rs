//! Targets, and whether they were met.

use std::fmt::Write as _;

/// What a number is held against.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// It may not be more.
    AtMost(f64),
    /// It may not be less.
    AtLeast(f64),
}

impl Limit {
    /// Whether the number keeps it. A number that is missing does not.
    #[must_use]
    pub fn met(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }

    fn text(self, unit: &str) -> String {
        match self {
            Self::AtMost(limit) => format!("<= {limit}{unit}"),
            Self::AtLeast(limit) => format!(">= {limit}{unit}"),
        }
    }
}

/// A number with its first target and its goal.
#[derive(Clone, Debug)]
pub struct Check {
    /// What was measured.
    pub what: String,
    /// The number: a ratio to the reference's, or ours alone.
    pub value: f64,
    /// `x` for ratios.
    pub unit: &'static str,
    /// To be met first.
    pub first: Option<Limit>,
    /// To be met in the end.
    pub goal: Option<Limit>,
}

impl Check {
    /// Ours as a multiple of the reference's.
    #[must_use]
    pub fn ratio(what: &str, ours: f64, etcd: f64, first: Limit, goal: Limit) -> Self {
        Self {
            what: what.to_owned(),
            value: ours / etcd,
            unit: "x",
            first: Some(first),
            goal: Some(goal),
        }
    }

    /// A number of ours with one limit.
    #[must_use]
    pub fn absolute(what: &str, value: f64, unit: &'static str, first: Limit) -> Self {
        Self {
            what: what.to_owned(),
            value,
            unit,
            first: Some(first),
            goal: None,
        }
    }
}

/// All of them as a table, and a line that counts.
#[must_use]
pub fn table(checks: &[Check]) -> String {
    if checks.is_empty() {
        return String::new();
    }
    let mut text = "\n| budget | measured | first target | goal |\n|---|---:|---|---|\n".to_owned();
    for check in checks {
        let _ = writeln!(
            text,
            "| {} | {}{} | {} | {} |",
            check.what,
            number(check.value),
            check.unit,
            verdict(check, check.first),
            verdict(check, check.goal)
        );
    }
    let (first, goal) = (
        count(checks, |check| check.first),
        count(checks, |check| check.goal),
    );
    let _ = writeln!(
        text,
        "\nFirst targets met: {} of {}. Goals met: {} of {}.",
        first.0, first.1, goal.0, goal.1
    );
    text
}

fn verdict(check: &Check, limit: Option<Limit>) -> String {
    limit.map_or_else(String::new, |limit| {
        let met = if limit.met(check.value) {
            "met"
        } else {
            "**missed**"
        };
        format!("{}: {met}", limit.text(check.unit))
    })
}

fn count(checks: &[Check], limit: impl Fn(&Check) -> Option<Limit>) -> (usize, usize) {
    let with: Vec<_> = checks
        .iter()
        .filter_map(|check| Some((limit(check)?, check.value)))
        .collect();
    let met = with.iter().filter(|(limit, value)| limit.met(*value));
    (met.count(), with.len())
}

/// Two digits behind the point below ten, none above a hundred; three where ratios get small.
#[must_use]
pub fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_target_is_said() {
        let close = Check::ratio("put", 4.0, 10.0, Limit::AtMost(0.5), Limit::AtMost(0.33));
        let rate = Check::absolute("rate", 3.0, "/s", Limit::AtLeast(2.0));
        let text = table(&[close, rate]);
        assert!(text.contains("| put | 0.40x | <= 0.5x: met | <= 0.33x: **missed** |"));
        assert!(text.contains("| rate | 3.00/s | >= 2/s: met |  |"));
        assert!(text.contains("First targets met: 2 of 2. Goals met: 0 of 1."));
        assert!(
            !Limit::AtMost(1.0).met(f64::NAN),
            "nothing measured is not met"
        );
    }
}
