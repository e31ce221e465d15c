use super::*;
use crate::{
    EntryPayload, Rejection,
    backend::{EngineSizes, Read, Scan, WriteBatch},
    fixture::{Store, command, put_request, range_request},
    ids::LeaseId,
    schema::Family,
};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use sternpost_proto::{
    etcdserverpb as pb,
    internal::{LeaseGrant, command::Verb},
};

/// A history with a bit of everything, as entries.
fn entries(store: &mut Store) -> Vec<Entry> {
    let mut all = vec![store.next(EntryPayload::Blank)];
    all.push(store.command(Verb::LeaseGrant(LeaseGrant {
        id: 7,
        ttl_secs: 60,
    })));
    for round in 0..300 {
        let key = format!("k{}", round % 120);
        let lease = if round % 10 == 0 { 7 } else { 0 };
        all.push(store.command(Verb::Put(put_request(&key, &round.to_string(), lease))));
        if round % 9 == 0 {
            all.push(
                store.command(Verb::DeleteRange(crate::fixture::delete_request(
                    "k11", "k13",
                ))),
            );
        }
        if round == 150 {
            all.push(store.command(Verb::Compaction(pb::CompactionRequest {
                revision: 100,
                physical: false,
            })));
        }
    }
    all
}

/// What has to be equal on two stores with the same history.
#[derive(Debug, PartialEq)]
struct Face {
    applied: Option<LogMark>,
    revisions: (i64, i64),
    keys_total: i64,
    digest: u32,
    hash: u32,
    keys: Vec<(String, String)>,
}

fn face(store: &Store) -> Face {
    let view = store.view();
    Face {
        applied: view.applied(),
        revisions: (view.revision(), view.compact_revision()),
        keys_total: view.keys_total(),
        digest: view.state_digest(),
        hash: store.hash(0).0,
        keys: store.list("\0", "\0", 0),
    }
}

#[test]
fn a_new_store_is_at_revision_one() {
    for store in Store::both() {
        let view = store.view();
        assert_eq!(
            (view.revision(), view.compact_revision(), view.applied()),
            (1, -1, None)
        );
        assert_eq!(
            (view.keys_total(), view.state_digest(), view.scrubbed()),
            (0, 0, true)
        );
        assert_eq!(
            view.range(&range_request("\0", "\0")).unwrap(),
            pb::RangeResponse::default()
        );
        assert!(store.machine.membership().is_none());
    }
}

#[test]
fn replay_is_a_no_op() {
    for mut store in Store::both() {
        let entries = entries(&mut store);
        let outcomes = store.machine.apply_batch(&entries).unwrap().outcomes;
        assert_eq!(outcomes.len(), entries.len());
        let before = face(&store);
        let again = store.machine.apply_batch(&entries).unwrap();
        assert!(again.outcomes.is_empty());
        assert_eq!(face(&store), before);
        // Half old, half new.
        let mut overlap = entries[entries.len() - 2..].to_vec();
        overlap.push(store.command(Verb::Put(put_request("new", "1", 0))));
        assert_eq!(
            store.machine.apply_batch(&overlap).unwrap().outcomes.len(),
            1
        );
    }
}

#[test]
fn chunks_and_engines_do_not_matter() {
    let mut faces = Vec::new();
    for chunk in [1, 7, 1000] {
        for mut store in Store::both() {
            let entries = entries(&mut store);
            for chunk in entries.chunks(chunk) {
                store.machine.apply_batch(chunk).unwrap();
            }
            faces.push(face(&store));
        }
    }
    assert!(faces.windows(2).all(|pair| pair[0] == pair[1]), "{faces:?}");
}

#[test]
fn a_crash_goes_back_to_the_last_flush_and_replay_catches_up() {
    let mut store = Store::rocks();
    let entries = entries(&mut store);
    let (flushed, lost) = entries.split_at(200);
    store.machine.apply_batch(flushed).unwrap();
    store.machine.flusher().flush().unwrap();
    let at_flush = face(&store);
    for chunk in lost.chunks(20) {
        store.machine.apply_batch(chunk).unwrap();
    }
    store.machine.scrub_step(50).unwrap();
    let in_the_end = face(&store);
    let mut store = store.crash();
    assert_eq!(face(&store), at_flush);
    let replayed = store.machine.apply_batch(&entries).unwrap();
    assert_eq!(replayed.outcomes.len(), lost.len());
    assert_eq!(face(&store), in_the_end);
    store.scrub();
    assert_eq!(face(&store), in_the_end);
}

#[test]
fn crashes_between_automatic_flushes_lose_whole_entries_only() {
    let directory = tempfile::TempDir::new().unwrap();
    let options = crate::StorageOptions {
        write_buffer_bytes: 64 << 10,
        ..crate::fixture::options(directory.path())
    };
    let mut store = Store::memory();
    let mut entries = Vec::new();
    for round in 0..1500 {
        let key = format!("k{}", (round * 7) % 400);
        let value = format!("{round}").repeat(60);
        let txn = crate::fixture::success(vec![
            crate::fixture::put_op(&key, &value),
            crate::fixture::put_op(&format!("{key}/twin"), &value),
            crate::fixture::delete_op(&format!("k{}", (round * 11) % 400), ""),
        ]);
        entries.push(store.command(Verb::Txn(txn)));
    }
    let mut machine = StateMachine::open(&options).unwrap();
    let mut images = Vec::new();
    for (at, chunk) in entries.chunks(10).enumerate() {
        machine.apply_batch(chunk).unwrap();
        if at % 15 == 14 {
            images.push(crate::fixture::crash_image(directory.path()));
        }
    }
    let mut marks = Vec::new();
    let mut done = 0;
    for image in images {
        let machine = StateMachine::open(&crate::fixture::options(image.path())).unwrap();
        let mark = machine.applied().map_or(0, |mark| mark.index as usize + 1);
        // A store that has seen exactly the entries up to the mark.
        store.machine.apply_batch(&entries[done..mark]).unwrap();
        done = mark;
        let crashed = Store {
            machine,
            term: 1,
            index: 0,
            directory: Some(image),
        };
        assert_eq!(face(&crashed), face(&store), "at {mark}");
        marks.push(mark);
    }
    assert!(
        marks.windows(2).filter(|pair| pair[0] < pair[1]).count() > 2,
        "{marks:?}"
    );
}

#[test]
fn a_crash_before_any_flush_leaves_a_new_store() {
    let mut store = Store::rocks();
    store.put("k", "v");
    let store = store.crash();
    assert_eq!(store.machine.applied(), None);
    assert_eq!(store.view().revision(), 1);
}

#[test]
fn everything_is_there_after_a_clean_stop() {
    let mut store = Store::rocks();
    let entries = entries(&mut store);
    store.machine.apply_batch(&entries).unwrap();
    let before = face(&store);
    let leases = store.view().leases().unwrap();
    let keys = store.view().lease_keys(LeaseId(7)).unwrap();
    assert!(!keys.is_empty());
    let Store {
        machine,
        directory,
        term,
        index,
    } = store;
    drop(machine);
    let path = directory.as_ref().unwrap().path().to_owned();
    let machine = StateMachine::open(&crate::fixture::options(&path)).unwrap();
    let store = Store {
        machine,
        directory,
        term,
        index,
    };
    assert_eq!(face(&store), before);
    assert_eq!(store.view().leases().unwrap(), leases);
    assert_eq!(store.view().lease_keys(LeaseId(7)).unwrap(), keys);
}

#[test]
fn huge_chunks_are_written_in_parts() {
    let mut store = Store::rocks();
    let value = "x".repeat(1 << 20);
    let entries: Vec<_> = (0..12)
        .map(|at| store.command(Verb::Put(put_request(&format!("k{at}"), &value, 0))))
        .collect();
    assert_eq!(
        store.machine.apply_batch(&entries).unwrap().outcomes.len(),
        12
    );
    assert_eq!(store.view().keys_total(), 12);
}

#[test]
fn refuses_foreign_and_newer_data() {
    use crate::{
        backend::{Memory, WriteBatch},
        schema::{Family, meta},
    };
    let with = |rows: &[(&[u8], &[u8])]| {
        let backend = Memory::default();
        let mut batch = WriteBatch::default();
        for (key, value) in rows {
            batch.put(Family::Meta, key, value);
        }
        backend.write(&batch).unwrap();
        StateMachine::on(Arc::new(backend)).map(|_| ())
    };
    assert!(with(&[(meta::FORMAT, &1u32.to_be_bytes())]).is_ok());
    assert!(matches!(
        with(&[(meta::FORMAT, &2u32.to_be_bytes())]),
        Err(Fault::Format {
            found: 2,
            supported: 1
        })
    ));
    assert!(matches!(
        with(&[(meta::FORMAT, b"x")]),
        Err(Fault::Corrupt { .. })
    ));
    assert!(matches!(
        with(&[(meta::STATE, b"")]),
        Err(Fault::Corrupt { .. })
    ));
    assert!(matches!(
        with(&[(meta::FORMAT, &1u32.to_be_bytes()), (meta::STATE, b"")]),
        Err(Fault::Corrupt { .. })
    ));
}

#[test]
fn unknown_commands_stop_the_node() {
    let refuses = |command| {
        let mut store = Store::memory();
        let good = store.command(Verb::Put(put_request("k", "v", 0)));
        let bad = store.next(EntryPayload::Command(Arc::new(command)));
        let later = store.command(Verb::Put(put_request("k", "v", 0)));
        let fault = store.machine.apply_batch(&[good, bad]).map(drop);
        assert!(
            store.machine.apply_batch(&[later]).is_err(),
            "nothing goes on after a fault"
        );
        assert!(store.machine.scrub_step(10).is_err());
        assert_eq!(store.view().revision(), 1, "nothing of the chunk is seen");
        matches!(fault, Err(Fault::Entry { index: 1, .. }))
    };
    let mut later = command(Verb::Put(put_request("k", "v", 0)));
    later.header.as_mut().unwrap().feature_level = 2;
    assert!(refuses(later));
    assert!(refuses(sternpost_proto::internal::Command {
        header: None,
        verb: None
    }));
}

#[test]
fn housekeeping_gives_space_back_without_traffic() {
    let mut store = Store::rocks();
    let value: String = (0..4096u32)
        .map(|i| char::from(b'!' + (i.wrapping_mul(2_654_435_761) >> 20) as u8 % 90))
        .collect();
    for round in 0..300 {
        store.put("k", &format!("{round}{value}"));
    }
    let full = store.machine.read_handle().sizes();
    assert!(full.db_bytes > 500_000, "{full:?}");
    let pin = store.view();
    store.compact(store.view().revision()).unwrap();
    assert_eq!(store.machine.read_handle().sizes().pinned_views, 1);
    store.scrub();
    drop(pin);
    assert_eq!(store.machine.read_handle().sizes().pinned_views, 0);
    let flusher = store.machine.flusher();
    flusher.flush().unwrap();
    flusher.compact_files().unwrap();
    let sizes = store.machine.read_handle().sizes();
    assert!(sizes.db_bytes < 50_000, "{sizes:?}");
    let handle = store.machine.read_handle();
    assert_eq!(handle.db_bytes(), sizes.db_bytes);
    assert_eq!(handle.current_copy_bytes(), sizes.current_copy_bytes);
    assert!(!flusher.write_stalled());
    assert_eq!(store.list("k", "", 0).len(), 1);
}

#[test]
fn a_quota_of_a_few_pages_has_room() {
    let mut store = Store::rocks();
    store.put("k", "small");
    let value: String = (0..4096u32)
        .map(|i| char::from(b'!' + (i.wrapping_mul(2_654_435_761) >> 20) as u8 % 90))
        .collect();
    let quota = 53_248;
    let handle = store.machine.read_handle();
    assert!(handle.db_bytes() + 4096 < quota, "{}", handle.db_bytes());
    let mut puts = 0;
    while handle.db_bytes() < quota {
        store.put("k", &value);
        puts += 1;
        assert!(puts < 100);
    }
    store.compact(store.view().revision()).unwrap();
    store.scrub();
    store.machine.flusher().flush().unwrap();
    store.machine.flusher().compact_files().unwrap();
    assert!(handle.db_bytes() + 4096 < quota, "{}", handle.db_bytes());
}

#[test]
fn scrub_steps_are_bounded_and_end() {
    let mut store = Store::memory();
    for round in 0..50 {
        store.put("k", &round.to_string());
    }
    assert_eq!(
        store.machine.scrub_step(10).unwrap(),
        ScrubProgress {
            done: true,
            rows_deleted: 0
        }
    );
    store.compact(40).unwrap();
    assert!(!store.view().scrubbed());
    let mut deleted = 0;
    loop {
        let progress = store.machine.scrub_step(10).unwrap();
        assert!(progress.rows_deleted <= 10);
        deleted += progress.rows_deleted;
        if progress.done {
            break;
        }
    }
    // Revisions 2 to 39, a row in `log` and one in `ver` each.
    assert_eq!(deleted, 76);
    assert!(store.view().scrubbed());
    assert_eq!(store.compact(40), Err(Rejection::Compacted));
    assert_eq!(store.list("k", "", 40), [("k".to_owned(), "38".to_owned())]);
}

/// An engine in memory whose disk is full for the next writes.
#[derive(Default)]
struct Full {
    memory: Memory,
    refusals: AtomicUsize,
}

impl Read for Full {
    fn get(&self, family: Family, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool, Fault> {
        self.memory.get(family, key, found)
    }

    fn scan<'a>(
        &'a self,
        family: Family,
        from: &[u8],
        until: Option<&[u8]>,
    ) -> Result<Box<dyn Scan + 'a>, Fault> {
        self.memory.scan(family, from, until)
    }
}

impl Backend for Full {
    fn snapshot(&self) -> Arc<dyn Read> {
        self.memory.snapshot()
    }

    fn write(&self, batch: &WriteBatch) -> Result<(), Fault> {
        let less = |left: usize| left.checked_sub(1);
        match self.refusals.fetch_update(Relaxed, Relaxed, less) {
            Ok(_) => Err(Fault::NoRoom("full".to_owned())),
            Err(_) => self.memory.write(batch),
        }
    }

    fn try_write(&self, batch: &WriteBatch) -> Result<bool, Fault> {
        match self.write(batch) {
            Err(Fault::NoRoom(_)) => Ok(false),
            written => written.map(|()| true),
        }
    }

    fn flush(&self) -> Result<(), Fault> {
        self.memory.flush()
    }

    fn compact_files(&self) -> Result<(), Fault> {
        self.memory.compact_files()
    }

    fn sizes(&self) -> Result<EngineSizes, Fault> {
        self.memory.sizes()
    }

    fn unflushed_bytes(&self) -> u64 {
        self.memory.unflushed_bytes()
    }

    fn write_stalled(&self) -> bool {
        self.memory.write_stalled()
    }

    fn checkpoint(&self, dir: &std::path::Path) -> Result<(), Fault> {
        self.memory.checkpoint(dir)
    }

    fn snapshots_held(&self) -> usize {
        self.memory.snapshots_held()
    }
}

#[test]
fn a_chunk_that_finds_no_room_waits_and_is_written_once() {
    let all = entries(&mut Store::memory());
    let mut roomy = StateMachine::in_memory();
    roomy.apply_batch(&all).unwrap();
    let backend = Arc::new(Full::default());
    let mut full = StateMachine::on(backend.clone()).unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    full.on_no_room(move |fault| {
        assert!(matches!(fault, Fault::NoRoom(_)), "{fault}");
        count.fetch_add(1, Relaxed);
        true
    });
    let reads = full.read_handle();
    backend.refusals.store(3, Relaxed);
    full.apply_batch(&all).unwrap();
    assert_eq!(asked.load(Relaxed), 3);
    let (one, other) = (reads.view(), roomy.read_handle().view());
    // Where it rests makes no difference.
    let mut rests = 0;
    let hash = one.hash_all(1, &mut || rests += 1).unwrap();
    assert_eq!(hash, other.hash_all(1000, &mut || {}).unwrap());
    assert!(rests > 0);
    assert_eq!(one.applied(), other.applied());
}

#[test]
fn a_chunk_that_may_not_wait_is_begun_and_ended_later() {
    let all = entries(&mut Store::memory());
    let mut roomy = StateMachine::in_memory();
    let expected = roomy.apply_batch(&all).unwrap();
    for scrubs in [false, true] {
        let backend = Arc::new(Full::default());
        let mut full = StateMachine::on(backend.clone()).unwrap();
        let reads = full.read_handle();
        let mut outcomes = Vec::new();
        for (number, entry) in all.iter().enumerate() {
            let chunk = std::slice::from_ref(entry);
            let before = reads.view().applied();
            backend.refusals.store(number % 2, Relaxed);
            let batch = match full.try_apply_batch(chunk).unwrap() {
                Some(batch) => batch,
                None => {
                    // Nobody sees it before it is written.
                    assert_eq!(reads.view().applied(), before);
                    if scrubs {
                        full.scrub_step(1).unwrap();
                    }
                    full.apply_batch(chunk).unwrap()
                }
            };
            assert_eq!(batch.view.applied(), Some(entry.mark));
            outcomes.extend(batch.outcomes);
        }
        assert_eq!(format!("{outcomes:?}"), format!("{:?}", expected.outcomes));
        while !full.scrub_step(1000).unwrap().done {}
        while !roomy.scrub_step(1000).unwrap().done {}
        let hash = |view: Arc<ReadView>| view.hash_all(1, &mut || {}).unwrap();
        assert_eq!(hash(reads.view()), hash(roomy.read_handle().view()));
    }
}

#[test]
fn a_chunk_that_need_not_wait_for_room_is_a_fault() {
    let all = entries(&mut Store::memory());
    let backend = Arc::new(Full::default());
    let mut full = StateMachine::on(backend.clone()).unwrap();
    backend.refusals.store(1, Relaxed);
    assert!(matches!(full.apply_batch(&all), Err(Fault::NoRoom(_))));
    // The state at hand is not the one on disk any more.
    assert!(matches!(full.apply_batch(&all), Err(Fault::Backend(_))));
    assert_eq!(full.read_handle().view().revision(), 1);
}
