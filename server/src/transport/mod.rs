//! Sockets and threads of the client port: one accept thread per listener,
//! N single-threaded RPC runtimes, one write per poll of a connection.
//!
//! Nothing here knows what is served: a listener comes with the service that
//! answers on it.

mod accept;
mod io;
mod socket;
mod worker;

pub use socket::Listener;

use crate::{config::Config, layers::Front};
use accept::Acceptor;
use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use worker::Worker;

/// What answers on a connection.
pub type Service = Front;

/// RPC threads at least, also on one core: a slow connection must not hold up
/// all others.
const WORKERS_MIN: usize = 2;

/// How often a drain looks whether everybody has gone.
const POLL_EVERY: Duration = Duration::from_millis(5);

/// Limits of a connection.
#[derive(Clone, Copy)]
pub struct Limits {
    streams_max: u32,
    keepalive_interval: Option<Duration>,
    keepalive_timeout: Duration,
}

impl Limits {
    /// As the flags say.
    pub fn new(config: &Config) -> Self {
        Self {
            streams_max: config.max_concurrent_streams,
            keepalive_interval: Some(config.grpc_keepalive_interval)
                .filter(|interval| !interval.is_zero()),
            keepalive_timeout: config.grpc_keepalive_timeout,
        }
    }
}

/// Running listeners and threads.
pub struct Transport {
    acceptors: Vec<Acceptor>,
    workers: Arc<[Worker]>,
    threads: Vec<thread::JoinHandle<()>>,
    stopping: CancellationToken,
    killed: CancellationToken,
}

impl Transport {
    /// Starts the RPC threads; nothing listens yet.
    pub fn start(limits: Limits) -> std::io::Result<Self> {
        let (stopping, killed) = (CancellationToken::new(), CancellationToken::new());
        let count = thread::available_parallelism()
            .map_or(WORKERS_MIN, |cores| cores.get().max(WORKERS_MIN));
        let (mut workers, mut threads) = (Vec::new(), Vec::new());
        for number in 0..count {
            let (worker, thread) = Worker::start(number, limits, stopping.clone(), killed.clone())?;
            workers.push(worker);
            threads.push(thread);
        }
        Ok(Self {
            acceptors: Vec::new(),
            workers: workers.into(),
            threads,
            stopping,
            killed,
        })
    }

    /// Serves a listener.
    pub fn listen(&mut self, listener: Listener, service: Service) -> std::io::Result<()> {
        self.acceptors
            .push(Acceptor::start(listener, service, self.workers.clone())?);
        Ok(())
    }

    /// Cancelled once the transport stops taking requests.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Stops listening and tells every client to send no more requests.
    pub fn stop(&mut self) {
        for acceptor in self.acceptors.drain(..) {
            acceptor.stop();
        }
        self.stopping.cancel();
    }

    /// Stops, lets requests in flight end for at most `grace`, then cuts off
    /// the rest. Returns how many connections were cut off.
    pub fn drain(mut self, grace: Duration) -> usize {
        self.stop();
        let deadline = Instant::now() + grace;
        while Instant::now() < deadline && !self.threads.iter().all(thread::JoinHandle::is_finished)
        {
            thread::park_timeout(POLL_EVERY);
        }
        let cut = self.workers.iter().map(Worker::connections).sum();
        self.killed.cancel();
        for thread in self.threads {
            let _ = thread.join();
        }
        cut
    }
}

/// Listeners that are served on a runtime of somebody else's.
pub struct Port {
    acceptors: Vec<Acceptor>,
    workers: Arc<[Worker]>,
    stopping: CancellationToken,
}

impl Port {
    /// Nothing listens yet.
    pub fn on(runtime: &Handle, limits: Limits) -> Self {
        let stopping = CancellationToken::new();
        Self {
            acceptors: Vec::new(),
            workers: [Worker::on(runtime, limits, stopping.clone())].into(),
            stopping,
        }
    }

    /// Serves a listener.
    pub fn listen(&mut self, listener: Listener, service: Service) -> std::io::Result<()> {
        self.acceptors
            .push(Acceptor::start(listener, service, self.workers.clone())?);
        Ok(())
    }

    /// Stops listening. Connections end with the runtime at the latest.
    pub fn stop(self) {
        for acceptor in self.acceptors {
            acceptor.stop();
        }
        self.stopping.cancel();
    }
}

#[cfg(test)]
mod tests;
