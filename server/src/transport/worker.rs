//! An RPC thread: one single-threaded runtime and the connections it serves.

use super::{Limits, Service, io::DeferredIo, socket::Stream};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use socket2::Socket;
use std::{
    future::{Future, poll_fn},
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    thread,
    time::Duration,
};
use tokio::{runtime::Handle, sync::mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long what is left in the buffer of a finished connection may take.
const LAST_FLUSH_MAX: Duration = Duration::from_secs(5);
/// How far away the next timer of a thread is, at most. Most deadlines are further.
const NEAR: Duration = Duration::from_secs(1);
/// Headers of one request, as large as etcd takes them.
const HEADERS_MAX_BYTES: u32 = 16 << 20;
/// Large enough that a big value is few round trips.
const STREAM_WINDOW_BYTES: u32 = 512 << 10;
/// Also, by halves, what h2 grants small frames that nobody has read yet, each at 256 bytes less
/// its own: a stream's window full of the smallest requests costs 36 times the window. Beyond
/// that it ends the connection, and a burst of watches would look like an attack.
const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;
const _: () = assert!(CONNECTION_WINDOW_BYTES / 2 > STREAM_WINDOW_BYTES * 36);
/// Streams that a client may reset at a time: a storm of cancelled watches
/// is no attack.
const RESETS_MAX: usize = 4096;

/// Polls of tasks before the sockets are looked at again: each may write
/// `GATHERED_MAX` of a long answer, while a short request waits.
const POLLS_BEFORE_SOCKETS: u32 = 13;

/// How nice the threads of long reads are: where all cores are busy, a list
/// or a hash gets a third of what a put gets.
const POOL_NICE: libc::c_int = 5;

/// How long they run before a thread that was woken meanwhile may have the
/// core: a put crosses five threads, and would wait for some milliseconds at
/// each. Linux honours it from 6.12 on.
const POOL_SLICE_NANOS: u64 = 100_000;

/// Lets other threads go before this one.
fn give_way() {
    // SAFETY: all zeros are a valid value of it.
    let mut wanted: libc::sched_attr = unsafe { std::mem::zeroed() };
    wanted.size = size_of::<libc::sched_attr>() as u32;
    wanted.sched_policy = libc::SCHED_OTHER.unsigned_abs();
    wanted.sched_nice = POOL_NICE;
    wanted.sched_runtime = POOL_SLICE_NANOS;
    // SAFETY: it reads as many bytes of `wanted` as that says. 0 means this thread.
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const wanted, 0) };
    if done != 0 {
        tracing::debug!("the priority of a thread of the pool can't be lowered");
    }
}

/// A socket just accepted, and what is to answer on it.
pub struct Connection {
    pub(super) socket: Socket,
    pub(super) service: Service,
}

/// The near end of an RPC thread.
pub struct Worker {
    // Not bounded here: every item is an open socket, and those are bounded
    // by the process's limit of file descriptors.
    queue: mpsc::UnboundedSender<Connection>,
    live: Arc<AtomicUsize>,
}

impl Worker {
    /// Starts a thread; it ends when `stopping` is cancelled and all its
    /// connections are gone, or at `killed`.
    pub fn start(
        number: usize,
        limits: Limits,
        stopping: CancellationToken,
        killed: CancellationToken,
    ) -> io::Result<(Self, thread::JoinHandle<()>)> {
        let (queue, incoming) = mpsc::unbounded_channel();
        let live = Arc::new(AtomicUsize::new(0));
        // Only the threads of its pool are started by the runtime itself.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .event_interval(POLLS_BEFORE_SOCKETS)
            .on_thread_start(give_way)
            .build()?;
        let counter = live.clone();
        let thread = thread::Builder::new()
            .name(format!("rpc-{number}"))
            .spawn(move || {
                let serving = serve_all(incoming, limits, counter, &stopping);
                runtime.spawn(keep_a_timer_near());
                runtime.block_on(killed.run_until_cancelled(serving));
            })?;
        Ok((Self { queue, live }, thread))
    }

    /// Serves on a runtime that is there already, until that ends or
    /// `stopping` is cancelled.
    pub fn on(runtime: &Handle, limits: Limits, stopping: CancellationToken) -> Self {
        let (queue, incoming) = mpsc::unbounded_channel();
        let live = Arc::new(AtomicUsize::new(0));
        let counter = live.clone();
        runtime.spawn(async move { serve_all(incoming, limits, counter, &stopping).await });
        Self { queue, live }
    }

    /// Connections it has now.
    pub fn connections(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// Hands a connection over.
    pub fn serve(&self, connection: Connection) {
        self.live.fetch_add(1, Ordering::Relaxed);
        // Fails only after the thread has ended: the socket is closed then.
        let _ = self.queue.send(connection);
    }
}

/// Counts a connection down however its task ends.
struct Live(Arc<AtomicUsize>);

impl Drop for Live {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Tokio wakes a thread, its own too, by a system call when a timer is set that
/// ends before all others; on a thread with few, each call's deadline would be
/// one. There is always an earlier one here.
async fn keep_a_timer_near() {
    loop {
        tokio::time::sleep(NEAR).await;
    }
}

async fn serve_all(
    mut incoming: mpsc::UnboundedReceiver<Connection>,
    limits: Limits,
    live: Arc<AtomicUsize>,
    stopping: &CancellationToken,
) {
    let builder = Arc::new(builder(limits));
    // A task per connection: a panic in one ends that one.
    let tasks = TaskTracker::new();
    while let Some(Some(connection)) = stopping.run_until_cancelled(incoming.recv()).await {
        let live = Live(live.clone());
        let (builder, stopping) = (builder.clone(), stopping.clone());
        tasks.spawn(async move {
            let _live = live;
            match Stream::new(connection.socket) {
                Ok(stream) => serve(stream, connection.service, &builder, &stopping).await,
                Err(error) => tracing::debug!(%error, "connection lost before it was served"),
            }
        });
    }
    tasks.close();
    tasks.wait().await;
}

fn builder(limits: Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_max)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(HEADERS_MAX_BYTES)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .keep_alive_interval(limits.keepalive_interval)
        .keep_alive_timeout(limits.keepalive_timeout);
    builder
}

/// Serves one connection to its end. Once `stopping` is cancelled it takes no
/// new requests and ends with the last answer.
async fn serve(
    stream: Stream,
    service: Service,
    builder: &Builder<TokioExecutor>,
    stopping: &CancellationToken,
) {
    let io = DeferredIo::new(stream);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io.clone()), service));
    let mut stop = pin!(stopping.cancelled());
    let mut told = false;
    let served = poll_fn(|cx| {
        if !told && stop.as_mut().poll(cx).is_ready() {
            told = true;
            connection.as_mut().graceful_shutdown();
        }
        let polled = connection.as_mut().poll(cx);
        match io.push(cx) {
            // Nobody reads any more: whatever the connection still waits for
            // can't be answered.
            Poll::Ready(Err(_)) => Poll::Ready(Ok(())),
            _ => polled,
        }
    })
    .await;
    if let Err(error) = served {
        tracing::debug!(error = %error, "connection ended");
    }
    let _ = tokio::time::timeout(LAST_FLUSH_MAX, poll_fn(|cx| io.push(cx))).await;
}
