//! Changes of the membership, as far as one running member goes: the others
//! are known, but nobody answers for them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod nodes;

use nodes::{leading, options, put, until, value_of};
use std::{
    net::TcpListener,
    sync::Arc,
    time::{Duration, Instant},
};
use sternpost_raft::peer::GrpcTransport;
use sternpost_raft::{Bootstrap, Identity, MembershipChange, MembershipError, RaftNode};
use sternpost_storage::MemberId;

fn learner(id: u64) -> MembershipChange {
    MembershipChange::Add {
        id,
        peer_urls: vec![format!("http://127.0.0.1:{id}")],
        learners_max: Some(1),
    }
}

/// IDs, and which of them are learners.
fn members(node: &RaftNode) -> Vec<(u64, bool)> {
    let view = node.reads().view();
    let members = view.members().iter();
    members
        .map(|(id, record)| (id.0, record.is_learner))
        .collect()
}

#[tokio::test]
async fn a_learner_comes_and_goes_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let node = leading(options(dir.path())).await;
    assert!(node.is_alone());
    let index = node.change_membership(learner(2)).await.unwrap();
    // A learner answers what was asked there, and may have applied more than this member.
    assert!(!node.is_alone());
    assert!(node.reads().view().applied().unwrap().index >= index);
    assert_eq!(members(&node), [(1, false), (2, true)]);
    assert_eq!(
        node.change_membership(learner(3)).await,
        Err(MembershipError::TooManyLearners)
    );
    let moved = MembershipChange::Update {
        id: 2,
        peer_urls: vec!["http://127.0.0.1:22".to_owned()],
    };
    node.change_membership(moved).await.unwrap();
    let urls = node.reads().view().members()[1].1.peer_urls.clone();
    assert_eq!(urls, ["http://127.0.0.1:22"]);
    // A learner has no vote: this member still decides by itself.
    node.propose(put("key", "value")).await.unwrap();
    node.read_index().await.unwrap();

    let gone = MembershipChange::Remove { id: 2 };
    node.change_membership(gone.clone()).await.unwrap();
    assert_eq!(members(&node), [(1, false)]);
    until(|| node.is_alone()).await;
    assert_eq!(
        node.change_membership(gone).await,
        Err(MembershipError::Removed)
    );
    node.shutdown().await;
    drop(node);

    let node = leading(options(dir.path())).await;
    assert!(node.reads().view().is_removed_member(MemberId(2)));
    assert_eq!(
        node.change_membership(learner(2)).await,
        Err(MembershipError::Removed)
    );
    let last = MembershipChange::Remove { id: 1 };
    assert_eq!(
        node.change_membership(last).await,
        Err(MembershipError::LastVoter)
    );
    node.shutdown().await;
}

#[tokio::test]
async fn without_its_second_voter_a_member_is_stuck_until_it_is_forced_to_go_on_alone() {
    let dir = tempfile::tempdir().unwrap();
    let node = leading(options(dir.path())).await;
    node.propose(put("key", "value")).await.unwrap();
    let second = MembershipChange::Add {
        id: 2,
        peer_urls: vec!["http://127.0.0.1:1".to_owned()],
        learners_max: None,
    };
    node.change_membership(second).await.unwrap();
    // It does not vote before it runs.
    node.propose(put("key", "before")).await.unwrap();
    node.read_index().await.unwrap();
    let vote = MembershipChange::Promote { id: 2 };
    let promoting = tokio::spawn({
        let node = node.clone();
        async move { node.change_membership(vote).await }
    });
    // No quorum is left that could confirm this leader.
    let mut leadership = node.leadership();
    leadership
        .wait_for(|leadership| leadership.leader.is_none())
        .await
        .unwrap();
    assert!(!promoting.is_finished());
    node.shutdown().await;
    promoting.await.unwrap().unwrap_err();
    drop(node);

    let node = RaftNode::open(options(dir.path())).unwrap();
    assert!(!node.leadership().borrow().leads);
    node.shutdown().await;
    drop(node);

    let mut alone = options(dir.path());
    alone.force_new_cluster = true;
    let node = leading(alone).await;
    until(|| members(&node) == [(1, false)]).await;
    assert!(node.reads().view().is_removed_member(MemberId(2)));
    assert_eq!(value_of(&node, "key").as_deref(), Some("before"));
    node.propose(put("key", "again")).await.unwrap();
    node.shutdown().await;
    drop(node);

    let node = leading(options(dir.path())).await;
    assert_eq!(value_of(&node, "key").as_deref(), Some("again"));
    node.shutdown().await;
}

#[tokio::test]
async fn a_member_that_waits_to_be_told_never_founds_a_cluster() {
    let dir = tempfile::tempdir().unwrap();
    let identity = Identity {
        member_id: 5,
        cluster_id: 9,
    };
    let mut joining = options(dir.path());
    joining.bootstrap = Bootstrap::Join { identity };
    let node = RaftNode::open(joining).unwrap();
    assert_eq!(node.identity(), identity);
    node.shutdown().await;
    drop(node);

    // The flags of its next start name another cluster, with itself in it. A
    // cluster would be founded before the node is open.
    let node = RaftNode::open(options(dir.path())).unwrap();
    assert_eq!(node.identity(), identity);
    assert!(members(&node).is_empty());
    assert_eq!(node.term(), 0);
    node.shutdown().await;
}

#[tokio::test]
async fn a_peer_that_can_not_be_talked_to_is_left_alone_between_attempts() {
    const ATTEMPTS: usize = 20;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // Takes each connection, and drops it at once.
    let attempts = std::thread::spawn(move || {
        let mut times = Vec::new();
        while times.len() < ATTEMPTS {
            drop(listener.accept().unwrap());
            times.push(Instant::now());
        }
        times[ATTEMPTS - 1] - times[0]
    });
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.transport = Arc::new(GrpcTransport::plain(options.election_timeout));
    let node = leading(options).await;
    let silent = MembershipChange::Add {
        id: 2,
        peer_urls: vec![url],
        learners_max: Some(1),
    };
    node.change_membership(silent).await.unwrap();
    let took = tokio::task::spawn_blocking(move || attempts.join().unwrap());
    let took = took.await.unwrap();
    // Entries and heartbeats have a connection each, and a pause after each attempt.
    assert!(took > Duration::from_millis(300), "{took:?}");
    node.shutdown().await;
}
