//! The changes of a store by revision, as a watcher was told them.

use crate::client::Client;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;
use sternpost_proto::etcdserverpb as pb;
use sternpost_proto::mvccpb::{Event, event::EventType};
use tonic::Status;

use pb::watch_request::RequestUnion;

/// All changes of one revision, in order.
pub type Changes = Vec<Event>;

/// What has been told so far, and when first: what was told once must be told again,
/// until it is compacted.
#[derive(Clone, Default)]
pub struct History {
    told: Arc<Mutex<BTreeMap<i64, (Changes, Instant)>>>,
}

/// Why a watch ended before it was wanted to.
#[derive(Debug)]
pub enum WatchEnd {
    /// The start was compacted; this is the first revision left.
    Compacted(i64),
    /// The stream broke.
    Broken(Status),
}

impl History {
    /// The newest revision told.
    #[must_use]
    pub fn last(&self) -> i64 {
        self.told()
            .last_key_value()
            .map_or(1, |(revision, _)| *revision)
    }

    /// The oldest revision that can still be told.
    #[must_use]
    pub fn first(&self) -> i64 {
        self.told()
            .first_key_value()
            .map_or(2, |(revision, _)| *revision)
    }

    /// All that was told beyond `revision`.
    #[must_use]
    pub fn since(&self, revision: i64) -> BTreeMap<i64, (Changes, Instant)> {
        let told = self.told();
        let newer = told.range(revision + 1..);
        newer.map(|(at, changes)| (*at, changes.clone())).collect()
    }

    /// Revisions before `oldest` are compacted: nobody will tell them again.
    pub fn forget_before(&self, oldest: i64) {
        let mut told = self.told();
        *told = told.split_off(&oldest);
    }

    /// Watches everything from `start` until `end` has been told (for ever without one).
    /// A revision told twice must be told alike; what is not is returned.
    ///
    /// # Errors
    /// When the watch ends before.
    pub async fn follow(
        &self,
        client: &mut Client,
        start: i64,
        end: Option<i64>,
    ) -> Result<Vec<String>, WatchEnd> {
        let create = pb::WatchRequest {
            request_union: Some(RequestUnion::CreateRequest(pb::WatchCreateRequest {
                key: "\0".into(),
                range_end: "\0".into(),
                start_revision: start,
                ..Default::default()
            })),
        };
        // The request stream stays open as long as the answers are read.
        let requests = futures_util::StreamExt::chain(
            tokio_stream::iter([create]),
            futures_util::stream::pending(),
        );
        let replies = client
            .watch
            .watch(requests)
            .await
            .map_err(WatchEnd::Broken)?;
        let mut replies = replies.into_inner();
        let mut wrong = Vec::new();
        let mut next = start;
        loop {
            if end.is_some_and(|end| next > end) {
                return Ok(wrong);
            }
            let reply = replies.message().await.map_err(WatchEnd::Broken)?;
            let Some(reply) = reply else {
                return Err(WatchEnd::Broken(Status::ok("the stream ended")));
            };
            if reply.canceled {
                return Err(match reply.compact_revision {
                    0 => WatchEnd::Broken(Status::internal(reply.cancel_reason)),
                    compacted => WatchEnd::Compacted(compacted),
                });
            }
            for changes in reply
                .events
                .chunk_by(|one, other| revision(one) == revision(other))
            {
                next = self.add(changes, next, &mut wrong);
            }
        }
    }

    /// Takes one revision in and returns the one that must come next.
    fn add(&self, changes: &[Event], expected: i64, wrong: &mut Vec<String>) -> i64 {
        let at = revision(&changes[0]);
        if at != expected {
            wrong.push(format!("revision {at} was told where {expected} must be"));
        }
        let known = self
            .told()
            .entry(at)
            .or_insert_with(|| (changes.to_vec(), Instant::now()))
            .0
            .clone();
        if known != changes {
            wrong.push(format!(
                "revision {at}: first told {known:?}, now {changes:?}"
            ));
        }
        at + 1
    }

    fn told(&self) -> MutexGuard<'_, BTreeMap<i64, (Changes, Instant)>> {
        self.told.lock().expect("no holder panics")
    }
}

/// Where an event happened.
#[must_use]
pub fn revision(event: &Event) -> i64 {
    event.kv.as_ref().map_or(0, |kv| kv.mod_revision)
}

/// Key, and the value unless it is a deletion.
#[must_use]
pub fn change(event: &Event) -> (String, Option<String>) {
    let kv = event.kv.clone().unwrap_or_default();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let put = event.r#type == EventType::Put as i32;
    (text(&kv.key), put.then(|| text(&kv.value)))
}
