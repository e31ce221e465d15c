//! A joint configuration that its leader left behind: the next leader brings
//! it to its end. Changes are made one voter at a time without such a state,
//! but one that is found must not last.

use crate::{membership, node::Leadership, runtime::stopped, state_machine::Raft};
use openraft::async_runtime::watch::WatchReceiver as _;
use std::time::Duration;
use tokio::sync::watch;

/// The rest between attempts.
const REST: Duration = Duration::from_secs(1);

/// The task on the raft thread.
pub(crate) struct JointEnd {
    pub(crate) raft: Raft,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) stop: watch::Receiver<bool>,
}

impl JointEnd {
    /// Runs until stopped.
    pub(crate) async fn run(mut self) {
        let mut stop = self.stop.clone();
        tokio::select! {
            () = stopped(&mut stop) => {}
            () = self.follow() => {}
        }
    }

    async fn follow(&mut self) {
        loop {
            let leads = |leadership: &Leadership| leadership.leads;
            if self.leadership.wait_for(leads).await.is_err() {
                return;
            }
            if self.finish().await {
                let lost = |leadership: &Leadership| !leadership.leads;
                if self.leadership.wait_for(lost).await.is_err() {
                    return;
                }
            } else {
                tokio::time::sleep(REST).await;
            }
        }
    }

    /// Whether there is no joint configuration any more.
    async fn finish(&self) -> bool {
        let membership = {
            let metrics = self.raft.server_metrics();
            metrics.borrow_watched().membership_config.clone()
        };
        let Some(target) = membership::joint_target(&membership) else {
            return true;
        };
        tracing::info!("finishing the change of membership of the leader before");
        let finished = self.raft.change_membership(target, false).await;
        finished
            .inspect_err(|error| tracing::warn!("the change is not finished: {error}"))
            .is_ok()
    }
}
