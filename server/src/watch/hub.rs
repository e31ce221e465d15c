//! The task that follows the feed of applied changes, one per RPC thread.
//!
//! A stream lives on the thread of its connection, and so does the hub that
//! serves it: an event reaches its watchers without crossing to another
//! thread per watcher, and the lock around [`Delivery`] is never contended.
//! It is there so that the types may be sent; no await happens under it.
//!
//! Watchers that are behind are served from history in turns, one read at a
//! time per hub: long reads go to the runtime's blocking pool, the last few
//! revisions are read in place, so that a watcher does catch up however fast
//! the feed moves.

use super::{
    delivery::{Counts, Delivery, Limits},
    session::End,
};
use crate::metrics::Metrics;
use parking_lot::Mutex;
use std::{collections::HashMap, future::pending, sync::Arc, time::Duration};
use sternpost_raft::{FeedItem, FeedReader, Leadership, RaftNode};
use sternpost_storage::{ReadError, ReadView, RevisionEvents};
use tokio::{
    runtime::{Handle, Id as RuntimeId},
    sync::{Notify, watch::Receiver},
    task::{JoinHandle, yield_now},
    time::{Instant, sleep_until},
};

/// Revisions that one turn reads from history: what etcd puts into a response.
const TURN_REVISIONS_MAX: usize = 1000;

/// Bytes that one turn reads from history, so that a turn is short and a
/// slow stream costs little.
const TURN_BYTES_MAX: usize = 1 << 20;

/// So few revisions are read in place: they are new, so they are in memory.
const IN_PLACE_REVISIONS_MAX: i64 = 64;

/// Election timeouts without a leader after which streams that need one end.
const LEADERLESS_ELECTIONS_MAX: u32 = 3;

/// What a hub needs to know.
#[derive(Clone, Copy, Debug)]
pub struct HubOptions {
    /// Where responses to watches with `fragment` are split.
    pub fragment_bytes: usize,
    /// etcd's `--election-timeout`.
    pub election_timeout: Duration,
}

/// The hubs of a member, by thread.
pub struct Hubs {
    node: RaftNode,
    metrics: Metrics,
    options: HubOptions,
    by_runtime: Mutex<HashMap<RuntimeId, Arc<Hub>>>,
}

impl Hubs {
    /// No hubs yet.
    pub fn new(node: RaftNode, metrics: Metrics, options: HubOptions) -> Self {
        Self {
            node,
            metrics,
            options,
            by_runtime: Mutex::default(),
        }
    }

    /// The hub of this thread's runtime; the first call starts it. It runs
    /// until the node stops.
    pub fn current(&self) -> Arc<Hub> {
        let runtime = Handle::current();
        let mut hubs = self.by_runtime.lock();
        let hub = hubs.entry(runtime.id()).or_insert_with(|| {
            let hub = Arc::new(Hub::new(
                self.node.clone(),
                self.metrics.clone(),
                self.options,
            ));
            runtime.spawn(hub.clone().run());
            hub
        });
        hub.clone()
    }
}

/// Serves the watch streams of one thread.
pub struct Hub {
    node: RaftNode,
    metrics: Metrics,
    options: HubOptions,
    state: Mutex<State>,
    history_wanted: Notify,
}

struct State {
    delivery: Delivery,
    reported: Counts,
}

/// A read of history that is over: where it began, of which view.
type Turn = (i64, Arc<ReadView>, Result<Vec<RevisionEvents>, ReadError>);

impl Hub {
    fn new(node: RaftNode, metrics: Metrics, options: HubOptions) -> Self {
        let state = State {
            delivery: Delivery::new(Limits::new(options.fragment_bytes)),
            reported: Counts::default(),
        };
        Self {
            node,
            metrics,
            options,
            state: Mutex::new(state),
            history_wanted: Notify::new(),
        }
    }

    /// The node whose changes are watched.
    pub fn node(&self) -> &RaftNode {
        &self.node
    }

    /// Where its streams are counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Works on the streams and their watchers, and sees to what follows.
    pub fn with<T>(&self, work: impl FnOnce(&mut Delivery) -> T) -> T {
        let mut state = self.state.lock();
        let result = work(&mut state.delivery);
        self.report(&mut state);
        if state.delivery.wants_history() {
            self.history_wanted.notify_one();
        }
        result
    }

    fn report(&self, state: &mut State) {
        let counts = state.delivery.counts();
        let before = std::mem::replace(&mut state.reported, counts);
        if before == counts {
            return;
        }
        let watch = &self.metrics.watch;
        watch
            .streams
            .add(counts.streams as i64 - before.streams as i64);
        watch
            .watchers
            .add(counts.watchers as i64 - before.watchers as i64);
        watch
            .slow_watchers
            .add(counts.slow_watchers as i64 - before.slow_watchers as i64);
        watch
            .pending_events
            .add(counts.pending_events as i64 - before.pending_events as i64);
        watch.events.inc_by(counts.events_ever - before.events_ever);
    }

    async fn run(self: Arc<Self>) {
        let (view, mut feed) = self.node.feed().subscribe();
        self.with(|delivery| delivery.skip_to(view.revision()));
        drop(view);
        let mut leadership = self.node.leadership();
        let mut leaderless_until = self.deadline(&leadership);
        let mut turn: Option<JoinHandle<Turn>> = None;
        loop {
            tokio::select! {
                followed = self.follow(&mut feed) => {
                    if !followed {
                        return self.with(|delivery| delivery.end_all(End::Stopped));
                    }
                }
                read = finished(&mut turn) => {
                    turn = None;
                    self.serve(read);
                }
                () = self.history_wanted.notified(), if turn.is_none() => {
                    turn = self.begin_turn();
                    // Many short turns in a row must not keep the thread
                    // from its connections.
                    yield_now().await;
                }
                () = changed(&mut leadership) => leaderless_until = self.deadline(&leadership),
                () = elapsed(leaderless_until) => {
                    leaderless_until = None;
                    self.with(Delivery::end_leaderless);
                }
            }
        }
    }

    /// Delivers the next item of the feed; false at its end.
    async fn follow(&self, feed: &mut FeedReader) -> bool {
        match feed.next().await {
            Some(FeedItem::Next(published)) => self.with(|delivery| delivery.publish(&published)),
            Some(FeedItem::Lagged(view)) => self.with(|delivery| delivery.skip_to(view.revision())),
            None => return false,
        }
        true
    }

    /// Serves the watcher whose turn it is, or begins to read for it.
    fn begin_turn(&self) -> Option<JoinHandle<Turn>> {
        let view = self.node.reads().view();
        let from = self.with(|delivery| {
            delivery.cancel_compacted(view.compact_revision());
            delivery.next_turn()
        })?;
        let behind = view.revision() - from;
        let read = move || {
            let history = view.history(from, TURN_REVISIONS_MAX, TURN_BYTES_MAX);
            (from, view, history)
        };
        if behind < IN_PLACE_REVISIONS_MAX {
            self.serve(read());
            return None;
        }
        Some(tokio::task::spawn_blocking(read))
    }

    fn serve(&self, (from, view, history): Turn) {
        let compacted = self.node.reads().view().compact_revision();
        match history {
            Ok(history) => self.with(|delivery| {
                // Who came or was compacted during the read is not served by it.
                delivery.cancel_compacted(compacted);
                delivery.catch_up(from, &history, &view);
            }),
            Err(error) => {
                tracing::error!(%error, from, "history can't be read; the watch streams that need it end");
                self.with(|delivery| delivery.end_catching_up(End::Fault));
            }
        }
    }

    /// When streams that need a leader end, if none turns up.
    fn deadline(&self, leadership: &Receiver<Leadership>) -> Option<Instant> {
        let leaderless = leadership.borrow().leader.is_none();
        leaderless
            .then(|| Instant::now() + self.options.election_timeout * LEADERLESS_ELECTIONS_MAX)
    }
}

async fn finished(turn: &mut Option<JoinHandle<Turn>>) -> Turn {
    match turn {
        Some(read) => read.await.expect("a read of history does not panic"),
        None => pending().await,
    }
}

/// Never ends once the node has gone.
async fn changed(leadership: &mut Receiver<Leadership>) {
    if leadership.changed().await.is_err() {
        pending().await
    }
}

async fn elapsed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}
