//! How long nobody can write when the leader dies.

use super::Cluster;
use std::fmt;
use std::time::{Duration, Instant};
use sternpost_proto::etcdserverpb as pb;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// A probe starts so often at each member that is left: a client that waits for an answer
/// that does not come would measure its own patience.
const PROBE_EVERY: Duration = Duration::from_millis(10);
/// Without a write after this there will be none.
const LIMIT: Duration = Duration::from_secs(60);

/// Times from the death of a leader to the next write.
#[derive(Debug, Default)]
pub struct Gaps {
    took: Vec<Duration>,
}

impl Gaps {
    /// Kills the leader, waits for a write, and starts it again.
    ///
    /// # Panics
    /// When no write comes, or a member does not come back.
    pub async fn kill_the_leader(&mut self, cluster: &mut Cluster) {
        let leader = cluster.wait_leader().await;
        // The cluster is at work when it happens.
        probe(cluster, leader, Instant::now()).await;
        let begun = Instant::now();
        cluster.kill(leader);
        self.took.push(probe(cluster, leader, begun).await);
        cluster.start(leader);
        cluster.wait_equal().await;
    }

    /// The middle one.
    #[must_use]
    pub fn median(&self) -> Duration {
        let mut sorted = self.took.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }

    /// The longest.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.took.iter().max().copied().unwrap_or_default()
    }
}

impl fmt::Display for Gaps {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shortest = self.took.iter().min().copied().unwrap_or_default();
        write!(
            out,
            "{} leaders killed: next write after {} ms at least, {} in the middle, {} at most",
            self.took.len(),
            shortest.as_millis(),
            self.median().as_millis(),
            self.longest().as_millis()
        )
    }
}

/// Puts to every member but one until the first answer; how long after `begun` it came.
async fn probe(cluster: &Cluster, without: usize, begun: Instant) -> Duration {
    let others = (0..cluster.size()).filter(|nth| *nth != without);
    let clients: Vec<_> = others.map(|nth| cluster.client(nth).kv).collect();
    let mut answers = JoinSet::new();
    let mut next = tokio::time::interval(PROBE_EVERY);
    next.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = next.tick() => {
                assert!(begun.elapsed() < LIMIT, "nobody can write");
                for client in &clients {
                    let mut client = client.clone();
                    answers.spawn(async move {
                        let request = pb::PutRequest {
                            key: "probe".into(),
                            ..Default::default()
                        };
                        client.put(request).await.is_ok().then(Instant::now)
                    });
                }
            }
            Some(Ok(Some(at))) = answers.join_next() => return at - begun,
        }
    }
}
