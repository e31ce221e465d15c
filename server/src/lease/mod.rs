//! Leases as the server sees them: the leader counts them down, and what
//! becomes of them goes through the log.

mod clock;
mod renew;

use crate::{api::status::ApiError, config::Config, member::Member, propose::Outcome};
use clock::Countdown;
use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};
use sternpost_proto::internal::{LeaseCheckpoints, LeaseRemaining, LeaseRevoke, command::Verb};
use sternpost_raft::{ChangeItem, ChangeReader, Changes};
use sternpost_storage::{LeaseInfo, ReadView, StateChange};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior},
};

/// Above this a TTL is refused, as in etcd.
pub const TTL_MAX_SECS: i64 = 9_000_000_000;
/// How often the leader looks for expired leases, as in etcd.
const EXPIRY_EVERY: Duration = Duration::from_millis(500);
/// Leases taken to be revoked at once, so that a pile of them leaves room for
/// clients. etcd takes 500.
const EXPIRIES_PER_TICK: usize = 1000;
/// Revokes under way at once.
const REVOKES_MAX: usize = 64;
/// The rest before a failed revoke is tried again, as in etcd.
const REVOKE_RETRY_US: u64 = 3_000_000;
/// Leases in one checkpoint, as in etcd.
const CHECKPOINT_BATCH: usize = 1000;

/// The lease clock of a member; it runs only while the member leads.
pub struct Leases {
    countdown: Countdown,
    /// The term for which all leases are loaded, 0 for none.
    term: AtomicU64,
    /// How far the countdown follows changes of leases, as a raft index; sent also when
    /// a term ends or a checkpoint is done, for those who wait for that.
    followed: watch::Sender<u64>,
    started: Instant,
    ttl_min_secs: i64,
    extend_us: u64,
}

impl Leases {
    /// A clock without leases.
    pub fn new(config: &Config) -> Self {
        let heartbeat_ms = config.heartbeat_interval.as_millis().max(1);
        let election_ms = config.election_timeout.as_millis();
        // etcd counts in ticks of a heartbeat, and rounds twice.
        let ttl_min_ms = (3 * (election_ms / heartbeat_ms) / 2) * heartbeat_ms;
        Self {
            countdown: Countdown::new(config.feature_gates.enabled("LeaseCheckpoint")),
            term: AtomicU64::new(0),
            followed: watch::Sender::new(0),
            started: Instant::now(),
            ttl_min_secs: i64::try_from(ttl_min_ms.div_ceil(1000)).unwrap_or(TTL_MAX_SECS),
            extend_us: u64::try_from(config.election_timeout.as_micros()).unwrap_or(u64::MAX),
        }
    }

    /// The TTL that is granted when this one is asked for.
    pub fn granted_ttl_secs(&self, asked_secs: i64) -> i64 {
        asked_secs.max(self.ttl_min_secs)
    }

    /// All leases of this leader, the one that ends first in front.
    pub fn by_deadline(&self) -> Vec<i64> {
        self.countdown.by_deadline()
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Waits until the clock knows what this command did to leases.
    pub async fn wait_followed(&self, outcome: &Outcome) {
        if outcome.changed {
            let mut followed = self.followed.subscribe();
            // The sender lives as long as `self`.
            let _ = followed.wait_for(|at| *at >= outcome.index).await;
        }
    }

    fn follow_to(&self, index: u64) {
        self.followed.send_modify(|at| *at = index.max(*at));
    }

    fn wake_waiters(&self) {
        self.followed.send_modify(|_| ());
    }

    fn load(&self, leases: &[LeaseInfo], term: u64) {
        self.countdown.clear();
        self.countdown
            .reconcile(leases, self.extend_us, self.now_us());
        self.term.store(term, SeqCst);
        self.wake_waiters();
    }

    fn unload(&self) {
        self.term.store(0, SeqCst);
        self.countdown.clear();
        self.wake_waiters();
    }
}

/// Follows the feed, loads all leases when this member starts to lead, and
/// revokes what expires. Ends with the node.
pub async fn run(member: Arc<Member>) {
    let driver = Driver {
        term: None,
        reader: member.node.feed().changes(),
        expired: VecDeque::new(),
        under_way: FuturesUnordered::new(),
        revokes: 0,
        member,
    };
    driver.run().await;
}

fn applied_index(view: &ReadView) -> u64 {
    view.applied().map_or(0, |mark| mark.index)
}

/// What a proposal of the clock was.
enum Done {
    Revoke,
    Checkpoint,
}

/// The one task that moves the clock on.
struct Driver {
    member: Arc<Member>,
    reader: ChangeReader,
    /// The term this member leads in.
    term: Option<u64>,
    /// Expired, and waiting for a place among the revokes under way.
    expired: VecDeque<i64>,
    under_way: FuturesUnordered<BoxFuture<'static, Done>>,
    revokes: usize,
}

/// Nobody waits for a clock that has stopped.
impl Drop for Driver {
    fn drop(&mut self) {
        self.member.leases.followed.send_replace(u64::MAX);
    }
}

impl Driver {
    async fn run(mut self) {
        let mut leadership = self.member.node.leadership();
        let mut ticks = tokio::time::interval(EXPIRY_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.follow_leadership().await;
        loop {
            tokio::select! {
                changed = leadership.changed() => match changed {
                    Ok(()) => self.follow_leadership().await,
                    Err(_) => return,
                },
                item = self.reader.next() => match item {
                    Some(ChangeItem::Next(changes)) => self.follow(&changes),
                    Some(ChangeItem::Lagged) => self.catch_up().await,
                    None => return,
                },
                _ = ticks.tick(), if self.term.is_some() => self.tick(),
                Some(done) = self.under_way.next() => {
                    if matches!(done, Done::Revoke) {
                        self.revokes -= 1;
                    }
                    self.start_revokes();
                }
            }
        }
    }

    /// Loads all leases at the start of a term, forgets them at its end.
    async fn follow_leadership(&mut self) {
        let term = self.member.leadership.leading_term();
        if term == self.term {
            return;
        }
        self.term = term;
        self.expired.clear();
        self.member.leases.unload();
        let Some(term) = term else { return };
        // A fault was logged where it was found: nothing expires then, and
        // renewals wait in vain rather than hear that their lease is gone.
        let Some(leases) = read_leases(&self.member, self.member.node.reads().view()).await else {
            return;
        };
        tracing::info!(
            term,
            leases = leases.len(),
            "this member leads and counts leases down"
        );
        self.member.leases.load(&leases, term);
    }

    fn follow(&mut self, chunk: &Changes) {
        let metrics = &self.member.metrics.lease;
        let leases = &self.member.leases;
        for change in &chunk.changes {
            match change {
                StateChange::LeaseGranted(lease) => {
                    metrics.granted.inc();
                    metrics.ttl.observe(lease.ttl_secs as f64);
                    if self.term.is_some() {
                        leases.countdown.granted(lease, leases.now_us());
                    }
                }
                StateChange::LeaseRevoked(id) => {
                    metrics.revoked.inc();
                    leases.countdown.revoked(id.0);
                }
                StateChange::LeaseCheckpointed(lease) => {
                    leases.countdown.checkpointed(lease, leases.now_us())
                }
                StateChange::Compacted(revision) => self.member.streams.end_below(*revision),
                StateChange::Members => self.member.look_at_standing(),
                StateChange::Alarms => {}
            }
        }
        leases.follow_to(chunk.index);
    }

    /// Chunks were missed: compare with the state after them.
    async fn catch_up(&mut self) {
        let view = self.member.node.reads().view();
        let index = applied_index(&view);
        self.member.look_at_standing();
        self.member.streams.end_below(view.compact_revision());
        if self.term.is_some()
            && let Some(known) = read_leases(&self.member, view).await
        {
            let leases = &self.member.leases;
            leases.countdown.reconcile(&known, 0, leases.now_us());
        }
        self.member.leases.follow_to(index);
    }

    fn tick(&mut self) {
        let leases = &self.member.leases;
        let room = EXPIRIES_PER_TICK.saturating_sub(self.expired.len());
        self.expired
            .extend(leases.countdown.take_expired(room, leases.now_us()));
        let due = leases
            .countdown
            .take_checkpoints(CHECKPOINT_BATCH, leases.now_us());
        if !due.is_empty() {
            self.under_way
                .push(Box::pin(checkpoint(self.member.clone(), due)));
        }
        self.start_revokes();
    }

    fn start_revokes(&mut self) {
        let Some(term) = self.term else { return };
        while self.revokes < REVOKES_MAX
            && let Some(id) = self.expired.pop_front()
        {
            self.revokes += 1;
            self.under_way
                .push(Box::pin(revoke(self.member.clone(), id, term)));
        }
    }
}

async fn read_leases(member: &Member, view: Arc<ReadView>) -> Option<Vec<LeaseInfo>> {
    let read = member.pool.run(0, move || view.leases()).await;
    read.and_then(|leases| leases.map_err(ApiError::from)).ok()
}

/// Proposes the end of an expired lease. It counts only if this is still the
/// same term when the entry is written.
async fn revoke(member: Arc<Member>, id: i64, term: u64) -> Done {
    match member
        .propose(Verb::LeaseRevoke(LeaseRevoke {
            id,
            expired_in_term: term,
        }))
        .await
    {
        Ok(_) => member.metrics.server.lease_expired.inc(),
        // Somebody was faster. The feed tells the clock.
        Err(ApiError::LeaseNotFound) => {}
        Err(error) => {
            tracing::warn!(
                lease = id,
                error = error.text(),
                "an expired lease could not be revoked yet"
            );
            let leases = &member.leases;
            leases
                .countdown
                .retry_expiry(id, leases.now_us().saturating_add(REVOKE_RETRY_US));
        }
    }
    Done::Revoke
}

/// Writes down how much time these leases have left, so that a change of
/// leader does not give them all of it again.
async fn checkpoint(member: Arc<Member>, due: Vec<(i64, i64)>) -> Done {
    let list = due
        .iter()
        .map(|&(id, remaining_secs)| LeaseRemaining { id, remaining_secs })
        .collect();
    let result = member
        .propose(Verb::LeaseCheckpoints(LeaseCheckpoints { leases: list }))
        .await;
    let leases = &member.leases;
    match result {
        Ok(outcome) => leases.wait_followed(&outcome).await,
        Err(error) => tracing::warn!(error = error.text(), "lease checkpoints were not written"),
    }
    for (id, left_secs) in due {
        leases
            .countdown
            .checkpoint_ended(id, left_secs, leases.now_us());
    }
    leases.wake_waiters();
    Done::Checkpoint
}
