//! Puts from many clients at once, and what was noticed meanwhile.

use super::proc;
use super::stats::Latencies;
use super::values::Content;
use crate::client::Client;
use crate::target::Target;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use sternpost_proto::etcdserverpb as pb;

/// Connections that the clients share.
const CONNECTIONS: usize = 50;

/// What to put.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Keys and values.
    pub content: Content,
    /// The first number.
    pub first: u64,
    /// How many puts.
    pub puts: u64,
    /// Keys to put them to, round and round; as many as puts for each key once.
    pub keys: u64,
    /// Clients, each with one put at a time.
    pub clients: usize,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Puts in a second.
    pub per_sec: f64,
    /// Server CPU per put, in microseconds.
    pub cpu_us: f64,
    /// From sending to the answer.
    pub latencies: Latencies,
    /// The longest time in which no put at all was answered.
    pub gap_ms: f64,
    /// How many were accepted before the database was full; all of them as a rule.
    pub accepted: u64,
}

/// What clients share.
struct Shared {
    load: Load,
    start: Instant,
    next: AtomicU64,
    accepted: AtomicU64,
    last_answer_micros: AtomicU64,
    gap_micros: AtomicU64,
}

/// Puts everything, in order of numbers as far as clients at once keep it.
///
/// # Panics
/// When a put fails for another reason than a full database.
pub async fn run(target: &Target, load: Load) -> Loaded {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS.min(load.clients) {
        connections.push(target.client().await);
    }
    let cpu = proc::cpu_secs(target.pid());
    let shared = Arc::new(Shared {
        load,
        start: Instant::now(),
        next: AtomicU64::new(load.first),
        accepted: AtomicU64::new(0),
        last_answer_micros: AtomicU64::new(0),
        gap_micros: AtomicU64::new(0),
    });
    let workers: Vec<_> = (0..load.clients)
        .map(|number| {
            let client = connections[number % connections.len()].clone();
            tokio::spawn(work(client, Arc::clone(&shared)))
        })
        .collect();
    let mut latencies = Latencies::default();
    for worker in workers {
        latencies.merge(&worker.await.expect("no put fails"));
    }
    let secs = shared.start.elapsed().as_secs_f64();
    let accepted = shared.accepted.load(Ordering::Relaxed);
    #[allow(clippy::cast_precision_loss)]
    let (puts, gap) = (
        accepted as f64,
        shared.gap_micros.load(Ordering::Relaxed) as f64,
    );
    Loaded {
        per_sec: puts / secs,
        cpu_us: (proc::cpu_secs(target.pid()) - cpu) * 1e6 / puts,
        latencies,
        gap_ms: gap / 1e3,
        accepted,
    }
}

async fn work(mut client: Client, shared: Arc<Shared>) -> Latencies {
    let load = shared.load;
    let mut latencies = Latencies::default();
    loop {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        if number >= load.first + load.puts {
            return latencies;
        }
        let request = pb::PutRequest {
            key: load.content.key(number % load.keys).into(),
            value: load.content.value(number).into(),
            ..Default::default()
        };
        let sent = Instant::now();
        match client.kv.put(request).await {
            Ok(_) => {}
            Err(status) if status.message().contains("database space exceeded") => {
                // Others stop at their next refusal.
                return latencies;
            }
            Err(status) => panic!("put {number}: {status}"),
        }
        latencies.push(sent.elapsed());
        shared.accepted.fetch_add(1, Ordering::Relaxed);
        shared.answered();
    }
}

impl Shared {
    fn answered(&self) {
        let now = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        let last = self.last_answer_micros.swap(now, Ordering::Relaxed);
        self.gap_micros
            .fetch_max(now.saturating_sub(last), Ordering::Relaxed);
    }
}

/// Waits until a server does nothing more by itself: neither CPU nor disk moves.
pub async fn settle(target: &Target) {
    const LOOK_EVERY: Duration = Duration::from_secs(1);
    const QUIET_LOOKS: u32 = 3;
    const LIMIT: Duration = Duration::from_secs(120);
    let start = Instant::now();
    let look = || {
        (
            proc::cpu_secs(target.pid()),
            proc::disk_mib(target.data_dir()),
        )
    };
    let (mut last, mut quiet) = (look(), 0);
    while quiet < QUIET_LOOKS && start.elapsed() < LIMIT {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = look();
        let still = now.0 - last.0 < 0.05 && (now.1 - last.1).abs() < 1.0;
        quiet = if still { quiet + 1 } else { 0 };
        last = now;
    }
}

/// The database's size as the server tells it, in MiB.
///
/// # Panics
/// When the server does not answer.
pub async fn db_size_mib(client: &mut Client) -> f64 {
    let status = client.maintenance.status(pb::StatusRequest {}).await;
    #[allow(clippy::cast_precision_loss)]
    let bytes = status.expect("status is answered").into_inner().db_size as f64;
    bytes / f64::from(1 << 20)
}
