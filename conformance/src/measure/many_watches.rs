//! Ten thousand watches on one stream, ten thousand streams on one connection: do they
//! work, and what does one that waits take.

use super::budget::{Check, Limit, number};
use super::load;
use super::options::Options;
use super::proc;
use super::report::Section;
use crate::client::Client;
use crate::target::{Kind, Plan, Target};
use futures_util::{StreamExt, TryStreamExt, stream};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};
use sternpost_proto::etcdserverpb as pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

const WATCHES: u64 = 10_000;
/// Streams that are opened at once.
const OPENING: usize = 200;
/// Puts at once.
const PUTTING: usize = 50;
/// A server that answers none of it for so long has failed.
const LIMIT: Duration = Duration::from_secs(120);

/// How the watches are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// All on one stream.
    OneStream,
    /// A stream each, all on one connection.
    OneConnection,
}

impl Spread {
    fn name(self) -> &'static str {
        match self {
            Self::OneStream => "one stream",
            Self::OneConnection => "a stream each, one connection",
        }
    }
}

/// A stream, and the sender that keeps it open.
struct Stream {
    requests: mpsc::Sender<pb::WatchRequest>,
    answers: Streaming<pb::WatchResponse>,
}

/// Watches each of its own key, all of them created.
pub struct Watches {
    streams: Vec<Stream>,
    count: u64,
}

#[derive(Clone, Copy, Debug)]
struct Figures {
    create_secs: f64,
    kib_each: f64,
    events_secs: f64,
    kib_each_after: f64,
}

/// Both servers, both spreads.
pub async fn section(options: &Options) -> Section {
    let watches = options.keys.unwrap_or(WATCHES);
    let mut text = format!(
        "{watches} watches, each of its own key. RSS is what the server grew by, once it is quiet; then one put to each key, \
         and each watch must tell its event.\n\n\
         | watches on | server | created in, s | RSS of an idle watch, KiB | all events seen in, s | RSS of a watch then, KiB \
         |\n|---|---|---:|---:|---:|---:|\n"
    );
    let mut checks = Vec::new();
    for spread in [Spread::OneStream, Spread::OneConnection] {
        let mut etcd = None;
        if options.reference {
            let figures = measure(Kind::Etcd, spread, watches).await;
            row(&mut text, spread, "etcd", figures);
            etcd = Some(figures);
        }
        let ours = measure(Kind::Sternpost, spread, watches).await;
        row(&mut text, spread, "Sternpost", ours);
        if let Some(etcd) = etcd {
            checks.push(Check::absolute(
                &format!("RSS of an idle watch beside etcd's: {}", spread.name()),
                ours.kib_each / etcd.kib_each,
                "x",
                Limit::AtMost(1.0),
            ));
        }
    }
    Section {
        title: "Ten thousand watches".to_owned(),
        text,
        checks,
    }
}

async fn measure(kind: Kind, spread: Spread, watches: u64) -> Figures {
    let target = Plan::new(kind).start();
    // Warms up what any first requests do, by another connection.
    put_all(&target, watches).await;
    load::settle(&target).await;
    let before = proc::rss_mib(target.pid());
    #[allow(clippy::cast_precision_loss)]
    let each = |rss: f64| (rss - before) * 1024.0 / watches as f64;
    let start = Instant::now();
    let mut opened = Watches::open(&target, spread, watches).await;
    let create_secs = start.elapsed().as_secs_f64();
    load::settle(&target).await;
    let kib_each = each(proc::rss_mib(target.pid()));
    let start = Instant::now();
    opened.tell_one_event_each(&target).await;
    let events_secs = start.elapsed().as_secs_f64();
    load::settle(&target).await;
    let figures = Figures {
        create_secs,
        kib_each,
        events_secs,
        kib_each_after: each(proc::rss_mib(target.pid())),
    };
    println!(
        "many watches, {}, {}: {figures:.2?}",
        spread.name(),
        kind.name()
    );
    figures
}

impl Watches {
    /// Creates them.
    ///
    /// # Panics
    /// When one is refused, or the last is not created in time.
    pub async fn open(target: &Target, spread: Spread, count: u64) -> Self {
        let client = target.client().await;
        let opened = tokio::time::timeout(LIMIT, open(client, spread, count)).await;
        let streams = opened.expect("all watches are created in time");
        Self { streams, count }
    }

    /// Puts to each key, and waits until each watch has told its one event.
    ///
    /// # Panics
    /// When an event is missing, or there is one too many.
    pub async fn tell_one_event_each(&mut self, target: &Target) {
        put_all(target, self.count).await;
        let seen = tokio::time::timeout(LIMIT, events(&mut self.streams, self.count)).await;
        let seen = seen.expect("all events come in time");
        assert_eq!(seen, self.count, "a key each");
    }
}

async fn open(client: Client, spread: Spread, watches: u64) -> Vec<Stream> {
    match spread {
        Spread::OneStream => vec![open_one(client, 0..watches).await],
        Spread::OneConnection => {
            let streams = stream::iter(0..watches)
                .map(|number| open_one(client.clone(), number..number + 1))
                .buffer_unordered(OPENING);
            streams.collect().await
        }
    }
}

/// A stream with a watch for each number, all of them created.
async fn open_one(mut client: Client, numbers: std::ops::Range<u64>) -> Stream {
    let (requests, queue) = mpsc::channel(1);
    let count = numbers.end - numbers.start;
    let sender = requests.clone();
    let ask = tokio::spawn(async move {
        for number in numbers {
            let create = pb::WatchCreateRequest {
                key: key(number).into(),
                ..Default::default()
            };
            let request = pb::WatchRequest {
                request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)),
            };
            sender.send(request).await.expect("the stream is open");
        }
    });
    let answer = client.watch.watch(ReceiverStream::new(queue)).await;
    let mut answers = answer.expect("a stream is opened").into_inner();
    for _ in 0..count {
        let answer = answers.message().await.expect("the stream lives");
        assert!(answer.expect("each create is answered").created);
    }
    ask.await.expect("all were sent");
    Stream { requests, answers }
}

/// Reads until each watch of each stream has told one event; how many different keys these are.
async fn events(streams: &mut [Stream], watches: u64) -> u64 {
    let on_each = watches / streams.len() as u64;
    let mut seen = BTreeSet::new();
    for stream in streams {
        let mut left = on_each;
        while left > 0 {
            let answer = stream.answers.message().await.expect("the stream lives");
            for event in answer.expect("the stream goes on").events {
                let kv = event.kv.expect("an event has a key");
                assert!(seen.insert(kv.key), "an event comes once");
                left -= 1;
            }
        }
        assert!(!stream.requests.is_closed(), "the stream is still open");
    }
    seen.len() as u64
}

async fn put_all(target: &Target, keys: u64) {
    let client = target.client().await;
    let puts = stream::iter(0..keys).map(|number| {
        let mut client = client.clone();
        let request = pb::PutRequest {
            key: key(number).into(),
            value: b"value".to_vec().into(),
            ..Default::default()
        };
        async move { client.kv.put(request).await }
    });
    let done = puts
        .buffer_unordered(PUTTING)
        .try_for_each(|_| async { Ok(()) });
    done.await.expect("puts are answered");
}

fn key(number: u64) -> Vec<u8> {
    format!("watched-{number:08}").into_bytes()
}

fn row(text: &mut String, spread: Spread, server: &str, figures: Figures) {
    let _ = writeln!(
        text,
        "| {} | {server} | {} | {} | {} | {} |",
        spread.name(),
        number(figures.create_secs),
        number(figures.kib_each),
        number(figures.events_secs),
        number(figures.kib_each_after)
    );
}
