//! Disks that fail, are full or are slow, under real processes and a load with a ledger.

use std::sync::Arc;
use std::time::{Duration, Instant};
use sternpost_conformance::disk::faults::{Fault, Faults};
use sternpost_conformance::disk::room::{RESUME_LIMIT, come_back_or_end};
use sternpost_conformance::ledger::round::Rounds;
use sternpost_conformance::ledger::{Ledger, check, load};
use sternpost_conformance::target::{Kind, Plan, Target};
use sternpost_conformance::wait;
use sternpost_proto::etcdserverpb as pb;
use sternpost_proto::mvccpb::KeyValue;
use tonic::{Code, Status};

const SEED: u64 = 6;
const LOG: &str = "/member/wal/";
const STATE: &str = "/member/state/";
/// A line may be on its way to us still.
const LOG_LIMIT: Duration = Duration::from_secs(20);

/// A server with faults, and the load to come.
struct Scene {
    faults: Faults,
    run: Rounds,
    target: Target,
}

impl Scene {
    fn new() -> Self {
        let faults = Faults::new();
        // A short log, so that the state is flushed often.
        let target = Plan::new(Kind::Sternpost)
            .environment(faults.environment())
            .flag("--snapshot-count=200")
            .start();
        Self {
            faults,
            run: Rounds::new(SEED),
            target,
        }
    }

    /// Under load this fault ends the process; its last line.
    async fn ends_by(&mut self, fault: Fault, part: &str) -> String {
        let faults = &self.faults;
        let mut last = None;
        let crash = async |target: &mut Target| {
            faults.arm(fault, part);
            last = Some(target.wait_end());
        };
        self.run.load_and_crash(&mut self.target, crash).await;
        self.faults.disarm();
        let (status, line) = last.expect("the process was waited for");
        println!("{fault:?} on {part}: {status}: {line}");
        assert_eq!(status.code(), Some(1), "{line}");
        line
    }

    /// The fault is gone: everything promised is there, and service goes on.
    async fn comes_back(&mut self) {
        self.target.restart();
        check::report("after the fault", self.run.check(&self.target).await);
    }
}

fn assert_names(line: &str, file: &str, errno: &str) {
    assert!(
        line.contains(file),
        "{line}: does not name a file in {file}"
    );
    assert!(line.contains(errno), "{line}: does not say {errno}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_sync_of_the_log_is_the_end() {
    let mut scene = Scene::new();
    for fault in [
        Fault::Sync(libc::EIO),
        Fault::Write(libc::EIO),
        Fault::Short(libc::EIO),
    ] {
        let line = scene.ends_by(fault, LOG).await;
        assert_names(&line, LOG, "Input/output error");
        scene.comes_back().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_flush_of_the_state_is_the_end() {
    let mut scene = Scene::new();
    for fault in [
        Fault::Sync(libc::EIO),
        Fault::Write(libc::EIO),
        Fault::Short(libc::EIO),
    ] {
        let line = scene.ends_by(fault, STATE).await;
        assert_names(&line, STATE, "Input/output error");
        scene.comes_back().await;
    }
}

/// Nothing is acknowledged before its sync has come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_sync_only_delays() {
    let mut scene = Scene::new();
    let slow = Duration::from_secs(2);
    let (faults, ledger) = (&scene.faults, scene.run.ledger());
    let crash = async |target: &mut Target| {
        faults.arm(Fault::Slow(slow), LOG);
        // One sync may be under way, and one may have begun before this was armed.
        faults.wait_hits(2).await;
        let begun = Instant::now();
        put(target, &ledger, "slow").await.expect("only slow");
        let took = begun.elapsed();
        assert!(took >= slow, "acknowledged after {took:?}");
        target.kill();
    };
    scene.run.load_and_crash(&mut scene.target, crash).await;
    scene.faults.disarm();
    scene.comes_back().await;
}

/// What finds no room under `part` waits for it and says so; reads go on, what was
/// acknowledged is there, and `goes_on` once there is room.
async fn a_full_disk_only_delays(
    part: &str,
    said: &str,
    goes_on: impl AsyncFn(&mut Target, &Arc<Ledger>),
) {
    for fault in [Fault::Write(libc::ENOSPC), Fault::Short(libc::ENOSPC)] {
        let mut scene = Scene::new();
        let (faults, ledger) = (&scene.faults, scene.run.ledger());
        let crash = async |target: &mut Target| {
            faults.arm(fault, part);
            // Tried again and again.
            faults.wait_hits(3).await;
            reads(target).await;
            let refused = refused(target, &ledger).await;
            println!("{fault:?}: {refused}");
            assert_eq!(refused.message(), "etcdserver: request timed out");
            reads(target).await;
            faults.disarm();
            goes_on(target, &ledger).await;
            let log = target.log_text();
            let line = log.lines().find(|line| line.contains(said));
            let line = line.expect("the log says so");
            assert_names(line, part, "No space left on device");
            target.kill();
        };
        scene.run.load_and_crash(&mut scene.target, crash).await;
        scene.comes_back().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_under_the_state_only_delays() {
    let said = "the state can't grow: writes wait until there is room";
    let goes_on = async |target: &mut Target, ledger: &Arc<Ledger>| {
        if let Some(line) = come_back_or_end(target, ledger).await {
            assert_names(&line, STATE, "No space left on device");
        }
    };
    a_full_disk_only_delays(STATE, said, goes_on).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_under_the_log_only_delays() {
    let said = "the log can't grow: its records wait";
    a_full_disk_only_delays(LOG, said, resumes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_read_at_the_start_is_named() {
    let mut scene = Scene::new();
    // A clean stop: everything is in files.
    let stop = async |target: &mut Target| {
        target.stop();
    };
    scene.run.load_and_crash(&mut scene.target, stop).await;
    for part in [LOG, STATE] {
        scene.faults.arm(Fault::Read(libc::EIO), part);
        let log = scene.target.try_restart().expect_err("it can't be read");
        let (_, line) = scene.target.wait_end();
        println!("{line}");
        assert!(line.contains("failed to start"), "{log}");
        assert_names(&line, part, "Input/output error");
        scene.faults.disarm();
    }
    scene.comes_back().await;
}

/// A read of the store ends in the right answer or in an error; a write that must read ends the process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_read_later_is_an_error() {
    let mut scene = Scene::new();
    let stop = async |target: &mut Target| {
        target.stop();
    };
    scene.run.load_and_crash(&mut scene.target, stop).await;
    scene.comes_back().await;
    let before = everything(&scene.target).await.expect("all is well");
    // From here on everything is in files, and nothing is cached.
    scene.target.stop();
    scene.target.restart();
    scene.faults.arm(Fault::Read(libc::EIO), STATE);
    let status = everything(&scene.target)
        .await
        .expect_err("it can't be read");
    assert_eq!(status.code(), Code::Internal, "{status}");
    assert_eq!(
        status.message(),
        "etcdserver: stored data can't be read, see this member's log"
    );
    assert!(scene.faults.hits() > 0);
    let said = wait::until("the log says why", LOG_LIMIT, || {
        let log = scene.target.log_text();
        let mut lines = log.lines();
        let said = lines.find(|line| line.contains("Input/output error"));
        said.map(str::to_owned)
    });
    assert_names(&said, STATE, ".sst");
    scene.faults.disarm();
    let after = everything(&scene.target).await.expect("the fault is gone");
    assert_eq!(after, before);

    scene.target.stop();
    scene.target.restart();
    let line = scene.ends_by(Fault::Read(libc::EIO), STATE).await;
    assert_names(&line, STATE, "Input/output error");
    scene.comes_back().await;
}

/// A defragmentation that could not rewrite the files is not called done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_defragmentation_that_fails_says_so() {
    let mut scene = Scene::new();
    let stop = async |target: &mut Target| {
        target.stop();
    };
    scene.run.load_and_crash(&mut scene.target, stop).await;
    scene.comes_back().await;
    let mut client = scene.target.client().await;
    scene.faults.arm(Fault::Read(libc::EIO), STATE);
    let request = pb::DefragmentRequest {};
    let told = client.maintenance.defragment(request).await;
    let status = told.expect_err("files that can't be read can't be rewritten");
    println!("{status}");
    assert!(scene.faults.hits() > 0);
    wait::until("the log names the store", LOG_LIMIT, || {
        let log = scene.target.log_text();
        let mut lines = log.lines();
        let names = |line: &&str| line.contains("storage engine") && line.contains(STATE);
        lines.find(names).map(drop)
    });
    scene.faults.disarm();
    scene.target.kill();
    scene.comes_back().await;
}

/// The room is used up soon: then puts are not answered in time.
async fn refused(target: &Target, ledger: &Arc<Ledger>) -> Status {
    let until = Instant::now() + RESUME_LIMIT;
    for tries in 0.. {
        if let Err(status) = put(target, ledger, &format!("full {tries}")).await {
            return status;
        }
        assert!(Instant::now() < until, "never full");
    }
    unreachable!("the time is over long before the tries are")
}

/// Puts are answered again.
async fn resumes(target: &mut Target, ledger: &Arc<Ledger>) {
    let mut tries = 0;
    let until = Instant::now() + RESUME_LIMIT;
    while let Err(status) = put(target, ledger, &format!("room {tries}")).await {
        assert!(Instant::now() < until, "still refused: {status}");
        tries += 1;
    }
}

/// Reads of both kinds are answered.
async fn reads(target: &Target) {
    let mut client = target.client().await;
    for serializable in [true, false] {
        let request = pb::RangeRequest {
            key: "\0".into(),
            range_end: "\0".into(),
            serializable,
            ..Default::default()
        };
        client.kv.range(request).await.expect("reads go on");
    }
}

async fn everything(target: &Target) -> Result<Vec<KeyValue>, Status> {
    let request = pb::RangeRequest {
        key: "\0".into(),
        range_end: "\0".into(),
        ..Default::default()
    };
    let mut client = target.client().await;
    Ok(client.kv.range(request).await?.into_inner().kvs)
}

async fn put(target: &Target, ledger: &Arc<Ledger>, value: &str) -> Result<(), Status> {
    load::put(&mut target.client().await, ledger, value).await
}
