//! Disks that fail, and disks that are full.

use crate::support::{
    SEGMENT_BYTES, Witness, content, entry,
    forgetful::Forgetful,
    model::{Model, Receiver},
    open_in, options, run,
};
use openraft::{
    RaftLogReader as _,
    storage::{IOFlushed, RaftLogStorage as _},
    type_config::TypeConfigExt as _,
};
use std::{ops::Range, sync::Arc, thread};
use sternpost_raft::{
    LogStore,
    types::{TypeConfig, Vote, log_id},
    wal::files::Files as _,
};

async fn append(log: &mut LogStore, range: Range<u64>, bytes: usize) -> Receiver {
    let (sender, receiver) = TypeConfig::oneshot();
    let entries = range.map(|index| entry(1, index, bytes));
    log.append(entries, IOFlushed::signal(sender))
        .await
        .unwrap();
    receiver
}

fn open_with_witness(files: &Forgetful) -> (LogStore, Arc<Witness>) {
    let witness = Arc::new(Witness::default());
    let options = options("memory".as_ref());
    let (log, _) = LogStore::open_in(Arc::new(files.clone()), &options, witness.clone()).unwrap();
    (log, witness)
}

/// As the log of one voter among several, and as that of a sole one.
fn with_and_without_peers(test: impl AsyncFn(Forgetful, LogStore, Arc<Witness>)) {
    for alone in [false, true] {
        run(async {
            let files = Forgetful::default();
            let (log, witness) = open_with_witness(&files);
            log.set_alone(alone);
            test(files, log, witness).await;
        });
    }
}

#[test]
fn a_failed_sync_is_the_end() {
    with_and_without_peers(async |files, mut log, witness| {
        append(&mut log, 0..1, 10).await.await.unwrap().unwrap();
        let mut durable = log.durable();
        files.fail_next_sync();
        let failed = append(&mut log, 1..2, 10).await;
        let text = failed.await.unwrap().unwrap_err().to_string();
        assert!(text.contains("memory/0000000000000001.log"), "{text}");
        assert!(text.contains("os error 5"), "{text}");
        assert_eq!(witness.wait_fatal(), text);

        // Nothing is acknowledged any more, and no sync is tried again.
        let syncs = files.syncs();
        assert!(
            log.append([entry(1, 2, 1)], IOFlushed::noop())
                .await
                .is_err()
        );
        assert!(log.save_vote(&Vote::new(1, 1)).await.is_err());
        assert!(log.save_committed(Some(log_id(1, 0))).await.is_err());
        assert!(log.purge(log_id(1, 0)).await.is_err());
        assert!(durable.wait(0).await.is_ok());
        assert!(durable.wait(1).await.is_err());
        log.close();
        assert_eq!(files.syncs(), syncs);
        let (mut log, _) = open_in(&files.power_cut(|| false));
        assert_eq!(Model::of(&mut log).await.last(), Some(log_id(1, 0)));
    });
}

#[test]
fn a_vote_that_could_not_be_synced_is_not_granted() {
    run(async {
        let files = Forgetful::default();
        let (mut log, witness) = open_with_witness(&files);
        files.fail_next_sync();
        assert!(log.save_vote(&Vote::new(1, 1)).await.is_err());
        assert_eq!(log.read_vote().await.unwrap(), None);
        witness.wait_fatal();
    });
}

#[test]
fn all_who_wait_hear_of_the_failure() {
    run(async {
        let files = Forgetful::default();
        let (mut log, _) = open_with_witness(&files);
        files.fail_next_sync();
        let mut waiting = Vec::new();
        for index in 0..50 {
            let (sender, receiver) = TypeConfig::oneshot();
            let entries = [entry(1, index, 10)];
            if log
                .append(entries, IOFlushed::signal(sender))
                .await
                .is_err()
            {
                break;
            }
            waiting.push(receiver);
        }
        assert!(!waiting.is_empty());
        for receiver in waiting {
            assert!(receiver.await.unwrap().is_err());
        }
    });
}

/// Waits until the disk has refused so many more attempts.
fn wait_refused(files: &Forgetful, more: u64) {
    let until = files.refused() + more;
    while files.refused() < until {
        thread::yield_now();
    }
}

#[test]
fn a_full_disk_only_delays() {
    run(async {
        let files = Forgetful::default();
        let (mut log, witness) = open_with_witness(&files);
        append(&mut log, 0..1, 10).await.await.unwrap().unwrap();
        files.set_full(true);
        // One segment is in use, one in spare: more than that must wait.
        let count = 4 * SEGMENT_BYTES / 500;
        let mut done = append(&mut log, 1..count, 500).await;
        wait_refused(&files, 2);
        assert!(done.try_recv().is_err());
        // What waits can be read, and is not lost by a power cut only because
        // it was never acknowledged.
        assert_eq!(
            log.try_get_log_entries(..).await.unwrap().len() as u64,
            count
        );
        let (mut after, _) = open_in(&files.power_cut(|| false));
        assert!((Model::of(&mut after).await.entries.len() as u64) < count);
        assert_eq!(witness.fatal(), None);

        files.set_full(false);
        done.await.unwrap().unwrap();
        let (mut after, _) = open_in(&files.power_cut(|| false));
        assert_eq!(Model::of(&mut after).await.entries.len() as u64, count);
        assert_eq!(witness.fatal(), None);
    });
}

#[test]
fn a_write_that_finds_no_room_is_made_again() {
    with_and_without_peers(async |files, mut log, witness| {
        append(&mut log, 0..5, 100).await.await.unwrap().unwrap();
        files.set_no_writes(true);
        let done = append(&mut log, 5..8, 100).await;
        log.save_committed(Some(log_id(1, 4))).await.unwrap();
        wait_refused(&files, 1);
        files.set_no_writes(false);
        done.await.unwrap().unwrap();
        log.close();
        assert_eq!(witness.fatal(), None);
        let (mut after, found) = open_in(&files.power_cut(|| false));
        assert_eq!(found.committed, Some(log_id(1, 4)));
        assert_eq!(Model::of(&mut after).await.entries.len(), 8);
    });
}

#[test]
fn a_log_that_waits_for_room_can_be_closed() {
    run(async {
        let files = Forgetful::default();
        let (mut log, witness) = open_with_witness(&files);
        append(&mut log, 0..1, 10).await.await.unwrap().unwrap();
        files.set_full(true);
        let done = append(&mut log, 1..40, 500).await;
        wait_refused(&files, 1);
        log.close();
        assert!(done.await.unwrap().is_err());
        assert_eq!(witness.fatal(), None);
        let (mut after, _) = open_in(&files);
        assert!(!Model::of(&mut after).await.entries.is_empty());
    });
}

#[test]
fn a_segment_is_not_used_again_while_it_is_read() {
    run(async {
        let files = Forgetful::default();
        let (mut log, _) = open_in(&files);
        append(&mut log, 0..5, 500).await.await.unwrap().unwrap();
        drop(log);
        // Opened anew: the entries are in the file alone.
        let (mut log, _) = open_in(&files);
        let (reading, is_reading) = std::sync::mpsc::channel();
        let (go_on, may_go_on) = std::sync::mpsc::channel();
        files.before_next_read(move || {
            reading.send(()).unwrap();
            may_go_on.recv().unwrap();
        });
        let mut reader = log.clone();
        let thread = thread::spawn(move || run(reader.try_get_log_entries(0..5)));
        is_reading.recv().unwrap();
        // The next segment takes the spare, and no other can be made: only
        // the segment that is being read could take its place.
        while !files.list().unwrap().iter().any(|name| name == "spare.log") {
            thread::yield_now();
        }
        files.set_full(true);
        append(&mut log, 5..12, 500).await.await.unwrap().unwrap();
        log.purge(log_id(1, 11)).await.unwrap();
        append(&mut log, 12..13, 10).await.await.unwrap().unwrap();
        files.set_full(false);
        append(&mut log, 13..60, 500).await.await.unwrap().unwrap();
        go_on.send(()).unwrap();
        let entries = thread.join().unwrap().unwrap();
        let expected = (0..5).map(|index| content(&entry(1, index, 500)));
        assert!(entries.iter().map(content).eq(expected));
    });
}
