//! A cluster of real members: elections, replication, forwarded commands,
//! reads everywhere, partitions.
#![allow(clippy::unwrap_used)]

mod harness;

use harness::{Cluster, ELECTION, put, value_of};
use std::time::{Duration, Instant};
use sternpost_proto::internal::{MembersRequest, VoteRequest};
use sternpost_raft::{
    ProposeError, ReadIndexError, TransferError,
    peer::{Caller, GrpcTransport, PeerError, Transport as _},
};

/// Longer than anything here takes, but for a machine that stands still.
const PATIENCE: Duration = Duration::from_secs(60);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("in time")
}

#[tokio::test]
async fn every_member_serves_reads_and_writes() {
    let mut cluster = soon(Cluster::start(3)).await;
    for member in cluster.ids() {
        let key = format!("from-{member}");
        let proposed = cluster.node(member).propose(put(member, &key, "v"));
        let applied = soon(proposed).await.unwrap();
        assert!(applied.response.is_ok());
        // Whoever proposed it has applied it.
        assert_eq!(value_of(cluster.node(member), &key), Some(("v".into(), 1)));
        for reader in cluster.ids() {
            soon(cluster.node(reader).read_index()).await.unwrap();
            assert_eq!(value_of(cluster.node(reader), &key), Some(("v".into(), 1)));
        }
    }
    soon(cluster.agree()).await;
    cluster.stop_all().await;
}

#[tokio::test]
async fn many_commands_of_followers_are_carried_out_once() {
    let mut cluster = soon(Cluster::start(3)).await;
    let proposals = cluster.ids().flat_map(|member| {
        let node = cluster.node(member).clone();
        (0..2000).map(move |number| {
            let (node, key) = (node.clone(), format!("{member}/{number}"));
            async move { node.propose(put(member, &key, "v")).await.map(|_| ()) }
        })
    });
    let outcomes = soon(futures_util::future::join_all(proposals)).await;
    assert!(outcomes.iter().all(Result::is_ok));
    for member in cluster.ids() {
        for number in 0..2000 {
            let found = value_of(cluster.node(member), &format!("{member}/{number}"));
            assert_eq!(found, Some(("v".into(), 1)));
        }
    }
    soon(cluster.agree()).await;
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_member_that_was_away_catches_up() {
    let mut cluster = soon(Cluster::start(3)).await;
    let leader = soon(cluster.leader()).await;
    let away = cluster.follower(leader);
    cluster.stop(away).await;
    let leader = soon(cluster.leader()).await;
    for number in 0..500 {
        let proposed = cluster
            .node(leader)
            .propose(put(leader, &number.to_string(), "v"));
        soon(proposed).await.unwrap();
    }
    cluster.start_again(away).await;
    soon(cluster.agree()).await;
    soon(cluster.node(away).read_index()).await.unwrap();
    assert_eq!(value_of(cluster.node(away), "499"), Some(("v".into(), 1)));
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_lost_leader_is_replaced_and_comes_back() {
    let mut cluster = soon(Cluster::start(3)).await;
    let leader = soon(cluster.leader()).await;
    soon(cluster.node(leader).propose(put(leader, "before", "v")))
        .await
        .unwrap();
    let follower = cluster.follower(leader);
    cluster.kill(leader).await;
    // Proposed while there is none: it waits for the next leader.
    let proposed = cluster
        .node(follower)
        .propose(put(follower, "between", "v"));
    soon(proposed).await.unwrap();
    let next = soon(cluster.leader_other_than(leader)).await;
    assert_ne!(next, leader);
    cluster.links.heal();
    cluster.start_again(leader).await;
    soon(cluster.agree()).await;
    for key in ["before", "between"] {
        assert_eq!(value_of(cluster.node(leader), key), Some(("v".into(), 1)));
    }
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_leader_without_a_quorum_says_so_and_loses_nothing() {
    let mut cluster = soon(Cluster::start(3)).await;
    let leader = soon(cluster.leader()).await;
    let follower = cluster.follower(leader);
    cluster.links.isolate(leader);
    // Appended there, and never committed: what becomes of it is not known.
    let node = cluster.node(leader).clone();
    let lost = tokio::spawn(async move { node.propose(put(leader, "lost", "v")).await });
    let none = |leadership: &sternpost_raft::Leadership| leadership.leader.is_none();
    let begun = Instant::now();
    soon(cluster.node(leader).leadership().wait_for(none))
        .await
        .unwrap();
    assert!(begun.elapsed() < 5 * ELECTION, "{:?}", begun.elapsed());
    let read = soon(cluster.node(leader).read_index()).await;
    assert!(matches!(
        read,
        Err(ReadIndexError::NoLeader | ReadIndexError::TimedOut)
    ));
    let proposed = cluster.node(follower).propose(put(follower, "kept", "v"));
    soon(proposed).await.unwrap();
    cluster.links.heal();
    soon(cluster.agree()).await;
    let outcome = soon(lost).await.unwrap();
    let applied = value_of(cluster.node(follower), "lost").is_some();
    match outcome {
        Ok(_) => assert!(applied),
        Err(error) => assert!(error == ProposeError::OutcomeUnknown, "{error}"),
    }
    assert_eq!(
        value_of(cluster.node(leader), "kept"),
        Some(("v".into(), 1))
    );
    cluster.stop_all().await;
}

#[tokio::test]
async fn commands_of_followers_survive_their_leader_exactly_once() {
    let mut cluster = soon(Cluster::start(3)).await;
    for round in 0..3 {
        let leader = soon(cluster.leader()).await;
        let (follower, links) = (cluster.follower(leader), cluster.links.clone());
        let node = cluster.node(follower).clone();
        let proposals = (0..1000).map(|number| {
            let (node, key) = (node.clone(), format!("{round}/{number}"));
            async move { node.propose(put(follower, &key, "v")).await.map(|_| ()) }
        });
        let cut = async {
            // Somewhere between the first and the last of them.
            tokio::task::yield_now().await;
            links.isolate(leader);
            cluster.leader_other_than(leader).await;
            links.heal();
        };
        let proposing = futures_util::future::join_all(proposals);
        let (outcomes, ()) = soon(futures_util::future::join(proposing, cut)).await;
        for (number, outcome) in outcomes.into_iter().enumerate() {
            assert_eq!(outcome, Ok(()), "{round}/{number}");
            let found = value_of(cluster.node(follower), &format!("{round}/{number}"));
            assert_eq!(found, Some(("v".into(), 1)), "{round}/{number}");
        }
        soon(cluster.agree()).await;
    }
    cluster.stop_all().await;
}

#[tokio::test]
async fn leadership_is_handed_over_when_asked_and_on_the_way_out() {
    let mut cluster = soon(Cluster::start(3)).await;
    let leader = soon(cluster.leader()).await;
    let follower = cluster.follower(leader);
    let transfer = |from: u64, to: u64| {
        let node = cluster.node(from).clone();
        async move { soon(node.transfer_leader(to)).await }
    };
    assert_eq!(
        transfer(follower, leader).await,
        Err(TransferError::NotLeader)
    );
    assert_eq!(transfer(leader, 99).await, Err(TransferError::NotVoter));
    assert_eq!(transfer(leader, leader).await, Ok(()));
    let progress = cluster.node(leader).progress();
    assert_eq!(progress.members.len(), 2);
    assert!(progress.members.values().all(|member| member.is_voter));
    assert!(cluster.node(follower).progress().members.is_empty());
    assert_eq!(transfer(leader, follower).await, Ok(()));
    assert_eq!(soon(cluster.leader_other_than(leader)).await, follower);
    let term = soon(cluster.node(follower).confirm_leadership()).await;
    assert_eq!(term, Ok(cluster.node(follower).term()));
    assert_eq!(
        soon(cluster.node(leader).confirm_leadership()).await,
        Err(ReadIndexError::NoLeader)
    );
    let before = cluster.node(leader).term();
    cluster.stop(follower).await;
    let next = soon(cluster.leader_other_than(follower)).await;
    assert_eq!(
        cluster.node(next).term(),
        before + 1,
        "one campaign, at once"
    );
    cluster.stop_all().await;
}

#[tokio::test]
async fn strangers_are_refused() {
    let mut cluster = soon(Cluster::start(1)).await;
    let call = |caller: Caller| {
        let route = cluster.route(1, caller);
        async move {
            let channel = GrpcTransport::plain(ELECTION).channel(route);
            let vote = channel.vote(VoteRequest::default());
            let (vote, members) = (vote.await.unwrap_err(), channel.members(MembersRequest {}));
            (vote, members.await)
        }
    };
    let refusal = |error: PeerError| match error {
        PeerError::Refused(text) => text,
        other => panic!("{other}"),
    };
    let known = Caller::new(harness::CLUSTER, 2, 1);
    let (vote, members) = soon(call(known)).await;
    assert_eq!(refusal(vote), "a vote of somebody else");
    let members = members.unwrap();
    assert_eq!(members.members[0].node.as_ref().unwrap().name, "member-1");
    assert_eq!((members.cluster_id, members.leader), (harness::CLUSTER, 1));
    // Who does not know the cluster yet may ask for its members only.
    let (vote, members) = soon(call(Caller::new(0, 2, 0))).await;
    assert!(refusal(vote).starts_with("cluster ID mismatch"));
    assert!(members.is_ok());
    let (vote, members) = soon(call(Caller::new(8, 2, 1))).await;
    assert!(refusal(vote).starts_with("cluster ID mismatch"));
    assert!(refusal(members.unwrap_err()).starts_with("cluster ID mismatch"));
    let (vote, _) = soon(call(Caller::new(harness::CLUSTER, 2, 3))).await;
    assert!(refusal(vote).starts_with("meant for member 3"));
    let newer = Caller {
        protocol: 2,
        ..known
    };
    let (vote, members) = soon(call(newer)).await;
    assert!(refusal(vote).starts_with("protocol 2"));
    assert!(members.is_err());
    cluster.stop_all().await;
}
