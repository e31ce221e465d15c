//! Real file systems that are full or lose writes: nothing acknowledged is lost, reads go on, and service goes on
//! once there is room.
//!
//! Takes root for mounts. Where that is missing the tests say so and pass, unless `STERNPOST_POWER=required`.

use std::time::Instant;
use sternpost_conformance::client::Client;
use sternpost_conformance::disk::room::{RESUME_LIMIT, come_back_or_end};
use sternpost_conformance::disk::space::Space;
use sternpost_conformance::ledger::round::Rounds;
use sternpost_conformance::ledger::{check, load};
use sternpost_conformance::power::Disk;
use sternpost_conformance::target::{Kind, Plan, Target};
use sternpost_proto::etcdserverpb as pb;
use tonic::Status;

const SEED: u64 = 7;
const MIB: u64 = 1 << 20;
/// One segment of the log fits, and no second one.
const LOG_SPACE: u64 = 100 * MIB;
const STATE_SPACE: u64 = 200 * MIB;
const MORE: u64 = 1000 * MIB;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_without_room_for_a_second_segment() {
    let Some(space) = or_say(Space::create(LOG_SPACE)) else {
        return;
    };
    let wal_dir = space.path().join("wal");
    let mut target = Plan::new(Kind::Sternpost)
        .flag(&format!("--wal-dir={}", wal_dir.display()))
        .start();
    let mut client = target.client().await;
    let mut acked: Vec<u8> = Vec::new();
    let refused = loop {
        let value = u8::try_from(acked.len()).expect("full long before");
        match put(&mut client, value).await {
            Ok(()) => acked.push(value),
            Err(status) => break status,
        }
    };
    assert_eq!(refused.message(), "etcdserver: request timed out");
    // The one that was not answered may have happened.
    let at_least = acked.len();
    assert!(at_least > 100, "{at_least}");
    assert!(count(&mut client).await >= at_least, "reads go on");
    space.resize(MORE);
    let until = Instant::now() + RESUME_LIMIT;
    while let Err(status) = put(&mut client, 255).await {
        assert!(Instant::now() < until, "still refused: {status}");
    }
    target.kill();
    target.restart();
    let mut client = target.client().await;
    for value in acked.into_iter().chain([255]) {
        let request = pb::RangeRequest {
            key: vec![value].into(),
            ..Default::default()
        };
        let reply = client.kv.range(request).await.expect("it is served");
        let kvs = reply.into_inner().kvs;
        assert!(
            kvs.len() == 1 && kvs[0].value == vec![value; 512 << 10],
            "{value}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_without_room() {
    let Some(space) = or_say(Space::create(STATE_SPACE)) else {
        return;
    };
    let log = tempfile::tempdir().expect("the temporary directory is writable");
    let mut target = Plan::new(Kind::Sternpost)
        .data_dir(&space.path().join("data"))
        .flag(&format!("--wal-dir={}", log.path().join("wal").display()))
        .flag("--snapshot-count=200")
        .start();
    let mut run = Rounds::new(SEED);
    let ledger = run.ledger();
    let crash = async |target: &mut Target| {
        space.fill();
        let mut client = target.client().await;
        let mut tries = 0;
        let mut one = async |client: &mut Client| {
            tries += 1;
            load::put(client, &ledger, &format!("beside {tries}")).await
        };
        let until = Instant::now() + RESUME_LIMIT;
        while one(&mut client).await.is_ok() {
            assert!(Instant::now() < until, "never full");
        }
        count(&mut client).await;
        space.release();
        if let Some(line) = come_back_or_end(target, &ledger).await {
            assert!(line.contains("No space left on device"), "{line}");
        }
        // A server that finds no room at its start says so.
        space.fill();
        target.kill();
        let log = target.try_restart().expect_err("there is no room");
        println!("{log}");
        assert!(log.contains("No space left on device"), "{log}");
        space.release();
    };
    run.load_and_crash(&mut target, crash).await;
    comes_back(&mut target, &mut run).await;
}

/// The disk under the file system has no room: what it could not write is an I/O error of the next sync.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_loses_writes() {
    let Some(space) = or_say(Space::create(MORE)) else {
        return;
    };
    let Some(disk) = or_say(Disk::create_in(space.path())) else {
        return;
    };
    let mut target = Plan::new(Kind::Sternpost)
        .data_dir(&disk.mount_point().join("data"))
        .flag("--snapshot-count=200")
        .start();
    let mut run = Rounds::new(SEED);
    let crash = async |target: &mut Target| {
        space.fill();
        let (status, line) = target.wait_end();
        println!("{status}: {line}");
        assert_eq!(status.code(), Some(1));
        assert!(line.contains("/member/"), "{line}: names no file");
        // Without its journal the file system turns read-only, whoever hears of it first.
        let told = ["Input/output error", "Read-only file system"];
        assert!(told.iter().any(|text| line.contains(text)), "{line}");
    };
    run.load_and_crash(&mut target, crash).await;
    space.release();
    disk.power_on();
    comes_back(&mut target, &mut run).await;
}

async fn comes_back(target: &mut Target, run: &mut Rounds) {
    target.restart();
    check::report("after the restart", run.check(target).await);
}

async fn put(client: &mut Client, value: u8) -> Result<(), Status> {
    let request = pb::PutRequest {
        key: vec![value].into(),
        value: vec![value; 512 << 10].into(),
        ..Default::default()
    };
    client.kv.put(request).await.map(|_| ())
}

async fn count(client: &mut Client) -> usize {
    let request = pb::RangeRequest {
        key: "\0".into(),
        range_end: "\0".into(),
        count_only: true,
        ..Default::default()
    };
    let reply = client.kv.range(request).await.expect("reads go on");
    usize::try_from(reply.into_inner().count).unwrap_or(0)
}

fn or_say<T>(made: Result<T, String>) -> Option<T> {
    match made {
        Ok(made) => Some(made),
        Err(why) => {
            let required = std::env::var("STERNPOST_POWER").is_ok_and(|word| word == "required");
            assert!(!required, "no mounts: {why}");
            println!("NOT TESTED: no mounts here: {why}");
            None
        }
    }
}
