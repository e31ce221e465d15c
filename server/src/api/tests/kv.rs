//! KV.

use super::*;
use crate::alarms;
use sternpost_proto::etcdserverpb::{request_op, response_op};

fn op(request: request_op::Request) -> pb::RequestOp {
    pb::RequestOp {
        request: Some(request),
    }
}

fn put_op(key: &str, value: &str) -> pb::RequestOp {
    op(request_op::Request::RequestPut(pb::PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..Default::default()
    }))
}

#[tokio::test]
async fn headers_carry_the_revision_and_who_answered() {
    let mut bench = Bench::start().await;
    let empty = bench.range(point("a")).await.unwrap();
    let header = empty.header.unwrap();
    assert_eq!(
        (header.cluster_id, header.member_id),
        (CLUSTER_ID, MEMBER_ID)
    );
    assert_eq!(header.revision, 1, "an empty store is at revision 1");
    assert_eq!(header.raft_term, bench.member.node.term());

    assert_eq!(revision(&bench.put("a", "1").await.unwrap().header), 2);
    assert_eq!(revision(&bench.put("a", "2").await.unwrap().header), 3);
    let old = pb::RangeRequest {
        revision: 2,
        ..point("a")
    };
    let old = bench.range(old).await.unwrap();
    assert_eq!(old.kvs[0].value, "1");
    assert_eq!(
        revision(&old.header),
        3,
        "the current one, whatever was asked"
    );

    let delete = |key: &str| pb::DeleteRangeRequest {
        key: key.to_owned().into(),
        ..Default::default()
    };
    let none = bench
        .kv
        .delete_range(delete("b"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((none.deleted, revision(&none.header)), (0, 3));
    let one = bench
        .kv
        .delete_range(delete("a"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((one.deleted, revision(&one.header)), (1, 4));
    bench.stop().await;
}

#[tokio::test]
async fn a_transaction_s_answers_carry_their_revision_alone() {
    let mut bench = Bench::start().await;
    let range = op(request_op::Request::RequestRange(point("a")));
    let txn = pb::TxnRequest {
        success: vec![put_op("a", "1"), range.clone()],
        ..Default::default()
    };
    let answer = bench.kv.txn(txn).await.unwrap().into_inner();
    assert!(answer.succeeded);
    let header = answer.header.unwrap();
    assert_eq!((header.revision, header.member_id), (2, MEMBER_ID));
    let Some(response_op::Response::ResponseRange(inner)) = &answer.responses[1].response else {
        panic!("a range answers a range");
    };
    assert_eq!(inner.kvs[0].value, "1", "a range sees the put before it");
    let inner = inner.header.unwrap();
    assert_eq!(
        (inner.revision, inner.member_id, inner.raft_term),
        (2, 0, 0)
    );

    let read_only = pb::TxnRequest {
        success: vec![range],
        ..Default::default()
    };
    let applied = bench.member.node.status().applied_index;
    let answer = bench.kv.txn(read_only).await.unwrap().into_inner();
    assert_eq!(revision(&answer.header), 2);
    let now = bench.member.node.status().applied_index;
    assert_eq!(now, applied, "a read-only transaction leaves no entry");
    bench.stop().await;
}

#[tokio::test]
async fn checks_refuse_what_etcd_refuses() {
    let mut bench = Bench::start().await;
    assert_refused(bench.put("", "1").await, ApiError::EmptyKey);
    assert_refused(bench.range(point("")).await, ApiError::EmptyKey);
    let unset = pb::TxnRequest {
        failure: vec![pb::RequestOp { request: None }],
        ..Default::default()
    };
    assert_refused(bench.kv.txn(unset).await, ApiError::KeyNotFound);
    let ignore = pb::PutRequest {
        key: "a".into(),
        ignore_value: true,
        ..Default::default()
    };
    assert_refused(bench.kv.put(ignore).await, ApiError::KeyNotFound);
    let lease = pb::PutRequest {
        key: "a".into(),
        lease: 7,
        ..Default::default()
    };
    assert_refused(bench.kv.put(lease).await, ApiError::LeaseNotFound);
    let future = pb::RangeRequest {
        revision: 99,
        ..point("a")
    };
    assert_refused(bench.range(future).await, ApiError::FutureRev);
    bench.stop().await;
}

#[tokio::test]
async fn compaction_hides_what_was_before() {
    let mut bench = Bench::start().await;
    for value in ["1", "2", "3"] {
        bench.put("a", value).await.unwrap();
    }
    let compact = |revision| pb::CompactionRequest {
        revision,
        physical: true,
    };
    let answer = bench.kv.compact(compact(3)).await.unwrap().into_inner();
    assert_eq!(revision(&answer.header), 4);
    assert!(bench.member.node.reads().view().scrubbed());
    assert_refused(bench.kv.compact(compact(3)).await, ApiError::Compacted);
    assert_refused(bench.kv.compact(compact(5)).await, ApiError::FutureRev);
    let at = |revision| pb::RangeRequest {
        revision,
        ..point("a")
    };
    assert_refused(bench.range(at(2)).await, ApiError::Compacted);
    assert_eq!(bench.range(at(3)).await.unwrap().kvs[0].value, "2");
    bench.stop().await;
}

#[tokio::test]
async fn the_request_size_has_etcd_s_border() {
    let config = Config {
        max_request_bytes: 10_000,
        ..config()
    };
    let mut bench = Bench::with(config).await;
    // 25 bytes beside the value for a key of one byte, as measured on etcd,
    // less one for the shorter length of each of two fields.
    bench.put("k", &"x".repeat(10_000 - 25 + 2)).await.unwrap();
    let larger = bench.put("k", &"x".repeat(10_000 - 25 + 3)).await;
    assert_refused(larger, ApiError::RequestTooLarge);
    // As in etcd, it was never a proposal.
    assert_eq!(bench.member.metrics.server.proposals_failed.get(), 0);
    bench.stop().await;
}

#[tokio::test]
async fn a_long_list_runs_on_the_pool_and_is_the_same() {
    let mut bench = Bench::start().await;
    for i in 0..200 {
        bench.put(&format!("k{i:03}"), "v").await.unwrap();
    }
    let all = bench.range(from("k")).await.unwrap();
    assert_eq!((all.kvs.len(), all.count, all.more), (200, 200, false));
    let page = pb::RangeRequest {
        limit: 150,
        serializable: true,
        ..from("k")
    };
    let page = bench.range(page).await.unwrap();
    assert_eq!((page.kvs.len(), page.count, page.more), (150, 200, true));
    assert_eq!(page.kvs[..], all.kvs[..150]);
    bench.stop().await;
}

#[tokio::test]
async fn a_full_store_refuses_puts_until_it_is_disarmed() {
    let config = Config {
        quota_backend_bytes: 4 << 20,
        ..config()
    };
    let mut bench = Bench::with(config).await;
    let value = "x".repeat(256 << 10);
    let refused = loop {
        if let Err(status) = bench.put("k", &value).await {
            break status;
        }
    };
    assert_refused::<()>(Err(refused), ApiError::NoSpace);
    let view = bench.member.node.reads().view();
    assert_eq!(view.alarms()[0].member_id, MEMBER_ID);
    drop(view);

    // The alarm stops all that costs, whatever room is left: also a small
    // put, whose checks come after the quota.
    assert_refused(bench.put("small", "").await, ApiError::NoSpace);
    let grant = pb::LeaseGrantRequest { ttl: 60, id: 1 };
    assert_refused(bench.lease.lease_grant(grant).await, ApiError::NoSpace);
    let with_put = pb::TxnRequest {
        success: vec![put_op("t", "1")],
        ..Default::default()
    };
    assert_refused(bench.kv.txn(with_put).await, ApiError::NoSpace);
    let delete = pb::DeleteRangeRequest {
        key: "k".into(),
        ..Default::default()
    };
    assert_eq!(
        bench
            .kv
            .delete_range(delete)
            .await
            .unwrap()
            .into_inner()
            .deleted,
        1
    );

    let current = bench.member.node.reads().view().revision();
    let compact = pb::CompactionRequest {
        revision: current,
        physical: true,
    };
    bench.kv.compact(compact).await.unwrap();
    bench
        .maintenance
        .defragment(pb::DefragmentRequest {})
        .await
        .unwrap();
    let disarm = pb::AlarmRequest {
        action: pb::alarm_request::AlarmAction::Deactivate.into(),
        member_id: MEMBER_ID,
        alarm: pb::AlarmType::Nospace.into(),
    };
    assert_eq!(
        bench
            .maintenance
            .alarm(disarm)
            .await
            .unwrap()
            .into_inner()
            .alarms
            .len(),
        1
    );
    bench.put("small", "again").await.unwrap();
    bench.stop().await;
}

#[tokio::test]
async fn one_put_larger_than_the_room_raises_the_alarm() {
    let config = Config {
        quota_backend_bytes: 4 << 20,
        max_request_bytes: 1 << 20,
        ..config()
    };
    let mut bench = Bench::with(config).await;
    // The quota is looked at before anything else: before the key, and before
    // the size that would be refused anyway.
    let put = pb::PutRequest {
        value: vec![0; 1_400_000].into(),
        ..Default::default()
    };
    let room = (4 << 20) - alarms::put_cost(&put) + 1;
    let taken = bench.member.node.reads().sizes().db_bytes;
    assert!(taken < room, "a new store takes {taken} bytes");
    assert_refused(bench.kv.put(put.clone()).await, ApiError::EmptyKey);

    let small = Config {
        quota_backend_bytes: 1 << 20,
        ..self::config()
    };
    let mut bench = {
        bench.stop().await;
        Bench::with(small).await
    };
    assert_refused(bench.kv.put(put).await, ApiError::NoSpace);
    assert_eq!(bench.member.node.reads().view().alarms().len(), 1);
    bench.stop().await;
}

#[tokio::test]
async fn what_was_done_is_counted() {
    let mut bench = Bench::start().await;
    bench.put("a", "12345").await.unwrap();
    bench.range(point("a")).await.unwrap();
    let txn = pb::TxnRequest {
        success: vec![put_op("b", "1"), put_op("c", "1")],
        ..Default::default()
    };
    bench.kv.txn(txn).await.unwrap();
    let metrics = &bench.member.metrics;
    assert_eq!(metrics.mvcc.put_total.get(), 3);
    assert_eq!(metrics.mvcc.range_total.get(), 1);
    assert_eq!(metrics.mvcc.txn_total.get(), 1);
    assert_eq!(metrics.mvcc.total_put_size.get(), 6 + 2 + 2);
    assert_eq!(metrics.server.proposals_pending.get(), 0);
    assert_eq!(metrics.server.proposals_failed.get(), 0);
    bench.stop().await;
}
