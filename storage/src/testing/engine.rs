//! One face for the model and for the real store, so that one script can
//! drive both.

use super::{Model, audit::audit, wire};
use crate::{
    apply::{Applied, Entry},
    error::{Fault, ReadError, Rejection},
    event::{Event, RevisionEvents},
    ids::{LeaseId, LogMark, MemberId},
    read::{HashKv, HashTask, LeaseInfo, RangeCursor, ReadView},
    state_machine::StateMachine,
};
use bytes::Bytes;
#[cfg(feature = "rocksdb")]
use std::path::PathBuf;
use std::{fmt, sync::Arc};
use sternpost_proto::{etcdserverpb as pb, internal::MemberRecord, mvccpb};

/// The numbers of a store that every answer depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The current revision.
    pub revision: i64,
    /// The compact revision.
    pub compact_revision: i64,
    /// Live keys.
    pub keys_total: i64,
    /// The last entry applied.
    pub applied: Option<LogMark>,
}

/// A range read by a cursor.
#[derive(Clone, Debug, PartialEq)]
pub struct Streamed {
    /// The keys, all chunks together.
    pub kvs: Vec<mvccpb::KeyValue>,
    /// Whether the limit cut the range.
    pub more: bool,
    /// Keys in the whole range.
    pub count: i64,
}

/// A store under test. A fault is the end of the test.
pub trait Engine {
    /// Applies entries as one chunk, or in whatever chunks this engine is
    /// made to use.
    fn apply(&mut self, entries: &[Entry]) -> Vec<Applied>;
    /// Removes at most so many dead rows; true once none is left.
    fn scrub(&mut self, rows_max: usize) -> bool;
    /// Makes durable what was applied.
    fn flush(&mut self);
    /// Dies without a word, starts again and gets from the log what it lost.
    fn reopen(&mut self);
    /// Gets the whole log once more: nothing may come of it.
    fn replay(&mut self) -> Vec<Applied>;
    /// The rolling digest, if there is one.
    fn digest(&self) -> Option<u32>;
    /// Its numbers.
    fn summary(&self) -> Summary;
    /// A range, `header` unset.
    fn range(&self, request: &pb::RangeRequest) -> Result<pb::RangeResponse, Rejection>;
    /// A range by cursor, in chunks of `keys_max`.
    fn stream(&self, request: &pb::RangeRequest, keys_max: usize) -> Result<Streamed, Rejection>;
    /// A read-only transaction, outer `header` unset.
    fn read_txn(&self, request: &pb::TxnRequest) -> Result<pb::TxnResponse, Rejection>;
    /// Live keys in a range.
    fn count(&self, key: &[u8], range_end: &[u8]) -> i64;
    /// Whole revisions, the first `revisions_max` from `from` on.
    fn history(&self, from: i64, revisions_max: usize) -> Result<Vec<RevisionEvents>, Rejection>;
    /// What an event replaced.
    fn previous(&self, event: &Event) -> Option<mvccpb::KeyValue>;
    /// HashKV.
    fn hash_kv(&self, revision: i64) -> Result<HashKv, Rejection>;
    /// All leases.
    fn leases(&self) -> Vec<LeaseInfo>;
    /// One lease.
    fn lease(&self, id: LeaseId) -> Option<LeaseInfo>;
    /// The keys of a lease.
    fn lease_keys(&self, id: LeaseId) -> Vec<Bytes>;
    /// Active alarms.
    fn alarms(&self) -> Vec<pb::AlarmMember>;
    /// All members.
    fn members(&self) -> Vec<(MemberId, MemberRecord)>;
    /// The cluster version.
    fn cluster_version(&self) -> Option<String>;
}

impl Engine for Model {
    fn apply(&mut self, entries: &[Entry]) -> Vec<Applied> {
        entries
            .iter()
            .filter_map(|entry| Model::apply(self, entry))
            .collect()
    }
    fn scrub(&mut self, _rows_max: usize) -> bool {
        true
    }
    fn flush(&mut self) {}
    fn reopen(&mut self) {}
    fn replay(&mut self) -> Vec<Applied> {
        Vec::new()
    }
    fn digest(&self) -> Option<u32> {
        None
    }
    fn summary(&self) -> Summary {
        Summary {
            revision: self.revision(),
            compact_revision: self.compact_revision(),
            keys_total: self.keys_total(),
            applied: self.applied(),
        }
    }
    fn range(&self, request: &pb::RangeRequest) -> Result<pb::RangeResponse, Rejection> {
        Ok(pb::RangeResponse {
            header: None,
            ..Model::range(self, request)?
        })
    }
    fn stream(&self, request: &pb::RangeRequest, _keys_max: usize) -> Result<Streamed, Rejection> {
        let pb::RangeResponse {
            kvs, more, count, ..
        } = Model::range(self, request)?;
        Ok(Streamed { kvs, more, count })
    }
    fn read_txn(&self, request: &pb::TxnRequest) -> Result<pb::TxnResponse, Rejection> {
        Model::read_txn(self, request)
    }
    fn count(&self, key: &[u8], range_end: &[u8]) -> i64 {
        Model::count(self, key, range_end)
    }
    fn history(&self, from: i64, revisions_max: usize) -> Result<Vec<RevisionEvents>, Rejection> {
        let mut history = Model::history(self, from)?;
        history.truncate(revisions_max);
        Ok(history)
    }
    fn previous(&self, event: &Event) -> Option<mvccpb::KeyValue> {
        Model::previous(self, event)
    }
    fn hash_kv(&self, revision: i64) -> Result<HashKv, Rejection> {
        Model::hash_kv(self, revision)
    }
    fn leases(&self) -> Vec<LeaseInfo> {
        Model::leases(self)
    }
    fn lease(&self, id: LeaseId) -> Option<LeaseInfo> {
        Model::leases(self).into_iter().find(|lease| lease.id == id)
    }
    fn lease_keys(&self, id: LeaseId) -> Vec<Bytes> {
        Model::lease_keys(self, id)
    }
    fn alarms(&self) -> Vec<pb::AlarmMember> {
        Model::alarms(self)
    }
    fn members(&self) -> Vec<(MemberId, MemberRecord)> {
        Model::members(self)
    }
    fn cluster_version(&self) -> Option<String> {
        Model::cluster_version(self).map(str::to_owned)
    }
}

/// The real store on either backend, with the log that it is fed from.
pub struct Machine {
    machine: Option<StateMachine>,
    place: Place,
    chunk_max: usize,
    log: Vec<Entry>,
    outcomes: Vec<String>,
    pin: Option<Pin>,
}

/// An old view that somebody still reads from, and what it told at first.
struct Pin {
    view: Arc<ReadView>,
    told: String,
}

/// Entries after which the next view is pinned.
const PIN_ENTRIES: usize = 16;

impl Pin {
    fn new(view: Arc<ReadView>) -> Self {
        let told = told(&view);
        Self { view, told }
    }

    fn check(&self) {
        assert_eq!(told(&self.view), self.told, "a pinned view has changed");
    }
}

/// What a view has to tell of its own revision and of its history.
fn told(view: &Arc<ReadView>) -> String {
    let all = Bytes::from_static(b"\0");
    let request = pb::RangeRequest {
        key: all.clone(),
        range_end: all,
        ..Default::default()
    };
    let now = view.range(&request);
    let old = view.range(&pb::RangeRequest {
        revision: view.compact_revision().max(1),
        ..request
    });
    let history = view.history(view.compact_revision(), usize::MAX, usize::MAX);
    let hash = view.hash_kv(0).map(|mut task| hash_of(&mut task, 100));
    format!(
        "{now:?} {old:?} {history:?} {hash:?} {:?} {}",
        view.leases(),
        view.keys_total()
    )
}

fn hash_of(task: &mut HashTask, rows_max: usize) -> HashKv {
    loop {
        if let Some(hash) = no_fault(task.step(rows_max)) {
            return hash;
        }
    }
}

enum Place {
    Memory,
    #[cfg(feature = "rocksdb")]
    Directory(PathBuf),
}

impl Machine {
    /// A store in memory, fed chunks of at most `chunk_max` entries.
    pub fn in_memory(chunk_max: usize) -> Self {
        Self::new(StateMachine::in_memory(), Place::Memory, chunk_max)
    }

    /// A RocksDB store in a directory, fed chunks of at most `chunk_max`
    /// entries.
    #[cfg(feature = "rocksdb")]
    pub fn in_directory(path: impl Into<PathBuf>, chunk_max: usize) -> Self {
        let path = path.into();
        Self::new(open(&path), Place::Directory(path), chunk_max)
    }

    fn new(machine: StateMachine, place: Place, chunk_max: usize) -> Self {
        Self {
            machine: Some(machine),
            place,
            chunk_max,
            log: Vec::new(),
            outcomes: Vec::new(),
            pin: None,
        }
    }

    fn machine(&self) -> &StateMachine {
        self.machine.as_ref().expect("closed only within reopen")
    }

    fn machine_mut(&mut self) -> &mut StateMachine {
        self.machine.as_mut().expect("closed only within reopen")
    }

    fn view(&self) -> Arc<ReadView> {
        self.machine().read_handle().view()
    }

    /// Feeds entries in chunks and checks that each batch's view is the one
    /// that its outcomes promise.
    fn feed(&mut self, entries: &[Entry]) -> Vec<Applied> {
        let mut outcomes = Vec::new();
        let chunk_max = self.chunk_max;
        for chunk in entries.chunks(chunk_max) {
            let digest = self.view().state_digest();
            let batch = no_fault(self.machine_mut().apply_batch(chunk));
            let changes =
                |applied: &Applied| applied.events.is_some() || !applied.changes.is_empty();
            assert_eq!(
                batch.outcomes.iter().any(changes),
                batch.view.state_digest() != digest,
                "the digest moves if and only if something changes"
            );
            if let Some(last) = batch.outcomes.last() {
                assert_eq!(
                    batch.view.revision(),
                    last.revision,
                    "the view's revision is not the last outcome's"
                );
                assert_eq!(
                    batch.view.applied(),
                    Some(last.mark),
                    "the view's mark is not the last outcome's"
                );
            }
            let published = self.view();
            assert_eq!(
                published.applied(),
                batch.view.applied(),
                "the chunk's view is not published"
            );
            assert_eq!(
                self.machine().applied(),
                batch.view.applied(),
                "the machine's mark is not its view's"
            );
            outcomes.extend(batch.outcomes);
        }
        outcomes
    }

    /// What came of entries the second time must be what came the first time.
    fn check_again(&self, again: &[Applied]) {
        let again: Vec<String> = again.iter().map(|applied| format!("{applied:?}")).collect();
        let first = &self.outcomes[self.outcomes.len() - again.len()..];
        assert_eq!(first, again, "replay of the log gave other outcomes");
    }
}

impl Engine for Machine {
    fn apply(&mut self, entries: &[Entry]) -> Vec<Applied> {
        let outcomes = self.feed(entries);
        self.log.extend_from_slice(entries);
        self.outcomes
            .extend(outcomes.iter().map(|applied| format!("{applied:?}")));
        if self.log.len() % PIN_ENTRIES < entries.len() {
            self.pin = Some(Pin::new(self.view()));
        }
        outcomes
    }
    fn scrub(&mut self, rows_max: usize) -> bool {
        let progress = no_fault(self.machine_mut().scrub_step(rows_max));
        // A step does at least one event, and that makes up to four rows dead.
        let rows_max = u64::try_from(rows_max.max(4)).expect("a 64-bit machine");
        assert!(
            progress.rows_deleted <= rows_max,
            "a scrub step deleted {} rows of {rows_max}",
            progress.rows_deleted
        );
        assert_eq!(
            self.view().scrubbed(),
            progress.done,
            "the view does not know how far the scrub is"
        );
        self.pin.iter().for_each(Pin::check);
        audit(&self.view());
        progress.done
    }
    fn flush(&mut self) {
        no_fault(self.machine().flusher().flush());
        self.pin.iter().for_each(Pin::check);
    }
    fn reopen(&mut self) {
        match &self.place {
            Place::Memory => {}
            #[cfg(feature = "rocksdb")]
            Place::Directory(path) => {
                drop(self.pin.take());
                drop(self.machine.take());
                self.machine = Some(open(path));
            }
        }
        let again = self.replay();
        self.check_again(&again);
        audit(&self.view());
    }
    fn replay(&mut self) -> Vec<Applied> {
        let log = std::mem::take(&mut self.log);
        let outcomes = self.feed(&log);
        self.log = log;
        outcomes
    }
    fn digest(&self) -> Option<u32> {
        Some(self.view().state_digest())
    }
    fn summary(&self) -> Summary {
        let view = self.view();
        Summary {
            revision: view.revision(),
            compact_revision: view.compact_revision(),
            keys_total: view.keys_total(),
            applied: view.applied(),
        }
    }
    fn range(&self, request: &pb::RangeRequest) -> Result<pb::RangeResponse, Rejection> {
        let view = self.view();
        let answered = answer(view.range(request));
        wire::check_range(&view, request, &answered);
        answered
    }
    fn stream(&self, request: &pb::RangeRequest, keys_max: usize) -> Result<Streamed, Rejection> {
        let view = self.view();
        let streamed = drain(&mut answer(view.cursor(request))?, keys_max, usize::MAX);
        let in_small_chunks = drain(&mut answer(view.cursor(request))?, keys_max, 1);
        assert_eq!(
            in_small_chunks, streamed,
            "what is streamed depends on the size of the chunks"
        );
        Ok(streamed)
    }
    fn read_txn(&self, request: &pb::TxnRequest) -> Result<pb::TxnResponse, Rejection> {
        let view = self.view();
        let answered = answer(view.read_txn(request));
        wire::check_read_txn(&view, request, &answered);
        answered
    }
    fn count(&self, key: &[u8], range_end: &[u8]) -> i64 {
        no_fault(self.view().count(key, range_end))
    }
    fn history(&self, from: i64, revisions_max: usize) -> Result<Vec<RevisionEvents>, Rejection> {
        let view = self.view();
        let history = answer(view.history(from, revisions_max, usize::MAX))?;
        let short = answer(view.history(from, revisions_max, 1))?;
        assert!(
            history.starts_with(&short),
            "a history cut by bytes is another one"
        );
        assert_eq!(
            short.is_empty(),
            history.is_empty(),
            "a history never gets on"
        );
        Ok(history)
    }
    fn previous(&self, event: &Event) -> Option<mvccpb::KeyValue> {
        no_fault(self.view().previous(event))
    }
    fn hash_kv(&self, revision: i64) -> Result<HashKv, Rejection> {
        let mut task = answer(self.view().hash_kv(revision))?;
        Ok(hash_of(&mut task, 3))
    }
    fn leases(&self) -> Vec<LeaseInfo> {
        no_fault(self.view().leases())
    }
    fn lease(&self, id: LeaseId) -> Option<LeaseInfo> {
        no_fault(self.view().lease(id))
    }
    fn lease_keys(&self, id: LeaseId) -> Vec<Bytes> {
        no_fault(self.view().lease_keys(id))
    }
    fn alarms(&self) -> Vec<pb::AlarmMember> {
        self.view().alarms().to_vec()
    }
    fn members(&self) -> Vec<(MemberId, MemberRecord)> {
        self.view().members().to_vec()
    }
    fn cluster_version(&self) -> Option<String> {
        self.view().cluster_version().map(str::to_owned)
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Machine with a log of {} entries", self.log.len())
    }
}

fn drain(cursor: &mut RangeCursor, keys_max: usize, bytes_max: usize) -> Streamed {
    let mut kvs = Vec::new();
    loop {
        let chunk = no_fault(cursor.next_chunk(keys_max, bytes_max));
        assert!(
            chunk.len() <= keys_max,
            "a chunk of {} keys where {keys_max} were asked for",
            chunk.len()
        );
        if chunk.is_empty() {
            return Streamed {
                kvs,
                more: cursor.more(),
                count: cursor.count(),
            };
        }
        kvs.extend(chunk);
    }
}

/// Small buffers, so that a store of a few rows flushes and compacts too.
#[cfg(feature = "rocksdb")]
fn open(path: &std::path::Path) -> StateMachine {
    let options = crate::StorageOptions {
        block_cache_bytes: 1 << 20,
        write_buffer_bytes: 64 << 10,
        durability: crate::Durability::UnsafeNoFsync,
        ..crate::StorageOptions::at(path)
    };
    no_fault(StateMachine::open(&options))
}

fn no_fault<T>(result: Result<T, Fault>) -> T {
    result.unwrap_or_else(|fault| panic!("the store failed: {fault}"))
}

pub(super) fn answer<T>(result: Result<T, ReadError>) -> Result<T, Rejection> {
    match result {
        Ok(answer) => Ok(answer),
        Err(ReadError::Rejected(rejection)) => Err(rejection),
        Err(ReadError::Fault(fault)) => panic!("the store failed: {fault}"),
    }
}
