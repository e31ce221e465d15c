//! What a crash at each point of an installation leaves on disk, and what a
//! start makes of it.

use crate::cluster::names;
use crate::nodes::{self, leading, member, options, put, runtime};
use openraft::storage::RaftLogStorage as _;
use std::{
    fs,
    path::{Path, PathBuf},
};
use sternpost_raft::{
    Bootstrap, Identity, LogStore, NodeOptions, OpenError, RaftNode, Stores, WalOptions,
    log_store::SEGMENT_BYTES, types::Vote,
};
use sternpost_storage::{StateMachine, StorageOptions, snapshot};

/// Entries of the member that sends the state.
const AHEAD: i64 = 40;
/// Entries of the one that gets it.
const BEHIND: i64 = 10;

fn store(dir: &Path) -> StorageOptions {
    StorageOptions {
        block_cache_bytes: 8 << 20,
        ..StorageOptions::at(dir)
    }
}

/// A sole member under `dir` that has put some keys, stopped again.
async fn filled(dir: &Path, puts: i64) -> NodeOptions {
    let options = NodeOptions {
        storage: store(&dir.join("db")),
        ..options(dir)
    };
    let node = leading(options.clone()).await;
    for number in 0..puts {
        node.propose(put(&format!("key-{number}"), "value"))
            .await
            .unwrap();
    }
    node.shutdown().await;
    options
}

/// A member behind, and a copy of the state of one ahead, checked and marked,
/// beside the member's store.
async fn prepared(dir: &Path) -> (NodeOptions, PathBuf) {
    let ahead = filled(&dir.join("ahead"), AHEAD).await;
    let behind = filled(&dir.join("behind"), BEHIND).await;
    let incoming = dir.join("behind/incoming");
    let machine = StateMachine::open(&ahead.storage).unwrap();
    let copy = machine.flusher().checkpoint(&incoming).unwrap();
    snapshot::prepare(&incoming, &copy.state).unwrap();
    (behind, incoming)
}

/// What the member did before it took a state from the leader of `term`.
async fn vote_in(options: &NodeOptions, term: u64) {
    let wal = WalOptions {
        dir: options.wal_dir.clone(),
        segment_bytes: SEGMENT_BYTES,
        identity: None,
        unsafe_no_fsync: false,
    };
    let (mut log, _) = LogStore::open(&wal, options.observer.clone()).unwrap();
    log.save_vote(&Vote::new_committed(term, 2)).await.unwrap();
    log.close();
}

/// Opens the member, checks that it has `keys`, and that it can go on and
/// start once more.
async fn goes_on(options: &NodeOptions, keys: i64) {
    for round in 0..2 {
        let node = leading(options.clone()).await;
        assert_eq!(node.reads().view().keys_total(), keys + round);
        node.propose(put(&format!("round-{round}"), "value"))
            .await
            .unwrap();
        node.shutdown().await;
    }
}

#[test]
fn before_the_copy_has_its_place_the_old_state_counts() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let (options, incoming) = prepared(dir.path()).await;
        // Half a copy is no better.
        fs::remove_file(incoming.join("CURRENT")).unwrap();
        fs::create_dir_all(dir.path().join("behind/outgoing/0")).unwrap();
        goes_on(&options, BEHIND).await;
        assert_eq!(names(&dir.path().join("behind")), ["db", "wal"]);
    });
}

#[test]
fn once_the_copy_has_its_place_it_counts_and_the_log_goes_on_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let (options, incoming) = prepared(dir.path()).await;
        fs::rename(&incoming, dir.path().join("behind/db.1")).unwrap();
        goes_on(&options, AHEAD).await;
        assert_eq!(names(&dir.path().join("behind")), ["db.1", "wal"]);
        let stores = Stores::new(&options.storage.path);
        assert_eq!(stores.newest().unwrap(), dir.path().join("behind/db.1"));
    });
}

#[test]
fn a_start_that_died_while_the_old_store_was_removed_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let (options, incoming) = prepared(dir.path()).await;
        fs::rename(&incoming, dir.path().join("behind/db.1")).unwrap();
        fs::remove_file(dir.path().join("behind/db/CURRENT")).unwrap();
        goes_on(&options, AHEAD).await;
        assert_eq!(names(&dir.path().join("behind")), ["db.1", "wal"]);
    });
}

#[test]
fn a_log_that_contradicts_the_installed_state_gives_way() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        // Its own entries go further, but were not those that were agreed on.
        let ahead = dir.path().join("ahead");
        filled(&ahead, 3).await;
        filled(&ahead, 3).await;
        let ahead = filled(&ahead, 3).await;
        let behind = filled(&dir.path().join("behind"), AHEAD).await;
        vote_in(&behind, 3).await;
        let placed = dir.path().join("behind/db.1");
        let machine = StateMachine::open(&ahead.storage).unwrap();
        let copy = machine.flusher().checkpoint(&placed).unwrap();
        snapshot::prepare(&placed, &copy.state).unwrap();
        assert!(copy.state.applied.term > 1);
        goes_on(&behind, 3).await;
    });
}

#[test]
fn a_log_that_ends_too_early_is_refused_without_the_mark() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let (options, incoming) = prepared(dir.path()).await;
        fs::remove_dir_all(&incoming).unwrap();
        // The same state, but nobody has installed it.
        fs::remove_dir_all(&options.storage.path).unwrap();
        fs::rename(dir.path().join("ahead/db"), &options.storage.path).unwrap();
        let Err(OpenError::Identity(text)) = RaftNode::open(options).map(drop) else {
            panic!("it was opened")
        };
        assert!(text.contains("the log has been replaced"), "{text}");
    });
}

#[test]
fn an_installed_state_is_no_excuse_for_a_log_lost_later() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let (options, incoming) = prepared(dir.path()).await;
        fs::rename(&incoming, dir.path().join("behind/db.1")).unwrap();
        goes_on(&options, AHEAD).await;
        fs::remove_dir_all(&options.wal_dir).unwrap();
        let other = NodeOptions {
            bootstrap: Bootstrap::New {
                identity: Identity {
                    member_id: 1,
                    cluster_id: nodes::identity().cluster_id,
                },
                members: vec![member(1)],
            },
            ..options
        };
        let refused = RaftNode::open(other).map(drop);
        assert!(matches!(refused, Err(OpenError::Identity(_))));
    });
}
