//! One watch stream: a task reads it and sorts what comes into answers, progress
//! and events per watch, checking on the way what a stream promises.

use super::watch::revision_of;
use crate::client::Client;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use sternpost_proto::etcdserverpb as pb;
use sternpost_proto::mvccpb::Event;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::UnboundedReceiverStream;

use pb::watch_request::RequestUnion;

/// An answer that takes longer does not come.
const LIMIT: Duration = Duration::from_secs(15);
/// A progress request that was dropped is repeated after this.
const ASK_AGAIN: Duration = Duration::from_millis(120);

/// An open watch stream. Dropping it ends it.
pub struct Stream {
    requests: mpsc::UnboundedSender<pb::WatchRequest>,
    /// What has come.
    pub inbox: Arc<Inbox>,
    reader: JoinHandle<()>,
}

impl Stream {
    /// Opens a stream. A server may keep its headers back until the first answer,
    /// so the call itself is the reader's.
    #[must_use]
    pub fn open(client: &Client) -> Self {
        // Unbounded, as a test has a handful of requests in it at most.
        let (requests, receiver) = mpsc::unbounded_channel();
        let client = client.clone();
        let inbox = Arc::new(Inbox::default());
        let reader = tokio::spawn(read(client, receiver, Arc::clone(&inbox)));
        Self {
            requests,
            inbox,
            reader,
        }
    }

    /// Sends one request.
    pub fn send(&self, request: RequestUnion) {
        let request = pb::WatchRequest {
            request_union: Some(request),
        };
        // A stream that has ended shows as an answer that does not come.
        let _ = self.requests.send(request);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// What has come on one stream and was not taken yet.
#[derive(Default)]
pub struct Inbox {
    mail: Mutex<Mail>,
    arrived: Notify,
}

#[derive(Default)]
struct Mail {
    controls: VecDeque<pb::WatchResponse>,
    progress: VecDeque<pb::WatchResponse>,
    events: BTreeMap<i64, Vec<Event>>,
    alive: BTreeSet<i64>,
    /// Last revision sent to a watch, and whether its events may still go on in the next response.
    last: BTreeMap<i64, (i64, bool)>,
    violations: Vec<String>,
    ended: Option<tonic::Status>,
}

impl Inbox {
    /// The next answer that is neither event nor progress.
    ///
    /// # Errors
    /// When none comes in time, or the stream ended.
    pub async fn control(&self) -> Result<pb::WatchResponse, tonic::Status> {
        self.wait("watch answer", |mail| mail.controls.pop_front())
            .await
    }

    /// The first progress answer at `revision` or later.
    ///
    /// # Errors
    /// When none comes in time, or the stream ended.
    pub async fn progress(
        &self,
        revision: i64,
        ask: impl Fn(),
    ) -> Result<pb::WatchResponse, tonic::Status> {
        let deadline = Instant::now() + LIMIT;
        loop {
            ask();
            let again = Instant::now() + ASK_AGAIN;
            let found = self.wait_until(again, "progress", |mail| {
                let reply = mail.progress.pop_front()?;
                let at = reply.header.as_ref().map_or(0, |header| header.revision);
                (at >= revision).then_some(reply)
            });
            match found.await {
                Err(status) if Instant::now() > deadline => return Err(status),
                Err(_) => {}
                found => return found,
            }
        }
    }

    /// The events of a watch, once there are `count` of them, or what there is after a while.
    pub async fn events(&self, watch_id: i64, count: usize) -> Vec<Event> {
        let enough = |mail: &mut Mail| {
            let there = mail.events.get(&watch_id).map_or(0, Vec::len);
            (there >= count).then(|| mail.events.remove(&watch_id).unwrap_or_default())
        };
        self.take(watch_id, enough).await
    }

    /// The events of a watch, once they reach `revision`, or what there is after a while.
    pub async fn events_up_to(&self, watch_id: i64, revision: i64) -> Vec<Event> {
        let enough = |mail: &mut Mail| {
            let last = mail.events.get(&watch_id)?.last()?;
            (revision_of(last) >= revision)
                .then(|| mail.events.remove(&watch_id).unwrap_or_default())
        };
        self.take(watch_id, enough).await
    }

    /// The promises broken since the last look.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        std::mem::take(&mut self.mail().violations)
    }

    async fn take(
        &self,
        watch_id: i64,
        enough: impl FnMut(&mut Mail) -> Option<Vec<Event>>,
    ) -> Vec<Event> {
        match self.wait("events", enough).await {
            Ok(events) => events,
            Err(status) => {
                let mut mail = self.mail();
                mail.violations.push(status.to_string());
                mail.events.remove(&watch_id).unwrap_or_default()
            }
        }
    }

    async fn wait<T>(
        &self,
        what: &str,
        look: impl FnMut(&mut Mail) -> Option<T>,
    ) -> Result<T, tonic::Status> {
        self.wait_until(Instant::now() + LIMIT, what, look).await
    }

    async fn wait_until<T>(
        &self,
        deadline: Instant,
        what: &str,
        mut look: impl FnMut(&mut Mail) -> Option<T>,
    ) -> Result<T, tonic::Status> {
        loop {
            let arrived = self.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            {
                let mut mail = self.mail();
                if let Some(found) = look(&mut mail) {
                    return Ok(found);
                }
                if let Some(status) = &mail.ended {
                    return Err(status.clone());
                }
            }
            if timeout_at(deadline, arrived).await.is_err() {
                return Err(tonic::Status::deadline_exceeded(format!("no {what} came")));
            }
        }
    }

    fn mail(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().expect("no holder panics")
    }
}

async fn read(
    mut client: Client,
    requests: mpsc::UnboundedReceiver<pb::WatchRequest>,
    inbox: Arc<Inbox>,
) {
    let requests = UnboundedReceiverStream::new(requests);
    let mut replies = match client.watch.watch(requests).await {
        Ok(replies) => replies.into_inner(),
        Err(status) => {
            inbox.mail().ended = Some(status);
            inbox.arrived.notify_waiters();
            return;
        }
    };
    loop {
        match replies.message().await {
            Ok(Some(reply)) => inbox.mail().sort(reply),
            Ok(None) => inbox.mail().ended = Some(tonic::Status::ok("the stream ended")),
            Err(status) => inbox.mail().ended = Some(status),
        }
        inbox.arrived.notify_waiters();
        if inbox.mail().ended.is_some() {
            return;
        }
    }
}

impl Mail {
    fn sort(&mut self, reply: pb::WatchResponse) {
        let id = reply.watch_id;
        if reply.created || reply.canceled {
            if reply.created && !reply.canceled {
                self.alive.insert(id);
                self.last.remove(&id);
            } else {
                self.alive.remove(&id);
            }
            if !reply.events.is_empty() {
                self.violations.push(format!("events inside {reply:?}"));
            }
            self.controls.push_back(reply);
        } else if reply.events.is_empty() {
            // With an id of its own it is the periodic notice, which a clock sends.
            if id == -1 {
                self.progress.push_back(reply);
            }
        } else {
            self.sort_events(reply);
        }
    }

    /// Events only while the watch is alive, revisions rising over responses, one
    /// revision never split (unless fragments were asked for), the header not older than the events.
    fn sort_events(&mut self, reply: pb::WatchResponse) {
        let id = reply.watch_id;
        if !self.alive.contains(&id) {
            self.violations
                .push(format!("events for dead watch {id}: {reply:?}"));
        }
        let first = reply.events.first().map_or(0, revision_of);
        let last = reply.events.last().map_or(0, revision_of);
        let (before, goes_on) = self
            .last
            .insert(id, (last, reply.fragment))
            .unwrap_or((0, false));
        if first < before || (first == before && !goes_on) {
            self.violations
                .push(format!("watch {id}: revision {first} after {before}"));
        }
        if reply
            .events
            .windows(2)
            .any(|two| revision_of(&two[0]) > revision_of(&two[1]))
        {
            self.violations.push(format!("out of order: {reply:?}"));
        }
        let header = reply.header.as_ref().map_or(0, |header| header.revision);
        if header < last {
            self.violations.push(format!(
                "watch {id}: header {header} older than event {last}"
            ));
        }
        self.events.entry(id).or_default().extend(reply.events);
    }
}
