//! Members that get their vote by themselves: those that were to have one from
//! the start, and, where a flag asks for it, learners.

use super::{Change, Member};
use std::{sync::Arc, time::Duration};
use tokio::time::MissedTickBehavior;

/// How often the leader looks for learners that are ready.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A member that lacks no more entries than this is ready: what it takes in a
/// tenth of a second. etcd's rule alone would do with a tenth of the log missing.
const LAG_MAX: u64 = 5000;

/// Promotes as long as the member runs and leads.
pub(super) async fn run(member: Arc<Member>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if member.leadership.leading_term().is_none() {
            continue;
        }
        for id in ready(&member) {
            let promoted = member.change_members_here(&Change::Promote { id }).await;
            if let Err(error) = promoted {
                let waiting = format!("{id:x}");
                tracing::warn!(waiting, error = error.text(), "it does not vote yet");
            }
        }
    }
}

/// Members to be promoted that have said their name and are near the end of the log.
fn ready(member: &Member) -> Vec<u64> {
    let view = member.node.reads().view();
    let learners_too = member.config.sternpost_promote_learners;
    let waiting = view.members().iter().filter(|(_, record)| {
        let waits = record.is_joining || learners_too && record.is_learner;
        waits && !record.name.is_empty()
    });
    let waiting: Vec<u64> = waiting.map(|(id, _)| id.0).collect();
    if waiting.is_empty() {
        return waiting;
    }
    let progress = member.node.progress();
    let is_near = |id: &u64| {
        progress.members.get(id).is_some_and(|waiting| {
            progress.last_index.saturating_sub(waiting.matched_index) <= LAG_MAX
        })
    };
    waiting.into_iter().filter(is_near).collect()
}
