//! From applied changes to the queues of streams: all that a hub does, without
//! task, clock or lock.
//!
//! What was applied comes in by [`Delivery::publish`], what is read back from
//! history by [`Delivery::catch_up`], requests of clients by the methods
//! named after them. `matched` is the revision up to which new events were
//! matched: what a synced watcher was owed up to there is in its queue. It is
//! all that a progress notification may promise; the store may be ahead.

mod events;

use super::{
    encode::{Notice, Response},
    registry::{Form, Registry, Selector, Watch, WatcherKey},
    session::{End, Load, Session},
};
use crate::api::status::cancel_reason;
use slab::Slab;
use std::task::Waker;

/// A stream of this hub.
pub type SessionKey = u32;

/// The ID in answers that belong to no watch.
const NO_WATCH: i64 = -1;

/// What bounds the memory of a hub and its streams.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// What a queue may hold before its stream counts as slow. One payload
    /// more may lie on top, because a revision is never split.
    pub queue_bytes: usize,
    /// Above this, in all queues together, each gets much less: many slow
    /// streams must not add up.
    pub all_queues_bytes: usize,
    /// What a queue may hold then.
    pub crowded_queue_bytes: usize,
    /// Where responses to watches with `fragment` are split.
    pub fragment_bytes: usize,
}

impl Limits {
    /// Limits of a server: a queue holds a burst that a healthy client reads
    /// in a few milliseconds, a thread's queues no more than a small part of
    /// any machine's memory.
    pub const fn new(fragment_bytes: usize) -> Self {
        Self {
            queue_bytes: 1 << 20,
            all_queues_bytes: 64 << 20,
            crowded_queue_bytes: 16 << 10,
            fragment_bytes,
        }
    }
}

/// A create request, as it came.
#[derive(Clone, Debug)]
pub struct CreateRequest {
    /// What to watch; `None` if the range holds no key.
    pub selector: Option<Selector>,
    /// 0 for "from now".
    pub start_revision: i64,
    /// 0 for "choose one".
    pub watch_id: i64,
    /// In which form.
    pub form: Form,
    /// Progress ticks wanted.
    pub progress_notify: bool,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Open streams.
    pub streams: usize,
    /// Watchers.
    pub watchers: usize,
    /// Those that are not synced.
    pub slow_watchers: usize,
    /// Events in queues.
    pub pending_events: u64,
    /// Events queued since the start.
    pub events_ever: u64,
}

/// All streams of a hub and their watchers.
pub struct Delivery {
    registry: Registry,
    sessions: Slab<Session>,
    /// New events up to here were matched.
    matched: i64,
    limits: Limits,
    queued: Load,
    events_ever: u64,
    /// Streams that asked for progress when `matched` was behind the store.
    awaiting_progress: Vec<SessionKey>,
    members: Vec<WatcherKey>,
}

impl Delivery {
    /// No streams.
    pub fn new(limits: Limits) -> Self {
        Self {
            registry: Registry::default(),
            sessions: Slab::new(),
            matched: 0,
            limits,
            queued: Load::default(),
            events_ever: 0,
            awaiting_progress: Vec::new(),
            members: Vec::new(),
        }
    }

    /// What there is to count.
    pub fn counts(&self) -> Counts {
        Counts {
            streams: self.sessions.len(),
            watchers: self.registry.len(),
            slow_watchers: self.registry.len() - self.registry.synced_len(),
            pending_events: self.queued.events,
            events_ever: self.events_ever,
        }
    }

    /// A new stream.
    pub fn open(&mut self, require_leader: bool) -> SessionKey {
        SessionKey::try_from(self.sessions.insert(Session::new(require_leader)))
            .expect("fewer streams than u32::MAX")
    }

    /// The stream is over; its watches go with it.
    pub fn close(&mut self, key: SessionKey) {
        let session = self.sessions.remove(key as usize);
        let load = session.load();
        self.queued.bytes -= load.bytes;
        self.queued.events -= load.events;
        for watcher in session.watches.values() {
            self.registry.remove(*watcher);
        }
        self.awaiting_progress.retain(|other| *other != key);
    }

    /// The next response of a stream and how many events it has, or why the
    /// server ended the stream. Without either, `waker` is called once there
    /// is.
    pub fn poll(&mut self, key: SessionKey, waker: &Waker) -> Option<Result<(Response, u64), End>> {
        let session = &mut self.sessions[key as usize];
        if let Some(end) = session.ended() {
            return Some(Err(end));
        }
        let Some((response, load)) = session.pop() else {
            session.set_waker(waker);
            return None;
        };
        self.queued.bytes -= load.bytes;
        self.queued.events -= load.events;
        if !self.sessions[key as usize].stalled.is_empty() {
            self.resume(key);
        }
        Some(Ok((response, load.events)))
    }

    /// Whether a stream has read enough of its answers to ask more.
    pub fn has_room(&self, key: SessionKey) -> bool {
        self.sessions[key as usize].queued_bytes() < self.queue_limit()
    }

    /// Ends all streams.
    pub fn end_all(&mut self, end: End) {
        for (_, session) in &mut self.sessions {
            session.end(end);
        }
    }

    /// Ends the streams that need a leader.
    pub fn end_leaderless(&mut self) {
        for (_, session) in &mut self.sessions {
            if session.require_leader {
                session.end(End::NoLeader);
            }
        }
    }

    /// Ends the streams that have a watcher in line for history.
    pub fn end_catching_up(&mut self, end: End) {
        for watcher in self.registry.catching_up_in(i64::MIN, i64::MAX) {
            let session = self.registry.get(watcher).watch.session;
            self.sessions[session as usize].end(end);
            self.stall(watcher);
        }
    }

    /// Answers a create request; `revision` is the store's. Whether a watch
    /// was created.
    pub fn create(&mut self, key: SessionKey, request: CreateRequest, revision: i64) -> bool {
        let created = self.try_create(key, request, revision);
        let mut notice = Notice {
            revision,
            created: true,
            ..Notice::default()
        };
        match created {
            Ok(id) => notice.watch_id = id,
            Err(reason) => {
                notice.watch_id = NO_WATCH;
                notice.canceled = true;
                notice.cancel_reason = reason.into();
            }
        }
        self.notify(key, notice);
        created.is_ok()
    }

    fn try_create(
        &mut self,
        key: SessionKey,
        request: CreateRequest,
        revision: i64,
    ) -> Result<i64, &'static str> {
        if request.start_revision < 0 {
            return Err(cancel_reason::COMPACTED);
        }
        let selector = request.selector.ok_or(cancel_reason::EMPTY_RANGE)?;
        let session = &mut self.sessions[key as usize];
        let id = session
            .choose_id(request.watch_id)
            .ok_or(cancel_reason::DUPLICATE_ID)?;
        let synced = request.start_revision == 0 || request.start_revision > revision;
        let watch = Watch {
            session: key,
            id,
            selector,
            form: request.form,
            start_revision: request.start_revision,
            next_revision: if synced {
                request.start_revision.max(revision + 1)
            } else {
                request.start_revision
            },
            progress_notify: request.progress_notify,
        };
        let watcher = self.registry.insert(watch, synced);
        session.watches.insert(id, watcher);
        Ok(id)
    }

    /// Answers a cancel request; an unknown watch gets no answer.
    pub fn cancel(&mut self, key: SessionKey, watch_id: i64, revision: i64) {
        if self.forget(key, watch_id) {
            self.notify(
                key,
                Notice {
                    revision,
                    watch_id,
                    canceled: true,
                    ..Notice::default()
                },
            );
        }
    }

    /// Answers a progress request, once all up to the store's `revision` is
    /// matched. No answer if then a watcher of the stream is not synced.
    pub fn progress(&mut self, key: SessionKey, revision: i64) {
        if revision <= self.matched {
            self.answer_progress(key);
        } else if self.sessions[key as usize]
            .awaited_progress
            .replace(revision)
            .is_none()
        {
            self.awaiting_progress.push(key);
        }
    }

    /// A progress tick of a stream: tells the watches that asked for it and
    /// were silent since the last one.
    pub fn tick(&mut self, key: SessionKey) {
        let watchers: Vec<_> = self.sessions[key as usize]
            .watches
            .values()
            .copied()
            .collect();
        for watcher in watchers {
            let state = self.registry.get_mut(watcher);
            if !state.watch.progress_notify {
                continue;
            }
            let silent = std::mem::replace(&mut state.quiet, true);
            let watch_id = state.watch.id;
            if silent && self.is_current(watcher) {
                self.notify(
                    key,
                    Notice {
                        revision: self.matched,
                        watch_id,
                        ..Notice::default()
                    },
                );
            }
        }
    }

    fn answer_progress(&mut self, key: SessionKey) {
        let session = &self.sessions[key as usize];
        let current = session.stalled.is_empty()
            && session
                .watches
                .values()
                .all(|watcher| self.is_current(*watcher));
        if current && !session.watches.is_empty() {
            self.notify(
                key,
                Notice {
                    revision: self.matched,
                    watch_id: NO_WATCH,
                    ..Notice::default()
                },
            );
        }
    }

    /// Whether all that a watcher is owed up to `matched` is in its queue, and
    /// it has been asked for from there on.
    fn is_current(&self, key: WatcherKey) -> bool {
        let watch = &self.registry.get(key).watch;
        self.registry.is_synced(key)
            && self.matched >= watch.start_revision.max(watch.next_revision - 1)
    }

    /// Sets a watcher aside until its stream has room.
    fn stall(&mut self, key: WatcherKey) {
        self.registry.set_stalled(key);
        let session = self.registry.get(key).watch.session;
        self.sessions[session as usize].stalled.insert(key);
    }

    /// Puts the stalled watchers of a stream back in line, once half of what
    /// it may queue is read.
    fn resume(&mut self, key: SessionKey) {
        let limit = self.queue_limit();
        let session = &mut self.sessions[key as usize];
        if session.queued_bytes() <= limit / 2 {
            for watcher in std::mem::take(&mut session.stalled) {
                self.registry.set_catching_up(watcher);
            }
        }
    }

    fn queue_limit(&self) -> usize {
        let limits = &self.limits;
        if self.queued.bytes < limits.all_queues_bytes {
            limits.queue_bytes
        } else {
            limits.crowded_queue_bytes
        }
    }

    fn forget(&mut self, key: SessionKey, watch_id: i64) -> bool {
        let session = &mut self.sessions[key as usize];
        let Some(watcher) = session.watches.remove(&watch_id) else {
            return false;
        };
        session.stalled.remove(&watcher);
        self.registry.remove(watcher);
        true
    }

    fn notify(&mut self, key: SessionKey, notice: Notice) {
        self.queue(key, Response::Notice(notice), 0);
    }

    fn queue(&mut self, key: SessionKey, response: Response, events: u64) {
        let load = self.sessions[key as usize].push(response, events);
        self.queued.bytes += load.bytes;
        self.queued.events += load.events;
        self.events_ever += events;
    }
}
