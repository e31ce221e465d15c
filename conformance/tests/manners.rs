//! How the port behaves besides the content of answers: limits, compression, unknown
//! methods, streams; the same on ours and on the reference.

use bytes::Bytes;
use std::time::Duration;
use sternpost_conformance::client::Client;
use sternpost_conformance::differential::inbox::Stream;
use sternpost_conformance::target::{Kind, Plan, Target};
use sternpost_proto::etcdserverpb as pb;
use tonic::codec::CompressionEncoding;
use tonic::{Code, Request, Status};

use pb::request_op::Request as Op;
use pb::watch_request::RequestUnion;

/// Above `--max-request-bytes` plus what gRPC adds: refused before it is decoded.
const OVER_GRPC: usize = 3 << 20;
/// Two of these in one event, value and previous value, make a fragment each.
const HALF_FRAGMENT: usize = 480 << 10;
const KINDS: [Kind; 2] = [Kind::Sternpost, Kind::Etcd];

#[tokio::test]
async fn a_message_over_the_limit_is_refused_alike() {
    let mut refusals = Vec::new();
    for kind in KINDS {
        let target = fresh(kind);
        let put = put_of("k", vec![b'x'; OVER_GRPC]);
        let refused = target.client().await.kv.put(put).await;
        refusals.push(told(refused.expect_err("more than gRPC takes")));
    }
    assert_eq!(refusals[0], refusals[1]);
    assert_eq!(refusals[0].0, Code::ResourceExhausted);
}

#[tokio::test]
async fn unknown_methods_and_services_are_refused_alike() {
    let paths = [
        "/etcdserverpb.KV/Nothing",
        "/etcdserverpb.Nothing/Range",
        "/nothing",
    ];
    let mut refusals = Vec::new();
    for kind in KINDS {
        let target = fresh(kind);
        let mut told_all = Vec::new();
        for path in paths {
            told_all.push(told(
                call(&target, path).await.expect_err("nobody serves it"),
            ));
        }
        refusals.push(told_all);
    }
    assert_eq!(refusals[0], refusals[1]);
}

#[tokio::test]
async fn gzip_is_understood() {
    for kind in KINDS {
        let target = fresh(kind);
        let client = target.client().await;
        let mut kv = client
            .kv
            .send_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Gzip);
        kv.put(put_of("k", vec![b'x'; 5000]))
            .await
            .expect("a compressed put is read");
        let range = pb::RangeRequest {
            key: "k".into(),
            ..Default::default()
        };
        let found = kv.range(range).await.expect("and read back").into_inner();
        assert_eq!(found.kvs[0].value.len(), 5000, "{}", target.name());
    }
}

#[tokio::test]
async fn a_deadline_that_has_passed_is_told_alike() {
    let mut told_all = Vec::new();
    for kind in KINDS {
        let target = fresh(kind);
        let mut client = target.client().await;
        let mut request = Request::new(put_of("k", vec![]));
        request.set_timeout(Duration::from_nanos(1));
        let late = client.kv.put(request).await.expect_err("no time at all");
        told_all.push(late.code());
    }
    assert!(
        told_all
            .iter()
            .all(|code| matches!(code, Code::DeadlineExceeded | Code::Cancelled)),
        "{told_all:?}"
    );
}

#[tokio::test]
async fn large_revisions_come_in_fragments() {
    for kind in KINDS {
        let target = fresh(kind);
        let mut client = target.client().await;
        for round in 0..2 {
            let puts = (0..3).map(|number| pb::RequestOp {
                request: Some(Op::RequestPut(put_of(
                    &format!("f{number}"),
                    vec![b'0' + round; HALF_FRAGMENT],
                ))),
            });
            let txn = pb::TxnRequest {
                success: puts.collect(),
                ..Default::default()
            };
            client
                .kv
                .txn(txn)
                .await
                .expect("three fit into one request");
        }
        let create = pb::WatchCreateRequest {
            key: "f".into(),
            range_end: "g".into(),
            start_revision: 3,
            prev_kv: true,
            fragment: true,
            ..Default::default()
        };
        let (events, fragments) = whole(&mut client, create, 3).await;
        assert_eq!(events, 3, "{}", target.name());
        assert!(fragments > 1, "{}: {fragments} fragments", target.name());
    }
}

#[tokio::test]
async fn a_half_closed_watch_goes_on() {
    for kind in KINDS {
        let target = fresh(kind);
        let mut client = target.client().await;
        let create = watch_request(pb::WatchCreateRequest {
            key: "h".into(),
            ..Default::default()
        });
        // The request stream ends after this one message.
        let replies = client.watch.watch(tokio_stream::iter([create])).await;
        let mut replies = replies.expect("a watch is accepted").into_inner();
        let created = replies.message().await.expect("the stream is open");
        assert!(
            created.is_some_and(|reply| reply.created),
            "{}",
            target.name()
        );
        client
            .kv
            .put(put_of("h", vec![]))
            .await
            .expect("a put is accepted");
        let event = replies.message().await.expect("the stream is still open");
        assert_eq!(
            event.map(|reply| reply.events.len()),
            Some(1),
            "{}",
            target.name()
        );
    }
}

/// The reference keeps such a watch registered and answers no progress request of the
/// stream any more; that is not imitated (docs/compat.md).
#[tokio::test]
async fn a_watch_that_a_compaction_canceled_is_gone() {
    let target = fresh(Kind::Sternpost);
    let mut client = target.client().await;
    for _ in 0..5 {
        client
            .kv
            .put(put_of("c", vec![]))
            .await
            .expect("a put is accepted");
    }
    let compaction = pb::CompactionRequest {
        revision: 5,
        physical: true,
    };
    client
        .kv
        .compact(compaction)
        .await
        .expect("compaction is accepted");
    let stream = Stream::open(&client);
    let create = |start_revision| {
        stream.send(RequestUnion::CreateRequest(pb::WatchCreateRequest {
            key: "c".into(),
            start_revision,
            watch_id: 5,
            ..Default::default()
        }));
    };
    create(2);
    assert!(answer(&stream).await.created);
    let canceled = answer(&stream).await;
    assert_eq!((canceled.canceled, canceled.compact_revision), (true, 5));
    create(6);
    let again = answer(&stream).await;
    assert!(
        again.created && !again.canceled,
        "the id is free again: {again:?}"
    );
    let ask = || stream.send(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}));
    let progress = stream
        .inbox
        .progress(6, ask)
        .await
        .expect("progress is answered");
    assert_eq!(progress.watch_id, -1);
}

#[tokio::test]
async fn an_expired_lease_deletes_its_keys_in_one_revision() {
    for kind in KINDS {
        let target = fresh(kind);
        let mut client = target.client().await;
        let grant = pb::LeaseGrantRequest { ttl: 1, id: 9 };
        client
            .lease
            .lease_grant(grant)
            .await
            .expect("a grant is accepted");
        for key in ["e3", "e1", "e2"] {
            let put = pb::PutRequest {
                lease: 9,
                ..put_of(key, vec![])
            };
            client.kv.put(put).await.expect("a put is accepted");
        }
        let stream = Stream::open(&client);
        stream.send(RequestUnion::CreateRequest(pb::WatchCreateRequest {
            key: "e".into(),
            range_end: "f".into(),
            start_revision: 2,
            ..Default::default()
        }));
        answer(&stream).await;
        let events = stream.inbox.events(0, 6).await;
        let of = |number: usize| events[number].kv.clone().unwrap_or_default();
        let keys = [of(3).key, of(4).key, of(5).key];
        assert_eq!(
            keys,
            ["e1", "e2", "e3"].map(Bytes::from),
            "{}",
            target.name()
        );
        assert!(
            (3..6).all(|number| of(number).mod_revision == 5),
            "{}",
            target.name()
        );
    }
}

/// Reads until `count` events are there; how many, and in how many responses.
async fn whole(
    client: &mut Client,
    create: pb::WatchCreateRequest,
    count: usize,
) -> (usize, usize) {
    let requests = futures_util::StreamExt::chain(
        tokio_stream::iter([watch_request(create)]),
        futures_util::stream::pending(),
    );
    let replies = client.watch.watch(requests).await;
    let mut replies = replies.expect("a watch is accepted").into_inner();
    let (mut events, mut responses) = (0, 0);
    while events < count {
        let reply = replies.message().await.expect("the stream is open");
        let reply = reply.expect("the stream goes on");
        if reply.created {
            continue;
        }
        events += reply.events.len();
        responses += 1;
        assert_eq!(
            reply.fragment,
            events < count,
            "all but the last say that more follows"
        );
    }
    (events, responses)
}

async fn answer(stream: &Stream) -> pb::WatchResponse {
    stream.inbox.control().await.expect("an answer comes")
}

async fn call(target: &Target, path: &'static str) -> Result<(), Status> {
    let address = format!("http://{}", target.endpoint());
    let channel = tonic::transport::Endpoint::from_shared(address).expect("a URL");
    let channel = channel.connect().await.expect("the server listens");
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.expect("the connection is open");
    let codec = tonic_prost::ProstCodec::<pb::RangeRequest, pb::RangeResponse>::default();
    let path = tonic::codegen::http::uri::PathAndQuery::from_static(path);
    grpc.unary(Request::new(pb::RangeRequest::default()), path, codec)
        .await?;
    Ok(())
}

fn watch_request(create: pb::WatchCreateRequest) -> pb::WatchRequest {
    pb::WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(create)),
    }
}

fn put_of(key: &str, value: Vec<u8>) -> pb::PutRequest {
    pb::PutRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: value.into(),
        ..Default::default()
    }
}

fn told(status: Status) -> (Code, String) {
    (status.code(), status.message().to_owned())
}

fn fresh(kind: Kind) -> Target {
    Plan::new(kind).without_fsync().start()
}
