//! Puts at a fixed rate that no answer slows down.
//!
//! A client that waits for its answer before it sends the next put hides a stall: it
//! sends less while it waits. Here each put has a time at which it is due, and its
//! latency counts from that time.

use super::stats::Latencies;
use crate::client::Client;
use crate::target::{Kind, Target};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use sternpost_proto::etcdserverpb as pb;

/// Connections that the puts are spread over.
const CONNECTIONS: usize = 10;
/// A put that takes longer is as good as lost.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// Makes the put with that number.
pub type Make = Arc<dyn Fn(u64) -> pb::PutRequest + Send + Sync>;

/// Puts that go on until this is dropped.
pub struct Paced {
    start: Instant,
    rate: u64,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<u64>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// Number and latency of answered puts, in the order of the answers.
    answered: Mutex<Vec<(u64, Duration)>>,
    failed: Mutex<Option<String>>,
    /// A put that fails is sent again, and its latency goes on.
    retries: bool,
}

impl Paced {
    /// Starts to put.
    pub async fn start(target: &Target, rate: u64, make: Make) -> Self {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(target.client().await);
        }
        // The reference gives up puts that it keeps waiting for long.
        let shared = Arc::new(Shared {
            retries: target.kind() == Kind::Etcd,
            ..Shared::default()
        });
        let start = Instant::now();
        let runtime = tokio::runtime::Handle::current();
        let sender = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let mut number = 0;
            // A thread of its own: the runtime's timers count in whole milliseconds.
            while !sender.stop.load(Ordering::Relaxed) {
                let due = due(start, rate, number);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                let request = make(number);
                let client = connections[number as usize % CONNECTIONS].clone();
                runtime.spawn(put(client, request, number, due, Arc::clone(&sender)));
                number += 1;
            }
            number
        });
        Self {
            start,
            rate,
            shared,
            thread: Some(thread),
        }
    }

    /// When the put with that number was due.
    #[must_use]
    pub fn due(&self, number: u64) -> Instant {
        due(self.start, self.rate, number)
    }

    /// A clock for others: numbers into due times.
    pub fn clock(&self) -> impl Fn(u64) -> Instant + Send + Sync + 'static {
        let (start, rate) = (self.start, self.rate);
        move |number| due(start, rate, number)
    }

    /// Latencies of the puts that were due in this time; waits until all are answered.
    ///
    /// # Panics
    /// When a put failed, or has no answer for long.
    pub async fn window(&self, from: Instant, to: Instant) -> Latencies {
        let numbers = self.number_at(from)..self.number_at(to);
        let expected = numbers.end - numbers.start;
        let deadline = Instant::now() + ANSWER_LIMIT;
        loop {
            let mut latencies = Latencies::default();
            {
                let failed = self.shared.failed.lock().expect("no holder panics");
                assert!(failed.is_none(), "{failed:?}");
                let answered = self.shared.answered.lock().expect("no holder panics");
                for (_, latency) in answered
                    .iter()
                    .filter(|(number, _)| numbers.contains(number))
                {
                    latencies.push(*latency);
                }
            }
            if latencies.len() as u64 == expected {
                return latencies;
            }
            let missing = expected - latencies.len() as u64;
            assert!(Instant::now() < deadline, "{missing} puts are not answered");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Sends no more, and tells how many puts there were once all are answered.
    pub async fn finish(mut self) -> u64 {
        self.shared.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is finished once");
        let sent = thread.join().expect("the sender never panics");
        let _all = self.window(self.start, self.due(sent)).await;
        sent
    }

    fn number_at(&self, time: Instant) -> u64 {
        let nanos = time.saturating_duration_since(self.start).as_nanos();
        u64::try_from((nanos * u128::from(self.rate)).div_ceil(1_000_000_000)).unwrap_or(u64::MAX)
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn due(start: Instant, rate: u64, number: u64) -> Instant {
    // Rounded down, so that the number due at this time is this number again.
    let nanos = u128::from(number) * 1_000_000_000 / u128::from(rate);
    start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

async fn put(
    mut client: Client,
    request: pb::PutRequest,
    number: u64,
    due: Instant,
    shared: Arc<Shared>,
) {
    while let Err(status) = client.kv.put(request.clone()).await {
        let failed = format!("put {number}: {status}");
        if !shared.retries || due.elapsed() > ANSWER_LIMIT {
            *shared.failed.lock().expect("no holder panics") = Some(failed);
            return;
        }
    }
    let mut answered = shared.answered.lock().expect("no holder panics");
    answered.push((number, due.elapsed()));
}
