//! A thread per listener: takes connections in and gives each to the RPC
//! thread with the fewest.

use super::{
    Service,
    socket::Listener,
    worker::{Connection, Worker},
};
use socket2::Socket;
use std::{
    fs::File,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// The rest after an error of `accept`, so that it can't spin.
const ERROR_REST: Duration = Duration::from_millis(20);

/// Accepts until `stopping` is set and the listener closed.
fn run(listener: &Listener, service: &Service, workers: &[Worker], stopping: &AtomicBool) {
    let mut spare = Spare::new();
    let mut first = 0;
    while !stopping.load(Ordering::Acquire) {
        match listener.socket.accept() {
            Ok((socket, _)) => {
                first = (first + 1) % workers.len();
                lightest(workers, first).serve(Connection {
                    socket,
                    service: service.clone(),
                });
            }
            Err(error) if stopping.load(Ordering::Acquire) => {
                tracing::debug!(%error, address = listener.address, "listener closed");
            }
            Err(error) if is_exhausted(&error) => {
                spare.refuse_one(&listener.socket);
                tracing::warn!(%error, address = listener.address, "out of file descriptors: a connection was refused");
                thread::sleep(ERROR_REST);
            }
            // A client that left before it was accepted is no news.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
                ) => {}
            Err(error) => {
                tracing::warn!(%error, address = listener.address, "accept failed");
                thread::sleep(ERROR_REST);
            }
        }
    }
}

/// The worker with the fewest connections; among equals the next in turn.
fn lightest(workers: &[Worker], first: usize) -> &Worker {
    let turn = workers[first..].iter().chain(&workers[..first]);
    turn.min_by_key(|worker| worker.connections())
        .expect("there is a worker")
}

fn is_exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// A descriptor held back: with none left, a connection could not even be
/// refused, and its client would wait for nothing.
struct Spare(Option<File>);

impl Spare {
    fn new() -> Self {
        Self(File::open("/dev/null").ok())
    }

    fn refuse_one(&mut self, listener: &Socket) {
        self.0 = None;
        drop(listener.accept());
        *self = Self::new();
    }
}

/// An accept thread.
pub struct Acceptor {
    listener: Arc<Listener>,
    stopping: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

impl Acceptor {
    /// Starts accepting.
    pub fn start(listener: Listener, service: Service, workers: Arc<[Worker]>) -> io::Result<Self> {
        let listener = Arc::new(listener);
        let stopping = Arc::new(AtomicBool::new(false));
        let thread = thread::Builder::new().name("accept".to_owned()).spawn({
            let (listener, stopping) = (listener.clone(), stopping.clone());
            move || run(&listener, &service, &workers, &stopping)
        })?;
        Ok(Self {
            listener,
            stopping,
            thread,
        })
    }

    /// Stops listening.
    pub fn stop(self) {
        self.stopping.store(true, Ordering::Release);
        self.listener.close();
        let _ = self.thread.join();
    }
}
