//! The lasting watch streams of one server: what each watcher must have got by
//! now is worked out from a watcher of everything, so a missing, doubled,
//! reordered or split event is found without any clock.

use super::inbox::Stream;
use super::op::Delivery;
use crate::client::Client;
use bytes::Bytes;
use std::collections::BTreeMap;
use sternpost_proto::etcdserverpb as pb;
use sternpost_proto::mvccpb::{Event, KeyValue, event::EventType};

use pb::watch_create_request::FilterType;
use pb::watch_request::RequestUnion;

/// Lasting streams besides the one that watches everything. Only the last one
/// has watchers of the future, which keep progress requests unanswered, and it has
/// none of the past, so that none of its watchers can be behind.
pub const STREAMS: usize = 3;
/// The stream for watchers of revisions to come.
pub const FUTURE_STREAM: usize = STREAMS - 1;

/// A watcher that is alive on a lasting stream.
#[derive(Debug)]
struct Watcher {
    key: Bytes,
    range_end: Bytes,
    filters: Vec<i32>,
    /// It has been given everything below this revision.
    next: i64,
    /// The compact revision, where it begins there and has been given nothing yet.
    from_compacted: Option<i64>,
}

/// All lasting streams to one server.
pub struct Watches {
    client: Client,
    all: Stream,
    streams: Vec<Stream>,
    watchers: BTreeMap<(usize, i64), Watcher>,
    /// Everything that has happened, as the watcher of everything saw it.
    history: Vec<Event>,
    compacted: Option<i64>,
}

impl Watches {
    /// Opens the streams and starts the watcher of everything at revision 1.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn open(client: &Client) -> Result<Self, tonic::Status> {
        let all = Stream::open(client);
        all.create(pb::WatchCreateRequest {
            key: Bytes::from_static(b"\0"),
            range_end: Bytes::from_static(b"\0"),
            start_revision: 1,
            prev_kv: true,
            ..Default::default()
        });
        all.inbox.control().await?;
        let streams = (0..STREAMS).map(|_| Stream::open(client)).collect();
        Ok(Self {
            client: client.clone(),
            all,
            streams,
            watchers: BTreeMap::new(),
            history: Vec::new(),
            compacted: None,
        })
    }

    /// The history below this revision is gone.
    pub fn compacted(&mut self, revision: i64) {
        self.compacted = Some(revision);
    }

    /// Creates a watch and waits for the answer.
    ///
    /// # Errors
    /// When none comes.
    pub async fn create(
        &mut self,
        stream: usize,
        request: &pb::WatchCreateRequest,
    ) -> Result<pb::WatchResponse, tonic::Status> {
        self.streams[stream].create(request.clone());
        let reply = self.streams[stream].inbox.control().await?;
        if reply.created && !reply.canceled {
            let now = reply.header.as_ref().map_or(0, |header| header.revision);
            let key = if request.key.is_empty() {
                Bytes::from_static(b"\0")
            } else {
                request.key.clone()
            };
            let watcher = Watcher {
                key,
                range_end: request.range_end.clone(),
                filters: request.filters.clone(),
                next: match request.start_revision {
                    0 => now + 1,
                    start => start,
                },
                from_compacted: self
                    .compacted
                    .filter(|revision| *revision == request.start_revision),
            };
            self.watchers.insert((stream, reply.watch_id), watcher);
        }
        Ok(reply)
    }

    /// Cancels a watch; one that is alive answers, an unknown one does not.
    ///
    /// # Errors
    /// When the answer does not come.
    pub async fn cancel(
        &mut self,
        stream: usize,
        watch_id: i64,
    ) -> Result<Vec<pb::WatchResponse>, tonic::Status> {
        self.streams[stream].send(RequestUnion::CancelRequest(pb::WatchCancelRequest {
            watch_id,
        }));
        if self.watchers.remove(&(stream, watch_id)).is_none() {
            return Ok(Vec::new());
        }
        Ok(vec![self.streams[stream].inbox.control().await?])
    }

    /// Asks for progress until it is answered at `revision`.
    ///
    /// # Errors
    /// When that never happens.
    pub async fn progress(
        &mut self,
        stream: usize,
        revision: i64,
    ) -> Result<Vec<pb::WatchResponse>, tonic::Status> {
        if !self.watchers.keys().any(|(of, _)| *of == stream) {
            return Ok(Vec::new());
        }
        let stream = &self.streams[stream];
        let ask = || stream.send(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}));
        Ok(vec![stream.inbox.progress(revision, ask).await?])
    }

    /// Watches on a stream of their own.
    ///
    /// # Errors
    /// When an answer does not come.
    pub async fn once(
        &self,
        requests: &[(pb::WatchCreateRequest, usize)],
    ) -> Result<Vec<pb::WatchResponse>, tonic::Status> {
        let stream = Stream::open(&self.client);
        let mut replies = Vec::new();
        for (request, answers) in requests {
            stream.create(request.clone());
            for _ in 0..*answers {
                replies.push(stream.inbox.control().await?);
            }
        }
        Ok(replies)
    }

    /// Waits until all has arrived that must have by `revision`, and hands it over
    /// with a list of broken promises.
    pub async fn settle(&mut self, revision: i64) -> (Vec<Delivery>, Vec<String>) {
        let mut broken = Vec::new();
        self.follow_everything(revision, &mut broken).await;
        let mut deliveries = vec![];
        for (&(stream, watch_id), watcher) in &mut self.watchers {
            let expected = wanted(watcher, &self.history, revision);
            watcher.next = watcher.next.max(revision + 1);
            let least = watcher.from_compacted.take();
            let least = least.map(|revision| compacted_at(revision, &expected));
            let count = least.as_ref().unwrap_or(&expected).len();
            let inbox = &self.streams[stream].inbox;
            let events = inbox.events(watch_id, count).await;
            let mut may_be = least.iter().chain([&expected]);
            if !may_be.any(|all| same_changes(&events, all)) {
                broken.push(format!(
                    "stream {stream} watch {watch_id} of {watcher:?}: must have {:?}, has {:?}",
                    brief(&expected),
                    brief(&events)
                ));
            }
            deliveries.push(Delivery {
                stream,
                watch_id,
                events,
            });
        }
        for stream in self.streams.iter().chain([&self.all]) {
            broken.extend(stream.inbox.violations());
        }
        (deliveries, broken)
    }

    async fn follow_everything(&mut self, revision: i64, broken: &mut Vec<String>) {
        let seen = |events: &[Event]| events.last().map_or(1, revision_of);
        if seen(&self.history) >= revision {
            return;
        }
        let events = self.all.inbox.events_up_to(0, revision).await;
        if seen(&events) != revision {
            broken.push(format!(
                "the watcher of everything ends at revision {} instead of {revision}",
                seen(&events)
            ));
        }
        self.history.extend(events);
    }
}

/// The revision an event happened at.
#[must_use]
pub fn revision_of(event: &Event) -> i64 {
    event.kv.as_ref().map_or(0, |kv| kv.mod_revision)
}

fn wanted(watcher: &Watcher, history: &[Event], revision: i64) -> Vec<Event> {
    let from = history.partition_point(|event| revision_of(event) < watcher.next);
    let past = history[from..].iter();
    let past = past.take_while(|event| revision_of(event) <= revision);
    past.filter(|event| matches(watcher, event))
        .cloned()
        .collect()
}

/// What a compaction at `revision` leaves of these: of the changes of a key in that very revision
/// it may keep the last alone.
fn compacted_at(revision: i64, events: &[Event]) -> Vec<Event> {
    let key = |event: &Event| event.kv.as_ref().map(|kv| kv.key.clone());
    let is_replaced = |at: usize| {
        let mut later = events[at + 1..].iter();
        revision_of(&events[at]) == revision
            && later.any(|event| revision_of(event) == revision && key(event) == key(&events[at]))
    };
    let kept = (0..events.len()).filter(|at| !is_replaced(*at));
    kept.map(|at| events[at].clone()).collect()
}

fn matches(watcher: &Watcher, event: &Event) -> bool {
    let is_delete = event.r#type == EventType::Delete as i32;
    let filter = if is_delete {
        FilterType::Nodelete
    } else {
        FilterType::Noput
    };
    let key = event.kv.as_ref().map_or(&[][..], |kv| &kv.key);
    !watcher.filters.contains(&(filter as i32))
        && match &*watcher.range_end {
            b"" => key == watcher.key,
            b"\0" => key >= &watcher.key[..],
            end => key >= &watcher.key[..] && key < end,
        }
}

/// Kind, key and revision, for people.
fn brief(events: &[Event]) -> Vec<(&'static str, Bytes, i64)> {
    let one = |event: &Event| {
        let kind = event.r#type().as_str_name();
        let kv = event.kv.as_ref();
        (
            kind,
            kv.map(|kv| kv.key.clone()).unwrap_or_default(),
            revision_of(event),
        )
    };
    events.iter().map(one).collect()
}

/// Equal but for prev_kv, which the watcher may not have asked for.
fn same_changes(one: &[Event], other: &[Event]) -> bool {
    fn change(event: &Event) -> (i32, Option<&KeyValue>) {
        (event.r#type, event.kv.as_ref())
    }
    one.iter().map(change).eq(other.iter().map(change))
}

impl Stream {
    fn create(&self, request: pb::WatchCreateRequest) {
        self.send(RequestUnion::CreateRequest(request));
    }
}
