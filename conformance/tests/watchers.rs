//! Watchers that are many, and one that stops reading: every event once and in order, and
//! what waits for a reader is not kept in memory. Speed is no question here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use sternpost_conformance::client::Client;
use sternpost_conformance::measure::many_watches::{Spread, Watches};
use sternpost_conformance::measure::proc::Sampler;
use sternpost_conformance::measure::reader::{self, Reader};
use sternpost_conformance::target::{Kind, Plan, Target};
use sternpost_conformance::wait;
use sternpost_proto::etcdserverpb as pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

const WATCHES: u64 = 3000;
/// Creates sent while the server does not run.
const ASKED: u64 = 60_000;
/// A server on a busy machine takes its time to take what it takes.
const STILL_LIMIT: Duration = Duration::from_secs(60);
/// What is missed, in all: far more than the server may keep for one who does not read.
const MISSED_MIB: u64 = 128;
const VALUE_BYTES: u64 = 64 << 10;
/// Buffers of connections, of RocksDB and of the allocator move by some tens of MiB.
const GROWTH_MAX_MIB: f64 = 64.0;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_watches_on_one_stream() {
    all_see_their_event(Spread::OneStream).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_streams_on_one_connection() {
    all_see_their_event(Spread::OneConnection).await;
}

async fn all_see_their_event(spread: Spread) {
    let target = Plan::new(Kind::Sternpost).without_fsync().start();
    let mut watches = Watches::open(&target, spread, WATCHES).await;
    watches.tell_one_event_each(&target).await;
    watches.tell_one_event_each(&target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_watcher_does_not_read_is_not_kept_in_memory() {
    let target = Plan::new(Kind::Sternpost).without_fsync().start();
    let client = target.client().await;
    let watch = reader::narrow(target.endpoint()).await;
    let mut slow = Reader::open(watch, b"event-", b"event.").await;
    let puts = MISSED_MIB * (1 << 20) / VALUE_BYTES;
    let sampler = Sampler::start(target.pid());
    // The same puts, all of them read: what memory they take by themselves.
    let all = put(client.clone(), puts);
    let (_, ()) = tokio::join!(read_to(&mut slow, puts), all);
    let read = sampler.take_peak_mib();
    put(client.clone(), puts).await;
    let unread = sampler.take_peak_mib();
    println!("RSS peak: {read:.0} MiB when read, {unread:.0} MiB when not");
    assert!(
        unread - read < GROWTH_MAX_MIB,
        "{read:.0} MiB grew to {unread:.0} MiB while {MISSED_MIB} MiB of events were not read"
    );
    read_to(&mut slow, 2 * puts).await;
    assert_eq!(slow.events, 2 * puts);
}

/// A server that was held up finds many small messages at once: HTTP/2's flow control bounds
/// them, and that they are many is no reason to cut the client off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_small_requests_at_once_are_no_attack() {
    let target = Plan::new(Kind::Sternpost).without_fsync().start();
    let mut watch = target.client().await.watch;
    let (requests, queue) = mpsc::channel(1);
    requests.send(create(0)).await.expect("there is room");
    let answer = watch.watch(ReceiverStream::new(queue)).await;
    let mut answers = answer.expect("a stream is opened").into_inner();
    let asked = Arc::new(AtomicU64::new(1));
    let counter = Arc::clone(&asked);
    signal(&target, libc::SIGSTOP);
    let ask = tokio::spawn(async move {
        for number in 1..ASKED {
            let sent = requests.send(create(number)).await;
            sent.expect("the stream is open");
            counter.fetch_add(1, Ordering::Relaxed);
        }
        requests
    });
    // Until all is sent, or the sockets take no more.
    let mut last = 0;
    let look = || {
        let now = asked.load(Ordering::Relaxed);
        let still = now == ASKED || now == std::mem::replace(&mut last, now);
        async move {
            tokio::time::sleep(Duration::from_millis(200)).await;
            still.then_some(())
        }
    };
    wait::until_async("no more is taken", STILL_LIMIT, look).await;
    println!("asked {} times unread", asked.load(Ordering::Relaxed));
    signal(&target, libc::SIGCONT);
    for _ in 0..ASKED {
        let answer = answers.message().await.expect("the stream lives");
        assert!(answer.expect("each create is answered").created);
    }
    let _open = ask.await.expect("all were sent");
}

/// As small as a create is.
fn create(number: u64) -> pb::WatchRequest {
    let create = pb::WatchCreateRequest {
        key: vec![b'a' + (number % 26) as u8].into(),
        ..Default::default()
    };
    pb::WatchRequest {
        request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)),
    }
}

fn signal(target: &Target, signal: libc::c_int) {
    let pid = libc::pid_t::try_from(target.pid()).expect("a process id");
    // SAFETY: it is our child, and alive.
    let sent = unsafe { libc::kill(pid, signal) };
    assert_eq!(sent, 0, "the server is ours to signal");
}

async fn read_to(reader: &mut Reader, events: u64) {
    while reader.events < events {
        reader.next().await;
    }
}

async fn put(mut client: Client, puts: u64) {
    let value = bytes::Bytes::from(vec![b'v'; VALUE_BYTES as usize]);
    for number in 0..puts {
        let request = pb::PutRequest {
            key: format!("event-{:02}", number % 100).into_bytes().into(),
            value: value.clone(),
            ..Default::default()
        };
        client.kv.put(request).await.expect("a put is answered");
    }
}
