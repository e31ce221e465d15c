//! Learners that get their vote by themselves, where a flag asks for it.

use super::{Change, Member};
use std::{sync::Arc, time::Duration};
use tokio::time::MissedTickBehavior;

/// How often the leader looks for learners that are ready.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A learner that lacks no more entries than this is ready: etcd's rule alone
/// would do with a tenth of the log missing.
const LAG_MAX: u64 = 100;

/// Promotes as long as the member runs and leads.
pub(super) async fn run(member: Arc<Member>) {
    if !member.config.sternpost_promote_learners {
        return;
    }
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
                let learner = format!("{id:x}");
                tracing::warn!(
                    learner,
                    error = error.text(),
                    "a learner is not promoted yet"
                );
            }
        }
    }
}

/// Learners that have said their name and are near the end of the log.
fn ready(member: &Member) -> Vec<u64> {
    let progress = member.node.progress();
    let view = member.node.reads().view();
    let learners = view
        .members()
        .iter()
        .filter(|(_, record)| record.is_learner && !record.name.is_empty());
    learners
        .map(|(id, _)| id.0)
        .filter(|id| {
            progress.members.get(id).is_some_and(|learner| {
                progress.last_index.saturating_sub(learner.matched_index) <= LAG_MAX
            })
        })
        .collect()
}
