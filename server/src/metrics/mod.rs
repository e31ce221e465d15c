//! All metric families, under etcd's names.
//!
//! Hot paths hold ready series: no lookup by label where a request is served.
//! What can be read off the node (revisions, sizes, indexes) is not counted
//! along: `http` sets those gauges when somebody scrapes.

mod build;
mod data;
mod exposition;
mod peers;
mod process;
mod requests;
mod rpc;
mod server;
mod traffic;

pub use data::{Disk, Lease, Mvcc, Watch};
pub use exposition::CONTENT_TYPE;
pub use peers::Peers;
pub use process::Process;
pub use requests::RequestKind;
pub use rpc::{Grpc, Method, Network};
pub use server::Server;
pub use traffic::{Bytes as PeerBytes, End, Traffic};

use crate::config::MetricsLevel;
use build::Builder;
use prometheus::{IntCounterVec, IntGauge, Registry};
use std::{ops::Deref, sync::Arc};

/// All families; cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Families>);

/// The families by what they measure.
pub struct Families {
    /// The server: requests, proposals, leadership, health.
    pub server: Server,
    /// Keys and revisions.
    pub mvcc: Mvcc,
    /// The disk.
    pub disk: Disk,
    /// Leases.
    pub lease: Lease,
    /// Watchers.
    pub watch: Watch,
    /// Calls by method.
    pub grpc: Grpc,
    /// Bytes and streams of the client port.
    pub network: Network,
    /// The other members.
    pub peers: Peers,
    /// Bytes to and from the other members.
    pub traffic: Arc<Traffic>,
    /// This process.
    pub process: Process,
    /// Scrapes by HTTP code.
    scrapes: IntCounterVec,
    scrapes_in_flight: IntGauge,
    registry: Registry,
}

impl Deref for Metrics {
    type Target = Families;

    fn deref(&self) -> &Families {
        &self.0
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(MetricsLevel::Basic)
    }
}

impl Metrics {
    /// All families, at zero.
    pub fn new(level: MetricsLevel) -> Self {
        let registry = Registry::new();
        let add = Builder(&registry);
        data::absent(&add);
        let network = Network::new(&add);
        let families = Families {
            server: Server::new(&add),
            mvcc: Mvcc::new(&add),
            disk: Disk::new(&add),
            lease: Lease::new(&add),
            watch: Watch::new(&add),
            grpc: Grpc::new(&add, &network, level == MetricsLevel::Extensive),
            network,
            peers: Peers::new(&add),
            traffic: Arc::default(),
            process: Process::new(&add),
            scrapes: add.counters(
                "promhttp_metric_handler_requests_total",
                "Scrapes, by HTTP code.",
                &["code"],
            ),
            scrapes_in_flight: add.gauge(
                "promhttp_metric_handler_requests_in_flight",
                "Scrapes in progress.",
            ),
            registry,
        };
        for code in ["200", "500", "503"] {
            families.scrapes.with_label_values(&[code]).inc_by(0);
        }
        Self(Arc::new(families))
    }

    /// Everything as text. The gauges that mirror the node are the caller's
    /// to set beforehand.
    pub fn text(&self) -> String {
        self.scrapes_in_flight.inc();
        self.process.read();
        let text = exposition::text(&self.registry.gather());
        self.scrapes_in_flight.dec();
        self.scrapes.with_label_values(&["200"]).inc();
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn series_appear_with_their_first_observation() {
        let metrics = Metrics::default();
        let has = |name: &str| {
            metrics
                .registry
                .gather()
                .iter()
                .any(|family| family.name() == name)
        };
        assert!(!has("etcd_server_request_duration_seconds"));
        metrics
            .server
            .request_duration
            .observe(RequestKind::Put, true, Duration::from_millis(1));
        assert!(has("etcd_server_request_duration_seconds"));
    }

    #[test]
    fn all_methods_are_known_beforehand() {
        let metrics = Metrics::default();
        let put = metrics.grpc.method("/etcdserverpb.KV/Put").unwrap();
        assert!(!put.streams && put.handling.is_none());
        assert!(
            metrics
                .grpc
                .method("/etcdserverpb.Watch/Watch")
                .unwrap()
                .streams
        );
        assert!(
            metrics.grpc.has_service("v3lockpb.Lock") && !metrics.grpc.has_service("etcdserverpb")
        );
    }
}
