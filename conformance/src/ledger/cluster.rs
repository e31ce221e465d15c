//! Rounds on a cluster: load on all members, some of them killed, and the check.

use super::check::Seen;
use super::load::{self, CLIENTS};
use super::round::Rounds;
use crate::client::Client;
use crate::cluster::Cluster;
use crate::wait;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// So many answers come within this even on a very busy machine.
const LOAD_LIMIT: Duration = Duration::from_secs(90);
/// Answers that must come while members are dead.
const GOES_ON: usize = 150;
/// A put that shows that a member takes part again.
const PART_LIMIT: Duration = Duration::from_secs(60);

/// What the load meets.
pub struct Blow<'a, F> {
    /// Who is hit, if not all.
    pub members: &'a [usize],
    /// What happens to them.
    pub crash: F,
    /// Whether those left are a quorum, so that the load must go on.
    pub goes_on: bool,
}

impl Rounds {
    /// Loads all members, kills some, and returns when the load has gone on without them, or
    /// has ended.
    ///
    /// # Panics
    /// When answers do not come.
    pub async fn load_and_kill<F>(&mut self, cluster: &mut Cluster, blow: Blow<'_, F>)
    where
        F: FnOnce(&mut Cluster),
    {
        let clients: Vec<Client> = (0..cluster.size()).map(|nth| cluster.client(nth)).collect();
        let ledger = self.ledger();
        let stop = Arc::new(AtomicBool::new(false));
        // Whoever is left tells the history.
        let told_by = (0..cluster.size()).find(|nth| !blow.members.contains(nth));
        let follow = tokio::spawn(self.follow(&clients[told_by.unwrap_or(0)]));
        let workers: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let own = usize::try_from(number).expect("workers are few");
                let worker = self.worker(&clients[own % clients.len()], number);
                tokio::spawn(worker.run_on(clients.clone(), Arc::clone(&stop)))
            })
            .collect();
        let enough = ledger.acked() + self.draw(200..800);
        answers(&ledger, enough).await;
        (blow.crash)(cluster);
        if blow.goes_on {
            answers(&ledger, ledger.acked() + GOES_ON).await;
        }
        stop.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.await.expect("a worker never panics");
        }
        follow.abort();
        let _ = follow.await;
        self.next();
    }

    /// Looks at a cluster that is whole again: through one member closely, and at whether
    /// the others have the same.
    ///
    /// # Errors
    /// Every broken promise found.
    ///
    /// # Panics
    /// When a member takes no part, or the members do not become equal.
    pub async fn check_cluster(&mut self, cluster: &Cluster) -> Result<Seen, Vec<String>> {
        let ledger = self.ledger();
        // A write through each member: what was on its way there has arrived by then, or
        // never will.
        for nth in cluster.running() {
            let value = format!("{}-part-{nth}", self.number());
            let mut tries = 0;
            wait::until_async("a member that takes part", PART_LIMIT, || {
                tries += 1;
                let (value, ledger) = (format!("{value}-{tries}"), Arc::clone(&ledger));
                let mut client = cluster.client(nth);
                async move { load::put(&mut client, &ledger, &value).await.ok() }
            })
            .await;
        }
        cluster.wait_equal().await;
        let nth = self.draw(0..cluster.size());
        let seen = self.check_with(&mut cluster.client(nth)).await?;
        cluster.wait_equal().await;
        Ok(seen)
    }
}

async fn answers(ledger: &super::Ledger, enough: usize) {
    wait::until_async("enough answers", LOAD_LIMIT, || async {
        (ledger.acked() >= enough).then_some(())
    })
    .await;
}
