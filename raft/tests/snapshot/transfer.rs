//! A member that was away for longer than the log reaches.

use crate::{
    cluster::{Cluster, names},
    nodes::{compact, join, put, put_random, runtime, until},
};
use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use sternpost_raft::{ChangeItem, FeedItem, RaftNode};

/// More than the log keeps: what is purged at once, and what is kept for slow
/// followers.
const AWAY_ENTRIES: usize = 1600;

/// Proposes puts of incompressible values in batches, and waits for all.
async fn fill(node: &RaftNode, entries: usize, bytes: usize) {
    for batch in 0..entries.div_ceil(100) {
        let puts = (0..100).map(|number| {
            let seed = (batch * 100 + number) as u64;
            node.propose(put_random(&format!("key-{seed}"), bytes, seed))
        });
        for outcome in join(puts).await {
            outcome.unwrap();
        }
    }
}

/// Makes the log of `leader` begin after what `away` has.
async fn purge_past(leader: &RaftNode, away: u64, bytes: usize) {
    fill(leader, AWAY_ENTRIES, bytes).await;
    let mut number = 0;
    while leader.log_range().start <= away {
        // Each look of the housekeeper comes with a few more entries.
        number += 1;
        leader
            .propose(put(&format!("more-{number}"), "value"))
            .await
            .unwrap();
    }
}

async fn first_leader(cluster: &Cluster) -> RaftNode {
    cluster.lead(1).await;
    cluster.node(1).clone()
}

/// Three members, of which the third was stopped when the log still held all:
/// the first entry that it lacks is purged on the leader.
async fn with_one_away(dir: &Path, value_bytes: usize) -> (Cluster, RaftNode, u64) {
    let mut cluster = Cluster::start(dir, 3);
    let leader = first_leader(&cluster).await;
    leader.propose(put("before", "value")).await.unwrap();
    cluster.caught_up(3, 1).await;
    let away = cluster.node(3).log_range().end;
    cluster.stop(3).await;
    purge_past(&leader, away, value_bytes).await;
    (cluster, leader, away)
}

#[test]
fn a_member_that_was_away_gets_the_state_under_load_and_twice_in_a_row() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let mut cluster = Cluster::start(dir.path(), 3);
        let leader = first_leader(&cluster).await;
        leader.propose(put("before", "value")).await.unwrap();
        for round in 1..=2 {
            cluster.caught_up(3, 1).await;
            let away = cluster.node(3).log_range().end;
            cluster.stop(3).await;
            purge_past(&leader, away, 512).await;
            let load = AtomicBool::new(true);
            let writes = async {
                let mut number = 0;
                while load.load(Ordering::Acquire) {
                    number += 1;
                    leader
                        .propose(put("under load", &number.to_string()))
                        .await
                        .unwrap();
                }
                number
            };
            let returns = async {
                cluster.open(3);
                cluster.caught_up(3, 1).await;
                load.store(false, Ordering::Release);
            };
            let (written, ()) = tokio::join!(writes, returns);
            cluster.caught_up(3, 1).await;
            let transfers = cluster.wire.transfers();
            assert_eq!(transfers.len(), round, "{transfers:?}");
            assert!(transfers.iter().all(|transfer| transfer.ended));
            assert!(written > 0);
            // The old store goes once nobody reads it.
            let member = cluster.dir_of(3);
            let expected = [format!("state.{round}"), "wal".to_owned()];
            until(|| names(&member) == expected).await;
            until(|| names(&cluster.dir_of(1).join("outgoing")).is_empty()).await;
        }
        // What was installed is a state like any other.
        cluster.stop(3).await;
        cluster.open(3);
        cluster.caught_up(3, 1).await;
        cluster.lead(3).await;
        let node = cluster.node(3);
        node.propose(compact(node.reads().view().revision() - 5))
            .await
            .unwrap();
        node.wait_scrubbed().await;
        node.defragment().await.unwrap();
        cluster.caught_up(1, 3).await;
        cluster.stop_all().await;
    });
}

#[test]
fn a_cut_transfer_is_resumed() {
    const CUT_BYTES: u64 = 3 << 20;
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let (mut cluster, leader, _) = with_one_away(dir.path(), 4096).await;
        // Files that are being merged would not be the same after the cut.
        leader.defragment().await.unwrap();
        cluster.wire.cut_after.store(CUT_BYTES, Ordering::Release);
        cluster.open(3);
        cluster.caught_up(3, 1).await;
        let transfers = cluster.wire.transfers();
        let [cut, resumed] = transfers.as_slice() else {
            panic!("{transfers:?}")
        };
        assert!(!cut.ended && cut.sent >= CUT_BYTES, "{cut:?}");
        assert!(resumed.ended);
        // Not all of what was sent before the cut had arrived, and the files
        // may have changed a little.
        let spared = resumed.total() - resumed.sent;
        assert!(
            spared >= CUT_BYTES / 4,
            "{spared} of {} were spared",
            cut.sent
        );
        cluster.stop_all().await;
    });
}

#[test]
fn whoever_follows_the_feed_is_told() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let (mut cluster, leader, away) = with_one_away(dir.path(), 100).await;
        cluster.open(3);
        let node = cluster.node(3).clone();
        let (view, mut feed) = node.feed().subscribe();
        let mut changes = node.feed().changes();
        assert!(
            view.applied().unwrap().index < away,
            "it must come by the feed"
        );
        let mut seen = view.revision();
        loop {
            match feed.next().await.unwrap() {
                FeedItem::Next(chunk) => seen = chunk.view.revision(),
                FeedItem::Lagged(view) => {
                    assert!(view.revision() > seen + AWAY_ENTRIES as i64 / 2);
                    seen = view.revision();
                    break;
                }
            }
        }
        while let ChangeItem::Next(_) = changes.next().await.unwrap() {}
        // What comes after it comes by the feed again, without a gap.
        leader.propose(put("after", "value")).await.unwrap();
        let last = leader.reads().view().revision();
        while seen < last {
            let FeedItem::Next(chunk) = feed.next().await.unwrap() else {
                panic!("lagged again")
            };
            for revision in &chunk.revisions {
                assert_eq!(revision.revision, seen + 1);
                seen = revision.revision;
            }
        }
        // The view of before can still be read, from the old store.
        assert!(view.keys_total() <= 1);
        drop(view);
        drop(feed);
        let member = cluster.dir_of(3);
        until(|| names(&member) == ["state.1", "wal"]).await;
        cluster.stop_all().await;
    });
}

#[test]
fn a_receiver_that_stops_in_the_middle_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let (mut cluster, _, _) = with_one_away(dir.path(), 4096).await;
        cluster.open(3);
        let begun = || {
            let transfers = cluster.wire.transfers();
            transfers.first().is_some_and(|transfer| transfer.sent > 0)
        };
        while !begun() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        cluster.stop(3).await;
        assert!(cluster.wire.transfers().len() == 1);
        cluster.open(3);
        cluster.caught_up(3, 1).await;
        cluster.stop_all().await;
    });
}

#[test]
fn a_member_that_never_ran_gets_the_state() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let mut cluster = Cluster::new(dir.path(), 3);
        cluster.open(1);
        cluster.open(2);
        let leader = first_leader(&cluster).await;
        purge_past(&leader, 1, 100).await;
        cluster.open(3);
        cluster.caught_up(3, 1).await;
        assert_eq!(cluster.wire.transfers().len(), 1);
        cluster.stop_all().await;
    });
}

#[test]
fn after_a_cut_the_next_leader_may_send_its_own_state() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let (mut cluster, leader, away) = with_one_away(dir.path(), 1024).await;
        while cluster.node(2).log_range().start <= away {
            leader.propose(put("more", "value")).await.unwrap();
        }
        cluster.wire.cut_after.store(256 << 10, Ordering::Release);
        cluster.open(3);
        while cluster.wire.cut_after.load(Ordering::Acquire) > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        cluster.stop(1).await;
        cluster.lead(2).await;
        cluster.caught_up(3, 2).await;
        assert_eq!(cluster.wire.transfers().len(), 2);
        cluster.stop_all().await;
    });
}
