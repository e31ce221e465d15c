//! From events to bytes on the wire, once per event and form.
//!
//! A `WatchResponse` ends with its events, and in protobuf the encoding of a
//! list is the concatenation of the encodings of its items. So each event is
//! encoded once as an item of that list, the bytes are shared by all watchers
//! that want this form of it, and a response is a few bytes of header
//! followed by a copy of the shared ones.

use super::registry::Form;
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message as _;
use std::borrow::Cow;
use sternpost_proto::{etcdserverpb as pb, mvccpb};
use sternpost_storage::{Event, Fault, ReadView};

/// Number of the field `events` in a `WatchResponse`.
const EVENTS_FIELD: u32 = 11;

/// What the fields before the events take at most, for the size at which a
/// response is split: IDs, revision and term in the header, the watch ID.
const FIELDS_BEFORE_EVENTS_BYTES: usize = 64;

/// One response, waiting in the queue of its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// Events of one watch.
    Events {
        /// `header.revision`.
        revision: i64,
        /// The watch.
        watch_id: i64,
        /// More of the same revision follows.
        fragment: bool,
        /// The list of events, encoded as the tail of the response.
        events: Bytes,
    },
    /// News about a watch, without events.
    Notice(Notice),
}

/// A response without events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// `header.revision`.
    pub revision: i64,
    /// The watch, or -1.
    pub watch_id: i64,
    /// The answer to a create request.
    pub created: bool,
    /// The watch is over, or never was.
    pub canceled: bool,
    /// Why, if a compaction ended it.
    pub compact_revision: i64,
    /// Why, otherwise.
    pub cancel_reason: Cow<'static, str>,
}

/// What all responses of a moment have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The cluster.
    pub cluster_id: u64,
    /// This member.
    pub member_id: u64,
    /// The raft term.
    pub raft_term: u64,
}

impl Response {
    /// The events it carries, encoded; empty for a notice.
    pub fn event_bytes(&self) -> &Bytes {
        static NONE: Bytes = Bytes::new();
        match self {
            Self::Events { events, .. } => events,
            Self::Notice(_) => &NONE,
        }
    }

    /// Splits it into header, the fields between, and the events.
    pub fn into_parts(self, head: Head) -> (pb::ResponseHeader, pb::WatchResponse, Bytes) {
        let header = |revision| pb::ResponseHeader {
            cluster_id: head.cluster_id,
            member_id: head.member_id,
            revision,
            raft_term: head.raft_term,
        };
        match self {
            Self::Events {
                revision,
                watch_id,
                fragment,
                events,
            } => {
                let fields = pb::WatchResponse {
                    watch_id,
                    fragment,
                    ..Default::default()
                };
                (header(revision), fields, events)
            }
            Self::Notice(notice) => {
                let fields = pb::WatchResponse {
                    watch_id: notice.watch_id,
                    created: notice.created,
                    canceled: notice.canceled,
                    compact_revision: notice.compact_revision,
                    cancel_reason: notice.cancel_reason.into_owned(),
                    ..Default::default()
                };
                (header(notice.revision), fields, Bytes::new())
            }
        }
    }
}

/// Events that are delivered together, and what was encoded of them so far.
pub struct EventBatch<'a> {
    view: &'a ReadView,
    events: Vec<&'a Event>,
    encoded: Vec<Encoded>,
    fragment_bytes: usize,
}

#[derive(Clone, Default)]
struct Encoded {
    plain: Option<Bytes>,
    with_previous: Option<Bytes>,
}

impl<'a> EventBatch<'a> {
    /// Nothing is encoded yet. Previous pairs are read from `view`; responses
    /// to those who asked for fragments are split at `fragment_bytes`.
    pub fn new(view: &'a ReadView, events: Vec<&'a Event>, fragment_bytes: usize) -> Self {
        let encoded = vec![Encoded::default(); events.len()];
        Self {
            view,
            events,
            encoded,
            fragment_bytes,
        }
    }

    /// The events, numbered from 0.
    pub fn events(&self) -> &[&'a Event] {
        &self.events
    }

    /// The first of these hits that is not older than `revision`.
    pub fn first_from(&self, hits: &[u32], revision: i64) -> usize {
        hits.partition_point(|hit| self.events[*hit as usize].revision.main < revision)
    }

    /// The event lists of the responses that carry these events in this form:
    /// none if its filters drop all, more than one only with fragments.
    pub fn encode(&mut self, hits: &[u32], form: Form) -> Result<Payload, Fault> {
        let mut payload = Payload::default();
        let mut run: Vec<Bytes> = Vec::new();
        let mut run_bytes = FIELDS_BEFORE_EVENTS_BYTES;
        for hit in hits {
            let is_delete = self.events[*hit as usize].is_delete();
            if (is_delete && form.skip_deletes) || (!is_delete && form.skip_puts) {
                continue;
            }
            let event = self.event(*hit as usize, form.prev_kv)?;
            if form.fragment && !run.is_empty() && run_bytes + event.len() >= self.fragment_bytes {
                payload.parts.push(concatenate(&mut run));
                run_bytes = FIELDS_BEFORE_EVENTS_BYTES;
            }
            run_bytes += event.len();
            payload.events += 1;
            run.push(event);
        }
        if !run.is_empty() {
            payload.parts.push(concatenate(&mut run));
        }
        Ok(payload)
    }

    fn event(&mut self, number: usize, prev_kv: bool) -> Result<Bytes, Fault> {
        let (event, encoded) = (self.events[number], &mut self.encoded[number]);
        let slot = if prev_kv && event.previous.is_some() {
            &mut encoded.with_previous
        } else {
            &mut encoded.plain
        };
        if let Some(bytes) = slot {
            return Ok(bytes.clone());
        }
        let prev_kv = if prev_kv {
            self.view.previous(event)?
        } else {
            None
        };
        let bytes = encode_event(event, prev_kv);
        *slot = Some(bytes.clone());
        Ok(bytes)
    }
}

/// Encoded events of one watcher, shared with others.
#[derive(Clone, Default)]
pub struct Payload {
    /// One list of events per response.
    pub parts: Vec<Bytes>,
    /// Events in all of them.
    pub events: u64,
}

fn encode_event(event: &Event, prev_kv: Option<mvccpb::KeyValue>) -> Bytes {
    let kind = if event.is_delete() {
        mvccpb::event::EventType::Delete
    } else {
        mvccpb::event::EventType::Put
    };
    let message = mvccpb::Event {
        r#type: kind.into(),
        kv: Some(event.key_value()),
        prev_kv,
    };
    let mut bytes = BytesMut::with_capacity(message.encoded_len() + 12);
    prost::encoding::message::encode(EVENTS_FIELD, &message, &mut bytes);
    bytes.freeze()
}

fn concatenate(run: &mut Vec<Bytes>) -> Bytes {
    if run.len() == 1 {
        return run.pop().expect("one event");
    }
    let mut bytes = BytesMut::with_capacity(run.iter().map(Bytes::len).sum());
    for event in run.drain(..) {
        bytes.put_slice(&event);
    }
    bytes.freeze()
}
