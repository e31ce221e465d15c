//! A range read part by part.

use super::view::ReadView;
use crate::{
    error::{Fault, ReadError},
    mvcc::{
        range::{Copier, Values},
        span::KeySpan,
    },
};
use bytes::Bytes;
use std::{ops::ControlFlow, sync::Arc};
use sternpost_proto::{etcdserverpb as pb, mvccpb};

/// Walks a range part by part. Each part looks its first key up anew, so
/// that nothing is held open in between but the view.
pub struct RangeCursor {
    view: Arc<ReadView>,
    revision: i64,
    /// The first key not handed out.
    next: Vec<u8>,
    until: Option<Bytes>,
    keys_only: bool,
    /// Keys still to hand out.
    left: u64,
    handed_out: i64,
    count: i64,
}

impl RangeCursor {
    pub(super) fn new(view: Arc<ReadView>, request: &pb::RangeRequest) -> Result<Self, ReadError> {
        let source = view.source();
        let revision = source.resolve(request.revision)?;
        let span = KeySpan::new(&request.key, &request.range_end);
        let count = source.count(span, revision)?;
        let until = match span {
            KeySpan::One(key) => Some([key, &[0]].concat().into()),
            KeySpan::Range { until, .. } => until.map(Bytes::copy_from_slice),
        };
        let limit = u64::try_from(request.limit)
            .ok()
            .filter(|&limit| limit > 0)
            .unwrap_or(u64::MAX);
        Ok(Self {
            revision,
            next: request.key.to_vec(),
            until,
            keys_only: request.keys_only,
            left: if request.count_only || span.is_empty() {
                0
            } else {
                limit
            },
            handed_out: 0,
            count,
            view,
        })
    }

    /// The next keys, at most `keys_max` and about `bytes_max` bytes; empty
    /// at the end.
    pub fn next_chunk(
        &mut self,
        keys_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<mvccpb::KeyValue>, Fault> {
        let keys_max = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(keys_max.max(1));
        if self.left == 0 {
            return Ok(Vec::new());
        }
        let values = if self.keys_only {
            Values::Skip
        } else {
            Values::Load
        };
        let span = KeySpan::Range {
            from: &self.next,
            until: self.until.as_deref(),
        };
        let mut copier = Copier::default();
        let mut kvs = Vec::new();
        let mut bytes = 0;
        self.view
            .source()
            .walk(span, self.revision, values, &mut |version| {
                let mut kv = copier.copy(&version, values);
                if values == Values::Skip {
                    kv.lease = 0;
                }
                bytes += kv.key.len() + kv.value.len();
                kvs.push(kv);
                let full = kvs.len() >= keys_max || bytes >= bytes_max;
                Ok(if full {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                })
            })?;
        match kvs.last() {
            None => self.left = 0,
            Some(last) => {
                self.next.clear();
                self.next.extend_from_slice(&last.key);
                self.next.push(0);
                self.left -= kvs.len() as u64;
                self.handed_out += kvs.len() as i64;
            }
        }
        Ok(kvs)
    }

    /// Keys in the whole range, whatever the limit.
    pub fn count(&self) -> i64 {
        self.count
    }

    /// Whether the limit cut the range, known once the last chunk is out.
    pub fn more(&self) -> bool {
        self.handed_out > 0 && self.left == 0 && self.handed_out < self.count
    }

    /// The revision it reads at.
    pub fn revision(&self) -> i64 {
        self.revision
    }
}
