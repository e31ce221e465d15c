//! Range requests: which keys, at which revision, filtered, sorted, cut.

use super::{
    count::CountTable,
    current::{self, Version, key_value},
    history,
    span::KeySpan,
    versions,
};
use crate::{
    backend::Read,
    error::{Fault, ReadError, Rejection},
    ids::Revision,
    schema::rows::LogChange,
};
use bytes::{BufMut as _, Bytes, BytesMut};
use std::ops::ControlFlow;
use sternpost_proto::{
    etcdserverpb::{
        self as pb,
        range_request::{SortOrder, SortTarget},
    },
    mvccpb,
};

/// What a walk calls for each key; `Break` ends it.
pub(crate) type Visit<'v> = dyn FnMut(Version<'_>) -> Result<ControlFlow<()>, Fault> + 'v;

/// Whether a walk has to find values and leases of old versions, which costs
/// a lookup each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Values {
    Load,
    Skip,
}

/// A count at an old revision looks at this many events at least before it
/// walks the keys instead: two iterators cost about as much to open.
const GROWTH_EVENTS_MIN: i64 = 64;

/// A state to answer from.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub read: &'a dyn Read,
    /// Its revision.
    pub revision: i64,
    pub compact_revision: i64,
    /// Counts of its live keys; without them keys are counted one by one.
    pub counts: Option<&'a CountTable>,
}

impl Source<'_> {
    /// The revision to read at for the one asked for; 0 and below mean now.
    pub(crate) fn resolve(&self, asked: i64) -> Result<i64, Rejection> {
        let revision = if asked <= 0 { self.revision } else { asked };
        if revision > self.revision {
            return Err(Rejection::FutureRevision);
        }
        if revision < self.compact_revision {
            return Err(Rejection::Compacted);
        }
        Ok(revision)
    }

    /// Visits the keys of a span as of `revision`, in order.
    pub(crate) fn walk(
        &self,
        span: KeySpan<'_>,
        revision: i64,
        values: Values,
        visit: &mut Visit<'_>,
    ) -> Result<(), Fault> {
        if revision >= self.revision {
            current::walk(self.read, span, visit)
        } else {
            versions::walk(self.read, span, revision, values, visit)
        }
    }

    /// Keys in a span as of `revision`.
    pub(crate) fn count(&self, span: KeySpan<'_>, revision: i64) -> Result<i64, Fault> {
        if let Some(counts) = self.counts {
            let now = counts.count(self.read, span)? as i64;
            if let Some(since) = self.growth_since(span, revision, now)? {
                return Ok(now - since);
            }
        }
        let mut count = 0;
        self.walk(span, revision, Values::Skip, &mut |_| {
            count += 1;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(count)
    }

    /// By how many keys a span that holds `now` keys has grown after
    /// `revision`: read off the history, unless that is so long that walking
    /// the keys is cheaper. A list continued page by page at its first
    /// revision stays cheap this way.
    fn growth_since(
        &self,
        span: KeySpan<'_>,
        revision: i64,
        now: i64,
    ) -> Result<Option<i64>, Fault> {
        if revision >= self.revision {
            return Ok(Some(0));
        }
        let mut left = now.max(GROWTH_EVENTS_MIN);
        if self.revision - revision > left {
            return Ok(None);
        }
        let mut growth = 0;
        let from = Revision::new(revision + 1, 0);
        history::walk(self.read, from, self.revision, &mut |_, event| {
            left -= 1;
            growth += match event.change {
                LogChange::Put { version: 1, .. } => i64::from(span.contains(event.key)),
                LogChange::Put { .. } => 0,
                LogChange::Delete => -i64::from(span.contains(event.key)),
            };
            Ok(if left > 0 {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            })
        })?;
        Ok((left > 0).then_some(growth))
    }

    /// Answers a range request; the header is left to the caller.
    pub(crate) fn range(&self, request: &pb::RangeRequest) -> Result<pb::RangeResponse, ReadError> {
        let revision = self.resolve(request.revision)?;
        let span = KeySpan::new(&request.key, &request.range_end);
        if request.count_only {
            let count = self.count(span, revision)?;
            return Ok(pb::RangeResponse {
                count,
                ..Default::default()
            });
        }
        if let (KeySpan::One(key), true) = (span, revision >= self.revision) {
            return Ok(self.point(key, request)?);
        }
        let plan = Plan::of(request);
        let Collected {
            mut kvs,
            kept,
            found,
            exhausted,
        } = self.collect(span, revision, &plan)?;
        let more = plan.limit.is_some_and(|limit| kept > limit);
        if let Some(limit) = plan.limit {
            kvs.truncate(limit);
        }
        if request.keys_only {
            kvs.iter_mut().for_each(|kv| plan.strip(kv));
        }
        let count = if exhausted {
            found
        } else {
            self.count(span, revision)?
        };
        Ok(pb::RangeResponse {
            header: None,
            kvs,
            more,
            count,
        })
    }

    /// One key as of now: one lookup, and the key is not copied.
    fn point(&self, key: &[u8], request: &pb::RangeRequest) -> Result<pb::RangeResponse, Fault> {
        let plan = Plan::of(request);
        let kv = current::get(self.read, key, |version| {
            if request.keys_only {
                let mut kv = key_value(request.key.clone(), &version.header, Bytes::new());
                plan.strip(&mut kv);
                kv
            } else {
                version.to_kv(request.key.clone())
            }
        })?;
        let count = i64::from(kv.is_some());
        let kvs = kv
            .into_iter()
            .filter(|kv| plan.filter.keeps(kv.mod_revision, kv.create_revision))
            .collect();
        Ok(pb::RangeResponse {
            header: None,
            kvs,
            more: false,
            count,
        })
    }

    /// Reads the keys that the filters leave, in the order asked for.
    fn collect(&self, span: KeySpan<'_>, revision: i64, plan: &Plan) -> Result<Collected, Fault> {
        let mut all = Collected {
            kvs: Vec::new(),
            kept: 0,
            found: 0,
            exhausted: true,
        };
        let mut copier = Copier::default();
        self.walk(span, revision, plan.values, &mut |version| {
            if plan.kept_max.is_some_and(|max| all.kept >= max) {
                all.exhausted = false;
                return Ok(ControlFlow::Break(()));
            }
            all.found += 1;
            if plan
                .filter
                .keeps(version.header.modified.main, version.header.create_revision)
            {
                all.kept += 1;
                all.kvs.push(copier.copy(&version, plan.values));
                plan.prune(&mut all.kvs);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        plan.sort(&mut all.kvs);
        Ok(all)
    }
}

/// What a walk has brought together.
struct Collected {
    kvs: Vec<mvccpb::KeyValue>,
    /// Keys that the filters left, pruned ones included.
    kept: usize,
    /// Keys before filters.
    found: i64,
    /// Whether these are all.
    exhausted: bool,
}

/// Fewer keys than this are sorted once, at the end.
const PRUNE_KEYS_MIN: usize = 128;

/// What of a request decides how it is carried out.
struct Plan {
    filter: Filter,
    sort: Option<(SortTarget, SortOrder)>,
    /// Keys to answer at most.
    limit: Option<usize>,
    /// Keys after filters that are enough: one more than the limit, which
    /// only tells that there are more. None if a sort has to see all.
    kept_max: Option<usize>,
    values: Values,
    keeps_lease: bool,
}

impl Plan {
    fn of(request: &pb::RangeRequest) -> Self {
        let filter = Filter::of(request);
        let target = request.sort_target();
        let order = request.sort_order();
        // Keys come in ascending order by themselves. No order at all means
        // ascending for every other target, but then the keys to sort were
        // taken in key order, as many as the limit asks for, as in etcd.
        let sort = match (target, order) {
            (SortTarget::Key, SortOrder::None | SortOrder::Ascend) => None,
            (_, SortOrder::None) => Some((target, SortOrder::Ascend)),
            _ => Some((target, order)),
        };
        let limit = usize::try_from(request.limit)
            .ok()
            .filter(|&limit| limit > 0);
        let sees_all = sort.is_some() && (order != SortOrder::None || filter.is_set());
        let kept_max = limit
            .filter(|_| !sees_all)
            .map(|limit| limit.saturating_add(1));
        let keeps_lease = target == SortTarget::Value;
        let values = if request.keys_only && !keeps_lease {
            Values::Skip
        } else {
            Values::Load
        };
        Self {
            filter,
            sort,
            limit,
            kept_max,
            values,
            keeps_lease,
        }
    }

    /// Drops what a limit will drop anyway, so that a sorted range of few keys
    /// out of many holds few at a time.
    fn prune(&self, kvs: &mut Vec<mvccpb::KeyValue>) {
        if let (Some(limit), None) = (self.limit, self.kept_max)
            && kvs.len() >= limit.saturating_mul(2).max(PRUNE_KEYS_MIN)
        {
            self.sort(kvs);
            kvs.truncate(limit);
        }
    }

    fn sort(&self, kvs: &mut [mvccpb::KeyValue]) {
        if let Some((target, order)) = self.sort {
            sort(kvs, target, order);
        }
    }

    /// What `keys_only` leaves. The lease goes too, because etcd answers from
    /// its index, unless it had to read the values to sort by them.
    fn strip(&self, kv: &mut mvccpb::KeyValue) {
        kv.value = Bytes::new();
        if !self.keeps_lease {
            kv.lease = 0;
        }
    }
}

/// Inclusive bounds; 0 means none.
struct Filter {
    mod_revision: (i64, i64),
    create_revision: (i64, i64),
}

impl Filter {
    fn of(request: &pb::RangeRequest) -> Self {
        Self {
            mod_revision: (request.min_mod_revision, request.max_mod_revision),
            create_revision: (request.min_create_revision, request.max_create_revision),
        }
    }

    fn is_set(&self) -> bool {
        self.mod_revision != (0, 0) || self.create_revision != (0, 0)
    }

    fn keeps(&self, modified: i64, created: i64) -> bool {
        let inside = |(min, max): (i64, i64), value: i64| {
            (min == 0 || value >= min) && (max == 0 || value <= max)
        };
        inside(self.mod_revision, modified) && inside(self.create_revision, created)
    }
}

fn sort(kvs: &mut [mvccpb::KeyValue], target: SortTarget, order: SortOrder) {
    let ascending = |a: &mvccpb::KeyValue, b: &mvccpb::KeyValue| match target {
        SortTarget::Key => a.key.cmp(&b.key),
        SortTarget::Version => a.version.cmp(&b.version),
        SortTarget::Create => a.create_revision.cmp(&b.create_revision),
        SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
        SortTarget::Value => a.value.cmp(&b.value),
    };
    // Equal ones stay in key order either way.
    if order == SortOrder::Descend {
        kvs.sort_by(|a, b| ascending(b, a));
    } else {
        kvs.sort_by(ascending);
    }
}

/// Rows of one answer are copied into shared pieces of this size, so that a
/// list costs few allocations. The answer is short-lived, so is the sharing.
const PIECE_BYTES: usize = 32 << 10;

/// Copies versions out of the backend.
#[derive(Default)]
pub(crate) struct Copier {
    piece: BytesMut,
}

impl Copier {
    pub(crate) fn copy(&mut self, version: &Version<'_>, values: Values) -> mvccpb::KeyValue {
        let value = if values == Values::Load {
            version.value
        } else {
            &[]
        };
        let bytes = version.key.len() + value.len();
        if self.piece.capacity() < bytes {
            // Starts small: most answers are.
            let first = self.piece.capacity() == 0;
            self.piece = BytesMut::with_capacity(bytes.max(if first { 512 } else { PIECE_BYTES }));
        }
        let key = self.take(version.key);
        let value = self.take(value);
        key_value(key, &version.header, value)
    }

    fn take(&mut self, bytes: &[u8]) -> Bytes {
        if bytes.is_empty() {
            return Bytes::new();
        }
        self.piece.put_slice(bytes);
        self.piece.split().freeze()
    }
}

#[cfg(test)]
#[cfg(feature = "rocksdb")]
mod tests;
