//! What one member takes for committed never changes, and is the same on all.

use super::Checked;
use crate::member::{Member, entries};
use std::collections::BTreeMap;
use sternpost_raft::types::{Entry, EntryPayload, Membership};

/// One committed entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fixed {
    pub term: u64,
    content: Vec<u8>,
}

/// The committed log, as first seen.
#[derive(Default)]
pub struct Committed {
    log: Vec<Fixed>,
    memberships: BTreeMap<u64, Membership>,
    /// Up to where each member has been compared: per life.
    seen: BTreeMap<(u64, u64), u64>,
}

fn content(entry: &Entry) -> Vec<u8> {
    match &entry.payload {
        EntryPayload::Blank => Vec::new(),
        EntryPayload::Normal(data) => data.encoded().to_vec(),
        EntryPayload::Membership(membership) => format!("{membership:?}").into_bytes(),
    }
}

impl Committed {
    pub fn entries(&self) -> &[Fixed] {
        &self.log
    }

    /// The membership in force at the entry.
    pub fn membership_at(&self, index: u64) -> Option<&Membership> {
        let (_, membership) = self.memberships.range(..=index).next_back()?;
        Some(membership)
    }

    /// The newest membership that is committed.
    pub fn membership(&self) -> Option<&Membership> {
        self.memberships.values().next_back()
    }

    /// Whether the member belonged to the cluster once, and does no more.
    pub fn has_removed(&self, id: u64) -> bool {
        let holds = |membership: &Membership| membership.get_node(&id).is_some();
        self.memberships.values().any(holds) && !self.membership().is_some_and(holds)
    }

    /// Compares what the member has newly committed; the indexes nobody had
    /// committed before.
    pub fn look(&mut self, member: &Member) -> Result<std::ops::Range<u64>, String> {
        let before = self.log.len() as u64;
        let Some((process, node)) = member.process.as_ref().zip(member.node()) else {
            return Ok(before..before);
        };
        let log = process.log.log();
        let committed = node.status().committed_index.min(log.range().end);
        let seen = self.seen.entry((member.id, member.life)).or_default();
        let from = (*seen).max(log.range().start);
        if from >= committed {
            return Ok(before..before);
        }
        if from > before {
            // It begins behind what anybody has seen: nothing to compare with.
            return Ok(before..before);
        }
        *seen = committed;
        for entry in entries(log, from..committed) {
            self.compare(member.id, &entry)?;
        }
        Ok(before..self.log.len() as u64)
    }

    fn compare(&mut self, member: u64, entry: &Entry) -> Checked {
        let index = entry.log_id.index;
        let found = Fixed {
            term: entry.log_id.leader_id.term,
            content: content(entry),
        };
        match self.log.get(index as usize) {
            None => {
                if let EntryPayload::Membership(membership) = &entry.payload {
                    self.memberships.insert(index, membership.clone());
                }
                self.log.push(found);
                Ok(())
            }
            Some(known) if *known == found => Ok(()),
            Some(known) => Err(format!(
                "member {member} has committed an entry of term {} at {index}; another has one of term {} there",
                found.term, known.term
            )),
        }
    }
}
