//! Asks the other members now and then whether they are there, as etcd does for
//! its metrics. A removed member hears of it at the latest this way.

use super::Member;
use futures_util::future::join_all;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use sternpost_proto::internal::{ProbeRequest, duties_client::DutiesClient};
use tokio::time::{MissedTickBehavior, timeout};
use tonic::{Code, transport::Channel};

/// How often: a removed member should not go on for long.
const PROBE_EVERY: Duration = Duration::from_secs(2);
/// A member that takes longer is not there.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Who answers this member.
#[derive(Default)]
pub struct Probes {
    /// Since when members have answered each probe; `None` for one that did
    /// not answer the last.
    since: Mutex<BTreeMap<u64, Option<Instant>>>,
    links: Mutex<BTreeMap<u64, Link>>,
}

impl Probes {
    /// Every other member, and whether it answered the last probe.
    pub fn active(&self) -> Vec<(u64, bool)> {
        let since = self.since.lock();
        let active = since.iter().map(|(id, since)| (*id, since.is_some()));
        active.collect()
    }

    /// Whether a member has answered every probe for so long.
    pub fn is_active_for(&self, id: u64, time: Duration) -> bool {
        let since = self.since.lock().get(&id).copied().flatten();
        since.is_some_and(|since| since.elapsed() >= time)
    }

    /// Notes a probe's outcome; whether the member has just been lost.
    fn note(&self, id: u64, active: bool) -> bool {
        let mut all = self.since.lock();
        let since = all.entry(id).or_default();
        let was_active = since.is_some();
        *since = active.then(|| since.unwrap_or_else(Instant::now));
        was_active && !active
    }
}

/// A connection for probes alone.
struct Link {
    urls: Vec<String>,
    client: DutiesClient<Channel>,
}

/// Probes as long as the member runs.
pub(super) async fn run(member: Arc<Member>) {
    let mut ticks = tokio::time::interval(PROBE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        member.probe_all().await;
    }
}

impl Member {
    /// Asks all other members now.
    pub async fn probe_all(&self) {
        let probes = self.probed().into_iter();
        join_all(probes.map(|(id, client)| self.probe(id, client))).await;
    }

    /// The other members, by connections to where they are now.
    fn probed(&self) -> Vec<(u64, DutiesClient<Channel>)> {
        let view = self.node.reads().view();
        let own = self.identity.member_id;
        let others = || view.members().iter().filter(|(id, _)| id.0 != own);
        let is_member = |id: &u64| others().any(|(known, _)| known.0 == *id);
        let mut links = self.probes.links.lock();
        links.retain(|id, _| is_member(id));
        self.probes.since.lock().retain(|id, _| is_member(id));
        for (id, record) in others() {
            let known = links.get(&id.0);
            if known.is_none_or(|link| link.urls != record.peer_urls) {
                let client = DutiesClient::new(self.leader_link.connection(&record.peer_urls));
                let urls = record.peer_urls.clone();
                links.insert(id.0, Link { urls, client });
            }
        }
        let clients = links.iter().map(|(id, link)| (*id, link.client.clone()));
        clients.collect()
    }

    async fn probe(&self, id: u64, mut client: DutiesClient<Channel>) {
        let request = self.leader_link.request(id, ProbeRequest {});
        let begun = Instant::now();
        let answered = timeout(ANSWER_MAX, client.probe(request)).await;
        let active = matches!(answered, Ok(Ok(_)));
        if let Ok(Err(refusal)) = &answered
            && refusal.code() == Code::PermissionDenied
        {
            self.standing.set_removed();
        }
        let (local, remote) = (format!("{:x}", self.identity.member_id), format!("{id:x}"));
        let peers = &self.metrics.peers;
        if active {
            let round_trip = peers.round_trip.with_label_values(&[remote.as_str()]);
            round_trip.observe(begun.elapsed().as_secs_f64());
        } else {
            peers
                .sent_failures
                .with_label_values(&[remote.as_str()])
                .inc();
        }
        if self.probes.note(id, active) {
            let losses = &peers.disconnected;
            losses.with_label_values(&[local.as_str(), &remote]).inc();
            tracing::warn!(member = remote, "lost contact with a member");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_lost_begins_anew() {
        let probes = Probes::default();
        assert!(!probes.note(2, false), "it was never there");
        assert!(!probes.note(2, true));
        assert!(probes.is_active_for(2, Duration::ZERO));
        assert!(!probes.is_active_for(2, Duration::from_secs(60)));
        let since = probes.since.lock()[&2];
        assert!(!probes.note(2, true));
        assert_eq!(probes.since.lock()[&2], since);
        assert!(probes.note(2, false) && !probes.note(2, false));
        assert!(!probes.is_active_for(2, Duration::ZERO));
        assert_eq!(probes.active(), [(2, false)]);
    }
}
