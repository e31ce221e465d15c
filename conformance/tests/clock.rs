//! The wall clock does not matter: a server whose clock is turned by years keeps
//! leases for as long as it promised, and no longer.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use sternpost_conformance::client::Client;
use sternpost_conformance::preload;
use sternpost_conformance::target::{Kind, Plan, Target};
use sternpost_conformance::wait;
use sternpost_proto::etcdserverpb as pb;
use tempfile::TempDir;

const TEN_YEARS_SECS: i64 = 10 * 365 * 24 * 3600;
const LONG_SECS: i64 = 3600;
const SHORT_SECS: i64 = 3;
/// A lease that has ended is gone half a second later; this is for a very busy machine.
const LATE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn leases_end_by_the_time_that_has_passed() {
    let clock = Clock::new();
    let server = Plan::new(Kind::Sternpost)
        .under(&clock.environment())
        .start();
    let mut client = server.client().await;
    put_with_lease(&mut client, 1, LONG_SECS).await;

    let started = Instant::now();
    put_with_lease(&mut client, 2, SHORT_SECS).await;
    let year = year(&server);
    clock.turn(TEN_YEARS_SECS);
    gone(&mut client, 2).await;
    let lived = started.elapsed();
    assert!(
        lived >= Duration::from_secs(SHORT_SECS as u64),
        "gone after {lived:?}"
    );
    assert!(has(&mut client, 1).await, "an hour is not over yet");
    note(&mut client).await;
    assert!(year_is(&server, year + 9), "the clock was not turned");

    put_with_lease(&mut client, 3, SHORT_SECS).await;
    clock.turn(-TEN_YEARS_SECS);
    gone(&mut client, 3).await;
    assert!(has(&mut client, 1).await, "an hour is not over yet");
}

async fn put_with_lease(client: &mut Client, id: i64, ttl: i64) {
    let grant = pb::LeaseGrantRequest { ttl, id };
    client.lease.lease_grant(grant).await.expect("granted");
    let put = pb::PutRequest {
        key: key(id),
        lease: id,
        ..Default::default()
    };
    client.kv.put(put).await.expect("put");
}

fn key(id: i64) -> bytes::Bytes {
    format!("lease {id}").into()
}

async fn has(client: &mut Client, id: i64) -> bool {
    let range = pb::RangeRequest {
        key: key(id),
        ..Default::default()
    };
    let answer = client.kv.range(range).await.expect("answered");
    answer.into_inner().count == 1
}

/// Waits for the event that takes the key of a lease away.
async fn gone(client: &mut Client, id: i64) {
    let client = client.clone();
    wait::until_async("the end of a lease", LATE, || {
        let mut client = client.clone();
        async move { (!has(&mut client, id).await).then_some(()) }
    })
    .await;
}

/// Makes the server log a line.
async fn note(client: &mut Client) {
    let request = pb::DefragmentRequest {};
    client
        .maintenance
        .defragment(request)
        .await
        .expect("defragmented");
}

/// The year in the last line that the server has logged.
fn year(server: &Target) -> i32 {
    let log = server.log_text();
    let last = log.rsplit("\"ts\":\"").next().expect("a line has its time");
    last[..4].parse().expect("the time begins with the year")
}

fn year_is(server: &Target, at_least: i32) -> bool {
    wait::until("a line of the log", LATE, || {
        (year(server) >= at_least).then_some(true)
    })
}

/// A clock of the server's that the test turns.
struct Clock {
    dir: TempDir,
    library: PathBuf,
}

impl Clock {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("the temporary directory is writable");
        let library = preload::library("clock/clock.c", dir.path());
        let clock = Self { dir, library };
        clock.turn(0);
        clock
    }

    /// The command that a server is started by.
    fn environment(&self) -> [String; 3] {
        [
            "env".to_owned(),
            format!("LD_PRELOAD={}", self.library.display()),
            format!(
                "STERNPOST_CLOCK={}",
                self.dir.path().join("shift").display()
            ),
        ]
    }

    /// Seconds by which it is wrong from now on.
    fn turn(&self, seconds: i64) {
        let next = self.dir.path().join("next");
        fs::write(&next, seconds.to_string()).expect("the temporary directory is writable");
        fs::rename(next, self.dir.path().join("shift")).expect("the same directory");
    }
}
