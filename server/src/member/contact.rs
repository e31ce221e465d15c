//! How well the leader hears the others: etcd asks that before it lets the
//! members change.

use super::{Member, change::Members};
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::{Instant, MissedTickBehavior};

/// A member that was lost less than this ago may be lost again, as in etcd.
const STEADY_AFTER: Duration = Duration::from_secs(5);

/// How often the leader looks. What is lost and found in between was no loss.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What the leader knows of the others' presence.
pub struct Contacts {
    own: u64,
    others: Mutex<BTreeMap<u64, Contact>>,
}

#[derive(Clone, Copy, Default)]
struct Contact {
    near: bool,
    /// When it was last seen to be out of reach.
    lost_at: Option<Instant>,
}

impl Contacts {
    /// Nobody is known yet.
    pub fn new(own: u64) -> Self {
        Self {
            own,
            others: Mutex::default(),
        }
    }

    /// Whether this member was heard lately.
    pub fn is_near(&self, id: u64) -> bool {
        let others = self.others.lock();
        others.get(&id).is_some_and(|contact| contact.near)
    }

    /// Voters that were there without a break for a while, this member included.
    pub(super) fn steady_voters(
        &self,
        members: Members<'_>,
        now: Instant,
        answers: impl Fn(u64) -> bool,
    ) -> usize {
        let others = self.others.lock();
        let is_steady = |id: u64| {
            id == self.own
                || others.get(&id).is_some_and(|contact| {
                    answers(id)
                        && contact.near
                        && contact.lost_at.is_none_or(|at| now - at >= STEADY_AFTER)
                })
        };
        let voters = members.iter().filter(|(_, record)| !record.is_learner);
        voters.filter(|(id, _)| is_steady(id.0)).count()
    }

    /// Takes in who is near now.
    fn look(&self, near: &BTreeMap<u64, bool>, now: Instant) {
        let mut others = self.others.lock();
        others.retain(|id, _| near.contains_key(id));
        for (&id, &near) in near {
            let contact = others.entry(id).or_default();
            contact.near = near;
            if !near {
                contact.lost_at = Some(now);
            }
        }
    }
}

/// Looks as long as the member runs.
pub(super) async fn run(member: Arc<Member>) {
    let mut leadership = member.node.leadership();
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            changed = leadership.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            _ = ticks.tick() => {}
        }
        member.look_at_contacts();
    }
}

impl Member {
    /// Voters that this leader hears, and heard without a break for a while.
    pub(super) fn steady_voters(&self, members: Members<'_>) -> usize {
        let answers = |id| self.probes.is_active_for(id, STEADY_AFTER);
        self.contacts
            .steady_voters(members, Instant::now(), answers)
    }

    /// A follower hears of nobody but its leader: it knows of no contacts.
    pub fn look_at_contacts(&self) {
        let near_within = self.config.election_timeout;
        let progress = self.node.progress();
        let near = progress.members.iter().map(|(id, other)| {
            let near = other.heard_ago.is_some_and(|ago| ago < near_within);
            (*id, near)
        });
        self.contacts.look(&near.collect(), Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sternpost_proto::internal::MemberRecord;
    use sternpost_storage::MemberId;

    #[test]
    fn who_was_lost_is_steady_again_after_a_while() {
        let contacts = Contacts::new(1);
        let members: Vec<_> = (1..=3)
            .map(|id| (MemberId(id), MemberRecord::default()))
            .collect();
        let now = Instant::now();
        let look = |two, three| contacts.look(&BTreeMap::from([(2, two), (3, three)]), now);
        let steady = |now| contacts.steady_voters(&members, now, |_| true);
        look(true, true);
        assert_eq!(steady(now), 3);
        look(true, false);
        assert!(contacts.is_near(2) && !contacts.is_near(3) && !contacts.is_near(9));
        look(true, true);
        assert_eq!(steady(now), 2);
        let later = now + STEADY_AFTER;
        assert_eq!(steady(later), 3);
        // Near, but its probes fail or are too young.
        assert_eq!(contacts.steady_voters(&members, later, |id| id == 3), 2);
        // No leader any more.
        contacts.look(&BTreeMap::new(), later);
        assert_eq!(steady(later), 1);
    }
}
