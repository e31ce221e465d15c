//! `grpc_server_*` and the bytes of the client port.

use super::build::{Buckets, Builder, families};
use prometheus::{Histogram, IntCounter, IntCounterVec};
use prost::Message as _;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// gRPC codes as the label spells them, by number.
pub const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// One method's series.
pub struct Method {
    /// `/package.Service/Method`.
    pub path: String,
    /// Either side sends more than one message.
    pub streams: bool,
    /// Both sides do: it ends only when somebody ends it.
    pub is_dialogue: bool,
    /// Calls started.
    pub started: IntCounter,
    /// Calls done, by code.
    pub handled: [IntCounter; CODES.len()],
    /// Messages received.
    pub received: IntCounter,
    /// Messages sent.
    pub sent: IntCounter,
    /// Time of a call; with `--metrics=extensive` only.
    pub handling: Option<Histogram>,
    /// Bytes of gRPC messages received, of all methods.
    pub received_bytes: IntCounter,
    /// Bytes of gRPC messages sent, of all methods.
    pub sent_bytes: IntCounter,
}

/// All methods, by path.
pub struct Grpc {
    methods: HashMap<String, Arc<Method>>,
    services: HashSet<String>,
}

impl Grpc {
    /// The series of `/package.Service/Method`.
    pub fn method(&self, path: &str) -> Option<&Arc<Method>> {
        self.methods.get(path)
    }

    /// Whether a service of this name (`package.Service`) exists.
    pub fn has_service(&self, service: &str) -> bool {
        self.services.contains(service)
    }

    pub(super) fn new(add: &Builder<'_>, network: &Network, extensive: bool) -> Self {
        let labels = ["grpc_type", "grpc_service", "grpc_method"];
        let started = add.counters("grpc_server_started_total", "RPCs started.", &labels);
        let received = add.counters(
            "grpc_server_msg_received_total",
            "Messages received.",
            &labels,
        );
        let sent = add.counters("grpc_server_msg_sent_total", "Messages sent.", &labels);
        let handled = add.counters(
            "grpc_server_handled_total",
            "RPCs done, by code.",
            &["grpc_type", "grpc_service", "grpc_method", "grpc_code"],
        );
        let handling = extensive.then(|| {
            add.histograms(
                "grpc_server_handling_seconds",
                "Time of an RPC.",
                &labels,
                Buckets::Usual,
            )
        });
        let known = known_methods();
        let services = known.iter().map(|(service, ..)| service.clone()).collect();
        let methods = known
            .into_iter()
            .map(|(service, name, kind)| {
                let values = [kind, service.as_str(), name.as_str()];
                let series = |family: &IntCounterVec| family.with_label_values(&values);
                let path = format!("/{service}/{name}");
                let method = Method {
                    path: path.clone(),
                    started: series(&started),
                    handled: CODES
                        .map(|code| handled.with_label_values(&[kind, &service, &name, code])),
                    received: series(&received),
                    sent: series(&sent),
                    handling: handling
                        .as_ref()
                        .map(|family| family.with_label_values(&values)),
                    streams: kind != "unary",
                    is_dialogue: kind == "bidi_stream",
                    received_bytes: network.client_received_bytes.clone(),
                    sent_bytes: network.client_sent_bytes.clone(),
                };
                (path, Arc::new(method))
            })
            .collect();
        Self { methods, services }
    }
}

/// The package of what members say to each other.
const PEERS: &str = "sternpost.internal";

/// Service, method and type of every call of clients, health included.
fn known_methods() -> Vec<(String, String, &'static str)> {
    let files = prost_types::FileDescriptorSet::decode(sternpost_proto::DESCRIPTORS)
        .expect("the descriptors are ours");
    let mut methods = Vec::new();
    let clients = files.file.iter().filter(|file| file.package() != PEERS);
    for file in clients {
        for service in &file.service {
            let name = format!("{}.{}", file.package(), service.name());
            for method in &service.method {
                let kind = match (method.client_streaming(), method.server_streaming()) {
                    (false, false) => "unary",
                    (true, false) => "client_stream",
                    (false, true) => "server_stream",
                    (true, true) => "bidi_stream",
                };
                methods.push((name.clone(), method.name().to_owned(), kind));
            }
        }
    }
    for (method, kind) in [
        ("Check", "unary"),
        ("List", "unary"),
        ("Watch", "server_stream"),
    ] {
        methods.push(("grpc.health.v1.Health".to_owned(), method.to_owned(), kind));
    }
    methods
}

families! {
    /// `etcd_network_*` of the client port.
    Network {
        /// Bytes of gRPC messages received.
        client_received_bytes: counter("etcd_network_client_grpc_received_bytes_total");
        /// Bytes of gRPC messages sent.
        client_sent_bytes: counter("etcd_network_client_grpc_sent_bytes_total");
        /// Streams that broke, by direction (receive, send) and API (watch, lease-keepalive).
        stream_failures: counters("etcd_network_server_stream_failures_total", &["Type", "API"]);
    }
}
