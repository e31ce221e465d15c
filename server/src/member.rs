//! What the parts of a running member share, and the tasks that run as long
//! as it does.

mod change;
mod leadership;
mod probe;
mod promote;
mod publish;
mod standing;

pub use change::Change;
pub use leadership::LeadershipView;
pub use probe::Probes;
pub use standing::Standing;

use crate::{
    alarms::Quota,
    api::OpenStreams,
    compactor,
    config::Config,
    layers::Gate,
    lease::Leases,
    metrics::Metrics,
    peer::{self, LeaderLink},
    propose::RequestIds,
    read::ReadPool,
};
use futures_util::FutureExt as _;
use std::{panic::AssertUnwindSafe, sync::Arc};
use sternpost_raft::{Identity, RaftNode};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The version of etcd whose behaviour this server has.
pub const ETCD_VERSION: &str = "3.7.1";
/// The version of the whole cluster: major and minor count.
pub const CLUSTER_VERSION: &str = "3.7.0";

impl Gate for Member {
    fn is_learner(&self) -> bool {
        self.standing.is_learner()
    }

    fn has_leader(&self) -> bool {
        self.leadership.has_leader()
    }

    fn absence(&self) -> CancellationToken {
        self.leadership.absence()
    }
}

/// A running member. One per process.
pub struct Member {
    /// Flags as given.
    pub config: Config,
    /// Consensus and state.
    pub node: RaftNode,
    /// Where everything is counted.
    pub metrics: Metrics,
    /// Member and cluster ID.
    pub identity: Identity,
    /// Who leads, at hand without a lock across an await.
    pub leadership: LeadershipView,
    /// What this member is in the cluster.
    pub standing: Arc<Standing>,
    /// Who answers this member.
    pub probes: Probes,
    /// The way to the leader.
    pub leader_link: LeaderLink,
    /// The limit on `dbSize`.
    pub quota: Quota,
    /// The lease clock.
    pub leases: Leases,
    /// Where long reads run.
    pub pool: ReadPool,
    /// Streamed ranges under way.
    pub streams: OpenStreams,
    /// Numbers for commands.
    pub request_ids: RequestIds,
    published: CancellationToken,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

impl Member {
    /// Puts a member together around an open node and starts its tasks on the
    /// runtime this is called from.
    pub fn start(
        config: Config,
        node: RaftNode,
        metrics: Metrics,
        standing: Arc<Standing>,
    ) -> Arc<Self> {
        let identity = node.identity();
        let transport = peer::transport(&config, &metrics);
        let member = Arc::new(Self {
            identity,
            standing,
            probes: Probes::default(),
            leader_link: LeaderLink::new(identity, transport),
            leadership: LeadershipView::new(identity.member_id, node.leadership()),
            quota: Quota::new(config.effective_quota_bytes()),
            leases: Leases::new(&config),
            pool: ReadPool::new(),
            streams: OpenStreams::default(),
            request_ids: RequestIds::new(identity.member_id),
            published: CancellationToken::new(),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
            config,
            node,
            metrics,
        });
        member.look_at_standing();
        member.spawn(leadership::follow(member.clone()));
        member.spawn(leadership::watch_absence(member.clone()));
        member.spawn(probe::run(member.clone()));
        member.spawn(promote::run(member.clone()));
        member.spawn(crate::lease::run(member.clone()));
        member.spawn(compactor::run(member.clone()));
        member.spawn(publish::run(member.clone()));
        member.tasks.close();
        member
    }

    fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        let stopping = self.stopping.clone();
        self.tasks.spawn(async move {
            let task = AssertUnwindSafe(stopping.run_until_cancelled_owned(task));
            // Cut off at an await, a task leaves nothing half done. One that
            // panics met a broken invariant: a member without it, say one
            // that never expires a lease, must not go on.
            if task.catch_unwind().await.is_err() {
                tracing::error!("a task of this member has panicked; the process ends");
                std::process::abort();
            }
        });
    }

    /// Waits until the cluster knows this member's name and URLs: from then on
    /// it serves clients.
    pub async fn wait_published(&self) {
        self.published.cancelled().await;
    }

    /// Whether [`Member::stop`] was called.
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Ends this member's tasks. The node is left to whoever opened it.
    pub async fn stop(&self) {
        self.stopping.cancel();
        self.tasks.wait().await;
    }
}
