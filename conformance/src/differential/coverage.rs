//! What a run has really exercised.

use super::op::{Op, Reply};
use std::collections::BTreeMap;
use std::fmt;

/// Counts per kind of operation and per refusal.
#[derive(Default)]
pub struct Coverage {
    kinds: BTreeMap<&'static str, (usize, usize)>,
    errors: BTreeMap<String, usize>,
    watched: usize,
    reasons: BTreeMap<String, usize>,
}

impl Coverage {
    /// Takes one operation into account.
    pub fn count(&mut self, op: &Op, reply: &Reply) {
        let (all, refused) = self.kinds.entry(op.kind()).or_default();
        *all += 1;
        match reply {
            Reply::Error(code, text) => {
                *refused += 1;
                *self.errors.entry(format!("{code:?}: {text}")).or_default() += 1;
            }
            Reply::Settled(deliveries, _) => {
                self.watched += deliveries
                    .iter()
                    .map(|delivery| delivery.events.len())
                    .sum::<usize>();
            }
            Reply::Watch(replies) => {
                for reply in replies
                    .iter()
                    .filter(|reply| reply.canceled && reply.created)
                {
                    *self.reasons.entry(reply.cancel_reason.clone()).or_default() += 1;
                }
            }
            _ => {}
        }
    }

    /// Whether a refusal with this text was seen.
    #[must_use]
    pub fn has_error(&self, text: &str) -> bool {
        self.errors
            .keys()
            .chain(self.reasons.keys())
            .any(|seen| seen.ends_with(text))
    }

    /// How often this kind ran.
    #[must_use]
    pub fn of_kind(&self, kind: &str) -> usize {
        self.kinds.get(kind).map_or(0, |(all, _)| *all)
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, (all, refused)) in &self.kinds {
            writeln!(out, "{all:7} {kind} ({refused} refused)")?;
        }
        writeln!(out, "{:7} events compared", self.watched)?;
        for (text, count) in &self.errors {
            writeln!(out, "{count:7} {text}")?;
        }
        for (text, count) in &self.reasons {
            writeln!(out, "{count:7} watch refused: {text}")?;
        }
        Ok(())
    }
}
