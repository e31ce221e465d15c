//! Watch, as its clients see it.

use super::*;
use crate::watch::{
    hub::{HubOptions, Hubs},
    session::End,
    stream::{Ended, WatchStream},
};
use bytes::Bytes;
use futures_util::{StreamExt, future::join_all, stream};
use pb::{watch_client::WatchClient, watch_request::RequestUnion};
use std::convert::Infallible;
use sternpost_proto::mvccpb;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming};

/// Long enough for anything that happens at all.
const PATIENCE: Duration = Duration::from_secs(60);

/// A stream and the way to ask on it.
struct Watching {
    requests: mpsc::Sender<pb::WatchRequest>,
    responses: Streaming<pb::WatchResponse>,
}

impl Watching {
    async fn open(client: &mut WatchClient<axum::Router>) -> Self {
        let (requests, receiver) = mpsc::channel(64);
        let request = Request::new(ReceiverStream::new(receiver));
        let responses = client.watch(request).await.unwrap().into_inner();
        Self {
            requests,
            responses,
        }
    }

    async fn ask(&self, request: RequestUnion) {
        let request_union = Some(request);
        self.requests
            .send(pb::WatchRequest { request_union })
            .await
            .unwrap();
    }

    async fn progress(&self) {
        self.ask(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}))
            .await;
    }

    async fn next(&mut self) -> Result<pb::WatchResponse, Status> {
        let next = timeout(PATIENCE, self.responses.next()).await;
        next.expect("a response in time").expect("no end")
    }

    /// Creates a watch and waits for the answer.
    async fn create(&mut self, create: pb::WatchCreateRequest) -> pb::WatchResponse {
        self.ask(RequestUnion::CreateRequest(create)).await;
        let created = self.next().await.unwrap();
        assert!(created.created && !created.canceled, "{created:?}");
        created
    }

    /// The next `count` events.
    async fn events(&mut self, count: usize) -> Vec<mvccpb::Event> {
        let mut events = Vec::new();
        while events.len() < count {
            events.extend(self.next().await.unwrap().events);
        }
        assert_eq!(events.len(), count, "no more than these");
        events
    }
}

fn all_keys() -> pb::WatchCreateRequest {
    pb::WatchCreateRequest {
        range_end: Bytes::from_static(&[0]),
        ..Default::default()
    }
}

fn key(key: impl Into<Bytes>) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest {
        key: key.into(),
        ..Default::default()
    }
}

fn mod_revisions(events: &[mvccpb::Event]) -> Vec<i64> {
    events
        .iter()
        .map(|event| event.kv.as_ref().unwrap().mod_revision)
        .collect()
}

impl Bench {
    fn watch_client(&self) -> WatchClient<axum::Router> {
        WatchClient::new(routes(&self.member))
    }

    async fn watch(&self) -> Watching {
        Watching::open(&mut self.watch_client()).await
    }

    /// Waits until the gauges of streams and watchers say so.
    async fn wait_for_gauges(&self, streams: i64, watchers: i64) {
        let watch = &self.member.metrics.watch;
        let reached = async {
            while (watch.streams.get(), watch.watchers.get()) != (streams, watchers) {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, reached).await.expect("gauges in time");
    }
}

#[tokio::test]
async fn an_event_has_all_its_fields() {
    let mut bench = Bench::start().await;
    let mut watching = bench.watch().await;
    let create = pb::WatchCreateRequest {
        prev_kv: true,
        ..key("a")
    };
    let created = watching.create(create).await;
    assert_eq!((created.watch_id, revision(&created.header)), (0, 1));
    bench.put("a", "1").await.unwrap();
    bench.put("a", "2").await.unwrap();
    let first = watching.next().await.unwrap();
    let second = watching.next().await.unwrap();
    let header = second.header.unwrap();
    assert_eq!(
        (header.cluster_id, header.member_id, header.revision),
        (CLUSTER_ID, MEMBER_ID, 3)
    );
    assert_eq!(header.raft_term, bench.member.node.term());
    let pair = |value: &str, mod_revision, version| mvccpb::KeyValue {
        key: "a".into(),
        create_revision: 2,
        mod_revision,
        version,
        value: value.to_owned().into(),
        lease: 0,
    };
    let event = |kv, prev_kv| mvccpb::Event {
        r#type: 0,
        kv: Some(kv),
        prev_kv,
    };
    assert_eq!(first.events, [event(pair("1", 2, 1), None)]);
    let before = Some(pair("1", 2, 1));
    assert_eq!(second.events, [event(pair("2", 3, 2), before)]);
    bench.stop().await;
}

#[tokio::test]
async fn half_closing_the_requests_does_not_end_the_watch() {
    let mut bench = Bench::start().await;
    let mut watching = bench.watch().await;
    watching.create(key("a")).await;
    let (closed, _) = mpsc::channel(1);
    drop(std::mem::replace(&mut watching.requests, closed));
    bench.put("a", "1").await.unwrap();
    bench.put("a", "2").await.unwrap();
    assert_eq!(mod_revisions(&watching.events(2).await), [2, 3]);
    bench.stop().await;
}

#[tokio::test]
async fn progress_covers_what_was_acknowledged_before_it_was_asked_for() {
    let mut bench = Bench::start().await;
    let mut watching = bench.watch().await;
    watching.create(all_keys()).await;
    for turn in 0..100 {
        let put = revision(&bench.put("a", "1").await.unwrap().header);
        watching.progress().await;
        let events = watching.next().await.unwrap();
        assert_eq!(mod_revisions(&events.events), [put], "turn {turn}");
        let progress = watching.next().await.unwrap();
        assert_eq!(progress.watch_id, -1);
        assert_eq!(
            (progress.events.len(), revision(&progress.header)),
            (0, put)
        );
    }
    bench.stop().await;
}

/// Watchers start from now, from the past and from the middle while others
/// write: each sees every revision from its start on, once and in order.
#[tokio::test]
async fn no_gap_and_no_repetition_while_others_write() {
    const WRITES: i64 = 600;
    let bench = Bench::start().await;
    let mut kv = bench.kv.clone();
    let (stop_at, mut client) = (1 + WRITES, bench.watch_client());
    let writer = async {
        for number in 0..WRITES {
            let request = pb::PutRequest {
                key: format!("k{}", number % 7).into(),
                value: number.to_string().into(),
                ..Default::default()
            };
            kv.put(request).await.unwrap();
        }
    };
    let watchers = async {
        let mut watchings = Vec::new();
        for start_revision in (0..40).map(|number| if number % 2 == 0 { 0 } else { 2 + number }) {
            let mut watching = Watching::open(&mut client).await;
            let create = pb::WatchCreateRequest {
                start_revision,
                ..all_keys()
            };
            let created = watching.create(create).await;
            let first = match start_revision {
                0 => revision(&created.header) + 1,
                from => from,
            };
            watchings.push((first, watching));
        }
        join_all(
            watchings
                .into_iter()
                .map(|(first, mut watching)| async move {
                    let count = usize::try_from(stop_at - first + 1).unwrap();
                    let expected: Vec<i64> = (first..=stop_at).collect();
                    assert_eq!(mod_revisions(&watching.events(count).await), expected);
                }),
        )
        .await
    };
    tokio::join!(writer, watchers);
    bench.stop().await;
}

#[tokio::test]
async fn ten_thousand_watches_on_one_stream() {
    const WATCHES: i64 = 10_000;
    let mut bench = Bench::start().await;
    let Watching {
        requests,
        mut responses,
    } = bench.watch().await;
    let ask = async {
        for number in 0..WATCHES {
            let create = match number % 2 {
                0 => key(format!("key{number:05}")),
                _ => pb::WatchCreateRequest {
                    range_end: format!("key{number:05}0").into(),
                    ..key(format!("key{number:05}"))
                },
            };
            let request_union = Some(RequestUnion::CreateRequest(create));
            requests
                .send(pb::WatchRequest { request_union })
                .await
                .unwrap();
        }
    };
    let answers = async {
        for number in 0..WATCHES {
            let created = responses.next().await.unwrap().unwrap();
            assert!(created.created);
            assert_eq!(created.watch_id, number);
        }
    };
    tokio::join!(ask, answers);
    bench.wait_for_gauges(1, WATCHES).await;
    let mut watching = Watching {
        requests,
        responses,
    };
    for number in [0, 1, 4_999, 5_000, 9_999] {
        bench.put(&format!("key{number:05}"), "1").await.unwrap();
        let response = watching.next().await.unwrap();
        assert_eq!((response.watch_id, response.events.len()), (number, 1));
    }
    watching.progress().await;
    assert_eq!(watching.next().await.unwrap().watch_id, -1);
    drop(watching);
    bench.wait_for_gauges(0, 0).await;
    bench.stop().await;
}

#[tokio::test]
async fn ten_thousand_streams() {
    const STREAMS: usize = 10_000;
    let mut bench = Bench::start().await;
    let mut client = bench.watch_client();
    let mut watchings = Vec::new();
    for _ in 0..STREAMS {
        let mut watching = Watching::open(&mut client).await;
        watching.create(key("a")).await;
        watchings.push(watching);
    }
    bench.wait_for_gauges(STREAMS as i64, STREAMS as i64).await;
    let put = revision(&bench.put("a", "1").await.unwrap().header);
    for watching in &mut watchings {
        assert_eq!(mod_revisions(&watching.events(1).await), [put]);
    }
    drop(watchings);
    bench.wait_for_gauges(0, 0).await;
    bench.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_nobody_up() {
    const PUTS: usize = 400;
    let value = "v".repeat(8 << 10);
    let mut bench = Bench::start().await;
    let mut client = bench.watch_client();
    let mut idle = Watching::open(&mut client).await;
    let mut busy = Watching::open(&mut client).await;
    idle.create(all_keys()).await;
    busy.create(all_keys()).await;
    for number in 0..PUTS {
        bench.put(&format!("k{number}"), &value).await.unwrap();
        busy.events(1).await;
    }
    let watch = &bench.member.metrics.watch;
    assert_eq!(watch.slow_watchers.get(), 1, "3 MiB don't fit its queue");
    let waiting = watch.pending_events.get();
    assert!((100..200).contains(&waiting), "{waiting} events of 8 KiB");

    let mut events = Vec::new();
    while events.len() < PUTS {
        events.extend(mod_revisions(&idle.next().await.unwrap().events));
    }
    let expected: Vec<i64> = (2..).take(PUTS).collect();
    assert_eq!(events, expected);
    bench.put("again", "1").await.unwrap();
    assert_eq!(idle.events(1).await.len(), 1, "it is synced again");
    bench.stop().await;
}

#[tokio::test]
async fn a_compacted_start_is_told_after_created() {
    let mut bench = Bench::start().await;
    for value in ["1", "2", "3"] {
        bench.put("a", value).await.unwrap();
    }
    let compact = pb::CompactionRequest {
        revision: 3,
        physical: false,
    };
    bench.kv.compact(compact).await.unwrap();
    let mut watching = bench.watch().await;
    let create = pb::WatchCreateRequest {
        start_revision: 2,
        ..key("a")
    };
    watching.create(create).await;
    let canceled = watching.next().await.unwrap();
    assert!(canceled.canceled && !canceled.created);
    assert_eq!(
        (canceled.compact_revision, revision(&canceled.header)),
        (3, 0)
    );
    assert_eq!(canceled.cancel_reason, "");
    bench.stop().await;
}

#[tokio::test]
async fn silent_watches_hear_of_progress_if_they_asked() {
    let mut bench = Bench::with(Config {
        watch_progress_notify_interval: Duration::from_millis(1),
        ..config()
    })
    .await;
    let mut watching = bench.watch().await;
    let create = pb::WatchCreateRequest {
        progress_notify: true,
        ..key("a")
    };
    watching.create(create).await;
    bench.put("b", "1").await.unwrap();
    let mut told = 0;
    while told < 2 {
        let progress = watching.next().await.unwrap();
        assert_eq!((progress.watch_id, progress.events.len()), (0, 0));
        told = revision(&progress.header);
    }
    bench.stop().await;
}

#[tokio::test]
async fn the_end_of_the_node_ends_all_streams() {
    let bench = Bench::start().await;
    let mut watching = bench.watch().await;
    watching.create(key("a")).await;
    bench.stop().await;
    assert_refused(watching.next().await, ApiError::Stopped);
}

#[tokio::test]
async fn a_stream_that_needs_a_leader_ends_without_one() {
    let directory = tempfile::tempdir().unwrap();
    let members = (0..3).map(|number| founder(MEMBER_ID + number)).collect();
    let node = RaftNode::open(options(directory.path(), &config(), members)).unwrap();
    let hub_options = HubOptions {
        fragment_bytes: 1 << 20,
        election_timeout: Duration::from_millis(20),
    };
    let hubs = Hubs::new(node.clone(), Metrics::default(), hub_options);
    let open = |require_leader| {
        let requests = stream::pending::<Result<pb::WatchRequest, Infallible>>();
        WatchStream::open(hubs.current(), requests, require_leader, PATIENCE)
    };
    let (mut indifferent, mut demanding) = (open(false), open(true));
    let end = timeout(PATIENCE, demanding.next()).await.unwrap().unwrap();
    assert!(matches!(end, Err(Ended::Server(End::NoLeader))));
    assert!(futures_util::poll!(indifferent.next()).is_pending());
    node.shutdown().await;
    let end = timeout(PATIENCE, indifferent.next())
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(end, Err(Ended::Server(End::Stopped))));
}
