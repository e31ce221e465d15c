//! The layer in front of a real router, called as a connection calls it.

use super::*;
use axum::routing::post;
use http_body_util::{BodyExt as _, Full};
use std::sync::atomic::{AtomicBool, Ordering};
use tonic::Code;

const PUT: &str = "/etcdserverpb.KV/Put";

/// A voter with or without a leader.
struct Gated {
    learner: bool,
    leader: Arc<AtomicBool>,
    absence: CancellationToken,
}

impl Gate for Gated {
    fn is_learner(&self) -> bool {
        self.learner
    }

    fn has_leader(&self) -> bool {
        self.leader.load(Ordering::Relaxed)
    }

    fn absence(&self) -> CancellationToken {
        self.absence.clone()
    }
}

fn gate(learner: bool, leader: bool) -> Arc<Gated> {
    Arc::new(Gated {
        learner,
        leader: Arc::new(AtomicBool::new(leader)),
        absence: CancellationToken::new(),
    })
}

fn calls(router: Router) -> Calls {
    Calls {
        router,
        direct: Arc::default(),
        metrics: Metrics::default(),
        receive_max: 1000,
        gate: gate(false, true),
        slow_after: Duration::ZERO,
        stopping: CancellationToken::new(),
    }
}

/// A service that reads the whole request and answers one message.
fn echo() -> Router {
    Router::new().route(
        PUT,
        post(
            async |request: axum::extract::Request| match request.into_body().collect().await {
                Ok(_) => Status::ok("").into_http::<axum::body::Body>(),
                Err(error) => Status::from_error(Box::new(error)).into_http(),
            },
        ),
    )
}

fn request(path: &str, headers: &[(&str, &str)], message: usize) -> Request<Full<Bytes>> {
    let mut body = vec![0];
    body.extend(u32::try_from(message).unwrap().to_be_bytes());
    body.resize(5 + message, 1);
    let mut request = Request::builder()
        .method("POST")
        .version(Version::HTTP_2)
        .uri(path);
    if !headers.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/grpc");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::from(body)).unwrap()
}

async fn status(front: &Front, request: Request<Full<Bytes>>) -> (Code, String) {
    let Ok(response) = front.clone().call(request).await;
    let status = Status::from_header_map(response.headers()).unwrap();
    (status.code(), status.message().to_owned())
}

#[tokio::test]
async fn names_that_do_not_exist_get_grpc_go_s_words() {
    let front = Front::new(Some(calls(echo())), None);
    let text = "unknown method Nope for service etcdserverpb.KV".to_owned();
    assert_eq!(
        status(&front, request("/etcdserverpb.KV/Nope", &[], 1)).await,
        (Code::Unimplemented, text)
    );
    let text = "unknown service a.B".to_owned();
    assert_eq!(
        status(&front, request("/a.B/C", &[], 1)).await,
        (Code::Unimplemented, text)
    );
}

#[tokio::test]
async fn a_call_is_counted_once_with_its_code_and_bytes() {
    let calls = calls(echo());
    let metrics = calls.metrics.clone();
    let front = Front::new(Some(calls), None);
    assert_eq!(status(&front, request(PUT, &[], 700)).await.0, Code::Ok);
    let method = metrics.grpc.method(PUT).unwrap();
    assert_eq!(
        (
            method.started.get(),
            method.handled[0].get(),
            method.received.get()
        ),
        (1, 1, 1)
    );
    assert_eq!(metrics.network.client_received_bytes.get(), 700);
    assert_eq!(
        method
            .handled
            .iter()
            .map(|counter| counter.get())
            .sum::<u64>(),
        1
    );
}

#[tokio::test]
async fn too_large_a_message_is_refused_as_grpc_go_does() {
    let front = Front::new(Some(calls(echo())), None);
    let text = "grpc: received message larger than max (1001 vs. 1000)".to_owned();
    assert_eq!(
        status(&front, request(PUT, &[], 1001)).await,
        (Code::ResourceExhausted, text)
    );
    assert_eq!(status(&front, request(PUT, &[], 1000)).await.0, Code::Ok);
}

#[tokio::test]
async fn a_deadline_ends_a_call_that_does_not_answer() {
    let router = Router::new().route(PUT, post(async || std::future::pending::<()>().await));
    let calls = calls(router);
    let metrics = calls.metrics.clone();
    let front = Front::new(Some(calls), None);
    let ended = status(&front, request(PUT, &[("grpc-timeout", "20m")], 1)).await;
    assert_eq!(
        ended,
        (
            Code::DeadlineExceeded,
            "context deadline exceeded".to_owned()
        )
    );
    let method = metrics.grpc.method(PUT).unwrap();
    assert_eq!(method.handled[Code::DeadlineExceeded as usize].get(), 1);
}

#[tokio::test]
async fn a_deadline_that_has_passed_starts_nothing() {
    let front = Front::new(Some(calls(echo())), None);
    let ended = status(&front, request(PUT, &[("grpc-timeout", "1n")], 1)).await;
    assert_eq!(ended.0, Code::DeadlineExceeded);
}

/// A stream that is open and says nothing.
fn silent_stream() -> Router {
    Router::new().route(
        "/etcdserverpb.Watch/Watch",
        post(async || {
            let silence = tokio_stream::pending::<Result<Bytes, Infallible>>();
            axum::body::Body::from_stream(silence)
        }),
    )
}

async fn trailers(front: &Front, headers: &[(&str, &str)]) -> (Code, String) {
    let Ok(response) = front
        .clone()
        .call(request("/etcdserverpb.Watch/Watch", headers, 1))
        .await;
    let collected = response.into_body().collect().await.unwrap();
    let status = Status::from_header_map(collected.trailers().unwrap()).unwrap();
    (status.code(), status.message().to_owned())
}

#[tokio::test]
async fn a_deadline_ends_a_stream_with_trailers() {
    let front = Front::new(Some(calls(silent_stream())), None);
    let ended = trailers(&front, &[("grpc-timeout", "20m")]).await;
    assert_eq!(
        ended,
        (
            Code::DeadlineExceeded,
            "context deadline exceeded".to_owned()
        )
    );
}

#[tokio::test]
async fn a_server_that_goes_ends_its_dialogues() {
    let calls = calls(silent_stream());
    let stopping = calls.stopping.clone();
    let front = Front::new(Some(calls), None);
    let (ended, ()) = tokio::join!(trailers(&front, &[]), async { stopping.cancel() });
    assert_eq!(
        ended,
        (Code::Unavailable, "etcdserver: server stopped".to_owned())
    );
}

#[tokio::test]
async fn a_stream_that_wants_a_leader_ends_when_there_is_none_for_long() {
    let gate = gate(false, true);
    let absence = gate.absence.clone();
    let calls = Calls {
        gate,
        ..calls(silent_stream())
    };
    let front = Front::new(Some(calls), None);
    let with = trailers(&front, &[("hasleader", "true")]);
    let (ended, ()) = tokio::join!(with, async { absence.cancel() });
    assert_eq!(
        ended,
        (Code::Unavailable, "etcdserver: no leader".to_owned())
    );
    // Who does not ask for one goes on: only its deadline ends this.
    let without = trailers(&front, &[("grpc-timeout", "20m")]).await;
    assert_eq!(without.0, Code::DeadlineExceeded);
}

#[tokio::test]
async fn who_wants_a_leader_is_refused_without_one() {
    let gate = gate(false, false);
    let has_leader = gate.leader.clone();
    let calls = Calls {
        gate,
        ..calls(echo())
    };
    let front = Front::new(Some(calls), None);
    let with = [("hasleader", "true")];
    let refusal = (Code::Unavailable, "etcdserver: no leader".to_owned());
    assert_eq!(status(&front, request(PUT, &with, 1)).await, refusal);
    assert_eq!(status(&front, request(PUT, &[], 1)).await.0, Code::Ok);
    has_leader.store(true, Ordering::Relaxed);
    assert_eq!(status(&front, request(PUT, &with, 1)).await.0, Code::Ok);
}

#[tokio::test]
async fn a_learner_answers_little() {
    let calls = Calls {
        gate: gate(true, true),
        ..calls(echo())
    };
    let front = Front::new(Some(calls), None);
    let refusal = (
        Code::FailedPrecondition,
        "etcdserver: rpc not supported for learner".to_owned(),
    );
    for path in [
        PUT,
        "/etcdserverpb.Watch/Watch",
        "/etcdserverpb.Cluster/MemberList",
    ] {
        assert_eq!(status(&front, request(path, &[], 1)).await, refusal);
    }
    for path in [
        "/etcdserverpb.Maintenance/Status",
        "/etcdserverpb.KV/Range",
        "/etcdserverpb.Maintenance/Snapshot",
    ] {
        // The router behind has no such path: it was let in.
        let Ok(response) = front.clone().call(request(path, &[], 1)).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn plain_http_2_is_grpc_alone() {
    let front = Front::new(Some(calls(echo())), None);
    let page = request("/health", &[("content-type", "text/html")], 1);
    let Ok(response) = front.clone().call(page).await;
    assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(response.headers()["grpc-status"], "3");
}
