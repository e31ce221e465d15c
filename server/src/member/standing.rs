//! What this member is in the cluster: voter, learner, or removed.

use super::Member;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use sternpost_storage::MemberId;
use tokio_util::sync::CancellationToken;

/// What this member is. Read for each call, so it must be cheap.
#[derive(Debug, Default)]
pub struct Standing {
    learner: AtomicBool,
    removed: CancellationToken,
}

impl Standing {
    /// It serves little: no vote yet.
    pub fn is_learner(&self) -> bool {
        self.learner.load(Relaxed)
    }

    /// The cluster has removed it for good.
    pub fn set_removed(&self) {
        self.removed.cancel();
    }

    /// Waits until the cluster removes this member.
    pub async fn removed(&self) {
        self.removed.cancelled().await;
    }
}

impl Member {
    /// Looks again after a change of the members.
    pub fn look_at_standing(&self) {
        let own = MemberId(self.identity.member_id);
        let view = self.node.reads().view();
        let record = view.members().iter().find(|(id, _)| *id == own);
        let learner = record.is_some_and(|(_, record)| record.is_learner);
        if self.standing.learner.swap(learner, Relaxed) && record.is_some() && !learner {
            tracing::info!("this member votes from now on");
        }
        if view.is_removed_member(own) {
            self.standing.set_removed();
        }
    }
}
