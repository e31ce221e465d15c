//! Opening, purging, recycling, closing, in a real directory.

use crate::support::{
    IDENTITY, SEGMENT_BYTES, Witness,
    model::{Call, Model},
    open, options, run, try_open,
};
use std::{fs, path::Path, sync::Arc};
use sternpost_raft::{LogStore, OpenError, WalOptions, types::log_id};

async fn call(log: &mut LogStore, model: &mut Model, call: Call) {
    let (states, done) = model.call(log, &call).await;
    if let Some(last) = states.last() {
        *model = last.clone();
    }
    if let Some(done) = done {
        done.await.unwrap().unwrap();
    }
}

fn append(count: u64, bytes: usize) -> Call {
    Call::Append {
        count,
        bytes,
        newer: 0,
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_first_start_needs_an_identity() {
    let dir = tempfile::tempdir().unwrap();
    let options = WalOptions {
        identity: None,
        ..options(dir.path())
    };
    let observer = Arc::new(Witness::default());
    let refused = LogStore::open(&options, observer.clone());
    assert!(matches!(refused.err(), Some(OpenError::Log(_))));
    let (_, found) = open(dir.path());
    assert_eq!(found.identity, IDENTITY);
    assert_eq!((found.vote, found.last), (None, None));
    let (_, found) = LogStore::open(&options, observer).unwrap();
    assert_eq!(found.identity, IDENTITY);
}

#[test]
fn a_crash_in_the_very_first_step_leaves_no_log() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("spare.log"), [0; 100]).unwrap();
    let (log, found) = open(dir.path());
    assert_eq!(found.last, None);
    log.close();
    open(dir.path());
}

#[test]
fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    let text = try_open(dir.path()).err().unwrap().to_string();
    assert!(text.contains("in use by another process"), "{text}");
    log.close();
    try_open(dir.path()).unwrap();
}

#[test]
fn opening_again_changes_nothing() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let mut model = Model::default();
        for round in 0..5 {
            let (mut log, found) = open(dir.path());
            assert_eq!(Model::of(&mut log).await, model);
            assert_eq!(found.vote, model.vote);
            assert_eq!(found.committed, model.committed);
            call(&mut log, &mut model, Call::Vote { newer: 1 }).await;
            call(&mut log, &mut model, append(7, 200 * round)).await;
            call(&mut log, &mut model, Call::Committed).await;
            call(&mut log, &mut model, Call::Truncate { count: 2 }).await;
        }
        for _ in 0..100 {
            let (mut log, _) = open(dir.path());
            assert_eq!(Model::of(&mut log).await, model);
        }
    });
}

#[test]
fn purged_segments_are_used_again() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, _) = open(dir.path());
        let mut model = Model::default();
        for round in 0..60 {
            call(&mut log, &mut model, append(5, 300)).await;
            let keep = 12.min(model.entries.len() as u64);
            let count = model.entries.len() as u64 - keep;
            call(&mut log, &mut model, Call::Purge { count }).await;
            if round % 7 == 3 {
                drop(log);
                log = open(dir.path()).0;
                assert_eq!(Model::of(&mut log).await, model);
            }
        }
        log.close();
        let names = names(dir.path());
        // What 17 entries need, and the spare.
        assert!(names.len() <= 5, "{names:?}");
        assert!(names.iter().any(|name| name == "spare.log"), "{names:?}");
        assert!(names[0].as_str() > "0000000000000010.log", "{names:?}");
        for name in names {
            let length = fs::metadata(dir.path().join(&name)).unwrap().len();
            assert_eq!(length, SEGMENT_BYTES, "{name}");
        }
        let (mut log, found) = open(dir.path());
        assert_eq!(found.purged, model.purged);
        assert_eq!(Model::of(&mut log).await, model);
    });
}

#[test]
fn a_log_purged_beyond_its_end_goes_on_behind() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, _) = open(dir.path());
        let mut model = Model::default();
        call(&mut log, &mut model, append(30, 300)).await;
        call(&mut log, &mut model, Call::PurgeBeyond { count: 1000 }).await;
        assert_eq!(log.range(), 1031..1031);
        drop(log);
        let (mut log, found) = open(dir.path());
        assert_eq!(found.last, Some(log_id(1, 1030)));
        call(&mut log, &mut model, append(3, 300)).await;
        drop(log);
        let (mut log, _) = open(dir.path());
        assert_eq!(Model::of(&mut log).await, model);
        assert_eq!(model.entries.len(), 3);
    });
}

#[test]
fn a_reader_keeps_what_it_is_reading() {
    // Readers on another thread while segments are purged and recycled: each
    // read is whole, or says that the entries are gone.
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path());
    log.close();
    log = open(dir.path()).0;
    let reader = log.clone();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let mut reader = reader;
        let mut reads = 0u64;
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            run(Model::of_entries(&mut reader));
            reads += 1;
        }
        reads
    });
    run(async {
        let mut model = Model::default();
        for _ in 0..300 {
            call(&mut log, &mut model, append(4, 400)).await;
            let count = (model.entries.len() as u64).saturating_sub(8);
            call(&mut log, &mut model, Call::Purge { count }).await;
        }
    });
    drop(stop);
    assert!(thread.join().unwrap() > 0);
}

#[test]
fn without_sync_the_log_is_the_same() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let options = WalOptions {
            unsafe_no_fsync: true,
            ..options(dir.path())
        };
        let observer = Arc::new(Witness::default());
        let (mut log, _) = LogStore::open(&options, observer).unwrap();
        let mut model = Model::default();
        call(&mut log, &mut model, append(30, 500)).await;
        drop(log);
        let (mut log, _) = open(dir.path());
        assert_eq!(Model::of(&mut log).await, model);
    });
}
