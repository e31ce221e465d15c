//! `etcd_network_*` of the other members.

use super::build::{Buckets, Builder, families};
use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};
use std::time::Duration;
use sternpost_raft::Way;

families! {
    /// The other members, as this one hears them.
    Peers {
        /// Whether the leader hears a member, and a follower its leader.
        active: gauges("etcd_network_active_peers", &["Local", "Remote"]);
        /// How often a member was lost.
        disconnected: counters("etcd_network_disconnected_peers_total", &["Local", "Remote"]);
        /// Bytes sent to a member.
        sent_bytes: counters("etcd_network_peer_sent_bytes_total", &["To"]);
        /// Bytes received from a member.
        received_bytes: counters("etcd_network_peer_received_bytes_total", &["From"]);
        /// Connections to a member that could not be made, or broke.
        sent_failures: counters("etcd_network_peer_sent_failures_total", &["To"]);
        /// Time until a member has answered a call of its own.
        round_trip: histograms("etcd_network_peer_round_trip_time_seconds", &["To"], Buckets::Doubling(0.0001, 16));
        /// Whole states on their way to a member.
        states_leaving: gauges("etcd_network_snapshot_send_inflights_total", &["To"]);
        /// Whole states that a member has installed.
        states_sent: counters("etcd_network_snapshot_send_success", &["To"]);
        /// Whole states that did not get to a member.
        states_not_sent: counters("etcd_network_snapshot_send_failures", &["To"]);
        /// Time until a member has installed a whole state.
        state_sending: histograms("etcd_network_snapshot_send_total_duration_seconds", &["To"], Buckets::Doubling(0.1, 10));
        /// Whole states on their way from a member.
        states_coming: gauges("etcd_network_snapshot_receive_inflights_total", &["From"]);
        /// Whole states of a member that were installed.
        states_received: counters("etcd_network_snapshot_receive_success", &["From"]);
        /// Whole states of a member that did not come.
        states_not_received: counters("etcd_network_snapshot_receive_failures", &["From"]);
        /// Time until a whole state of a member was installed.
        state_receiving: histograms("etcd_network_snapshot_receive_total_duration_seconds", &["From"], Buckets::Doubling(0.1, 10));
    }
}

/// What is counted of whole states that go one way.
struct States<'a> {
    under_way: &'a IntGaugeVec,
    arrived: &'a IntCounterVec,
    given_up: &'a IntCounterVec,
    took: &'a HistogramVec,
    /// The other member.
    member: String,
}

impl Peers {
    fn states(&self, way: Way) -> States<'_> {
        match way {
            Way::To(id) => States {
                under_way: &self.states_leaving,
                arrived: &self.states_sent,
                given_up: &self.states_not_sent,
                took: &self.state_sending,
                member: format!("{id:x}"),
            },
            Way::From(id) => States {
                under_way: &self.states_coming,
                arrived: &self.states_received,
                given_up: &self.states_not_received,
                took: &self.state_receiving,
                member: format!("{id:x}"),
            },
        }
    }

    /// A whole state is on its way.
    pub fn state_leaves(&self, way: Way) {
        let states = self.states(way);
        states.under_way.with_label_values(&[&states.member]).inc();
    }

    /// It has arrived after this long, or was given up.
    pub fn state_arrives(&self, way: Way, took: Option<Duration>) {
        let states = self.states(way);
        let member = [&states.member];
        states.under_way.with_label_values(&member).dec();
        match took {
            Some(took) => {
                states.arrived.with_label_values(&member).inc();
                let seconds = states.took.with_label_values(&member);
                seconds.observe(took.as_secs_f64());
            }
            None => states.given_up.with_label_values(&member).inc(),
        }
    }
}
