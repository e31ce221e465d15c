//! A watcher that stops reading for a minute while events go on: what the server keeps for
//! it, what other watchers notice, and whether it gets everything once it reads on.

use super::budget::{Check, Limit, number};
use super::options::Options;
use super::paced::Paced;
use super::proc::Sampler;
use super::reader::{self, Reader};
use super::report::Section;
use super::stats::Latencies;
use super::values::{Content, Kind as Values};
use crate::target::{Kind, Plan, Target};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use sternpost_proto::etcdserverpb as pb;

const QUOTA_FLAG: &str = "--quota-backend-bytes=17179869184";
/// Puts, and so events, in a second.
const RATE: u64 = 5000;
const VALUE_BYTES: usize = 1024;
const KEYS: u64 = 1000;
/// Length of a phase.
const SECS: u64 = 60;
/// Watchers of the same events that always read.
const OTHERS: usize = 8;
/// It has caught up when it is so far behind the clock.
const CAUGHT_UP: Duration = Duration::from_millis(200);
/// No longer is waited for that; it gets the rest once the puts have stopped.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(180);

/// Names of phases; latencies of the others are kept by phase.
const PHASES: [&str; 4] = ["warm-up", "all read", "one does not read", "it reads on"];

type ByPhase = [Mutex<Latencies>; PHASES.len()];

/// What the readers share.
#[derive(Default)]
struct Shared {
    phase: AtomicUsize,
    /// When the put with a number was due; set once the puts begin.
    due: OnceLock<Box<dyn Fn(u64) -> Instant + Send + Sync>>,
    latencies: ByPhase,
}

#[derive(Clone, Copy, Debug, Default)]
struct Phase {
    p50: f64,
    p99: f64,
    p999: f64,
    rss_peak: f64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    phases: [Phase; PHASES.len()],
    catch_up_secs: f64,
    events: u64,
}

/// Ours alone: the reference does not keep up with so many events on two cores, and refuses puts
/// for minutes.
pub async fn section(options: &Options) -> Section {
    let secs = options.secs.unwrap_or(SECS);
    let rate = options.rate.unwrap_or(RATE);
    let mut text = format!(
        "{rate} puts a second with random values of {VALUE_BYTES} bytes, {OTHERS} watchers that read all of them, and one on a connection of \
         its own with windows of 64 KiB that reads for {secs} s, does not for {secs} s, and reads on while the puts go on. \
         Latency from the time a put is due to its event at the watchers that read. Each stream was checked to tell \
         every revision once and in order.\n\n\
         | phase | p50 ms | p99 ms | p99.9 ms | RSS peak, MiB |\n|---|---:|---:|---:|---:|\n"
    );
    let ours = measure(secs, rate).await;
    for (name, phase) in PHASES.iter().zip(ours.phases).skip(1) {
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {} | {} |",
            number(phase.p50),
            number(phase.p99),
            number(phase.p999),
            number(phase.rss_peak)
        );
    }
    let _ = writeln!(
        text,
        "\nIt {} {} s after it read on; {} events, none missing, none twice.",
        if ours.catch_up_secs < CATCH_UP_LIMIT.as_secs_f64() {
            "had caught up"
        } else {
            "had not caught up"
        },
        number(ours.catch_up_secs),
        ours.events
    );
    let [_, before, stalled, _] = ours.phases;
    let most = |what: &str, value: f64, unit: &'static str, limit: f64| {
        Check::absolute(what, value, unit, Limit::AtMost(limit))
    };
    Section {
        title: "A watcher that does not read".to_owned(),
        text,
        checks: vec![
            most(
                "growth of RSS while one does not read",
                stalled.rss_peak - before.rss_peak,
                " MiB",
                32.0,
            ),
            most(
                "p99 of the others beside before",
                stalled.p99 / before.p99,
                "x",
                1.5,
            ),
        ],
    }
}

async fn measure(secs: u64, rate: u64) -> Figures {
    let target = Plan::new(Kind::Sternpost).flag(QUOTA_FLAG).start();
    let shared = Arc::new(Shared::default());
    let mut others = Vec::new();
    for _ in 0..OTHERS {
        let watch = target.client().await.watch;
        let reader = Reader::open(watch, b"event-", b"event.").await;
        others.push(tokio::spawn(read_along(reader, Arc::clone(&shared))));
    }
    let mut slow = Reader::open(
        reader::narrow(target.endpoint()).await,
        b"event-",
        b"event.",
    )
    .await;
    let paced = Paced::start(&target, rate, puts()).await;
    let clock = paced.clock();
    assert!(shared.due.set(Box::new(clock)).is_ok(), "it is set once");
    let sampler = Sampler::start(target.pid());
    let mut figures = Figures::default();
    let phase = Duration::from_secs(secs);
    slow.read_for(phase / 2).await;
    shared.enter(1, &sampler);
    slow.read_for(phase).await;
    figures.phases[1].rss_peak = shared.enter(2, &sampler);
    tokio::time::sleep(phase).await;
    figures.phases[2].rss_peak = shared.enter(3, &sampler);
    let start = Instant::now();
    while paced.due(slow.events) + CAUGHT_UP < Instant::now() && start.elapsed() < CATCH_UP_LIMIT {
        slow.read_for(Duration::from_millis(100)).await;
    }
    figures.catch_up_secs = start.elapsed().as_secs_f64();
    slow.read_for(phase / 4).await;
    figures.phases[3].rss_peak = sampler.take_peak_mib();
    figures.events = paced.finish().await;
    end(&target, slow, others, figures.events).await;
    for (figures, latencies) in figures.phases.iter_mut().zip(&shared.latencies) {
        let mut latencies = latencies.lock().expect("no holder panics");
        figures.p50 = latencies.quantile_ms(0.5);
        figures.p99 = latencies.quantile_ms(0.99);
        figures.p999 = latencies.quantile_ms(0.999);
    }
    println!("slow watcher: {figures:.2?}");
    figures
}

/// All streams get to the last event, and to nothing more.
async fn end(
    target: &Target,
    mut slow: Reader,
    others: Vec<tokio::task::JoinHandle<Reader>>,
    events: u64,
) {
    let mut client = target.client().await;
    let last = pb::PutRequest {
        key: b"event-last".to_vec().into(),
        ..Default::default()
    };
    client.kv.put(last).await.expect("a put is answered");
    let all = async {
        while slow.events <= events {
            slow.next().await;
        }
        for other in others {
            let other = other.await.expect("every revision comes once");
            assert_eq!(other.events, events + 1);
        }
    };
    let limit = tokio::time::timeout(CATCH_UP_LIMIT, all).await;
    limit.expect("all streams get to the last event");
    assert_eq!(slow.events, events + 1);
}

impl Shared {
    /// Begins a phase; the memory's peak of the one before.
    fn enter(&self, phase: usize, sampler: &Sampler) -> f64 {
        self.phase.store(phase, Ordering::Relaxed);
        sampler.take_peak_mib()
    }
}

/// Reads until the last put, which has no value.
async fn read_along(mut reader: Reader, shared: Arc<Shared>) -> Reader {
    loop {
        let answer = reader.next().await;
        let now = Instant::now();
        let phase = shared.phase.load(Ordering::Relaxed);
        let due = shared.due.get();
        let mut latencies = shared.latencies[phase].lock().expect("no holder panics");
        for event in answer.events {
            let value = event.kv.expect("an event has a key").value;
            let Some(number) = value.first_chunk::<8>() else {
                return reader;
            };
            if let Some(due) = due {
                let due = due(u64::from_be_bytes(*number));
                latencies.push(now.saturating_duration_since(due));
            }
        }
    }
}

/// A value begins with the number of its put.
fn puts() -> super::paced::Make {
    let content = Content {
        kind: Values::Random,
        bytes: VALUE_BYTES,
        seed: 6,
    };
    Arc::new(move |number| {
        let mut value = content.value(number);
        value[..8].copy_from_slice(&number.to_be_bytes());
        pb::PutRequest {
            key: format!("event-{:04}", number % KEYS).into_bytes().into(),
            value: value.into(),
            ..Default::default()
        }
    })
}
