//! The lines of a server's life, as etcd words them, and the metrics that
//! never change.

use crate::{
    bootstrap::DataDir,
    cli,
    config::{Config, Notice, Stage, Url, join_urls},
    logging::FATAL,
    member::{ETCD_VERSION, Member},
    metrics::Metrics,
    transport::Listener,
};
use sternpost_raft::Identity;
use tokio::signal::unix::SignalKind;

/// Warnings that the flags gave rise to.
pub fn notices(notices: &[Notice]) {
    for notice in notices {
        let text = &notice.text;
        match &notice.field {
            None => tracing::warn!("{text}"),
            Some(("name", value)) => tracing::warn!(name = value, "{text}"),
            Some(("path", value)) => tracing::warn!(path = value, "{text}"),
            Some(("key", value)) => tracing::warn!(key = value, "{text}"),
            Some((_, value)) => tracing::warn!("environment-variable" = value, "{text}"),
        }
    }
}

/// Why the flags make no server.
pub fn refusal(why: &Notice) {
    let text = &why.text;
    match &why.field {
        Some(("error", error)) => tracing::warn!(error, "{text}"),
        Some((_, value)) => {
            tracing::error!(target: FATAL, { "environment-variable" = value }, "{text}")
        }
        None => tracing::error!(target: FATAL, "{text}"),
    }
}

/// The command line.
pub fn arguments(program: &str, arguments: &[String]) {
    let all: Vec<&str> = std::iter::once(program)
        .chain(arguments.iter().map(String::as_str))
        .collect();
    tracing::info!(args = ?all, "Running: ");
}

/// Why a server could not start.
pub fn fatal(error: &str) {
    tracing::error!(target: FATAL, error, "failed to start");
}

fn texts(urls: &[Url]) -> Vec<String> {
    urls.iter().map(Url::to_string).collect()
}

/// What is about to be listened on.
pub fn listening(kind: &str, urls: &[Url]) {
    let urls = texts(urls);
    match kind {
        "peer" => tracing::info!("listen-peer-urls" = ?urls, "configuring peer listeners"),
        _ => tracing::info!("listen-client-urls" = ?urls, "configuring client listeners"),
    }
}

/// Everything an operator may want to look up about this start.
pub fn starting(config: &Config, dir: &DataDir) {
    let cluster: Vec<String> = config
        .initial_cluster
        .iter()
        .map(|founder| format!("{}={}", founder.name, founder.url))
        .collect();
    tracing::info!(
        "etcd-version" = ETCD_VERSION,
        "sternpost-version" = env!("CARGO_PKG_VERSION"),
        "rust-version" = env!("CARGO_PKG_RUST_VERSION"),
        "go-os" = std::env::consts::OS,
        "go-arch" = cli::arch(),
        "max-cpu-available" = std::thread::available_parallelism().map_or(1, usize::from),
        "member-initialized" = dir.initialized,
        name = config.name,
        "data-dir" = %config.data_dir.display(),
        "wal-dir" = %config.wal_dir.display(),
        "member-dir" = %dir.member.display(),
        "heartbeat-interval" = ?config.heartbeat_interval,
        "election-timeout" = ?config.election_timeout,
        "snapshot-count" = config.snapshot_count,
        "initial-advertise-peer-urls" = ?texts(&config.initial_advertise_peer_urls),
        "listen-peer-urls" = ?texts(&config.listen_peer_urls),
        "advertise-client-urls" = ?texts(&config.advertise_client_urls),
        "listen-client-urls" = ?texts(&config.listen_client_urls),
        "listen-metrics-urls" = ?texts(&config.listen_metrics_urls),
        "initial-cluster" = cluster.join(","),
        "initial-cluster-state" = config.initial_cluster_state.text(),
        "initial-cluster-token" = config.initial_cluster_token,
        "quota-backend-bytes" = config.effective_quota_bytes().map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        "max-request-bytes" = config.max_request_bytes,
        "auto-compaction-mode" = config.auto_compaction_mode.text(),
        "auto-compaction" = ?config.auto_compaction(),
        "starting an etcd server"
    );
    if config.unsafe_no_fsync {
        tracing::warn!("--unsafe-no-fsync is set: a power cut loses data");
    }
}

/// Series whose value never changes.
pub fn constants(metrics: &Metrics, config: &Config, identity: Identity) {
    let server = &metrics.server;
    let quota = config
        .effective_quota_bytes()
        .map_or(config.quota_backend_bytes, |bytes| {
            i64::try_from(bytes).unwrap_or(i64::MAX)
        });
    server.quota_backend_bytes.set(quota);
    server.version.with_label_values(&[ETCD_VERSION]).set(1);
    server
        .go_version
        .with_label_values(&[concat!("none (Rust ", env!("CARGO_PKG_RUST_VERSION"), ")")])
        .set(1);
    server
        .id
        .with_label_values(&[&format!("{:x}", identity.member_id)])
        .set(1);
    server.auth_revision.set(1);
    for (name, stage) in [("AllAlpha", Stage::Alpha), ("AllBeta", Stage::Beta)] {
        server
            .feature_enabled
            .with_label_values(&[name, stage.label()])
            .set(0);
    }
    for (gate, on) in config.feature_gates.all() {
        server
            .feature_enabled
            .with_label_values(&[gate.name, gate.stage.label()])
            .set(i64::from(on));
    }
    tracing::info!(
        "local-member-id" = format!("{:x}", identity.member_id),
        "cluster-id" = format!("{:x}", identity.cluster_id),
        "starting local member"
    );
}

/// The sockets that do not wait for a leader.
pub fn serving(member: &Member, peer: &[Listener], metrics: &[Listener]) {
    let config = &member.config;
    tracing::info!(
        "local-member-id" = format!("{:x}", member.identity.member_id),
        "initial-advertise-peer-urls" = ?texts(&config.initial_advertise_peer_urls),
        "listen-peer-urls" = ?texts(&config.listen_peer_urls),
        "advertise-client-urls" = ?texts(&config.advertise_client_urls),
        "listen-client-urls" = ?texts(&config.listen_client_urls),
        "listen-metrics-urls" = ?texts(&config.listen_metrics_urls),
        "now serving peer/client/metrics"
    );
    for listener in peer {
        tracing::info!(address = listener.address, "serving peer traffic");
    }
    for listener in metrics {
        tracing::info!(address = listener.url.to_string(), "serving metrics");
    }
}

/// Clients may come; and how.
pub fn ready(member: &Member, client: &[Listener], http: &[Listener]) {
    tracing::info!("ready to serve client requests");
    let traffic = if http.is_empty() { "grpc+http" } else { "grpc" };
    let kinds = client
        .iter()
        .map(|listener| (listener, traffic))
        .chain(http.iter().map(|listener| (listener, "http")));
    for (listener, traffic) in kinds {
        tracing::info!(
            traffic,
            address = listener.address,
            "serving client traffic insecurely; this is strongly discouraged!"
        );
    }
    let endpoint = member
        .config
        .advertise_client_urls
        .first()
        .map_or_else(String::new, Url::to_string);
    tracing::info!("to talk to it: etcdctl --endpoints={endpoint} put greeting hello");
}

/// Why the process ends.
pub fn signal(signal: SignalKind) {
    let name = if signal == SignalKind::interrupt() {
        "interrupt"
    } else {
        "terminated"
    };
    tracing::info!(signal = name, "received signal; shutting down");
}

/// The cluster does not want this member any more.
pub fn removed() {
    let error = "the member has been permanently removed from the cluster";
    tracing::warn!(error, "server error");
    tracing::warn!("data-dir used by this member must be removed");
}

/// The first and the last line of the end.
pub fn closing(config: &Config, text: &str) {
    tracing::info!(
        name = config.name,
        "data-dir" = %config.data_dir.display(),
        "advertise-peer-urls" = ?[join_urls(&config.initial_advertise_peer_urls)],
        "advertise-client-urls" = ?[join_urls(&config.advertise_client_urls)],
        "{text}"
    );
}
