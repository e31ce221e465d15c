//! openraft's own suite for storages, and a test for each thing that openraft
//! asks of a log beside it.

#![allow(clippy::unwrap_used)]

mod support;

use futures_util::{Stream, StreamExt as _};
use openraft::{
    OptionalSend, RaftLogReader as _, RaftSnapshotBuilder, StorageError,
    storage::{EntryResponder, IOFlushed, RaftLogStorage as _, RaftStateMachine},
    testing::log::{StoreBuilder, Suite},
    type_config::{
        TypeConfigExt as _,
        alias::{OneshotReceiverOf, SnapshotMetaOf, SnapshotOf},
    },
};
use std::{io, sync::Arc, time::Duration};
use sternpost_raft::{
    LogStore, Observer,
    types::{EntryPayload, LogId, StoredMembership, TypeConfig, Vote, log_id},
};
use support::{content, entry, forgetful::Forgetful, open, open_in, options, run};

/// Keeps what openraft's suite asks for: positions and memberships.
#[derive(Clone, Default)]
struct Positions {
    applied: Option<LogId>,
    membership: StoredMembership,
}

impl RaftSnapshotBuilder<TypeConfig> for Positions {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<TypeConfig, ()>> {
        let meta = SnapshotMetaOf::<TypeConfig> {
            last_log_id: self.applied,
            last_membership: self.membership.clone(),
        };
        Ok(SnapshotOf::<TypeConfig, ()> { meta, snapshot: () })
    }
}

impl RaftStateMachine<TypeConfig> for Positions {
    type SnapshotData = ();
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            self.applied = Some(entry.log_id);
            if let EntryPayload::Membership(membership) = entry.payload {
                self.membership = StoredMembership::new(self.applied, membership);
            }
            if let Some(responder) = responder {
                responder.send(());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<TypeConfig>,
        (): (),
    ) -> io::Result<()> {
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<TypeConfig, ()>>> {
        match self.applied {
            Some(_) => self.build_snapshot().await.map(Some),
            None => Ok(None),
        }
    }
}

struct InDirectory;

impl StoreBuilder<TypeConfig, LogStore, Positions, tempfile::TempDir> for InDirectory {
    async fn build(
        &self,
    ) -> Result<(tempfile::TempDir, LogStore, Positions), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = open(dir.path());
        Ok((dir, log, Positions::default()))
    }
}

#[test]
fn openraft_suite() {
    run(Suite::test_all(InDirectory)).unwrap();
}

/// Appends and returns what tells when the entries are durable.
async fn append(
    log: &mut LogStore,
    entries: impl IntoIterator<Item = sternpost_raft::types::Entry, IntoIter: Send> + Send,
) -> OneshotReceiverOf<TypeConfig, io::Result<()>> {
    let (sender, receiver) = TypeConfig::oneshot();
    log.append(entries, IOFlushed::signal(sender))
        .await
        .unwrap();
    receiver
}

fn in_memory() -> (Forgetful, LogStore) {
    let files = Forgetful::default();
    let (log, _) = open_in(&files);
    (files, log)
}

/// What a power cut now would leave.
fn after_power_cut(files: &Forgetful) -> (LogStore, sternpost_raft::Recovered) {
    open_in(&files.power_cut(|| false))
}

#[test]
fn entries_can_be_read_when_append_returns() {
    run(async {
        let (_files, mut log) = in_memory();
        let done = append(&mut log, (0..20).map(|i| entry(1, i, 100))).await;
        let entries = log.try_get_log_entries(0..20).await.unwrap();
        assert_eq!(entries.len(), 20);
        for (index, found) in (0..).zip(&entries) {
            assert_eq!(content(found), content(&entry(1, index, 100)));
        }
        done.await.unwrap().unwrap();
    });
}

#[test]
fn what_a_callback_has_acknowledged_survives_a_power_cut() {
    run(async {
        let (files, mut log) = in_memory();
        for start in (0..200).step_by(10) {
            let entries = (start..start + 10).map(|i| entry(1, i, 200));
            let done = append(&mut log, entries).await;
            done.await.unwrap().unwrap();
            let (mut after, found) = after_power_cut(&files);
            assert_eq!(found.last, Some(log_id(1, start + 9)));
            let entries = after.try_get_log_entries(..).await.unwrap();
            let expected = (0..start + 10).map(|i| content(&entry(1, i, 200)));
            assert!(entries.iter().map(content).eq(expected));
        }
    });
}

#[test]
fn a_disk_that_lies_about_syncs_loses_entries() {
    // Shows that the test above can fail.
    run(async {
        let (files, mut log) = in_memory();
        files.lie_about_syncs();
        let done = append(&mut log, [entry(1, 0, 10)]).await;
        done.await.unwrap().unwrap();
        assert_eq!(after_power_cut(&files).1.last, None);
    });
}

#[test]
fn a_vote_is_durable_before_save_vote_returns() {
    run(async {
        let (files, mut log) = in_memory();
        for term in 1..200 {
            let vote = match term % 2 {
                0 => Vote::new(term, 7),
                _ => Vote::new_committed(term, 7),
            };
            log.save_vote(&vote).await.unwrap();
            assert_eq!(log.read_vote().await.unwrap(), Some(vote));
            let (mut after, found) = after_power_cut(&files);
            assert_eq!(found.vote, Some(vote));
            assert_eq!(after.read_vote().await.unwrap(), Some(vote));
        }
    });
}

#[test]
fn writes_reach_the_disk_in_the_order_of_the_calls() {
    // A vote is durable only with the entries, the truncation and the purge
    // that were asked for before it: none of them syncs by itself.
    run(async {
        let (files, mut log) = in_memory();
        let _receiver = append(&mut log, (0..10).map(|i| entry(1, i, 10))).await;
        log.truncate_after(Some(log_id(1, 6))).await.unwrap();
        let _receiver = append(&mut log, [entry(2, 7, 10)]).await;
        log.purge(log_id(1, 2)).await.unwrap();
        log.save_committed(Some(log_id(1, 6))).await.unwrap();
        log.save_vote(&Vote::new(3, 1)).await.unwrap();
        let (mut after, found) = after_power_cut(&files);
        assert_eq!(found.vote, Some(Vote::new(3, 1)));
        assert_eq!(found.purged, Some(log_id(1, 2)));
        assert_eq!(found.committed, Some(log_id(1, 6)));
        let entries = after.try_get_log_entries(..).await.unwrap();
        let expected = [(1, 3), (1, 4), (1, 5), (1, 6), (2, 7)];
        let found = entries
            .iter()
            .map(|e| (e.log_id.leader_id.term, e.log_id.index));
        assert!(found.eq(expected));
    });
}

#[test]
fn a_hole_is_refused() {
    run(async {
        let (_files, mut log) = in_memory();
        append(&mut log, [entry(1, 0, 1), entry(1, 1, 1)])
            .await
            .await
            .unwrap()
            .unwrap();
        let refused = log.append([entry(1, 3, 1)], IOFlushed::noop()).await;
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(log.range(), 0..2);
    });
}

#[test]
fn the_committed_hint_travels_with_the_next_write() {
    run(async {
        let (files, mut log) = in_memory();
        append(&mut log, (0..3).map(|i| entry(1, i, 1)))
            .await
            .await
            .unwrap()
            .unwrap();
        log.save_committed(Some(log_id(1, 2))).await.unwrap();
        assert_eq!(log.read_committed().await.unwrap(), Some(log_id(1, 2)));
        append(&mut log, [entry(1, 3, 1)])
            .await
            .await
            .unwrap()
            .unwrap();
        let (_, found) = after_power_cut(&files);
        assert_eq!(found.committed, Some(log_id(1, 2)));
        // Closing writes what had no company.
        log.save_committed(Some(log_id(1, 3))).await.unwrap();
        log.close();
        let (mut log, found) = after_power_cut(&files);
        assert_eq!(found.committed, Some(log_id(1, 3)));
        log.save_committed(None).await.unwrap();
        log.close();
        assert_eq!(log.read_committed().await.unwrap(), None);
    });
}

/// Which threads have synced.
#[derive(Default)]
struct Threads(parking_lot::Mutex<Vec<std::thread::ThreadId>>);

impl Observer for Threads {
    fn log_synced(&self, _: Duration) {
        self.0.lock().push(std::thread::current().id());
    }

    fn fatal(&self, text: &str) {
        panic!("{text}");
    }
}

/// A log, and which threads have synced it.
async fn watched_log() -> (LogStore, impl Fn() -> bool + Clone + Send + 'static) {
    let threads = Arc::new(Threads::default());
    let files = Arc::new(Forgetful::default());
    let (mut log, _) =
        LogStore::open_in(files, &options("memory".as_ref()), threads.clone()).unwrap();
    let synced_here = move || threads.0.lock().contains(&std::thread::current().id());
    let done = append(&mut log, [entry(1, 0, 1)]).await;
    done.await.unwrap().unwrap();
    assert!(!synced_here());
    (log, synced_here)
}

#[test]
fn a_sole_member_and_a_follower_sync_small_appends_without_the_writer_thread() {
    run(async {
        let roles: [fn(&LogStore); 2] = [|log| log.set_alone(true), |log| log.set_follows(true)];
        for role in roles {
            let (mut log, synced_here) = watched_log().await;
            role(&log);
            // The thread has its turn as well while it prepares a segment.
            let mut indexes = 1..1000;
            while !synced_here() {
                let index = indexes.next().expect("not always left to the thread");
                let done = append(&mut log, [entry(1, index, 1)]).await;
                if synced_here() {
                    assert_eq!(log.durable().index(), Some(index));
                }
                done.await.unwrap().unwrap();
            }
        }
    });
}

#[test]
fn a_leader_s_small_appends_are_synced_after_what_is_ready_to_run() {
    run(async {
        // Without a thread of its own, which may be busy with a spare, and be faster.
        let files = Arc::new(Forgetful::default());
        let observer = Arc::new(Threads::default());
        let (mut log, _) =
            LogStore::open_idle(files, &options("memory".as_ref()), observer).unwrap();
        let takes_turns = log.clone();
        let turns = tokio::spawn(async move { takes_turns.take_turns().await });
        tokio::task::yield_now().await;
        for index in 0..4 {
            let done = append(&mut log, [entry(1, index, 1)]).await;
            let ready = log.clone();
            let durable_before = tokio::spawn(async move { ready.durable().index() });
            done.await.unwrap().unwrap();
            assert_eq!(durable_before.await.unwrap(), index.checked_sub(1));
            assert_eq!(log.durable().index(), Some(index));
        }
        turns.abort();
        assert!(turns.await.unwrap_err().is_cancelled());
    });
}

#[test]
fn a_leader_s_appends_are_the_writer_thread_s_once_nobody_takes_turns() {
    run(async {
        let (mut log, synced_here) = watched_log().await;
        let takes_turns = log.clone();
        let turns = tokio::spawn(async move { takes_turns.take_turns().await });
        tokio::task::yield_now().await;
        turns.abort();
        assert!(turns.await.unwrap_err().is_cancelled());
        for index in 1..100 {
            let done = append(&mut log, [entry(1, index, 1)]).await;
            done.await.unwrap().unwrap();
        }
        assert!(!synced_here());
    });
}

#[test]
fn a_follower_leaves_a_slow_disk_to_the_writer_thread() {
    run(async {
        let (mut log, synced_here) = watched_log().await;
        log.set_follows(true);
        for index in 1..100 {
            log.set_quick(false);
            let done = append(&mut log, [entry(1, index, 1)]).await;
            done.await.unwrap().unwrap();
        }
        assert!(!synced_here());
    });
}

#[test]
fn old_entries_come_from_the_files_and_new_ones_from_memory() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, _) = open(dir.path());
        let sizes = [1, 3000, 10, 700, 5000, 0];
        let size = |index: u64| sizes[(index % 6) as usize];
        append(&mut log, (0..60).map(|i| entry(1, i, size(i))))
            .await
            .await
            .unwrap()
            .unwrap();
        log.close();
        let (mut log, _) = open(dir.path());
        append(&mut log, (60..80).map(|i| entry(1, i, size(i))))
            .await
            .await
            .unwrap()
            .unwrap();
        for (from, to) in [
            (0, 80),
            (0, 60),
            (0, 1),
            (59, 61),
            (60, 80),
            (30, 75),
            (79, 90),
        ] {
            let expected: Vec<_> = (from..to.min(80))
                .map(|i| content(&entry(1, i, size(i))))
                .collect();
            let entries = log.try_get_log_entries(from..to).await.unwrap();
            assert!(entries.iter().map(content).eq(expected.clone()));
            let stream = log.entries_stream(from..to).await;
            let entries: Vec<_> = stream.map(|e| content(&e.unwrap())).collect().await;
            assert_eq!(entries, expected);
        }
    });
}

#[test]
fn limited_reads_end_after_about_a_mebibyte() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, _) = open(dir.path());
        let entries = (0..40).map(|i| entry(1, i, if i == 30 { 3 << 20 } else { 100_000 }));
        append(&mut log, entries).await.await.unwrap().unwrap();
        let (memory, _) = (log.clone(), log.close());
        drop(log);
        let limited = |mut log: LogStore| async move {
            let mut counts = Vec::new();
            for (start, end) in [(0, 40), (0, 3), (25, 40), (30, 40), (31, 40)] {
                let entries = log.limited_get_log_entries(start, end).await.unwrap();
                assert_eq!(entries[0].log_id.index, start);
                counts.push(entries.len());
            }
            counts
        };
        let expected = [10, 3, 5, 1, 9];
        assert_eq!(limited(memory).await, expected);
        let (from_files, _) = open(dir.path());
        assert_eq!(limited(from_files).await, expected);
    });
}

#[test]
fn the_watermark_follows_the_disk() {
    run(async {
        let (files, mut log) = in_memory();
        let mut durable = log.durable();
        assert_eq!(durable.index(), None);
        let _receiver = append(&mut log, (0..5).map(|i| entry(1, i, 1))).await;
        durable.wait(4).await.unwrap();
        assert_eq!(after_power_cut(&files).1.last, Some(log_id(1, 4)));
        assert_eq!(durable.index(), Some(4));
        log.truncate_after(Some(log_id(1, 1))).await.unwrap();
        assert_eq!(durable.index(), Some(1));
        let _receiver = append(&mut log, [entry(2, 2, 1)]).await;
        durable.wait(2).await.unwrap();
        assert_eq!(after_power_cut(&files).1.last, Some(log_id(2, 2)));
        log.close();
        assert!(durable.wait(2).await.is_ok());
        assert!(durable.wait(3).await.is_err());
    });
}

#[test]
fn the_log_is_as_long_as_its_records() {
    run(async {
        let (_files, mut log) = in_memory();
        append(&mut log, (0..100).map(|i| entry(1, i, 1000)))
            .await
            .await
            .unwrap()
            .unwrap();
        let (all, half) = (log.log_bytes_since(0), log.log_bytes_since(50));
        assert!((100_000..150_000).contains(&all), "{all}");
        assert!((50_000..75_000).contains(&half), "{half}");
        assert_eq!(log.log_bytes_since(100), 0);
    });
}

#[test]
fn a_closed_log_accepts_nothing() {
    run(async {
        let (_files, mut log) = in_memory();
        log.close();
        assert!(
            log.append([entry(1, 0, 1)], IOFlushed::noop())
                .await
                .is_err()
        );
        assert!(log.save_vote(&Vote::new(1, 1)).await.is_err());
        assert!(log.purge(log_id(1, 1)).await.is_err());
    });
}
