//! `etcd_network_*` of the other members.

use super::build::{Buckets, Builder, families};

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
    }
}
