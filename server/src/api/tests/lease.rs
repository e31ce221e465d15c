//! Lease.

use super::*;
use sternpost_raft::FeedItem;
use tokio_stream::{StreamExt as _, iter};

impl Bench {
    async fn grant(&mut self, id: i64, ttl: i64) -> Result<pb::LeaseGrantResponse, Status> {
        let request = pb::LeaseGrantRequest { ttl, id };
        self.lease
            .lease_grant(request)
            .await
            .map(tonic::Response::into_inner)
    }

    async fn time_to_live(&mut self, id: i64, keys: bool) -> pb::LeaseTimeToLiveResponse {
        let request = pb::LeaseTimeToLiveRequest { id, keys };
        self.lease
            .lease_time_to_live(request)
            .await
            .unwrap()
            .into_inner()
    }

    async fn keep_alive(&mut self, ids: &[i64]) -> Vec<i64> {
        let requests: Vec<_> = ids
            .iter()
            .map(|&id| pb::LeaseKeepAliveRequest { id })
            .collect();
        let answers = self
            .lease
            .lease_keep_alive(iter(requests))
            .await
            .unwrap()
            .into_inner();
        answers.map(|answer| answer.unwrap().ttl).collect().await
    }

    async fn put_attached(&mut self, key: &str, lease: i64) {
        let put = pb::PutRequest {
            key: key.to_owned().into(),
            lease,
            ..Default::default()
        };
        self.kv.put(put).await.unwrap();
    }
}

#[tokio::test]
async fn a_grant_raises_short_ttls_and_draws_ids() {
    let mut bench = Bench::start().await;
    // One and a half elections of 100 ms, in whole seconds.
    assert_eq!(bench.grant(7, 0).await.unwrap().ttl, 1);
    assert_eq!(bench.grant(-7, -5).await.unwrap().ttl, 1);
    let drawn = bench.grant(0, 60).await.unwrap();
    assert!(drawn.id > 0);
    assert_eq!(drawn.ttl, 60);
    assert_refused(bench.grant(drawn.id, 60).await, ApiError::LeaseExist);
    assert_refused(
        bench.grant(1, 9_000_000_001).await,
        ApiError::LeaseTTLTooLarge,
    );
    assert_eq!(
        bench.grant(1, 9_000_000_000).await.unwrap().ttl,
        9_000_000_000
    );
    bench.stop().await;
}

#[tokio::test]
async fn a_lease_is_known_once_granted_and_unknown_once_revoked() {
    let mut bench = Bench::start().await;
    bench.grant(7, 60).await.unwrap();
    assert_eq!(
        bench.keep_alive(&[7, 8, 7]).await,
        [60, 0, 60],
        "an unknown one does not end the stream"
    );
    bench.put_attached("b", 7).await;
    bench.put_attached("a", 7).await;
    let left = bench.time_to_live(7, true).await;
    assert!(
        (30..60).contains(&left.ttl),
        "whole seconds, cut: {}",
        left.ttl
    );
    assert_eq!(left.granted_ttl, 60);
    assert_eq!(left.keys, ["a", "b"]);

    let revoke = pb::LeaseRevokeRequest { id: 7 };
    let answer = bench.lease.lease_revoke(revoke).await.unwrap().into_inner();
    assert_eq!(revision(&answer.header), 4, "all keys go in one revision");
    assert_eq!(bench.keep_alive(&[7]).await, [0]);
    let gone = bench.time_to_live(7, true).await;
    assert_eq!((gone.id, gone.ttl, gone.granted_ttl), (7, -1, 0));
    assert_eq!(bench.range(from("a")).await.unwrap().count, 0);
    assert_refused(
        bench.lease.lease_revoke(revoke).await,
        ApiError::LeaseNotFound,
    );
    bench.stop().await;
}

#[tokio::test]
async fn leases_are_listed_by_the_time_they_have_left() {
    let mut bench = Bench::start().await;
    for (id, ttl) in [(1, 300), (2, 100), (3, 200)] {
        bench.grant(id, ttl).await.unwrap();
    }
    let list = bench
        .lease
        .lease_leases(pb::LeaseLeasesRequest {})
        .await
        .unwrap()
        .into_inner();
    let ids: Vec<i64> = list.leases.iter().map(|lease| lease.id).collect();
    assert_eq!(ids, [2, 3, 1]);
    bench.stop().await;
}

#[tokio::test]
async fn an_expired_lease_takes_its_keys_along() {
    let mut bench = Bench::start().await;
    bench.grant(7, 1).await.unwrap();
    bench.put_attached("a", 7).await;
    let (_, mut feed) = bench.member.node.feed().subscribe();
    let granted = tokio::time::Instant::now();
    let deleted = loop {
        let Some(FeedItem::Next(published)) = feed.next().await else {
            panic!("the feed goes on")
        };
        if let Some(revision) = published.revisions.first() {
            break revision.clone();
        }
    };
    assert!(
        granted.elapsed() >= Duration::from_millis(900),
        "not before its time"
    );
    assert!(deleted.events[0].is_delete());
    assert_eq!(deleted.events[0].key, "a");
    assert_eq!(
        bench.keep_alive(&[7]).await,
        [0],
        "at the latest when the clock has heard"
    );
    assert_eq!(bench.member.metrics.lease.revoked.get(), 1);
    bench.stop().await;
}

#[tokio::test]
async fn a_restart_gives_leases_their_time_again() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let mut bench = Bench::on(directory.clone(), config()).await;
    bench.grant(7, 60).await.unwrap();
    bench.put_attached("a", 7).await;
    bench.stop().await;
    let mut bench = Bench::on(directory, config()).await;
    let left = bench.time_to_live(7, true).await;
    assert!(
        (30..=60).contains(&left.ttl),
        "an election timeout on top: {}",
        left.ttl
    );
    assert_eq!(left.granted_ttl, 60);
    assert_eq!(left.keys, ["a"]);
    assert_eq!(bench.keep_alive(&[7]).await, [60]);
    bench.stop().await;
}
