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
use sternpost_raft::peer::Caller;
use tokio::time::{MissedTickBehavior, timeout};
use tonic::{Code, Request, transport::Channel};

/// How often: a removed member should not go on for long.
const PROBE_EVERY: Duration = Duration::from_secs(2);
/// A member that takes longer is not there.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Since when members have answered each probe; `None` for one that did not
/// answer the last.
#[derive(Default)]
pub struct Probes(Mutex<BTreeMap<u64, Option<Instant>>>);

impl Probes {
    /// Every other member, and whether it is there.
    pub fn active(&self) -> Vec<(u64, bool)> {
        let probes = self.0.lock();
        let active = probes.iter().map(|(id, since)| (*id, since.is_some()));
        active.collect()
    }

    /// Whether a member has answered every probe for so long.
    pub fn is_active_for(&self, id: u64, time: Duration) -> bool {
        let probes = self.0.lock();
        let since = probes.get(&id).copied().flatten();
        since.is_some_and(|since| since.elapsed() >= time)
    }

    /// Notes a probe's outcome; whether the member has just been lost.
    fn note(&self, id: u64, active: bool) -> bool {
        let mut probes = self.0.lock();
        let since = probes.entry(id).or_default();
        let was_active = since.is_some();
        *since = active.then(|| since.unwrap_or_else(Instant::now));
        was_active && !active
    }

    fn keep(&self, is_member: impl Fn(u64) -> bool) {
        self.0.lock().retain(|id, _| is_member(*id));
    }
}

/// A connection for probes alone.
struct Link {
    urls: Vec<String>,
    client: DutiesClient<Channel>,
}

/// Probes as long as the member runs.
pub(super) async fn run(member: Arc<Member>) {
    let mut links: BTreeMap<u64, Link> = BTreeMap::new();
    let mut ticks = tokio::time::interval(PROBE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        member.renew_links(&mut links);
        let probes = links
            .iter()
            .map(|(id, link)| member.probe(*id, link.client.clone()));
        join_all(probes).await;
    }
}

impl Member {
    fn renew_links(&self, links: &mut BTreeMap<u64, Link>) {
        let view = self.node.reads().view();
        let own = self.identity.member_id;
        let others = || view.members().iter().filter(|(id, _)| id.0 != own);
        let is_member = |id: u64| others().any(|(known, _)| known.0 == id);
        links.retain(|id, _| is_member(*id));
        self.probes.keep(is_member);
        for (id, record) in others() {
            let known = links.get(&id.0);
            if known.is_none_or(|link| link.urls != record.peer_urls) {
                let client = DutiesClient::new(self.leader_link.connection(&record.peer_urls));
                let urls = record.peer_urls.clone();
                links.insert(id.0, Link { urls, client });
            }
        }
    }

    async fn probe(&self, id: u64, mut client: DutiesClient<Channel>) {
        let identity = self.identity;
        let mut request = Request::new(ProbeRequest {});
        Caller::new(identity.cluster_id, identity.member_id, id).write(request.metadata_mut());
        let begun = Instant::now();
        let answered = timeout(ANSWER_MAX, client.probe(request)).await;
        let active = matches!(answered, Ok(Ok(_)));
        if let Ok(Err(refusal)) = &answered
            && refusal.code() == Code::PermissionDenied
        {
            self.standing.set_removed();
        }
        let (local, remote) = (format!("{:x}", identity.member_id), format!("{id:x}"));
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
