//! The pages of a real member.

use super::*;
use crate::{
    bootstrap::{DataDir, open_node},
    config::Config,
    metrics::Metrics,
};
use http_body_util::BodyExt as _;
use sternpost_proto::internal::{AlarmChange, Command, CommandHeader, command::Verb};

struct World {
    member: Arc<Member>,
    pages: Pages,
    _dir: DataDir,
    _files: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let files = tempfile::tempdir().unwrap();
        let config = Config {
            data_dir: files.path().join("data"),
            ..Config::default()
        };
        let dir = DataDir::open(&config).unwrap();
        let metrics = Metrics::default();
        let standing = Arc::default();
        let node = open_node(&config, &dir, &metrics, &standing).unwrap();
        let member = Member::start(config, node, metrics, standing);
        member.wait_published().await;
        let pages = Pages::client(&member, Guard::new(&member.config));
        Self {
            member,
            pages,
            _dir: dir,
            _files: files,
        }
    }

    async fn ask(&self, method: Method, uri: &str) -> (u16, http::HeaderMap, String) {
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("host", "localhost:2379");
        let response = self
            .pages
            .answer(request.body(Body::empty()).unwrap())
            .await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (
            parts.status.as_u16(),
            parts.headers,
            String::from_utf8(bytes.to_vec()).unwrap(),
        )
    }

    async fn get(&self, uri: &str) -> (u16, String) {
        let (status, _, body) = self.ask(Method::GET, uri).await;
        (status, body)
    }

    async fn raise(&self, alarm: i32) {
        let identity = self.member.identity;
        let header = CommandHeader {
            id: 1,
            member_id: identity.member_id,
            feature_level: 1,
            ..CommandHeader::default()
        };
        let change = AlarmChange {
            clear: false,
            member_id: identity.member_id,
            alarm,
        };
        let command = Command {
            header: Some(header),
            verb: Some(Verb::Alarm(change)),
        };
        self.member
            .node
            .propose(command)
            .await
            .unwrap()
            .response
            .unwrap();
    }

    async fn close(self) {
        self.member.stop().await;
        self.member.node.shutdown().await;
    }
}

#[tokio::test]
async fn a_healthy_member_says_so_everywhere() {
    let world = World::new().await;
    let table = [
        ("/health", "{\"health\":\"true\",\"reason\":\"\"}"),
        (
            "/health?serializable=true",
            "{\"health\":\"true\",\"reason\":\"\"}",
        ),
        ("/livez", "ok\n"),
        ("/livez?verbose", "[+]serializable_read ok\nok\n"),
        ("/livez/serializable_read", "ok\n"),
        ("/readyz", "ok\n"),
        ("/readyz?exclude=nope", "ok\n"),
        ("/readyz/non_learner", "ok\n"),
        (
            "/readyz?verbose&exclude=non_learner",
            "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n[+]non_learner excluded: ok\nok\n",
        ),
        (
            "/version",
            "{\"etcdserver\":\"3.7.1\",\"etcdcluster\":\"3.7.0\",\"storage\":\"3.7.0\"}",
        ),
    ];
    for (uri, body) in table {
        assert_eq!(world.get(uri).await, (200, body.to_owned()), "{uri}");
    }
    world.close().await;
}

#[tokio::test]
async fn other_paths_and_methods_are_answered_as_go_does() {
    let world = World::new().await;
    for uri in ["/", "/nope", "/readyz/nope", "/v2/keys"] {
        assert_eq!(
            world.get(uri).await,
            (404, "404 page not found\n".to_owned()),
            "{uri}"
        );
    }
    for uri in ["/health", "/livez", "/readyz/non_learner", "/version"] {
        let (status, headers, body) = world.ask(Method::POST, uri).await;
        assert_eq!(
            (status, body.as_str(), &headers["allow"]),
            (405, "Method Not Allowed\n", &"GET".parse().unwrap()),
            "{uri}"
        );
        assert_eq!(headers["access-control-allow-origin"], "*", "{uri}");
        assert_eq!(headers["x-content-type-options"], "nosniff", "{uri}");
    }
    let (status, headers, body) = world.ask(Method::OPTIONS, "/v3/kv/range").await;
    assert_eq!((status, body.as_str()), (200, ""));
    assert_eq!(
        headers["access-control-allow-methods"],
        "POST, GET, OPTIONS, PUT, DELETE"
    );
    world.close().await;
}

#[tokio::test]
async fn alarms_make_it_sick_but_only_corruption_unready() {
    let world = World::new().await;
    world.raise(1).await;
    let nospace = "{\"health\":\"false\",\"reason\":\"ALARM NOSPACE\"}\n".to_owned();
    assert_eq!(world.get("/health").await, (503, nospace));
    assert_eq!(world.get("/health?exclude=NOSPACE").await.0, 200);
    assert_eq!(world.get("/readyz").await.0, 200);
    world.raise(2).await;
    let (status, body) = world.get("/readyz").await;
    assert_eq!(status, 503);
    assert!(
        body.starts_with(
            "[-]data_corruption failed: alarm activated: CORRUPT\n[+]serializable_read ok\n"
        ),
        "{body}"
    );
    assert!(body.ends_with("ok\n\n"), "{body}");
    assert_eq!(world.get("/readyz?exclude=data_corruption").await.0, 200);
    world.close().await;
}

#[tokio::test]
async fn metrics_hold_each_sample_once() {
    let world = World::new().await;
    world.member.metrics.server.quota_backend_bytes.set(2 << 30);
    let (status, text) = world.get("/metrics").await;
    assert_eq!(status, 200);
    let samples = |name: &str| -> Vec<&str> {
        text.lines()
            .filter(|line| !line.starts_with('#') && line.contains(name))
            .collect()
    };
    assert_eq!(
        samples("etcd_server_quota_backend_bytes"),
        ["etcd_server_quota_backend_bytes 2.147483648e+09"]
    );
    assert_eq!(
        samples("etcd_server_has_leader"),
        ["etcd_server_has_leader 1"]
    );
    assert_eq!(
        samples("etcd_cluster_version"),
        ["etcd_cluster_version{cluster_version=\"3.7\"} 1"]
    );
    assert_eq!(
        samples("etcd_debugging_mvcc_compact_revision"),
        ["etcd_debugging_mvcc_compact_revision -1"]
    );
    assert!(!samples("process_resident_memory_bytes").is_empty());
    assert_eq!(
        samples("etcd_disk_wal_fsync_duration_seconds_bucket").len(),
        15
    );
    world.close().await;
}
