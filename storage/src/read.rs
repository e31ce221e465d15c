//! What everyone but the writer sees: one consistent state with its revision.

use crate::{
    error::{Fault, ReadError},
    event::{Event, RevisionEvents},
    ids::{LeaseId, LogMark, MemberId},
};
use bytes::Bytes;
use std::sync::Arc;
use sternpost_proto::{etcdserverpb as pb, internal::MemberRecord, mvccpb};

/// Hands out the newest published view. Cheap to clone.
#[derive(Clone)]
pub struct ReadHandle {
    _private: (),
}

impl ReadHandle {
    /// The newest view. Hold it no longer than the read: it pins old rows.
    pub fn view(&self) -> Arc<ReadView> {
        unimplemented!()
    }

    /// Sizes as Status and the metrics report them.
    pub fn sizes(&self) -> Sizes {
        unimplemented!()
    }
}

/// Bytes on disk and in memtables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// `dbSize`: live bytes of `log`, `ver` and `meta`; never 0. Counts
    /// against the quota.
    pub db_bytes: u64,
    /// `dbSizeInUse`: an estimate without dead rows, at most `db_bytes`.
    pub db_in_use_bytes: u64,
    /// `cur`: the rebuildable copy of the newest versions.
    pub current_copy_bytes: u64,
    /// All files of the database.
    pub disk_bytes: u64,
    /// Views older than the newest that readers still hold.
    pub pinned_views: u64,
}

/// One state of the store: a snapshot and what belongs to it. Immutable.
pub struct ReadView {
    _private: (),
}

/// A lease as the log knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseInfo {
    /// Its ID.
    pub id: LeaseId,
    /// Granted seconds.
    pub ttl_secs: i64,
    /// The last checkpoint in seconds, 0 for none.
    pub remaining_secs: i64,
}

/// The answer of HashKV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKv {
    /// CRC-32C as etcd computes it.
    pub hash: u32,
    /// The revision hashed.
    pub hash_revision: i64,
    /// The compact revision, -1 before the first compaction.
    pub compact_revision: i64,
    /// The revision of the view.
    pub current_revision: i64,
}

impl ReadView {
    /// The current revision; 1 on a new store.
    pub fn revision(&self) -> i64 {
        unimplemented!()
    }

    /// The compact revision, -1 before the first compaction.
    pub fn compact_revision(&self) -> i64 {
        unimplemented!()
    }

    /// The last applied entry.
    pub fn applied(&self) -> Option<LogMark> {
        unimplemented!()
    }

    /// The rolling digest of all applied entries.
    pub fn state_digest(&self) -> u32 {
        unimplemented!()
    }

    /// Whether the scrub has removed all that the compact revision made dead.
    pub fn scrubbed(&self) -> bool {
        unimplemented!()
    }

    /// A whole range request, `header` unset. Checked by the caller for shape
    /// (sort options known, key not empty); revisions are checked here.
    pub fn range(&self, _request: &pb::RangeRequest) -> Result<pb::RangeResponse, ReadError> {
        unimplemented!()
    }

    /// A read-only transaction, compares included; outer `header` unset.
    pub fn read_txn(&self, _request: &pb::TxnRequest) -> Result<pb::TxnResponse, ReadError> {
        unimplemented!()
    }

    /// A cursor over the keys of a range request in key order, for streaming:
    /// limit, keys_only and revision are honoured, sort and filters are not
    /// allowed. It pins this view.
    pub fn cursor(self: &Arc<Self>, _request: &pb::RangeRequest) -> Result<RangeCursor, ReadError> {
        unimplemented!()
    }

    /// The exact number of live keys in `[key, range_end)`; `range_end` as in
    /// a range request.
    pub fn count(&self, _key: &[u8], _range_end: &[u8]) -> Result<i64, Fault> {
        unimplemented!()
    }

    /// Live keys in the whole store, without walking them.
    pub fn keys_total(&self) -> i64 {
        unimplemented!()
    }

    /// Whole revisions from `from` (inclusive) in order, until `revisions_max`
    /// or `bytes_max` is passed; empty when `from` is beyond the newest.
    /// Rejected with `Compacted` below the compact revision.
    pub fn history(&self, _from: i64, _revisions_max: usize, _bytes_max: usize) -> Result<Vec<RevisionEvents>, ReadError> {
        unimplemented!()
    }

    /// What `event` replaced: none for creates, and none when
    /// `event.revision.main - 1` is below the compact revision of this view.
    pub fn previous(&self, _event: &Event) -> Result<Option<mvccpb::KeyValue>, Fault> {
        unimplemented!()
    }

    /// Starts a hash of the history up to `revision` (0: current).
    pub fn hash_kv(self: &Arc<Self>, _revision: i64) -> Result<HashTask, ReadError> {
        unimplemented!()
    }

    /// Checksum over everything stored, member-local (etcd's Hash).
    pub fn hash_all(&self) -> Result<u32, Fault> {
        unimplemented!()
    }

    /// All leases, by ID.
    pub fn leases(&self) -> Result<Vec<LeaseInfo>, Fault> {
        unimplemented!()
    }

    /// One lease.
    pub fn lease(&self, _id: LeaseId) -> Result<Option<LeaseInfo>, Fault> {
        unimplemented!()
    }

    /// The keys attached to a lease, in key order.
    pub fn lease_keys(&self, _id: LeaseId) -> Result<Vec<Bytes>, Fault> {
        unimplemented!()
    }

    /// Active alarms, by member and kind.
    pub fn alarms(&self) -> &[pb::AlarmMember] {
        unimplemented!()
    }

    /// All members, by ID.
    pub fn members(&self) -> &[(MemberId, MemberRecord)] {
        unimplemented!()
    }

    /// The cluster version (major.minor.patch), once decided.
    pub fn cluster_version(&self) -> Option<&str> {
        unimplemented!()
    }
}

/// Walks a range part by part.
pub struct RangeCursor {
    _private: (),
}

impl RangeCursor {
    /// The next keys, at most `keys_max` and about `bytes_max` bytes; empty
    /// at the end.
    pub fn next_chunk(&mut self, _keys_max: usize, _bytes_max: usize) -> Result<Vec<mvccpb::KeyValue>, Fault> {
        unimplemented!()
    }

    /// Keys in the whole range, whatever the limit.
    pub fn count(&self) -> i64 {
        unimplemented!()
    }

    /// Whether the limit cut the range, known once the last chunk is out.
    pub fn more(&self) -> bool {
        unimplemented!()
    }
}

/// A hash in progress, off the apply thread.
pub struct HashTask {
    _private: (),
}

impl HashTask {
    /// Goes on for about `rows_max` rows; the answer once done.
    pub fn step(&mut self, _rows_max: usize) -> Result<Option<HashKv>, Fault> {
        unimplemented!()
    }
}
