//! RangeStream: a range in parts, read from one pinned view as the client
//! takes them.

use super::status::ApiError;
use crate::member::Member;
use futures_util::{Stream, stream};
use prost::Message as _;
use std::{pin::Pin, sync::Arc};
use sternpost_proto::{etcdserverpb as pb, mvccpb};
use sternpost_storage::{RangeCursor, ReadError};
use tonic::Status;

/// What the service answers with.
pub type RangeStream = Pin<Box<dyn Stream<Item = Result<pb::RangeStreamResponse, Status>> + Send>>;

/// Keys of the first part, as in etcd: whoever wants few gets them at once.
const FIRST_KEYS: usize = 10;
/// Keys of a part at most.
const KEYS_MAX: usize = 1 << 16;

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
        member,
        current,
        revision,
        cursor,
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
    cursor: RangeCursor,
    /// The next part to send. Whether it is the last one is known once the
    /// cursor was asked for another.
    ready: Vec<mvccpb::KeyValue>,
    keys_max: usize,
    bytes_max: usize,
}

impl Parts {
    /// The next part, and the rest unless it is the last.
    async fn next(mut self) -> Result<(pb::RangeStreamResponse, Option<Self>), ApiError> {
        self.check_compaction()?;
        let kvs = std::mem::take(&mut self.ready);
        if kvs.is_empty() {
            return Ok(self.last(kvs));
        }
        self.size_next(&kvs);
        let member = self.member.clone();
        let ahead = move || -> Result<Self, ReadError> {
            self.ready = self.cursor.next_chunk(self.keys_max, self.bytes_max)?;
            Ok(self)
        };
        let rest = member.pool.run(0, ahead).await??;
        if rest.ready.is_empty() {
            return Ok(rest.last(kvs));
        }
        let part = pb::RangeResponse {
            kvs,
            ..Default::default()
        };
        Ok((
            pb::RangeStreamResponse {
                range_response: Some(part),
            },
            Some(rest),
        ))
    }

    /// As etcd, a stream ends when what it reads is compacted: else a client
    /// that takes its time would keep dead rows for as long.
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

    /// Only the last part has a header, and what counts for the whole range.
    fn last(self, kvs: Vec<mvccpb::KeyValue>) -> (pb::RangeStreamResponse, Option<Self>) {
        let header = Some(self.member.header(self.current));
        let part = pb::RangeResponse {
            header,
            kvs,
            more: self.cursor.more(),
            count: self.cursor.count(),
        };
        (
            pb::RangeStreamResponse {
                range_response: Some(part),
            },
            None,
        )
    }
}
