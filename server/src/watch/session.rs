//! One watch stream: its watches and the responses it has not sent yet.
//!
//! The queue is bounded in bytes. A full one stops deliveries to this stream
//! alone: its watchers are set aside (stalled) and served from history once
//! the client has read enough. So a slow client costs a fixed amount of
//! memory, and nobody waits for it.

use super::{encode::Response, registry::WatcherKey};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    task::Waker,
};

/// A queue that was this large keeps no memory once it is empty.
const QUEUE_SLOTS_KEPT: usize = 16;

/// Why the server ends a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The cluster has no leader and the client asked to be told.
    NoLeader,
    /// This member stops.
    Stopped,
    /// The history can't be read.
    Fault,
}

/// One stream. Without client or clock: whoever serves it polls.
#[derive(Default)]
pub struct Session {
    /// Its watches, by their ID.
    pub watches: BTreeMap<i64, WatcherKey>,
    /// Those that wait for room in the queue.
    pub stalled: BTreeSet<WatcherKey>,
    /// It must end when there is no leader.
    pub require_leader: bool,
    /// A progress request came at this revision, and the hub is not there yet.
    pub awaited_progress: Option<i64>,
    next_id: i64,
    queue: VecDeque<Queued>,
    queued_bytes: usize,
    end: Option<End>,
    waker: Option<Waker>,
}

struct Queued {
    response: Response,
    /// What it adds to the memory in use: bytes shared with the response
    /// before it count once.
    cost: usize,
    events: u64,
}

/// How a queue grew or shrank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Bytes of memory.
    pub bytes: usize,
    /// Events.
    pub events: u64,
}

impl Session {
    /// A stream without watches.
    pub fn new(require_leader: bool) -> Self {
        Self {
            require_leader,
            ..Self::default()
        }
    }

    /// The ID of a new watch: the one asked for, or for 0 the next free one.
    /// `None` if a watch has it already.
    pub fn choose_id(&mut self, wanted: i64) -> Option<i64> {
        if wanted != 0 {
            return (!self.watches.contains_key(&wanted)).then_some(wanted);
        }
        while self.watches.contains_key(&self.next_id) {
            self.next_id = self.next_id.wrapping_add(1);
        }
        let chosen = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        Some(chosen)
    }

    /// Bytes that wait.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// All that waits.
    pub fn load(&self) -> Load {
        Load {
            bytes: self.queued_bytes,
            events: self.queue.iter().map(|queued| queued.events).sum(),
        }
    }

    /// Adds a response with this many events.
    pub fn push(&mut self, response: Response, events: u64) -> Load {
        let bytes = response.event_bytes();
        let shared = self
            .queue
            .back()
            .is_some_and(|last| last.response.event_bytes().as_ptr() == bytes.as_ptr());
        let cost = size_of::<Queued>() + if shared { 0 } else { bytes.len() };
        self.queue.push_back(Queued {
            response,
            cost,
            events,
        });
        self.queued_bytes += cost;
        self.wake();
        Load {
            bytes: cost,
            events,
        }
    }

    /// Takes the oldest response, and what goes with it.
    pub fn pop(&mut self) -> Option<(Response, Load)> {
        let Queued {
            response,
            cost,
            events,
        } = self.queue.pop_front()?;
        self.queued_bytes -= cost;
        if self.queue.is_empty() {
            self.queue.shrink_to(QUEUE_SLOTS_KEPT);
        }
        Some((
            response,
            Load {
                bytes: cost,
                events,
            },
        ))
    }

    /// Ends the stream; what it has not sent is dropped.
    pub fn end(&mut self, end: End) {
        self.end.get_or_insert(end);
        self.wake();
    }

    /// Why the server ended the stream, if it did.
    pub fn ended(&self) -> Option<End> {
        self.end
    }

    /// Whom to wake when there is something to send.
    pub fn set_waker(&mut self, waker: &Waker) {
        match &mut self.waker {
            Some(known) => known.clone_from(waker),
            None => self.waker = Some(waker.clone()),
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}
