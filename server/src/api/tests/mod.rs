//! The services over a real node, asked through their own clients.

mod cluster;
mod kv;
mod lease;
mod maintenance;
mod stream;
mod watch;

use super::{routes, status::ApiError};
use crate::{config::Config, member::Member, metrics::Metrics};
use std::{path::Path, sync::Arc, time::Duration};
use sternpost_proto::{
    etcdserverpb::{
        self as pb, auth_client::AuthClient, cluster_client::ClusterClient, kv_client::KvClient,
        lease_client::LeaseClient, maintenance_client::MaintenanceClient,
    },
    internal::Node,
};
use sternpost_raft::{Bootstrap, Identity, NodeOptions, Observer, RaftNode, peer::NoTransport};
use sternpost_storage::StorageOptions;
use tempfile::TempDir;
use tonic::Status;

const MEMBER_ID: u64 = 0x2e12_59d4_15f2_a040;
const CLUSTER_ID: u64 = 0x0482_7530_5ad8_3d27;
const IDENTITY: Identity = Identity {
    member_id: MEMBER_ID,
    cluster_id: CLUSTER_ID,
};

/// A member on a directory of its own, and clients that need no network.
struct Bench {
    member: Arc<Member>,
    kv: KvClient<axum::Router>,
    lease: LeaseClient<axum::Router>,
    maintenance: MaintenanceClient<axum::Router>,
    cluster: ClusterClient<axum::Router>,
    auth: AuthClient<axum::Router>,
    _directory: Arc<TempDir>,
}

/// A fault fails the test that met it.
struct Panics;

impl Observer for Panics {
    fn fatal(&self, text: &str) {
        panic!("the node has failed: {text}");
    }
}

/// Flags for a member that elects itself at once, and so can expire leases soon.
fn config() -> Config {
    Config {
        name: "bench".to_owned(),
        heartbeat_interval: Duration::from_millis(10),
        election_timeout: Duration::from_millis(100),
        ..Config::default()
    }
}

/// A founding member, without a word about itself.
fn founder(id: u64) -> Node {
    Node {
        id,
        name: String::new(),
        peer_urls: vec!["http://127.0.0.1:2380".to_owned()],
        ..Node::default()
    }
}

/// How a founding node is opened.
fn options(directory: &Path, config: &Config, members: Vec<Node>) -> NodeOptions {
    NodeOptions {
        wal_dir: directory.join("wal"),
        storage: StorageOptions::at(directory.join("state")),
        force_new_cluster: false,
        bootstrap: Bootstrap::New {
            identity: IDENTITY,
            members,
        },
        heartbeat_interval: config.heartbeat_interval,
        election_timeout: config.election_timeout,
        snapshot_entries: config.snapshot_count,
        catchup_entries: config.snapshot_catchup_entries,
        unsafe_no_fsync: true,
        compaction_batch: config.compaction_batch(),
        compaction_sleep: Duration::ZERO,
        transport: Arc::new(NoTransport),
        observer: Arc::new(Panics),
    }
}

impl Bench {
    async fn start() -> Self {
        Self::with(config()).await
    }

    async fn with(config: Config) -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        Self::on(directory, config).await
    }

    async fn on(directory: Arc<TempDir>, config: Config) -> Self {
        let options = options(directory.path(), &config, vec![founder(MEMBER_ID)]);
        let node = RaftNode::open(options).unwrap();
        let member = Member::start(config, node, Metrics::default(), Arc::default());
        member.wait_published().await;
        let router = routes(&member);
        Self {
            kv: KvClient::new(router.clone()),
            lease: LeaseClient::new(router.clone()),
            maintenance: MaintenanceClient::new(router.clone()),
            cluster: ClusterClient::new(router.clone()),
            auth: AuthClient::new(router),
            member,
            _directory: directory,
        }
    }

    async fn stop(self) {
        self.member.stop().await;
        self.member.node.shutdown().await;
    }

    async fn put(&mut self, key: &str, value: &str) -> Result<pb::PutResponse, Status> {
        let (key, value) = (key.to_owned().into(), value.to_owned().into());
        let request = pb::PutRequest {
            key,
            value,
            ..Default::default()
        };
        self.kv.put(request).await.map(tonic::Response::into_inner)
    }

    async fn range(&mut self, request: pb::RangeRequest) -> Result<pb::RangeResponse, Status> {
        self.kv
            .range(request)
            .await
            .map(tonic::Response::into_inner)
    }
}

/// Everything from `key` on.
fn from(key: &str) -> pb::RangeRequest {
    pb::RangeRequest {
        key: key.to_owned().into(),
        range_end: "\0".into(),
        ..Default::default()
    }
}

fn point(key: &str) -> pb::RangeRequest {
    pb::RangeRequest {
        key: key.to_owned().into(),
        ..Default::default()
    }
}

fn revision(header: &Option<pb::ResponseHeader>) -> i64 {
    header.as_ref().unwrap().revision
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(result: Result<T, Status>, error: ApiError) {
    let status = result.expect_err("it must be refused");
    assert_eq!(
        (status.code(), status.message()),
        (error.code(), error.text())
    );
}
