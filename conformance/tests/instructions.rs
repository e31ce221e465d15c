//! A regression guard on speed that does not depend on the machine's mood: instructions
//! that the server executes for a put, a get, a range of 500 and an event to 50 watchers,
//! compared with the numbers kept in `instructions.tsv`.
//!
//! Too many fail the test. Far fewer only ask for the kept numbers to be renewed, with
//! `STERNPOST_INSTRUCTIONS=write cargo test -p sternpost-conformance --test instructions`,
//! which is also how a growth that is meant is recorded.
//!
//! Where valgrind is missing the test says so and passes, unless `STERNPOST_INSTRUCTIONS=required`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use sternpost_conformance::binaries;
use sternpost_conformance::client::Client;
use sternpost_conformance::measure::callgrind::{self, Counter};
use sternpost_proto::etcdserverpb as pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

/// A repeated count differs by one or two hundredths; another build of the same source
/// (order of functions, inlining over crates) by a few more.
const TOLERANCE: f64 = 0.10;
/// The least of so many counts is kept: chance only adds.
const REPEATS: usize = 3;
const KEYS: usize = 1000;
const VALUE: usize = 256;
const PAGE: i64 = 500;
const WATCHERS: i64 = 50;

#[tokio::test]
async fn operations_cost_no_more_instructions_than_before() {
    let wish = std::env::var("STERNPOST_INSTRUCTIONS").unwrap_or_default();
    if !callgrind::available() {
        assert!(wish != "required", "valgrind is not installed");
        println!("valgrind is not installed: instructions are not counted here");
        return;
    }
    let counted = count_all().await;
    if wish == "write" {
        write(&counted);
        return;
    }
    let mut wrong = Vec::new();
    for (name, kept) in kept() {
        let now = counted[&name];
        println!("{name}: {now:.0} instructions, kept {kept:.0}");
        match judge(now, kept) {
            Verdict::Same => {}
            Verdict::Fewer => println!("{name} got cheaper: renew the kept numbers"),
            Verdict::More => wrong.push(format!("{name}: {now:.0} instructions, kept {kept:.0}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_eighth_more_is_noticed() {
    assert_eq!(judge(1.125, 1.0), Verdict::More);
    assert_eq!(judge(0.875, 1.0), Verdict::Fewer);
    assert_eq!(judge(1.05, 1.0), Verdict::Same);
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Same,
    Fewer,
    More,
}

fn judge(now: f64, kept: f64) -> Verdict {
    match now / kept - 1.0 {
        over if over > TOLERANCE => Verdict::More,
        over if over < -TOLERANCE => Verdict::Fewer,
        _ => Verdict::Same,
    }
}

async fn count_all() -> BTreeMap<String, f64> {
    let mut counter = Counter::start();
    let mut client = counter.target().client().await;
    // Fills what the ranges read, and caches, pools and buffers of the server.
    puts(client.clone(), KEYS).await;
    gets(client.clone(), 100).await;
    let mut counted = BTreeMap::new();
    let mut keep = |name: &str, least: f64| {
        counted.insert(name.to_owned(), least);
    };
    keep(
        "put",
        least(&mut counter, 300, |n| puts(client.clone(), n)).await,
    );
    keep(
        "get",
        least(&mut counter, 300, |n| gets(client.clone(), n)).await,
    );
    keep(
        "range-500",
        least(&mut counter, 20, |n| ranges(client.clone(), n)).await,
    );
    let (_requests, events) = watch(&mut client).await;
    let events = tokio::sync::Mutex::new(events);
    let fan_out = least(&mut counter, 40, |n| fan_out(client.clone(), &events, n)).await;
    keep("put-to-50-watchers", fan_out);
    counted
}

/// Instructions of one of `n` operations.
async fn least<F: Future<Output = ()>>(
    counter: &mut Counter,
    n: u32,
    work: impl Fn(usize) -> F,
) -> f64 {
    let mut least = f64::INFINITY;
    for _ in 0..REPEATS {
        let total = counter.count(work(n as usize)).await;
        least = least.min(total / f64::from(n));
    }
    least
}

fn key(number: usize) -> Vec<u8> {
    format!("key-{:06}", number % KEYS).into_bytes()
}

async fn put(client: &mut Client, key: Vec<u8>) {
    let request = pb::PutRequest {
        key: key.into(),
        value: vec![b'v'; VALUE].into(),
        ..Default::default()
    };
    client.kv.put(request).await.expect("a put is answered");
}

async fn puts(mut client: Client, n: usize) {
    for number in 0..n {
        put(&mut client, key(number)).await;
    }
}

async fn gets(mut client: Client, n: usize) {
    for number in 0..n {
        let request = pb::RangeRequest {
            key: key(number).into(),
            ..Default::default()
        };
        let answer = client.kv.range(request).await.expect("a get is answered");
        assert_eq!(answer.into_inner().kvs.len(), 1);
    }
}

async fn ranges(mut client: Client, n: usize) {
    for number in 0..n {
        let request = pb::RangeRequest {
            key: key(number).into(),
            range_end: vec![b'z'].into(),
            limit: PAGE,
            ..Default::default()
        };
        let answer = client.kv.range(request).await.expect("a range is answered");
        assert_eq!(answer.into_inner().kvs.len() as i64, PAGE);
    }
}

/// Watches of one key on one stream, all of them created.
async fn watch(
    client: &mut Client,
) -> (mpsc::Sender<pb::WatchRequest>, Streaming<pb::WatchResponse>) {
    let (requests, queue) = mpsc::channel(WATCHERS as usize);
    for watch_id in 1..=WATCHERS {
        let create = pb::WatchCreateRequest {
            key: b"watched".to_vec().into(),
            watch_id,
            ..Default::default()
        };
        let request = pb::watch_request::RequestUnion::CreateRequest(create);
        let request = pb::WatchRequest {
            request_union: Some(request),
        };
        requests.send(request).await.expect("there is room for all");
    }
    let answer = client.watch.watch(ReceiverStream::new(queue)).await;
    let mut events = answer.expect("a stream is opened").into_inner();
    for _ in 0..WATCHERS {
        let answer = events.message().await.expect("the stream lives");
        assert!(answer.expect("an answer to each").created);
    }
    (requests, events)
}

/// The next put waits until all watchers have seen this one, so that none are joined.
async fn fan_out(
    mut client: Client,
    events: &tokio::sync::Mutex<Streaming<pb::WatchResponse>>,
    n: usize,
) {
    let mut events = events.lock().await;
    for _ in 0..n {
        put(&mut client, b"watched".to_vec()).await;
        for _ in 0..WATCHERS {
            let answer = events.message().await.expect("the stream lives");
            assert_eq!(answer.expect("an event to each").events.len(), 1);
        }
    }
}

fn path() -> PathBuf {
    binaries::conformance_dir().join("instructions.tsv")
}

fn kept() -> BTreeMap<String, f64> {
    let text = fs::read_to_string(path()).expect("instructions.tsv is in the repository");
    let rows = text.lines().skip(1).map(|line| {
        let (name, count) = line.split_once('\t').expect("two columns");
        (name.to_owned(), count.parse().expect("a number"))
    });
    rows.collect()
}

fn write(counted: &BTreeMap<String, f64>) {
    let mut text = "operation\tinstructions\n".to_owned();
    for (name, count) in counted {
        text += &format!("{name}\t{count:.0}\n");
    }
    fs::write(path(), &text).expect("the repository is writable");
    println!("{text}");
}
