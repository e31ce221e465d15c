//! The model's reads: any range at any revision, history, leases.

use super::{Model, header};
use crate::{
    error::Rejection,
    event::{Change, Event, RevisionEvents},
    ids::{LeaseId, LogMark, MemberId},
    read::LeaseInfo,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use sternpost_proto::{etcdserverpb as pb, internal::MemberRecord, mvccpb};

impl Model {
    /// The current revision.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The compact revision, -1 before the first compaction.
    pub fn compact_revision(&self) -> i64 {
        self.compact_revision
    }

    /// The last entry applied.
    pub fn applied(&self) -> Option<LogMark> {
        self.applied
    }

    /// All leases, by ID.
    pub fn leases(&self) -> Vec<LeaseInfo> {
        self.leases.values().copied().collect()
    }

    /// The keys attached to a lease: those whose newest version names it.
    pub fn lease_keys(&self, id: LeaseId) -> Vec<Bytes> {
        let live = self.live(self.read_revision());
        live.into_values()
            .filter(|kv| kv.lease == id.0 && id.0 != 0)
            .map(|kv| kv.key)
            .collect()
    }

    /// Active alarms, by member and kind.
    pub fn alarms(&self) -> Vec<pb::AlarmMember> {
        self.alarms
            .iter()
            .map(|(member_id, alarm)| pb::AlarmMember {
                member_id: *member_id,
                alarm: *alarm,
            })
            .collect()
    }

    /// All members, by ID.
    pub fn members(&self) -> Vec<(MemberId, MemberRecord)> {
        self.members
            .iter()
            .map(|(id, record)| (*id, record.clone()))
            .collect()
    }

    /// The cluster version, once decided.
    pub fn cluster_version(&self) -> Option<&str> {
        self.cluster_version.as_deref()
    }

    /// The keys alive at a revision, with what they hold there.
    pub(super) fn live(&self, revision: i64) -> BTreeMap<Bytes, mvccpb::KeyValue> {
        let mut live = BTreeMap::new();
        for event in self
            .events
            .iter()
            .take_while(|event| event.revision.main <= revision)
        {
            match event.change {
                Change::Put { .. } => live.insert(event.key.clone(), event.key_value()),
                Change::Delete => live.remove(&event.key),
            };
        }
        live
    }

    pub(super) fn in_range(
        &self,
        key: &[u8],
        range_end: &[u8],
        revision: i64,
    ) -> Vec<mvccpb::KeyValue> {
        self.live(revision)
            .into_values()
            .filter(|kv| contains(key, range_end, &kv.key))
            .collect()
    }

    /// A range request; `header` holds the revision it was answered at.
    pub fn range(&self, request: &pb::RangeRequest) -> Result<pb::RangeResponse, Rejection> {
        let current = self.read_revision();
        if request.revision > current {
            return Err(Rejection::FutureRevision);
        }
        let revision = if request.revision <= 0 {
            current
        } else {
            request.revision
        };
        if revision < self.compact_revision {
            return Err(Rejection::Compacted);
        }
        let mut kvs = self.in_range(&request.key, &request.range_end, revision);
        let count = i64::try_from(kvs.len()).expect("few keys");
        let mut more = false;
        if request.count_only {
            kvs.clear();
        }
        cut_in_key_order(&mut kvs, request);
        kvs.retain(|kv| passes_filters(kv, request));
        sort(&mut kvs, request);
        let limit = usize::try_from(request.limit.max(0)).expect("a 64-bit machine");
        if limit > 0 && kvs.len() > limit {
            kvs.truncate(limit);
            more = true;
        }
        if request.keys_only {
            let keeps_lease = request.sort_target == pb::range_request::SortTarget::Value as i32;
            for kv in &mut kvs {
                kv.value = Bytes::new();
                kv.lease = if keeps_lease { kv.lease } else { 0 };
            }
        }
        Ok(pb::RangeResponse {
            header: header(current),
            kvs,
            more,
            count,
        })
    }

    /// Live keys in a range now.
    pub fn count(&self, key: &[u8], range_end: &[u8]) -> i64 {
        i64::try_from(self.in_range(key, range_end, self.revision).len()).expect("few keys")
    }

    /// Live keys in the store now.
    pub fn keys_total(&self) -> i64 {
        i64::try_from(self.live(self.revision).len()).expect("few keys")
    }

    /// All revisions from `from` on.
    pub fn history(&self, from: i64) -> Result<Vec<RevisionEvents>, Rejection> {
        if from < self.compact_revision {
            return Err(Rejection::Compacted);
        }
        let mut history: Vec<RevisionEvents> = Vec::new();
        for event in self
            .events
            .iter()
            .filter(|event| event.revision.main >= from)
        {
            match history.last_mut() {
                Some(last) if last.revision == event.revision.main => {
                    last.events.push(event.clone())
                }
                _ => history.push(RevisionEvents {
                    revision: event.revision.main,
                    events: vec![event.clone()],
                }),
            }
        }
        Ok(history)
    }

    /// The event's key at the revision before the event's, if that is readable
    /// and the event did not create the key.
    pub fn previous(&self, event: &Event) -> Option<mvccpb::KeyValue> {
        let before = event.revision.main - 1;
        if before < self.compact_revision || event.is_create() {
            return None;
        }
        self.events
            .iter()
            .rev()
            .filter(|older| older.revision.main <= before)
            .find(|older| older.key == event.key)
            .filter(|older| !older.is_delete())
            .map(Event::key_value)
    }
}

/// Whether `[start, range_end)` holds the key: an empty end means the one key
/// `start`, a single zero byte means all keys from `start`.
fn contains(start: &[u8], range_end: &[u8], key: &[u8]) -> bool {
    match range_end {
        [] => key == start,
        [0] => key >= start,
        _ => key >= start && key < range_end,
    }
}

/// etcd takes the first `limit` + 1 keys before it looks at filters and sort
/// target, if no filter is set and the order is left open or is the keys' own.
fn cut_in_key_order(kvs: &mut Vec<mvccpb::KeyValue>, request: &pb::RangeRequest) {
    let open = request.sort_order == pb::range_request::SortOrder::None as i32;
    let by_key = request.sort_order == pb::range_request::SortOrder::Ascend as i32
        && request.sort_target == pb::range_request::SortTarget::Key as i32;
    let bounds = [
        request.min_mod_revision,
        request.max_mod_revision,
        request.min_create_revision,
        request.max_create_revision,
    ];
    let filtered = bounds.iter().any(|bound| *bound != 0);
    if request.limit > 0 && (open || by_key) && !filtered {
        let limit = usize::try_from(request.limit).expect("a 64-bit machine");
        kvs.truncate(limit.saturating_add(1));
    }
}

fn passes_filters(kv: &mvccpb::KeyValue, request: &pb::RangeRequest) -> bool {
    let within = |revision: i64, min: i64, max: i64| {
        (min == 0 || revision >= min) && (max == 0 || revision <= max)
    };
    within(
        kv.mod_revision,
        request.min_mod_revision,
        request.max_mod_revision,
    ) && within(
        kv.create_revision,
        request.min_create_revision,
        request.max_create_revision,
    )
}

/// Equal keys of a sort stay in key order, as etcd's do in small ranges.
fn sort(kvs: &mut [mvccpb::KeyValue], request: &pb::RangeRequest) {
    use pb::range_request::{SortOrder, SortTarget};
    let target = SortTarget::try_from(request.sort_target).expect("a known sort target");
    let order = |a: &mvccpb::KeyValue, b: &mvccpb::KeyValue| match target {
        SortTarget::Key => a.key.cmp(&b.key),
        SortTarget::Version => a.version.cmp(&b.version),
        SortTarget::Create => a.create_revision.cmp(&b.create_revision),
        SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
        SortTarget::Value => a.value.cmp(&b.value),
    };
    if request.sort_order == SortOrder::Descend as i32 {
        kvs.sort_by(|a, b| order(b, a));
    } else {
        kvs.sort_by(order);
    }
}
