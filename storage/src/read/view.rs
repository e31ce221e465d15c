//! One state of the store.

use super::{
    cursor::RangeCursor,
    hash::HashTask,
    wire::{self, WireAnswer},
};
use crate::{
    backend::Read,
    cluster::ClusterState,
    error::{Fault, ReadError, Rejection},
    event::{Event, RevisionEvents},
    ids::{LeaseId, LogMark, MemberId},
    lease,
    mvcc::{
        compare::{self, Path},
        count::CountTable,
        hash::HashScope,
        history,
        range::Source,
        span::KeySpan,
    },
    schema::{Family, meta::StateRow},
};
use bytes::Bytes;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use sternpost_proto::{
    etcdserverpb::{self as pb, request_op::Request, response_op::Response},
    internal::MemberRecord,
    mvccpb,
};

/// One state of the store: a snapshot and what belongs to it. Immutable.
pub struct ReadView {
    snapshot: Arc<dyn Read>,
    state: StateRow,
    counts: CountTable,
    cluster: ClusterState,
    live_views: Arc<AtomicU64>,
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

impl Drop for ReadView {
    fn drop(&mut self) {
        self.live_views.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ReadView {
    /// The state that `snapshot` shows. It counts itself in `live_views`.
    pub(crate) fn new(
        snapshot: Arc<dyn Read>,
        state: StateRow,
        counts: CountTable,
        cluster: ClusterState,
        live_views: Arc<AtomicU64>,
    ) -> Self {
        live_views.fetch_add(1, Ordering::Relaxed);
        Self {
            snapshot,
            state,
            counts,
            cluster,
            live_views,
        }
    }

    /// What range functions read from.
    pub(crate) fn source(&self) -> Source<'_> {
        Source {
            read: &*self.snapshot,
            revision: self.state.revision,
            compact_revision: self.state.compact_revision,
            counts: Some(&self.counts),
        }
    }

    /// The rows.
    pub(crate) fn snapshot(&self) -> &dyn Read {
        &*self.snapshot
    }

    /// The current revision; 1 on a new store.
    pub fn revision(&self) -> i64 {
        self.state.revision
    }

    /// The compact revision, -1 before the first compaction.
    pub fn compact_revision(&self) -> i64 {
        self.state.compact_revision
    }

    /// The last applied entry.
    pub fn applied(&self) -> Option<LogMark> {
        self.state.applied
    }

    /// The rolling digest of all applied entries.
    pub fn state_digest(&self) -> u32 {
        self.state.digest
    }

    /// Whether the scrub has removed all that the compact revision made dead.
    pub fn scrubbed(&self) -> bool {
        self.state.scrubbed_to >= self.state.compact_revision
    }

    /// A whole range request, `header` unset. Checked by the caller for shape
    /// (sort options known, key not empty); revisions are checked here.
    pub fn range(&self, request: &pb::RangeRequest) -> Result<pb::RangeResponse, ReadError> {
        self.source().range(request)
    }

    /// The same, encoded: its fields but the header are appended to `answer`.
    /// `rest` is called each time a piece of a long one is full.
    pub fn range_onto(
        &self,
        request: &pb::RangeRequest,
        answer: &mut WireAnswer,
        rest: &mut dyn FnMut(),
    ) -> Result<(), ReadError> {
        let mut resting = wire::Resting::new(answer, rest);
        let found = self.source().range_into(request, &mut resting)?;
        answer.put_message(&wire::tail(found));
        Ok(())
    }

    /// A read-only transaction, compares included; outer `header` unset.
    pub fn read_txn(&self, request: &pb::TxnRequest) -> Result<pb::TxnResponse, ReadError> {
        let source = self.source();
        let mut path = Path::decide(&source, request)?;
        self.check_txn(&source, request, &mut path)?;
        path.rewind();
        self.answer_txn(&source, request, &mut path)
    }

    /// The same for one without nested transactions, encoded: its fields but
    /// the header are appended to `answer`. Says how many ranges there are.
    /// `rest` is called as in [`Self::range_onto`].
    pub fn read_txn_onto(
        &self,
        request: &pb::TxnRequest,
        answer: &mut WireAnswer,
        rest: &mut dyn FnMut(),
    ) -> Result<usize, ReadError> {
        let source = self.source();
        let mut path = Path::decide(&source, request)?;
        self.check_txn(&source, request, &mut path)?;
        path.rewind();
        let succeeded = path.step();
        answer.put_message(&pb::TxnResponse {
            succeeded,
            ..Default::default()
        });
        let operations = compare::branch(request, succeeded);
        for operation in operations {
            let Some(Request::RequestRange(range)) = &operation.request else {
                return Err(Rejection::KeyNotFound.into());
            };
            let header = Some(revision_header(source.revision));
            let mut inner = WireAnswer::new(
                0,
                &pb::RangeResponse {
                    header,
                    ..Default::default()
                },
            );
            self.range_onto(range, &mut inner, rest)?;
            answer.put_operation(inner);
        }
        Ok(operations.len())
    }

    fn check_txn(
        &self,
        source: &Source<'_>,
        txn: &pb::TxnRequest,
        path: &mut Path,
    ) -> Result<(), ReadError> {
        for operation in compare::branch(txn, path.step()) {
            match &operation.request {
                Some(Request::RequestRange(range)) => compare::check_range(source, range)?,
                Some(Request::RequestTxn(nested)) => self.check_txn(source, nested, path)?,
                // The caller sends transactions that write through the log.
                _ => return Err(Rejection::KeyNotFound.into()),
            }
        }
        Ok(())
    }

    fn answer_txn(
        &self,
        source: &Source<'_>,
        txn: &pb::TxnRequest,
        path: &mut Path,
    ) -> Result<pb::TxnResponse, ReadError> {
        let succeeded = path.step();
        let mut responses = Vec::new();
        for operation in compare::branch(txn, succeeded) {
            let response = match &operation.request {
                Some(Request::RequestRange(range)) => {
                    let mut answer = source.range(range)?;
                    answer.header = Some(revision_header(source.revision));
                    Some(Response::ResponseRange(answer))
                }
                Some(Request::RequestTxn(nested)) => {
                    let mut answer = self.answer_txn(source, nested, path)?;
                    answer.header = Some(pb::ResponseHeader::default());
                    Some(Response::ResponseTxn(answer))
                }
                _ => None,
            };
            responses.push(pb::ResponseOp { response });
        }
        Ok(pb::TxnResponse {
            header: None,
            succeeded,
            responses,
        })
    }

    /// A cursor over the keys of a range request in key order, for streaming:
    /// limit, keys_only and revision are honoured, sort and filters are not
    /// allowed. It pins this view.
    pub fn cursor(self: &Arc<Self>, request: &pb::RangeRequest) -> Result<RangeCursor, ReadError> {
        RangeCursor::new(self.clone(), request)
    }

    /// The exact number of live keys in `[key, range_end)`; `range_end` as in
    /// a range request.
    pub fn count(&self, key: &[u8], range_end: &[u8]) -> Result<i64, Fault> {
        self.source()
            .count(KeySpan::new(key, range_end), self.state.revision)
    }

    /// As many live keys as there are in `[key, range_end)`, or some hundred
    /// more; without reading any.
    pub fn count_at_most(&self, key: &[u8], range_end: &[u8]) -> u64 {
        self.counts.count_at_most(KeySpan::new(key, range_end))
    }

    /// Live keys in the whole store, without walking them.
    pub fn keys_total(&self) -> i64 {
        self.counts.total() as i64
    }

    /// Whole revisions from `from` (inclusive) in order, until `revisions_max`
    /// or `bytes_max` is passed; empty when `from` is beyond the newest.
    /// Rejected with `Compacted` below the compact revision.
    pub fn history(
        &self,
        from: i64,
        revisions_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<RevisionEvents>, ReadError> {
        if from < self.state.compact_revision {
            return Err(Rejection::Compacted.into());
        }
        Ok(history::revisions(
            &*self.snapshot,
            from,
            self.state.revision,
            revisions_max,
            bytes_max,
        )?)
    }

    /// The event's key as it was at `event.revision.main - 1`: none for
    /// creates, and none when that revision is below the compact revision of
    /// this view. What the same revision wrote before does not count, and a
    /// create is one even if the same revision deleted the key before: as in
    /// etcd.
    pub fn previous(&self, event: &Event) -> Result<Option<mvccpb::KeyValue>, Fault> {
        let before = event.revision.main - 1;
        if before < self.state.compact_revision {
            return Ok(None);
        }
        match event.previous {
            Some(previous) if previous.main <= before => {
                history::version_at(&*self.snapshot, previous).map(Some)
            }
            // Written before by the same revision.
            Some(_) => self.key_at(&event.key, before),
            None => Ok(None),
        }
    }

    fn key_at(&self, key: &Bytes, revision: i64) -> Result<Option<mvccpb::KeyValue>, Fault> {
        let request = pb::RangeRequest {
            key: key.clone(),
            revision,
            ..Default::default()
        };
        match self.range(&request) {
            Ok(mut response) => Ok(response.kvs.pop()),
            Err(ReadError::Fault(fault)) => Err(fault),
            // Checked by the caller against this very view.
            Err(ReadError::Rejected(_)) => Ok(None),
        }
    }

    /// Starts a hash of the history up to `revision` (0: current).
    pub fn hash_kv(self: &Arc<Self>, revision: i64) -> Result<HashTask, ReadError> {
        if revision > self.state.revision {
            return Err(Rejection::FutureRevision.into());
        }
        if revision > 0 && revision < self.state.compact_revision {
            return Err(Rejection::Compacted.into());
        }
        let scope = HashScope {
            revision: if revision == 0 {
                self.state.revision
            } else {
                revision
            },
            compact_revision: self.state.compact_revision,
            scrub_next: self.state.scrub_next,
        };
        Ok(HashTask::new(self.clone(), scope))
    }

    /// Checksum over everything stored, member-local (etcd's Hash). `rest` is
    /// called each `step_rows` rows.
    pub fn hash_all(&self, step_rows: usize, rest: &mut dyn FnMut()) -> Result<u32, Fault> {
        let (mut sum, mut rows) = (0, 0);
        for family in Family::ALL {
            sum = crc32c::crc32c_append(sum, family.name().as_bytes());
            let mut scan = self.snapshot.scan(family, &[], None)?;
            while let Some((key, value)) = scan.item() {
                sum = crc32c::crc32c_append(sum, key);
                sum = crc32c::crc32c_append(sum, value);
                scan.advance()?;
                rows += 1;
                if rows % step_rows.max(1) == 0 {
                    rest();
                }
            }
        }
        Ok(sum)
    }

    /// All leases, by ID.
    pub fn leases(&self) -> Result<Vec<LeaseInfo>, Fault> {
        lease::all(&*self.snapshot)
    }

    /// One lease.
    pub fn lease(&self, id: LeaseId) -> Result<Option<LeaseInfo>, Fault> {
        lease::get(&*self.snapshot, id)
    }

    /// The keys attached to a lease, in key order.
    pub fn lease_keys(&self, id: LeaseId) -> Result<Vec<Bytes>, Fault> {
        lease::keys(&*self.snapshot, id)
    }

    /// Active alarms, by member and kind.
    pub fn alarms(&self) -> &[pb::AlarmMember] {
        &self.cluster.alarms
    }

    /// Whether a member with this ID was removed; none may have it again.
    pub fn is_removed_member(&self, id: MemberId) -> bool {
        self.cluster.removed.contains(&id)
    }

    /// All members, by ID.
    pub fn members(&self) -> &[(MemberId, MemberRecord)] {
        &self.cluster.members
    }

    /// The cluster version (major.minor.patch), once decided.
    pub fn cluster_version(&self) -> Option<&str> {
        self.cluster.version.as_deref()
    }
}

/// The header of an operation inside a transaction: the revision alone.
pub(crate) fn revision_header(revision: i64) -> pb::ResponseHeader {
    pb::ResponseHeader {
        revision,
        ..Default::default()
    }
}
