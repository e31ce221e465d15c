//! Maintenance, Cluster, Auth.

use super::*;
use pb::{AlarmType, alarm_request::AlarmAction, downgrade_request::DowngradeAction};

impl Bench {
    async fn alarm(
        &mut self,
        action: i32,
        member_id: u64,
        alarm: i32,
    ) -> Result<Vec<pb::AlarmMember>, Status> {
        let request = pb::AlarmRequest {
            action,
            member_id,
            alarm,
        };
        let answer = self.maintenance.alarm(request).await?.into_inner();
        assert!(answer.header.is_some());
        Ok(answer.alarms)
    }

    async fn downgrade(&mut self, action: i32, version: &str) -> Result<String, Status> {
        let request = pb::DowngradeRequest {
            action,
            version: version.to_owned(),
        };
        Ok(self
            .maintenance
            .downgrade(request)
            .await?
            .into_inner()
            .version)
    }
}

#[tokio::test]
async fn status_tells_all() {
    let mut bench = Bench::start().await;
    bench.put("a", "1").await.unwrap();
    let status = bench
        .maintenance
        .status(pb::StatusRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(status.version, "3.7.1");
    assert_eq!(status.storage_version, "3.7.0");
    assert_eq!(status.leader, MEMBER_ID);
    assert_eq!(status.raft_term, bench.member.node.term());
    assert_eq!(status.raft_index, status.raft_applied_index);
    assert!(status.raft_index > 0);
    assert!(status.db_size > 0 && status.db_size >= status.db_size_in_use);
    assert_eq!(status.db_size_quota, 2 << 30);
    assert_eq!(status.downgrade_info, Some(pb::DowngradeInfo::default()));
    assert!(!status.is_learner);
    assert_eq!(status.errors, Vec::<String>::new());

    bench
        .alarm(AlarmAction::Activate.into(), 5, AlarmType::Corrupt.into())
        .await
        .unwrap();
    let status = bench
        .maintenance
        .status(pb::StatusRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(status.errors, ["memberID:5 alarm:CORRUPT"]);
    assert_refused(bench.put("a", "2").await, ApiError::Corrupt);
    bench.stop().await;
}

#[tokio::test]
async fn alarms_are_raised_listed_and_cleared() {
    let mut bench = Bench::start().await;
    let (get, activate, deactivate) = (
        AlarmAction::Get as i32,
        AlarmAction::Activate as i32,
        AlarmAction::Deactivate as i32,
    );
    let (none, nospace, corrupt) = (
        AlarmType::None as i32,
        AlarmType::Nospace as i32,
        AlarmType::Corrupt as i32,
    );
    let nospace_of_5 = pb::AlarmMember {
        member_id: 5,
        alarm: nospace,
    };
    assert_eq!(bench.alarm(get, 0, none).await.unwrap(), []);
    assert_eq!(
        bench.alarm(activate, 5, nospace).await.unwrap(),
        [nospace_of_5]
    );
    assert_eq!(
        bench.alarm(activate, 5, nospace).await.unwrap(),
        [nospace_of_5],
        "again, the same"
    );
    assert_eq!(bench.alarm(activate, 5, none).await.unwrap(), []);
    assert_eq!(
        bench.alarm(get, 99, none).await.unwrap(),
        [nospace_of_5],
        "whoever is asked about"
    );
    assert_eq!(bench.alarm(get, 0, corrupt).await.unwrap(), []);
    assert_eq!(bench.alarm(deactivate, 6, nospace).await.unwrap(), []);
    assert_eq!(
        bench.alarm(deactivate, 5, nospace).await.unwrap(),
        [nospace_of_5]
    );
    assert_eq!(bench.alarm(get, 0, none).await.unwrap(), []);
    assert_refused(bench.alarm(7, 0, none).await, ApiError::UnknownAlarmAction);
    assert_refused(
        bench.alarm(activate, 5, 7).await,
        ApiError::UnknownAlarmType,
    );
    bench.stop().await;
}

#[tokio::test]
async fn hashes_are_etcd_s() {
    let mut bench = Bench::start().await;
    bench.put("a", "1").await.unwrap();
    let request = |revision| pb::HashKvRequest { revision };
    let hash = bench
        .maintenance
        .hash_kv(request(0))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (hash.hash, hash.hash_revision, hash.compact_revision),
        (2_587_454_935, 2, -1)
    );
    assert_eq!(revision(&hash.header), 2);
    assert_refused(
        bench.maintenance.hash_kv(request(3)).await,
        ApiError::FutureRev,
    );
    let all = bench
        .maintenance
        .hash(pb::HashRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(revision(&all.header), 2);
    bench.stop().await;
}

#[tokio::test]
async fn defragment_and_move_leader_answer_without_header() {
    let mut bench = Bench::start().await;
    bench.put("a", "1").await.unwrap();
    let answer = bench
        .maintenance
        .defragment(pb::DefragmentRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.header, None);
    let to = |target_id| pb::MoveLeaderRequest { target_id };
    let answer = bench
        .maintenance
        .move_leader(to(MEMBER_ID))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.header, None);
    assert_refused(
        bench.maintenance.move_leader(to(5)).await,
        ApiError::BadLeaderTransferee,
    );
    bench.stop().await;
}

#[tokio::test]
async fn a_downgrade_is_checked() {
    let mut bench = Bench::start().await;
    let (validate, cancel) = (
        DowngradeAction::Validate as i32,
        DowngradeAction::Cancel as i32,
    );
    assert_eq!(bench.downgrade(validate, "3.6").await.unwrap(), "3.7");
    assert_eq!(bench.downgrade(cancel, "").await.unwrap(), "3.7");
    assert_refused(
        bench.downgrade(validate, "x").await,
        ApiError::WrongDowngradeVersionFormat,
    );
    assert_refused(
        bench.downgrade(validate, "3.5").await,
        ApiError::InvalidDowngradeTargetVersion,
    );
    assert_refused(bench.downgrade(7, "3.6").await, ApiError::UnknownMethod);
    bench.stop().await;
}

#[tokio::test]
async fn the_member_has_published_itself_once() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let mut bench = Bench::on(directory.clone(), config()).await;
    let request = pb::MemberListRequest { linearizable: true };
    let answer = bench
        .cluster
        .member_list(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        revision(&answer.header),
        0,
        "cluster answers have no revision"
    );
    let member = &answer.members[0];
    assert_eq!((member.id, member.name.as_str()), (MEMBER_ID, "bench"));
    assert_eq!(member.peer_ur_ls, ["http://127.0.0.1:2380"]);
    assert_eq!(member.client_ur_ls, ["http://localhost:2379"]);
    let digest = bench.member.node.reads().view().state_digest();
    bench.stop().await;

    let bench = Bench::on(directory, config()).await;
    let again = bench.member.node.reads().view().state_digest();
    assert_eq!(again, digest, "nothing new is published at a restart");
    bench.stop().await;
}

#[tokio::test]
async fn auth_says_that_it_is_off() {
    let mut bench = Bench::start().await;
    let status = bench
        .auth
        .auth_status(pb::AuthStatusRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!((status.enabled, status.auth_revision), (false, 1));
    let authenticate = bench
        .auth
        .authenticate(pb::AuthenticateRequest::default())
        .await;
    assert_refused(authenticate, ApiError::AuthNotEnabled);
    let add = bench.auth.user_add(pb::AuthUserAddRequest::default()).await;
    assert_eq!(add.unwrap_err().code(), tonic::Code::Unimplemented);
    bench.stop().await;
}
