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
        let mut kvs = Copies::default();
        let Found { more, count } = self.range_into(request, &mut kvs)?;
        Ok(pb::RangeResponse {
            header: None,
            kvs: kvs.all,
            more,
            count,
        })
    }

    /// Gives what a range request asks for to `sink`, key by key, and says the rest.
    pub(crate) fn range_into(
        &self,
        request: &pb::RangeRequest,
        sink: &mut dyn Sink,
    ) -> Result<Found, ReadError> {
        let revision = self.resolve(request.revision)?;
        let span = KeySpan::new(&request.key, &request.range_end);
        let plan = Plan::of(request);
        if request.count_only {
            let count = self.count(span, revision)?;
            return Ok(Found { more: false, count });
        }
        Ok(match (span, plan.sort) {
            (KeySpan::One(key), _) if revision >= self.revision => self.point(key, &plan, sink)?,
            (_, None) => self.in_order(span, revision, &plan, sink)?,
            (_, Some(_)) => self.sorted(span, revision, &plan, sink)?,
        })
    }

    /// One key as of now: one lookup.
    fn point(&self, key: &[u8], plan: &Plan, sink: &mut dyn Sink) -> Result<Found, Fault> {
        let found = current::get(self.read, key, |version| {
            if plan.filter.keeps(&version) {
                sink.push(plan.shown(version));
            }
        })?;
        let count = i64::from(found.is_some());
        Ok(Found { more: false, count })
    }

    /// Keys in their own order: none is held, and the walk ends with the limit.
    fn in_order(
        &self,
        span: KeySpan<'_>,
        revision: i64,
        plan: &Plan,
        sink: &mut dyn Sink,
    ) -> Result<Found, Fault> {
        let mut counted = Counted::new(self, span, revision);
        let (mut kept, mut exhausted) = (0, true);
        self.walk(span, revision, plan.values, &mut |version| {
            if plan.kept_max.is_some_and(|max| kept >= max) {
                exhausted = false;
                return Ok(ControlFlow::Break(()));
            }
            counted.see(version.key);
            if plan.filter.keeps(&version) {
                kept += 1;
                // The one above the limit only tells that there are more.
                if plan.limit.is_none_or(|limit| kept <= limit) {
                    sink.push(plan.shown(version));
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let count = if exhausted {
            counted.all
        } else {
            let (counted, rest) = counted.rest(span);
            counted + self.count(rest, revision)?
        };
        let more = plan.limit.is_some_and(|limit| kept > limit);
        Ok(Found { more, count })
    }

    /// Keys in another order: those that the limit may leave are held and sorted.
    fn sorted(
        &self,
        span: KeySpan<'_>,
        revision: i64,
        plan: &Plan,
        sink: &mut dyn Sink,
    ) -> Result<Found, Fault> {
        let mut kvs = Copies::default();
        let (mut kept, mut found, mut exhausted) = (0, 0, true);
        self.walk(span, revision, plan.values, &mut |version| {
            if plan.kept_max.is_some_and(|max| kept >= max) {
                exhausted = false;
                return Ok(ControlFlow::Break(()));
            }
            found += 1;
            if plan.filter.keeps(&version) {
                kept += 1;
                // What is held is no more than what the order or the answer needs.
                kvs.push(match plan.values {
                    Values::Load => version,
                    Values::Skip => plan.shown(version),
                });
                plan.prune(&mut kvs.all);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        plan.sort(&mut kvs.all);
        let limit = plan.limit.unwrap_or(usize::MAX);
        for kv in kvs.all.iter().take(limit) {
            sink.push(plan.shown(Version::of(kv)));
        }
        let count = if exhausted {
            found
        } else {
            self.count(span, revision)?
        };
        let more = kept > limit;
        Ok(Found { more, count })
    }
}

/// Where the keys of an answer go.
pub(crate) trait Sink {
    /// Takes the next key.
    fn push(&mut self, version: Version<'_>);
}

/// What an answer says beside its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub more: bool,
    pub count: i64,
}

/// Counts the keys of a walk that begins with its span. Behind the count block
/// in which that begins, all others can be counted without walking them.
struct Counted<'s> {
    boundary: Option<&'s [u8]>,
    all: i64,
    inside: i64,
}

impl<'s> Counted<'s> {
    fn new(source: &'s Source<'_>, span: KeySpan<'_>, revision: i64) -> Self {
        let boundary = match (source.counts, span) {
            (Some(counts), KeySpan::Range { from, .. }) if revision >= source.revision => {
                counts.boundary_after(from)
            }
            _ => None,
        };
        Self {
            boundary,
            all: 0,
            inside: 0,
        }
    }

    fn see(&mut self, key: &[u8]) {
        // Keys come in order: once beyond it, always beyond.
        if self.inside == self.all && self.boundary.is_some_and(|boundary| key < boundary) {
            self.inside += 1;
        }
        self.all += 1;
    }

    /// How many are counted for good, and the span to count on in.
    fn rest<'k>(&self, span: KeySpan<'k>) -> (i64, KeySpan<'k>)
    where
        's: 'k,
    {
        match (span, self.boundary) {
            (KeySpan::Range { until, .. }, Some(from)) if self.all > self.inside => {
                (self.inside, KeySpan::Range { from, until })
            }
            _ => (0, span),
        }
    }
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
    keys_only: bool,
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
            keys_only: request.keys_only,
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
    fn shown<'v>(&self, mut version: Version<'v>) -> Version<'v> {
        if self.keys_only {
            version.value = &[];
            if !self.keeps_lease {
                version.header.lease = 0;
            }
        }
        version
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

    fn keeps(&self, version: &Version<'_>) -> bool {
        let inside = |(min, max): (i64, i64), value: i64| {
            (min == 0 || value >= min) && (max == 0 || value <= max)
        };
        inside(self.mod_revision, version.header.modified.main)
            && inside(self.create_revision, version.header.create_revision)
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

/// Keys of an answer, copied out of the backend.
#[derive(Default)]
struct Copies {
    all: Vec<mvccpb::KeyValue>,
    copier: Copier,
}

impl Sink for Copies {
    fn push(&mut self, version: Version<'_>) {
        self.all.push(self.copier.copy(&version, Values::Load));
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
