//! What a run has really exercised: per message its fields and the kinds of values
//! they had, per comparison and order their combinations, per refusal its text.
//! What is listed must have come up; see [`Coverage::missing`].

mod answers;
mod errors;
mod housekeeping;
mod kv;
mod tally;
mod watch;

pub use errors::NOT_REACHED;
pub use tally::Now;

use super::op::{Op, Reply};
use std::collections::BTreeMap;
use std::fmt;
use tally::Tally;

/// Counts of everything listed, and of whatever else was seen.
pub struct Coverage {
    kinds: BTreeMap<&'static str, (u64, u64)>,
    tally: Tally,
    refusals: BTreeMap<String, u64>,
    events: u64,
}

impl Default for Coverage {
    fn default() -> Self {
        let mut tally = Tally::default();
        kv::list(&mut tally);
        housekeeping::list(&mut tally);
        watch::list(&mut tally);
        answers::list(&mut tally);
        errors::list(&mut tally);
        Self {
            kinds: BTreeMap::new(),
            tally,
            refusals: BTreeMap::new(),
            events: 0,
        }
    }
}

impl Coverage {
    /// Takes one operation and its answer into account.
    pub fn count(&mut self, op: &Op, reply: &Reply, now: Now) {
        let (all, refused) = self.kinds.entry(op.kind()).or_default();
        *all += 1;
        *refused += u64::from(reply.is_error());
        kv::count(&mut self.tally, op, now);
        housekeeping::count(&mut self.tally, op, now);
        watch::count(&mut self.tally, op, now);
        self.events += answers::count(&mut self.tally, op, reply);
        for text in errors::of(reply) {
            errors::count(&mut self.tally, &text);
            *self.refusals.entry(text).or_default() += 1;
        }
    }

    /// Adds what another run has counted.
    pub fn add(&mut self, other: Self) {
        for (kind, (all, refused)) in other.kinds {
            let mine = self.kinds.entry(kind).or_default();
            *mine = (mine.0 + all, mine.1 + refused);
        }
        for (text, count) in other.refusals {
            *self.refusals.entry(text).or_default() += count;
        }
        self.tally.add(&other.tally);
        self.events += other.events;
    }

    /// All operations counted.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.kinds.values().map(|(all, _)| all).sum()
    }

    /// What is listed and came up fewer than `times` times.
    #[must_use]
    pub fn missing(&self, times: u64) -> Vec<String> {
        let items = self.tally.items();
        let rare = items.filter(|(.., count)| *count < times);
        rare.map(|(message, class, count)| format!("{message} {class}: {count}"))
            .collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "operations ({} in all):", self.operations())?;
        for (kind, (all, refused)) in &self.kinds {
            writeln!(out, "{all:9} {kind} ({refused} refused)")?;
        }
        writeln!(out, "{:9} events compared", self.events)?;
        let mut heading = "";
        for (message, class, count) in self.tally.items() {
            if message != heading {
                heading = message;
                writeln!(out, "{message}:")?;
            }
            writeln!(out, "{count:9} {class}")?;
        }
        writeln!(out, "refusals as they came:")?;
        for (text, count) in &self.refusals {
            writeln!(out, "{count:9} {text}")?;
        }
        let counts = || self.tally.items().map(|(.., count)| count);
        writeln!(
            out,
            "listed: {}, the rarest came up {} times; texts out of reach: {}",
            counts().count(),
            counts().min().unwrap_or(0),
            NOT_REACHED.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests that no operation sends, and why.
    const NOT_SENT: [(&str, &str); 7] = [
        ("Auth", "authentication is not built yet"),
        ("MemberAdd", "one member"),
        ("MemberRemove", "one member"),
        ("MemberUpdate", "one member"),
        ("MemberPromote", "one member"),
        ("Snapshot", "not built yet"),
        ("DowngradeVersionTest", "between tests of etcd only"),
    ];
    /// Not requests of a client, or a frame whose parts are listed by themselves.
    const FRAMES: [&str; 2] = ["LeaseCheckpointRequest", "WatchRequest"];

    /// Every field of every request that is sent has at least one class.
    #[test]
    fn every_field_of_a_request_is_listed() {
        let table = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../proto/tests/data/messages.tsv"
        );
        let table = std::fs::read_to_string(table).expect("the table is part of the workspace");
        let coverage = Coverage::default();
        let listed: Vec<(&str, &str)> = coverage
            .tally
            .items()
            .map(|(message, class, _)| (message, class))
            .collect();
        for line in table.lines().skip(1) {
            let mut columns = line.split('\t').skip(1);
            let (message, field) = (columns.next(), columns.next());
            let (message, field) = message.zip(field).expect("message and field");
            let request =
                message.ends_with("Request") || ["Compare", "RequestOp"].contains(&message);
            let sent = !NOT_SENT.iter().any(|(name, _)| {
                message.starts_with(name)
                    && !["AuthStatusRequest", "AuthenticateRequest"].contains(&message)
            });
            let ours = line.starts_with("etcdserverpb") && !FRAMES.contains(&message);
            if !(request && sent && ours) || field == "-" {
                continue;
            }
            let class = format!("{field}:");
            assert!(
                listed
                    .iter()
                    .any(|(of, name)| *of == message && name.starts_with(&class)),
                "{message}.{field} has no class"
            );
        }
    }
}
