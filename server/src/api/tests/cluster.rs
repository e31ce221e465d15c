//! Changes of the members, as far as one running member goes.

use super::*;

const LEARNER_URL: &str = "http://127.0.0.1:1";

impl Bench {
    async fn add(&mut self, url: &str, is_learner: bool) -> Result<pb::MemberAddResponse, Status> {
        let request = pb::MemberAddRequest {
            peer_ur_ls: vec![url.to_owned()],
            is_learner,
        };
        let added = self.cluster.member_add(request).await;
        added.map(tonic::Response::into_inner)
    }

    async fn update(&mut self, id: u64, urls: &[&str]) -> Result<pb::MemberUpdateResponse, Status> {
        let request = pb::MemberUpdateRequest {
            id,
            peer_ur_ls: urls.iter().map(ToString::to_string).collect(),
        };
        let updated = self.cluster.member_update(request).await;
        updated.map(tonic::Response::into_inner)
    }

    async fn promote(&mut self, id: u64) -> Result<pb::MemberPromoteResponse, Status> {
        let promoted = self.cluster.member_promote(pb::MemberPromoteRequest { id });
        promoted.await.map(tonic::Response::into_inner)
    }

    async fn remove(&mut self, id: u64) -> Result<pb::MemberRemoveResponse, Status> {
        let removed = self.cluster.member_remove(pb::MemberRemoveRequest { id });
        removed.await.map(tonic::Response::into_inner)
    }
}

#[tokio::test]
async fn a_learner_is_added_moved_and_removed() {
    let mut bench = Bench::start().await;
    let added = bench.add(LEARNER_URL, true).await.unwrap();
    let learner = added.member.unwrap();
    assert_eq!(added.header.unwrap().revision, 0);
    assert_eq!(
        (
            learner.name.as_str(),
            learner.is_learner,
            learner.peer_ur_ls.as_slice()
        ),
        ("", true, &[LEARNER_URL.to_owned()][..])
    );
    assert_eq!(added.members.len(), 2);
    assert!(added.members.contains(&learner));
    assert_refused(
        bench.add("http://127.0.0.1:2", true).await,
        ApiError::TooManyLearners,
    );
    assert_refused(
        bench.add("http://127.0.0.1:2380", true).await,
        ApiError::PeerURLExist,
    );
    // It has said nothing yet, and holds nothing.
    assert_refused(bench.promote(learner.id).await, ApiError::LearnerNotReady);
    assert_refused(bench.promote(MEMBER_ID).await, ApiError::MemberNotLearner);
    let moved = bench
        .update(learner.id, &["http://127.0.0.1:3"])
        .await
        .unwrap();
    let urls = moved.members.iter().find(|member| member.id == learner.id);
    assert_eq!(urls.unwrap().peer_ur_ls, ["http://127.0.0.1:3"]);
    let left = bench.remove(learner.id).await.unwrap();
    assert_eq!(left.members.len(), 1);
    assert_refused(bench.remove(learner.id).await, ApiError::MemberNotFound);
    bench.stop().await;
}

#[tokio::test]
async fn a_second_voter_may_be_waited_for() {
    let mut bench = Bench::start().await;
    let added = bench.add(LEARNER_URL, false).await.unwrap();
    let second = added.member.unwrap();
    assert!(!second.is_learner);
    assert_eq!(added.members.len(), 2);
    // As if it were counted: only one of two has started.
    assert_refused(
        bench.add("http://127.0.0.1:2", false).await,
        ApiError::MemberNotEnoughStarted,
    );
    assert_refused(bench.promote(second.id).await, ApiError::LearnerNotReady);
    // It is not asked for its vote.
    bench.put("a", "1").await.unwrap();
    assert_refused(
        bench.add("http://127.0.0.1:2", true).await,
        ApiError::Unhealthy,
    );
    let left = bench.remove(second.id).await.unwrap();
    assert_eq!(left.members.len(), 1);
    bench.stop().await;
}

#[tokio::test]
async fn changes_that_make_no_sense_are_refused_in_etcd_s_order() {
    let mut bench = Bench::start().await;
    for url in ["http://10.0.0.1", "10.0.0.1:1", "http://a:1/x", ""] {
        assert_refused(bench.add(url, false).await, ApiError::MemberBadURLs);
    }
    // Whether there is such a member comes before its URLs.
    assert_refused(bench.update(5, &["bad"]).await, ApiError::MemberNotFound);
    assert_refused(bench.update(MEMBER_ID, &[]).await, ApiError::MemberBadURLs);
    assert_refused(
        bench.update(MEMBER_ID, &["http://10.0.0.1"]).await,
        ApiError::MemberBadURLs,
    );
    assert_refused(bench.promote(5).await, ApiError::MemberNotFound);
    assert_refused(bench.remove(5).await, ApiError::MemberNotFound);
    // Nobody would be left.
    assert_refused(
        bench.remove(MEMBER_ID).await,
        ApiError::MemberNotEnoughStarted,
    );
    bench
        .update(MEMBER_ID, &["http://127.0.0.1:2380"])
        .await
        .unwrap();
    bench.stop().await;
}
