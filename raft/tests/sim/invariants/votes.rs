//! A vote that was given is kept across restarts, unless the term got another
//! leader meanwhile.

use super::Checked;
use crate::member::Member;
use std::collections::BTreeMap;

#[derive(Default)]
pub struct Votes(BTreeMap<u64, (u64, u64)>);

impl Votes {
    /// `member` has voted for `node` in `term`.
    pub fn granted(&mut self, member: u64, term: u64, node: u64) -> Checked {
        let last = self.0.entry(member).or_insert((term, node));
        if last.0 == term && last.1 != node {
            return Err(format!(
                "member {member} has voted for {} and for {node} in term {term}",
                last.1
            ));
        }
        *last = (*last).max((term, node));
        Ok(())
    }

    /// `member` has just been started again.
    pub fn check(&self, member: &Member) -> Checked {
        let Some(process) = &member.process else {
            return Ok(());
        };
        let Some((term, node)) = self.0.get(&member.id) else {
            return Ok(());
        };
        let kept = process.recovered.vote.map(|vote| {
            (
                vote.leader_id.term,
                vote.leader_id.voted_for,
                vote.committed,
            )
        });
        let is_kept = kept.is_some_and(|(kept, voted, leads)| {
            kept > *term || (kept == *term && (voted == *node || leads))
        });
        if is_kept {
            return Ok(());
        }
        Err(format!(
            "member {} had voted for {node} in term {term}, and starts with the vote {kept:?}",
            member.id
        ))
    }
}
