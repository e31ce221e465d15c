//! A real node: openraft, the log on disk, RocksDB.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod nodes;

use nodes::{
    Faults, compact, delete, join, leading, member, options, put, put_random, revisions_of,
    value_of,
};
use std::{
    collections::BTreeSet,
    future::Future as _,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command as Process, Stdio},
    sync::Arc,
    task::{Context, Waker},
};
use sternpost_raft::{
    Bootstrap, FeedItem, Leadership, OpenError, ProposeError, RaftNode, ReadIndexError,
};
use sternpost_storage::{Rejection, StateChange};

/// Set for a copy of this test binary that is to be killed.
const CHILD_DIR: &str = "STERNPOST_TEST_CHILD_DIR";

#[tokio::test]
async fn what_was_put_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let node = leading(options(dir.path())).await;
    for number in 0..100 {
        let applied = node
            .propose(put(&format!("key-{number}"), "value"))
            .await
            .unwrap();
        assert_eq!(applied.revision, 2 + number);
        node.read_index().await.unwrap();
        assert_eq!(
            value_of(&node, &format!("key-{number}")).as_deref(),
            Some("value")
        );
    }
    let (term, status) = (node.term(), node.status());
    assert_eq!(status.committed_index, status.applied_index);
    // The founding entry, the leader's first, and the puts.
    assert_eq!(status.applied_index, 102);
    let digest = node.reads().view().state_digest();
    node.shutdown().await;
    drop(node);

    let node = leading(options(dir.path())).await;
    assert!(node.term() > term, "a restart needs an election");
    assert_eq!(node.identity(), nodes::identity());
    let view = node.reads().view();
    assert_eq!(
        (view.revision(), view.keys_total(), view.state_digest()),
        (101, 100, digest)
    );
    assert_eq!(
        node.propose(put("key-0", "again")).await.unwrap().revision,
        102
    );
    drop(view);
    node.shutdown().await;
}

#[tokio::test]
async fn an_answer_says_what_was_applied() {
    let dir = tempfile::tempdir().unwrap();
    let node = leading(options(dir.path())).await;
    let applied = node.propose(put("key", "value")).await.unwrap();
    let events = applied.events.unwrap();
    assert_eq!((events.revision, events.events.len()), (2, 1));
    assert_eq!(applied.mark.term, node.term());
    let future = node.propose(compact(100)).await;
    assert_eq!(
        future.unwrap_err(),
        ProposeError::Rejected(Rejection::FutureRevision)
    );
    let nothing = node.propose(delete("no such key")).await.unwrap();
    assert_eq!((nothing.revision, nothing.events.is_none()), (2, true));
    node.shutdown().await;
}

#[test]
fn proposals_from_many_threads_are_all_answered_and_keep_their_order() {
    const THREADS: usize = 4;
    const EACH: usize = 250;
    let dir = tempfile::tempdir().unwrap();
    let runtime = nodes::runtime();
    let node = runtime.block_on(leading(options(dir.path())));
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let node = node.clone();
            std::thread::spawn(move || nodes::runtime().block_on(propose_many(&node, thread, EACH)))
        })
        .collect();
    let mut seen = BTreeSet::new();
    for thread in threads {
        let revisions = thread.join().unwrap();
        assert!(
            revisions.is_sorted(),
            "proposals of a thread are applied in order"
        );
        seen.extend(revisions);
    }
    let all: BTreeSet<i64> = (2..2 + (THREADS * EACH) as i64).collect();
    assert_eq!(seen, all);
    runtime.block_on(node.shutdown());
}

async fn propose_many(node: &RaftNode, thread: usize, proposals: usize) -> Vec<i64> {
    let proposed =
        (0..proposals).map(|number| node.propose(put(&format!("{thread}-{number}"), "value")));
    let answers = join(proposed).await;
    answers
        .into_iter()
        .map(|answer| answer.unwrap().revision)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_multi_thread_runtime_may_propose_and_read_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let node = leading(options(dir.path())).await;
    let tasks: Vec<_> = (0..300)
        .map(|number| {
            let node = node.clone();
            tokio::spawn(async move {
                let revision = node
                    .propose(put(&format!("key-{number}"), "value"))
                    .await
                    .unwrap()
                    .revision;
                node.read_index().await.unwrap();
                assert!(node.reads().view().revision() >= revision);
                revision
            })
        })
        .collect();
    let mut seen = BTreeSet::new();
    for task in tasks {
        seen.insert(task.await.unwrap());
    }
    assert_eq!(seen, (2..302).collect());
    node.shutdown().await;
}

#[tokio::test]
async fn the_feed_has_every_revision_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let node = leading(options(dir.path())).await;
    let (before, mut reader) = node.feed().subscribe();
    assert_eq!(before.revision(), 1);
    drop(before);
    let proposer = tokio::spawn({
        let node = node.clone();
        async move { propose_many(&node, 0, 500).await }
    });
    let mut seen = Vec::new();
    while seen.len() < 500 {
        let FeedItem::Next(chunk) = reader.next().await.unwrap() else {
            panic!("nothing lags here")
        };
        seen.extend(revisions_of(&chunk));
        assert_eq!(
            chunk.view.revision(),
            *seen.last().unwrap_or(&1),
            "the view is the state after the chunk"
        );
    }
    assert_eq!(seen, (2..502).collect::<Vec<i64>>());
    assert!(reader.try_next().is_none());
    proposer.await.unwrap();
    node.shutdown().await;
    assert!(reader.next().await.is_none(), "the feed ends with the node");
}

#[tokio::test]
async fn a_reader_that_falls_behind_is_told_where_to_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let node = leading(options(dir.path())).await;
    let (_, mut reader) = node.feed().subscribe();
    // One after the other, each is a chunk of its own: more than the ring holds.
    for _ in 0..1100 {
        node.propose(put("key", "value")).await.unwrap();
    }
    let Some(FeedItem::Lagged(view)) = reader.try_next() else {
        panic!("1100 chunks don't fit")
    };
    assert_eq!(view.revision(), 1101);
    assert!(reader.try_next().is_none());
    node.propose(put("key", "value")).await.unwrap();
    let Some(FeedItem::Next(chunk)) = reader.next().await else {
        panic!("it goes on after the view")
    };
    assert_eq!(revisions_of(&chunk), [1102]);
    node.shutdown().await;
}

#[tokio::test]
async fn compaction_is_scrubbed_beside_the_traffic() {
    let dir = tempfile::tempdir().unwrap();
    let node = leading(options(dir.path())).await;
    let (_, mut reader) = node.feed().subscribe();
    for _ in 0..300 {
        node.propose(put("key", "value")).await.unwrap();
    }
    node.propose(compact(300)).await.unwrap();
    node.propose(put("key", "after")).await.unwrap();
    node.wait_scrubbed().await;
    let view = node.reads().view();
    assert!(view.scrubbed());
    assert_eq!(view.compact_revision(), 300);
    let mut changes = Vec::new();
    while let Some(FeedItem::Next(chunk)) = reader.try_next() {
        changes.extend(chunk.changes.iter().copied());
    }
    assert_eq!(changes, [StateChange::Compacted(300)]);
    drop(view);
    node.shutdown().await;
}

#[tokio::test]
async fn a_scrub_that_a_stop_cut_off_goes_on_after_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.compaction_sleep = std::time::Duration::from_secs(3600);
    options.compaction_batch = 1;
    let node = leading(options.clone()).await;
    for _ in 0..20 {
        node.propose(put("key", "value")).await.unwrap();
    }
    node.propose(compact(20)).await.unwrap();
    // A row an hour: it can't be done.
    node.shutdown().await;
    assert!(!node.reads().view().scrubbed());
    drop(node);

    options.compaction_batch = 1000;
    options.compaction_sleep = std::time::Duration::from_millis(1);
    let node = leading(options).await;
    node.wait_scrubbed().await;
    assert!(node.reads().view().scrubbed());
    node.shutdown().await;
}

#[test]
fn a_thread_may_change_its_runtime() {
    let dir = tempfile::tempdir().unwrap();
    let node = nodes::runtime().block_on(leading(options(dir.path())));
    for revision in 2..5 {
        let applied = nodes::runtime().block_on(async { node.propose(put("key", "value")).await });
        assert_eq!(applied.unwrap().revision, revision);
    }
    // What a runtime leaves behind when it ends is proposed all the same.
    let runtime = nodes::runtime();
    let entered = runtime.enter();
    let mut left = Box::pin(node.propose(put("key", "left behind")));
    let mut context = Context::from_waker(Waker::noop());
    assert!(left.as_mut().poll(&mut context).is_pending());
    drop(entered);
    drop(runtime);
    assert_eq!(nodes::runtime().block_on(left).unwrap().revision, 5);
    nodes::runtime().block_on(node.shutdown());
}

#[tokio::test]
async fn an_idle_node_gives_space_back() {
    let dir = tempfile::tempdir().unwrap();
    let node = leading(options(dir.path())).await;
    // Neither a reader that has seen everything pins what it saw, nor one
    // that never looks.
    let (_, mut reader) = node.feed().subscribe();
    let (_, mut idler) = node.feed().subscribe();
    for round in 0..2000 {
        node.propose(put_random(&format!("key-{}", round % 10), 4096, round))
            .await
            .unwrap();
    }
    while reader.try_next().is_some() {}
    let revision = node.reads().view().revision();
    node.propose(compact(revision)).await.unwrap();
    let before = node.reads().sizes().db_bytes;
    let (one, two) = tokio::join!(node.defragment(), node.defragment());
    one.unwrap();
    two.unwrap();
    let after = node.reads().sizes();
    assert!(node.reads().view().scrubbed());
    assert!(matches!(idler.try_next(), Some(FeedItem::Lagged(_))));
    assert!(
        after.db_bytes < before / 4,
        "{before} bytes became {}",
        after.db_bytes
    );
    node.shutdown().await;
}

#[tokio::test]
async fn the_log_is_purged_behind_the_flush() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.snapshot_entries = 1000;
    options.catchup_entries = 10;
    let node = leading(options.clone()).await;
    let before = nodes::first_segment(&options.wal_dir);
    // 200 MiB: the log's segments have 64.
    for round in 0..200 {
        let puts = (0..8).map(|number| {
            node.propose(put_random(
                &format!("key-{number}"),
                128 << 10,
                round * 8 + number,
            ))
        });
        join(puts)
            .await
            .into_iter()
            .for_each(|answer| drop(answer.unwrap()));
    }
    nodes::until(|| nodes::first_segment(&options.wal_dir) > before).await;
    node.shutdown().await;
    drop(node);
    let node = leading(options.clone()).await;
    assert_eq!(node.reads().view().revision(), 1601);
    node.shutdown().await;
    drop(node);
    std::fs::remove_dir_all(&options.storage.path).unwrap();
    let Err(OpenError::Identity(text)) = RaftNode::open(options) else {
        panic!("the log can't rebuild the state")
    };
    assert!(text.contains("begins after"), "{text}");
}

#[tokio::test]
async fn after_shutdown_nothing_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let node = leading(options(dir.path())).await;
    let proposed = (0..200).map(|number| node.propose(put(&format!("key-{number}"), "value")));
    let (answers, ()) = tokio::join!(join(proposed), node.shutdown());
    for answer in answers {
        let fine = matches!(
            answer,
            Ok(_) | Err(ProposeError::OutcomeUnknown | ProposeError::Stopped)
        );
        assert!(fine, "{answer:?}");
    }
    node.shutdown().await;
    assert_eq!(
        node.propose(put("key", "value")).await.unwrap_err(),
        ProposeError::Stopped
    );
    assert_eq!(
        node.read_index().await.unwrap_err(),
        ReadIndexError::Stopped
    );
    assert!(node.defragment().await.is_err());
    node.wait_scrubbed().await;
}

#[tokio::test]
async fn without_a_quorum_there_is_no_leader() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.bootstrap = Bootstrap::New {
        identity: nodes::identity(),
        members: vec![member(1), member(2), member(3)],
    };
    let node = RaftNode::open(options).unwrap();
    // It waits for a leader.
    let proposing = node.clone();
    let proposed = tokio::spawn(async move { proposing.propose(put("key", "value")).await });
    assert_eq!(
        node.read_index().await.unwrap_err(),
        ReadIndexError::NoLeader
    );
    assert_eq!(node.status().leadership.leader, None);
    assert!(!node.leadership().borrow().leads);
    node.shutdown().await;
    assert_eq!(proposed.await.unwrap().unwrap_err(), ProposeError::Stopped);
}

#[tokio::test]
async fn leadership_is_announced() {
    let dir = tempfile::tempdir().unwrap();
    let node = RaftNode::open(options(dir.path())).unwrap();
    let mut leadership = node.leadership();
    let Leadership {
        term,
        leader,
        leads,
    } = *leadership.wait_for(|it| it.leads).await.unwrap();
    assert_eq!((term, leader, leads), (node.term(), Some(1), true));
    assert!(!node.status().is_learner);
    node.shutdown().await;
}

#[tokio::test]
async fn an_entry_that_cannot_be_applied_ends_the_node_once() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let mut options = options(dir.path());
    options.observer = faults.clone();
    let node = leading(options.clone()).await;
    let unknown = sternpost_proto::internal::Command::default();
    assert_eq!(
        node.propose(unknown).await.unwrap_err(),
        ProposeError::OutcomeUnknown
    );
    assert_eq!(
        node.propose(put("key", "value")).await.unwrap_err(),
        ProposeError::Stopped
    );
    node.shutdown().await;
    drop(node);
    assert_eq!(faults.texts().len(), 1, "{:?}", faults.texts());
    // It is in the log, so no start gets past it either.
    assert!(RaftNode::open(options).is_err());
}

#[tokio::test]
async fn a_state_without_its_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let node = leading(options.clone()).await;
    node.propose(put("key", "value")).await.unwrap();
    node.shutdown().await;
    drop(node);
    std::fs::remove_dir_all(&options.wal_dir).unwrap();
    let Err(OpenError::Identity(text)) = RaftNode::open(options.clone()) else {
        panic!("the log is gone")
    };
    assert!(
        text.contains(&options.wal_dir.display().to_string()),
        "{text}"
    );
    assert!(
        text.contains(&options.storage.path.display().to_string()),
        "{text}"
    );
}

/// So that kills meet flushes and purges.
fn flushing_often(dir: &Path) -> sternpost_raft::NodeOptions {
    let mut options = options(dir);
    options.snapshot_entries = 64;
    options.catchup_entries = 16;
    options
}

/// The part of the next test that is killed. By itself it does nothing.
#[test]
fn child_that_puts_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else {
        return;
    };
    nodes::runtime().block_on(async {
        let node = leading(flushing_often(Path::new(&dir))).await;
        loop {
            let revision = node.reads().view().revision() + 1;
            let applied = node
                .propose(put(
                    &format!("key-{}", revision % 50),
                    &revision.to_string(),
                ))
                .await
                .unwrap();
            println!("\nacknowledged {}", applied.revision);
        }
    });
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = 1;
    for round in 1..=3 {
        acknowledged = run_and_kill(dir.path(), acknowledged + 200 * round);
        let node = leading(flushing_often(dir.path())).await;
        let revision = node.reads().view().revision();
        assert!(
            revision >= acknowledged,
            "{acknowledged} was acknowledged, {revision} is left"
        );
        let first = (revision - 49).max(2);
        for revision in first..=revision {
            assert_eq!(
                value_of(&node, &format!("key-{}", revision % 50)),
                Some(revision.to_string())
            );
        }
        assert_eq!(
            node.reads().view().state_digest(),
            digest_of_puts(revision).await
        );
        node.shutdown().await;
        acknowledged = revision;
    }
}

/// Lets a child run until it has acknowledged `revision`, and kills it.
fn run_and_kill(dir: &Path, revision: i64) -> i64 {
    let mut child = Process::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "child_that_puts_until_it_is_killed",
            "--nocapture",
        ])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let revisions =
        lines.filter_map(|line| line.unwrap().strip_prefix("acknowledged ")?.parse().ok());
    let reached = revisions
        .into_iter()
        .find(|reached: &i64| *reached >= revision);
    child.kill().unwrap();
    child.wait().unwrap();
    reached.expect("the child ended by itself")
}

/// The digest of a node that did the child's puts without ever dying.
async fn digest_of_puts(revision: i64) -> u32 {
    let dir = tempfile::tempdir().unwrap();
    let node = leading(options(dir.path())).await;
    let puts = (2..=revision).map(|revision| {
        node.propose(put(
            &format!("key-{}", revision % 50),
            &revision.to_string(),
        ))
    });
    join(puts)
        .await
        .into_iter()
        .for_each(|answer| drop(answer.unwrap()));
    let digest = node.reads().view().state_digest();
    node.shutdown().await;
    digest
}
