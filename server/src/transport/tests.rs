//! Real sockets, real threads, a real client.

use super::*;
use crate::{
    config::Url,
    layers::{Calls, Gate, health_service},
    metrics::Metrics,
};
use tonic::transport::Channel;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

/// A voter with a leader.
struct Leading;

impl Gate for Leading {
    fn is_learner(&self) -> bool {
        false
    }

    fn has_leader(&self) -> bool {
        true
    }

    fn absence(&self) -> CancellationToken {
        CancellationToken::new()
    }
}

fn front(stopping: &CancellationToken) -> Service {
    let calls = Calls {
        router: tonic::service::Routes::new(health_service()).into_axum_router(),
        direct: Arc::default(),
        metrics: Metrics::default(),
        receive_max: 1 << 20,
        gate: Arc::new(Leading),
        slow_after: Duration::ZERO,
        stopping: stopping.clone(),
    };
    Front::new(Some(calls), None)
}

fn started() -> (Transport, String) {
    let config = Config::default();
    let mut transport = Transport::start(Limits::new(&config)).unwrap();
    let listener = Listener::bind(&Url::parse("http://127.0.0.1:0").unwrap(), &config).unwrap();
    let endpoint = format!("http://{}", listener.address);
    let service = front(transport.stopping());
    transport.listen(listener, service).unwrap();
    (transport, endpoint)
}

async fn channel(endpoint: &str) -> Result<Channel, tonic::transport::Error> {
    Channel::from_shared(endpoint.to_owned())
        .unwrap()
        .connect()
        .await
}

async fn connect(endpoint: &str) -> HealthClient<Channel> {
    HealthClient::new(channel(endpoint).await.unwrap())
}

fn ask() -> HealthCheckRequest {
    HealthCheckRequest::default()
}

async fn drain(transport: Transport) -> usize {
    tokio::task::spawn_blocking(move || transport.drain(Duration::from_secs(30)))
        .await
        .unwrap()
}

#[tokio::test]
async fn connections_are_spread_over_the_threads() {
    let (transport, endpoint) = started();
    let mut clients = Vec::new();
    for _ in 0..2 * transport.workers.len() {
        let mut client = connect(&endpoint).await;
        client.check(ask()).await.unwrap();
        clients.push(client);
    }
    let loads: Vec<usize> = transport.workers.iter().map(Worker::connections).collect();
    assert!(loads.iter().all(|load| *load == 2), "{loads:?}");
    assert_eq!(drain(transport).await, 0);
}

#[tokio::test]
async fn a_drain_ends_idle_connections_and_open_streams_of_the_server() {
    let (transport, endpoint) = started();
    let mut client = connect(&endpoint).await;
    client.check(ask()).await.unwrap();
    assert_eq!(drain(transport).await, 0);
    assert!(client.check(ask()).await.is_err());
    assert!(channel(&endpoint).await.is_err());
}

#[tokio::test]
async fn a_stream_without_end_is_cut_off() {
    let (transport, endpoint) = started();
    let mut client = connect(&endpoint).await;
    let mut watch = client.watch(ask()).await.unwrap().into_inner();
    assert!(watch.message().await.unwrap().is_some());
    let cut = tokio::task::spawn_blocking(move || transport.drain(Duration::ZERO))
        .await
        .unwrap();
    assert_eq!(cut, 1);
    assert!(watch.message().await.is_err());
}

#[tokio::test]
async fn many_answers_arrive_whole() {
    let (transport, endpoint) = started();
    let client = connect(&endpoint).await;
    let asked = (0..500).map(|_| {
        let mut client = client.clone();
        tokio::spawn(async move { client.check(ask()).await.unwrap().into_inner().status })
    });
    for answer in futures_util::future::join_all(asked).await {
        assert_eq!(answer.unwrap(), 1);
    }
    assert_eq!(drain(transport).await, 0);
}
