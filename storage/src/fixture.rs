//! A state machine with short words, for unit tests: it numbers entries and
//! unwraps faults.

use crate::{
    Applied, Entry, EntryPayload, LogMark, ReadView, Rejection, Response, StateMachine,
    StorageOptions,
    apply::StateChange,
    backend::{Memory, Rocks},
};
use bytes::Bytes;
use std::{collections::BTreeSet, ffi::OsString, path::Path, sync::Arc};
use sternpost_proto::{
    etcdserverpb::{self as pb, compare, request_op::Request},
    internal::{Command, CommandHeader, command::Verb},
};
use tempfile::TempDir;

pub(crate) struct Store {
    pub machine: StateMachine,
    pub term: u64,
    pub index: u64,
    pub directory: Option<TempDir>,
}

pub(crate) fn options(path: &Path) -> StorageOptions {
    StorageOptions {
        block_cache_bytes: 8 << 20,
        write_buffer_bytes: 4 << 20,
        ..StorageOptions::at(path)
    }
}

/// A copy of the files of an open database: what would be found after a crash.
/// (Dropping a database is no crash: RocksDB flushes then.)
pub(crate) fn crash_image(path: &Path) -> TempDir {
    // RocksDB removes files in the background: again until none has moved.
    loop {
        let image = TempDir::new().unwrap();
        let before = files(path);
        let copied = before
            .iter()
            .all(|name| std::fs::copy(path.join(name), image.path().join(name)).is_ok());
        if copied && files(path) == before {
            return image;
        }
    }
}

fn files(path: &Path) -> BTreeSet<OsString> {
    let names = std::fs::read_dir(path)
        .unwrap()
        .map(|file| file.unwrap().file_name());
    names.filter(|name| name != "LOCK").collect()
}

impl Store {
    pub(crate) fn memory() -> Self {
        let machine = StateMachine::on(Arc::new(Memory::default())).unwrap();
        Self {
            machine,
            term: 1,
            index: 0,
            directory: None,
        }
    }

    pub(crate) fn rocks() -> Self {
        let directory = TempDir::new().unwrap();
        let machine =
            StateMachine::on(Arc::new(Rocks::open(&options(directory.path())).unwrap())).unwrap();
        Self {
            machine,
            term: 1,
            index: 0,
            directory: Some(directory),
        }
    }

    /// One of each.
    pub(crate) fn both() -> [Self; 2] {
        [Self::memory(), Self::rocks()]
    }

    /// What a crash at this moment leaves behind, opened.
    pub(crate) fn crash(self) -> Self {
        let image = crash_image(self.directory.as_ref().unwrap().path());
        let machine = StateMachine::open(&options(image.path())).unwrap();
        let index = machine.applied().map_or(0, |mark| mark.index + 1);
        Self {
            machine,
            term: self.term,
            index,
            directory: Some(image),
        }
    }

    pub(crate) fn next(&mut self, payload: EntryPayload) -> Entry {
        let mark = LogMark {
            term: self.term,
            index: self.index,
        };
        self.index += 1;
        Entry { mark, payload }
    }

    pub(crate) fn command(&mut self, verb: Verb) -> Entry {
        self.next(EntryPayload::Command(Arc::new(command(verb))))
    }

    pub(crate) fn apply(&mut self, entry: Entry) -> Applied {
        let mut outcomes = self.machine.apply_batch(&[entry]).unwrap().outcomes;
        assert_eq!(outcomes.len(), 1);
        outcomes.remove(0)
    }

    pub(crate) fn run(&mut self, verb: Verb) -> Applied {
        let entry = self.command(verb);
        self.apply(entry)
    }

    pub(crate) fn view(&self) -> Arc<ReadView> {
        self.machine.read_handle().view()
    }

    pub(crate) fn put(&mut self, key: &str, value: &str) -> i64 {
        self.put_lease(key, value, 0)
    }

    pub(crate) fn put_lease(&mut self, key: &str, value: &str, lease: i64) -> i64 {
        let applied = self.run(Verb::Put(put_request(key, value, lease)));
        assert!(applied.response.is_ok(), "{applied:?}");
        applied.revision
    }

    pub(crate) fn delete(&mut self, key: &str, range_end: &str) -> i64 {
        match self
            .run(Verb::DeleteRange(delete_request(key, range_end)))
            .response
        {
            Ok(Response::DeleteRange(answer)) => answer.deleted,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn txn(&mut self, request: pb::TxnRequest) -> Result<pb::TxnResponse, Rejection> {
        match self.run(Verb::Txn(request)).response {
            Ok(Response::Txn(answer)) => Ok(answer),
            Err(rejection) => Err(rejection),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn grant(&mut self, id: i64) {
        let applied = self.run(Verb::LeaseGrant(sternpost_proto::internal::LeaseGrant {
            id,
            ttl_secs: 60,
        }));
        assert!(applied.response.is_ok(), "{applied:?}");
    }

    pub(crate) fn compact(&mut self, revision: i64) -> Result<(), Rejection> {
        let applied = self.run(Verb::Compaction(pb::CompactionRequest {
            revision,
            physical: false,
        }));
        applied
            .response
            .map(|_| assert_eq!(applied.changes, [StateChange::Compacted(revision)]))
    }

    pub(crate) fn scrub(&mut self) -> u64 {
        let mut deleted = 0;
        loop {
            let progress = self.machine.scrub_step(8).unwrap();
            deleted += progress.rows_deleted;
            if progress.done {
                return deleted;
            }
        }
    }

    pub(crate) fn hash(&self, revision: i64) -> (u32, i64) {
        let mut task = self.view().hash_kv(revision).unwrap();
        let hash = loop {
            if let Some(hash) = task.step(2).unwrap() {
                break hash;
            }
        };
        (hash.hash, hash.compact_revision)
    }

    /// Keys and values in `[key, range_end)` at a revision.
    pub(crate) fn list(&self, key: &str, range_end: &str, revision: i64) -> Vec<(String, String)> {
        let request = pb::RangeRequest {
            revision,
            ..range_request(key, range_end)
        };
        let answer = self.view().range(&request).unwrap();
        assert_eq!(answer.count, answer.kvs.len() as i64);
        answer
            .kvs
            .iter()
            .map(|kv| (text(&kv.key), text(&kv.value)))
            .collect()
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(crate) fn command(verb: Verb) -> Command {
    Command {
        header: Some(CommandHeader {
            feature_level: 1,
            ..Default::default()
        }),
        verb: Some(verb),
    }
}

pub(crate) fn put_request(key: &str, value: &str, lease: i64) -> pb::PutRequest {
    pb::PutRequest {
        key: bytes(key),
        value: bytes(value),
        lease,
        ..Default::default()
    }
}

pub(crate) fn delete_request(key: &str, range_end: &str) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest {
        key: bytes(key),
        range_end: bytes(range_end),
        prev_kv: false,
    }
}

pub(crate) fn range_request(key: &str, range_end: &str) -> pb::RangeRequest {
    pb::RangeRequest {
        key: bytes(key),
        range_end: bytes(range_end),
        ..Default::default()
    }
}

pub(crate) fn op(request: Request) -> pb::RequestOp {
    pb::RequestOp {
        request: Some(request),
    }
}

pub(crate) fn put_op(key: &str, value: &str) -> pb::RequestOp {
    op(Request::RequestPut(put_request(key, value, 0)))
}

pub(crate) fn range_op(key: &str, range_end: &str) -> pb::RequestOp {
    op(Request::RequestRange(range_request(key, range_end)))
}

pub(crate) fn delete_op(key: &str, range_end: &str) -> pb::RequestOp {
    op(Request::RequestDeleteRange(delete_request(key, range_end)))
}

pub(crate) fn success(success: Vec<pb::RequestOp>) -> pb::TxnRequest {
    pb::TxnRequest {
        success,
        ..Default::default()
    }
}

/// The condition `version(key) == version`.
pub(crate) fn version_is(key: &str, version: i64) -> pb::Compare {
    pb::Compare {
        key: bytes(key),
        target: compare::CompareTarget::Version as i32,
        result: compare::CompareResult::Equal as i32,
        target_union: Some(compare::TargetUnion::Version(version)),
        ..Default::default()
    }
}
