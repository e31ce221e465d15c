//! Watchers that are many, and one that stops reading: every event once and in order, and
//! what waits for a reader is not kept in memory. Speed is no question here.

use sternpost_conformance::client::Client;
use sternpost_conformance::measure::many_watches::{Spread, Watches};
use sternpost_conformance::measure::proc::Sampler;
use sternpost_conformance::measure::reader::{self, Reader};
use sternpost_conformance::target::{Kind, Plan};
use sternpost_proto::etcdserverpb as pb;

const WATCHES: u64 = 3000;
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
