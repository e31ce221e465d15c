//! Members that come and go.

use crate::{
    invariants::Checked,
    member::{Member, node_of},
    world::World,
};
use sternpost_raft::MembershipChange;

/// Members at the same time at most.
const MEMBERS_MAX: usize = 5;
/// Members ever.
const IDS_MAX: u64 = 9;
/// Learners at the same time.
const LEARNERS_MAX: u64 = 2;

impl World {
    /// Asks `target` for some change that is possible now.
    pub fn change_members(&mut self, target: u64) {
        let Some(membership) = self.committed.membership() else {
            return;
        };
        let voters: Vec<u64> = membership.voter_ids().collect();
        let learners: Vec<u64> = membership.learner_ids().collect();
        let all: Vec<u64> = voters.iter().chain(&learners).copied().collect();
        let next = self.highest_id + 1;
        let mut possible = Vec::new();
        if all.len() < MEMBERS_MAX && next <= IDS_MAX {
            possible.extend(["add", "add", "learner"]);
        }
        if !learners.is_empty() {
            possible.extend(["promote", "promote"]);
        }
        if voters.len() > 1 {
            possible.push("remove");
        }
        if possible.is_empty() {
            return;
        }
        let what = self.chance.pick(&possible);
        let change = match what {
            "promote" => MembershipChange::Promote {
                id: self.chance.pick(&learners),
            },
            "remove" => MembershipChange::Remove {
                id: self.chance.pick(&all),
            },
            _ => {
                self.highest_id = next;
                // A second voter is needed for the change that adds it.
                if voters.len() == 1 || self.chance.permille(500) {
                    self.join(next);
                }
                MembershipChange::Add {
                    id: next,
                    peer_urls: node_of(next).peer_urls,
                    learners_max: (what == "learner").then_some(LEARNERS_MAX),
                }
            }
        };
        let member = &self.members[&target];
        let Some((node, runtime)) = member.node().cloned().zip(member.runtime()) else {
            return;
        };
        self.note(format_args!("member {target} is to change: {change:?}"));
        let net = self.net.clone();
        runtime.spawn(async move {
            let made = node.change_membership(change.clone()).await;
            net.with(|inner| inner.note(format_args!("{change:?} on {target}: {made:?}")));
        });
    }

    /// A member to be starts, and waits to be told.
    fn join(&mut self, id: u64) {
        let rate = self.clock_rate();
        self.members.insert(id, Member::new(id, &[], rate));
        let at = self.now + self.chance.between(0, 2_000_000);
        self.starts.insert(id, at);
        self.note(format_args!("member {id} joins"));
    }

    /// Whoever has come into the cluster starts, whoever was removed ends.
    pub fn follow_membership(&mut self) -> Checked {
        let Some(membership) = self.committed.membership() else {
            return Ok(());
        };
        let nodes: Vec<u64> = membership.nodes().map(|(id, _)| *id).collect();
        for id in nodes {
            if !self.members.contains_key(&id) {
                self.join(id);
            }
        }
        for id in self.members.keys().copied().collect::<Vec<_>>() {
            let removed = self.committed.has_removed(id);
            let told = self.members[&id].was_told_of_removal();
            if told && !removed {
                return Err(format!(
                    "member {id} was told that it is removed, and is not"
                ));
            }
            if removed && !self.removals.contains_key(&id) {
                let at = self.now + self.chance.between(0, 5_000_000);
                self.removals.insert(id, at);
            }
            let due = self
                .removals
                .get(&id)
                .is_some_and(|at| *at <= self.now || self.is_calm);
            if removed && (told || due) {
                self.note(format_args!("member {id} ends for good"));
                self.crash(id);
                self.starts.remove(&id);
                self.members.remove(&id);
            }
        }
        Ok(())
    }
}
