//! All the services of one server over one connection.

use crate::wait;
use std::time::Duration;
use sternpost_proto::etcdserverpb::{
    auth_client::AuthClient, cluster_client::ClusterClient, kv_client::KvClient,
    lease_client::LeaseClient, maintenance_client::MaintenanceClient, watch_client::WatchClient,
};
use tonic::transport::{Channel, Endpoint};

/// Larger than anything a test asks for; the server's own limits are what is tested.
const MESSAGE_MAX: usize = 1 << 30;
/// A server that listens accepts at once.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);
/// One that does not is cut off.
const LAZY_LIMIT: Duration = Duration::from_secs(1);
/// How soon a connection that leads nowhere any more is noticed. The reference ends
/// connections that ask more often than every five seconds.
const KEEP_ALIVE: Duration = Duration::from_secs(6);

/// Typed clients that share one connection.
#[derive(Clone)]
pub struct Client {
    /// Keys and values.
    pub kv: KvClient<Channel>,
    /// Changes.
    pub watch: WatchClient<Channel>,
    /// Leases.
    pub lease: LeaseClient<Channel>,
    /// Members.
    pub cluster: ClusterClient<Channel>,
    /// Users, roles, tokens.
    pub auth: AuthClient<Channel>,
    /// Alarms, sizes, hashes.
    pub maintenance: MaintenanceClient<Channel>,
}

impl Client {
    /// Connects to `host:port`.
    ///
    /// # Panics
    /// When nobody listens there.
    pub async fn connect(endpoint: &str) -> Self {
        let address = Endpoint::from_shared(format!("http://{endpoint}"))
            .expect("host:port makes a URL")
            .initial_connection_window_size(16 << 20)
            .initial_stream_window_size(8 << 20)
            .tcp_nodelay(true);
        let channel = wait::until_async("a connection", CONNECT_LIMIT, || async {
            address.connect().await.ok()
        })
        .await;
        Self::over(channel)
    }

    /// Connects to `host:port` when it is used, and again whenever the connection is lost.
    ///
    /// # Panics
    /// When that makes no address.
    #[must_use]
    pub fn lazy(endpoint: &str) -> Self {
        let address = Endpoint::from_shared(format!("http://{endpoint}"))
            .expect("host:port makes a URL")
            .initial_connection_window_size(16 << 20)
            .initial_stream_window_size(8 << 20)
            .connect_timeout(LAZY_LIMIT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .tcp_nodelay(true);
        Self::over(address.connect_lazy())
    }

    fn over(channel: Channel) -> Self {
        Self {
            kv: KvClient::new(channel.clone())
                .max_decoding_message_size(MESSAGE_MAX)
                .max_encoding_message_size(MESSAGE_MAX),
            watch: WatchClient::new(channel.clone()).max_decoding_message_size(MESSAGE_MAX),
            lease: LeaseClient::new(channel.clone()).max_decoding_message_size(MESSAGE_MAX),
            cluster: ClusterClient::new(channel.clone()),
            auth: AuthClient::new(channel.clone()),
            maintenance: MaintenanceClient::new(channel),
        }
    }
}
