//! A full database: the exact refusal, what goes on working, and the way back.

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::Duration;
use sternpost_conformance::client::Client;
use sternpost_conformance::target::{Kind, Plan, Target};
use sternpost_conformance::wait;
use sternpost_proto::etcdserverpb as pb;
use tonic::{Code, Status};

const QUOTA: i64 = 64 << 20;
/// Random, so that no compression makes room.
const VALUE: usize = 512 << 10;
/// Keys are overwritten, so that a compaction has something to drop.
const KEYS: u64 = 8;
/// Defragment works beside the traffic; its end shows in dbSize.
const SHRINK_LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn sternpost_fills_up_and_comes_back() {
    fills_up_and_comes_back(Kind::Sternpost).await;
}

#[tokio::test]
async fn the_reference_fills_up_and_comes_back() {
    fills_up_and_comes_back(Kind::Etcd).await;
}

async fn fills_up_and_comes_back(kind: Kind) {
    let target = Plan::new(kind)
        .without_fsync()
        .flag(&format!("--quota-backend-bytes={QUOTA}"))
        .start();
    let mut client = target.client().await;
    let revision = fill(&mut client).await;
    refused_and_served(&mut client, &target).await;
    let full = db_size(&mut client).await;
    assert!(full * 10 > QUOTA * 9, "full at {full} of {QUOTA}");

    let compaction = pb::CompactionRequest {
        revision,
        physical: true,
    };
    client
        .kv
        .compact(compaction)
        .await
        .expect("compaction works under the alarm");
    client
        .maintenance
        .defragment(pb::DefragmentRequest {})
        .await
        .expect("so does defragment");
    // From here on nobody writes.
    wait::until_async("dbSize falls below half", SHRINK_LIMIT, || {
        let mut client = client.clone();
        async move { (db_size(&mut client).await < full / 2).then_some(()) }
    })
    .await;
    still_refused_until_disarmed(&mut client).await;
    put(&mut client, b"after", Bytes::from_static(b"x"))
        .await
        .expect("room again");
    assert_eq!(target.get("/health").status, 200);
}

/// Overwrites until the server refuses; the revision of the last write.
async fn fill(client: &mut Client) -> i64 {
    let mut rng = StdRng::seed_from_u64(6);
    let mut revision = 1;
    for written in 0.. {
        assert!(
            written * VALUE as u64 <= 2 * QUOTA.unsigned_abs(),
            "never full"
        );
        let mut value = vec![0; VALUE];
        rng.fill(&mut value[..]);
        let key = format!("k{}", written % KEYS);
        match put(client, key.as_bytes(), value.into()).await {
            Ok(made) => revision = made,
            Err(status) => {
                no_space(&status);
                break;
            }
        }
    }
    revision
}

async fn refused_and_served(client: &mut Client, target: &Target) {
    let range = pb::RangeRequest {
        key: "k0".into(),
        ..Default::default()
    };
    let alarms = alarms(client, pb::alarm_request::AlarmAction::Get).await;
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    assert_eq!(alarms[0].alarm, pb::AlarmType::Nospace as i32);
    let status = client.maintenance.status(pb::StatusRequest {}).await;
    let status = status.expect("status is served").into_inner();
    assert!(
        status.errors.iter().any(|text| text.contains("NOSPACE")),
        "{:?}",
        status.errors
    );
    assert_eq!(status.db_size_quota, QUOTA);

    let put = put(client, b"small", Bytes::new()).await;
    no_space(&put.expect_err("even the smallest put is refused"));
    let grant = pb::LeaseGrantRequest { ttl: 100, id: 1 };
    no_space(
        &client
            .lease
            .lease_grant(grant)
            .await
            .expect_err("so is a lease"),
    );
    client
        .kv
        .range(range.clone())
        .await
        .expect("reads are served");
    let delete = pb::DeleteRangeRequest {
        key: "k0".into(),
        ..Default::default()
    };
    let deleted = client
        .kv
        .delete_range(delete)
        .await
        .expect("deletes are served");
    assert_eq!(deleted.into_inner().deleted, 1);
    let health = target.get("/health");
    assert_eq!(health.status, 503);
    assert_eq!(
        health.body.trim_end(),
        r#"{"health":"false","reason":"ALARM NOSPACE"}"#
    );
    assert_eq!(target.get("/readyz").status, 200);
}

async fn still_refused_until_disarmed(client: &mut Client) {
    let refused = put(client, b"before", Bytes::from_static(b"x")).await;
    no_space(&refused.expect_err("the alarm outlives the lack of space"));
    let cleared = alarms(client, pb::alarm_request::AlarmAction::Deactivate).await;
    assert_eq!(cleared.len(), 1, "{cleared:?}");
}

/// Lists the alarms, or clears NOSPACE of the member that has it.
async fn alarms(
    client: &mut Client,
    action: pb::alarm_request::AlarmAction,
) -> Vec<pb::AlarmMember> {
    let status = client.maintenance.status(pb::StatusRequest {}).await;
    let header = status.expect("status is served").into_inner().header;
    let request = pb::AlarmRequest {
        action: action as i32,
        member_id: header.expect("status has a header").member_id,
        alarm: pb::AlarmType::Nospace as i32,
    };
    let reply = client.maintenance.alarm(request).await;
    reply.expect("alarms are served").into_inner().alarms
}

async fn put(client: &mut Client, key: &[u8], value: Bytes) -> Result<i64, Status> {
    let request = pb::PutRequest {
        key: Bytes::copy_from_slice(key),
        value,
        ..Default::default()
    };
    let reply = client.kv.put(request).await?.into_inner();
    Ok(reply.header.map_or(0, |header| header.revision))
}

async fn db_size(client: &mut Client) -> i64 {
    let status = client.maintenance.status(pb::StatusRequest {}).await;
    status.expect("status is served").into_inner().db_size
}

fn no_space(status: &Status) {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert_eq!(
        status.message(),
        "etcdserver: mvcc: database space exceeded"
    );
}
