//! RangeStream: a range in parts, read from one pinned view as the client
//! takes them.

use super::status::ApiError;
use crate::member::Member;
use futures_util::{Stream, stream};
use parking_lot::Mutex;
use prost::Message as _;
use std::{
    pin::Pin,
    sync::{Arc, Weak},
};
use sternpost_proto::{etcdserverpb as pb, mvccpb};
use sternpost_storage::{RangeCursor, ReadError};
use tonic::Status;

/// What the service answers with.
pub type RangeStream = Pin<Box<dyn Stream<Item = Result<pb::RangeStreamResponse, Status>> + Send>>;

/// Keys of the first part, as in etcd: whoever wants few gets them at once.
const FIRST_KEYS: usize = 10;
/// Keys of a part at most.
const KEYS_MAX: usize = 1 << 16;

/// What a stream reads from. It pins a state of the store, so it is taken away
/// from a stream whose revision is compacted, also from one that stands still.
type Pinned = Mutex<Option<RangeCursor>>;

/// The open streams of a member.
#[derive(Default)]
pub struct OpenStreams(Mutex<Vec<OpenStream>>);

struct OpenStream {
    revision: i64,
    cursor: Weak<Pinned>,
}

impl OpenStreams {
    /// Takes a cursor into custody.
    fn add(&self, revision: i64, cursor: RangeCursor) -> Arc<Pinned> {
        let pinned = Arc::new(Mutex::new(Some(cursor)));
        let cursor = Arc::downgrade(&pinned);
        let mut streams = self.0.lock();
        streams.retain(|stream| stream.cursor.strong_count() > 0);
        streams.push(OpenStream { revision, cursor });
        pinned
    }

    /// The store is compacted at this revision: as in etcd, streams that read
    /// below it end. A cursor that is being read is left to its reader, which
    /// looks by itself.
    pub fn end_below(&self, revision: i64) {
        for stream in self.0.lock().iter() {
            if stream.revision < revision
                && let Some(pinned) = stream.cursor.upgrade()
                && let Some(mut cursor) = pinned.try_lock()
            {
                cursor.take();
            }
        }
    }
}

/// Opens a stream for a checked request.
pub async fn start(
    member: Arc<Member>,
    request: pb::RangeRequest,
) -> Result<RangeStream, ApiError> {
    if request.count_only {
        let (mut answer, revision) = member.range(request).await?;
        answer.header = Some(member.header(revision));
        let only = pb::RangeStreamResponse {
            range_response: Some(answer),
        };
        return Ok(Box::pin(stream::iter([Ok(only)])));
    }
    if !request.serializable {
        member.read_index().await?;
    }
    let reads = member.node.reads().clone();
    let opened = move || -> Result<_, ReadError> {
        let view = reads.view();
        let mut cursor = view.cursor(&request)?;
        let ready = cursor.next_chunk(FIRST_KEYS, usize::MAX)?;
        let current = view.revision();
        let revision = if request.revision > 0 {
            request.revision
        } else {
            current
        };
        Ok((cursor, ready, current, revision))
    };
    let (cursor, ready, current, revision) = member.pool.run(0, opened).await??;
    let parts = Parts {
        bytes_max: member.config.max_request_bytes,
        keys_max: FIRST_KEYS,
        cursor: member.streams.add(revision, cursor),
        member,
        current,
        revision,
        ready,
    };
    Ok(Box::pin(stream::unfold(Some(parts), |parts| async move {
        let parts = parts?;
        Some(match parts.next().await {
            Ok((part, rest)) => (Ok(part), rest),
            Err(error) => (Err(error.into()), None),
        })
    })))
}

/// What is left of a stream.
struct Parts {
    member: Arc<Member>,
    /// The current revision when the stream began.
    current: i64,
    /// The revision that is read.
    revision: i64,
    cursor: Arc<Pinned>,
    /// The next part to send. Whether it is the last one is known once the
    /// cursor was asked for another.
    ready: Vec<mvccpb::KeyValue>,
    keys_max: usize,
    bytes_max: usize,
}

impl Parts {
    /// The next part, and the rest unless it is the last.
    async fn next(mut self) -> Result<(pb::RangeStreamResponse, Option<Self>), ApiError> {
        let mut part = pb::RangeResponse {
            kvs: std::mem::take(&mut self.ready),
            ..Default::default()
        };
        let whole = if part.kvs.is_empty() {
            self.whole()?
        } else {
            self.size_next(&part.kvs);
            let member = self.member.clone();
            let read_ahead = move || -> Result<_, ApiError> {
                let whole = self.read_ahead()?;
                Ok((self, whole))
            };
            let whole;
            (self, whole) = member.pool.run(0, read_ahead).await??;
            whole
        };
        // Only the last part has a header, and what counts for the whole range.
        let is_last = self.ready.is_empty();
        if is_last {
            part.header = Some(self.member.header(self.current));
            (part.more, part.count) = whole;
        }
        let response = pb::RangeStreamResponse {
            range_response: Some(part),
        };
        Ok((response, (!is_last).then_some(self)))
    }

    /// Reads the part after this one; more and count, as known by now.
    fn read_ahead(&mut self) -> Result<(bool, i64), ApiError> {
        self.check_compaction()?;
        let mut cursor = self.cursor.lock();
        let cursor = cursor.as_mut().ok_or(ApiError::Compacted)?;
        self.ready = cursor.next_chunk(self.keys_max, self.bytes_max)?;
        Ok((cursor.more(), cursor.count()))
    }

    fn whole(&self) -> Result<(bool, i64), ApiError> {
        let cursor = self.cursor.lock();
        let cursor = cursor.as_ref().ok_or(ApiError::Compacted)?;
        Ok((cursor.more(), cursor.count()))
    }

    fn check_compaction(&self) -> Result<(), ApiError> {
        let compacted = self.member.node.reads().view().compact_revision() > self.revision;
        if compacted {
            Err(ApiError::Compacted)
        } else {
            Ok(())
        }
    }

    /// Parts grow towards the size of the largest request, and shrink above it.
    fn size_next(&mut self, kvs: &[mvccpb::KeyValue]) {
        let bytes: usize = kvs.iter().map(mvccpb::KeyValue::encoded_len).sum();
        if bytes > self.bytes_max {
            self.keys_max = (self.keys_max / 2).max(1);
        } else if bytes < self.bytes_max / 2 {
            self.keys_max = (self.keys_max * 2).min(KEYS_MAX);
        }
    }
}
