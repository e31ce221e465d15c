//! The plain pages of the client URL: health, version, metrics.

use std::time::Duration;
use sternpost_conformance::http;
use sternpost_conformance::metrics;
use sternpost_conformance::target::{Kind, Target};
use sternpost_conformance::wait::until;
use sternpost_proto::etcdserverpb as pb;

/// More than a server on a busy machine needs to settle.
const PATIENCE: Duration = Duration::from_secs(60);

/// Pages that say the same on both.
const PAGES: [&str; 16] = [
    "/health",
    "/health?serializable=true",
    "/health?exclude=NOSPACE",
    "/livez",
    "/livez?verbose",
    "/livez/serializable_read",
    "/livez/nothing",
    "/readyz",
    "/readyz?exclude=linearizable_read",
    "/readyz/data_corruption",
    "/readyz/serializable_read",
    "/readyz/linearizable_read",
    "/readyz/non_learner",
    "/version",
    "/v2/keys",
    "/nothing",
];
/// Headers whose presence and value are compared.
const HEADERS: [&str; 3] = ["content-type", "x-content-type-options", "allow"];

#[test]
fn pages_are_the_same() {
    let (ours, reference) = both();
    // A new etcd raises its storage's version some seconds after its start.
    until("the storage of both is of one version", PATIENCE, || {
        let version = |target: &Target| target.get("/version").body;
        (version(&ours) == version(&reference)).then_some(())
    });
    for method in ["GET", "POST", "DELETE"] {
        for page in PAGES {
            assert_eq!(
                look(&ours, method, page),
                look(&reference, method, page),
                "{method} {page}"
            );
        }
    }
    let sorted = |target: &Target| {
        let mut lines: Vec<String> = target
            .get("/readyz?verbose")
            .body
            .lines()
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&ours), sorted(&reference), "/readyz?verbose");
}

#[tokio::test]
async fn an_alarm_shows_in_health_but_not_in_readyz() {
    let (ours, reference) = both();
    for target in [&ours, &reference] {
        let alarm = pb::AlarmRequest {
            action: pb::alarm_request::AlarmAction::Activate as i32,
            member_id: 7,
            alarm: pb::AlarmType::Nospace as i32,
        };
        let mut client = target.client().await;
        client
            .maintenance
            .alarm(alarm)
            .await
            .expect("alarms can be raised");
    }
    for page in [
        "/health",
        "/health?exclude=NOSPACE",
        "/livez",
        "/readyz",
        "/readyz/data_corruption",
    ] {
        assert_eq!(
            look(&ours, "GET", page),
            look(&reference, "GET", page),
            "{page}"
        );
    }
}

#[tokio::test]
async fn metrics_have_the_reference_s_shape() {
    let (ours, reference) = both();
    for target in [&ours, &reference] {
        warm(target).await;
    }
    let theirs = metrics::families(&reference.get("/metrics").body);
    let page = ours.get("/metrics").body;
    let found = metrics::families(&page);
    let wrong = metrics::differences(&theirs, &found);
    assert!(
        wrong.is_empty(),
        "{} families:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    let quota_lines = page
        .lines()
        .filter(|line| !line.starts_with('#') && line.contains("etcd_server_quota_backend_bytes"));
    assert_eq!(quota_lines.count(), 1, "scripts grep for this line");
}

/// Families that appear only once something has happened.
async fn warm(target: &Target) {
    let mut client = target.client().await;
    let put = pb::PutRequest {
        key: "a".into(),
        ..Default::default()
    };
    client.kv.put(put).await.expect("a put is accepted");
    let range = pb::RangeRequest {
        key: "a".into(),
        ..Default::default()
    };
    client.kv.range(range).await.expect("a range is answered");
    let grant = pb::LeaseGrantRequest { ttl: 100, id: 1 };
    client
        .lease
        .lease_grant(grant)
        .await
        .expect("a grant is accepted");
    for page in ["/health", "/livez", "/readyz"] {
        assert_eq!(target.get(page).status, 200, "{page}");
    }
}

/// Status, compared headers, body.
fn look(target: &Target, method: &str, page: &str) -> (u16, Vec<Option<String>>, String) {
    let answer = http::request(target.endpoint(), method, page, "").expect("an HTTP answer");
    let headers = HEADERS.map(|name| answer.header(name).map(str::to_owned));
    (answer.status, headers.to_vec(), answer.body)
}

fn both() -> (Target, Target) {
    (Target::fresh(Kind::Sternpost), Target::fresh(Kind::Etcd))
}
