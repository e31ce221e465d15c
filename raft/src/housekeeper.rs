//! The thread that keeps house beside the traffic: flushes the state so that
//! replay stays short and the log can be purged, paces the scrub, and gives
//! freed space back.
//!
//! The log is purged only up to a mark that was taken before a flush that has
//! completed: what a crash takes from the store is always still in the log.

use crate::{
    applied::Feed,
    apply_worker::{JobSender, OldView},
    flow::{FaultLine, Flow},
    log_store::LogStore,
    nudge::{Nudge, Wakes},
    observer::Observer as _,
    room::FULL_DISK_RETRY,
    scrub::Scrub,
    snapshot::Snapshots,
    state_machine::Positions,
};
use std::{
    io,
    sync::{
        Arc,
        mpsc::{Receiver, TryRecvError, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};
use sternpost_storage::{Fault, Flusher, LogMark, ReadHandle};
use tokio::sync::{mpsc, oneshot, watch};

/// Memtable bytes after which the state is flushed.
const FLUSH_MEMTABLE_BYTES: u64 = 16 << 20;

/// Log bytes after which the state is flushed: with entries alone as the
/// rule, large transactions would make replay many times longer.
const FLUSH_LOG_BYTES: u64 = 32 << 20;

/// Entries after which the state is flushed at the latest, so that a restart
/// replays for half a second at most.
pub(crate) const FLUSH_ENTRIES_MAX: u64 = 20_000;

/// Log that is kept at most for the receivers of a state. One that takes longer
/// will need another state.
const HELD_LOG_BYTES_MAX: u64 = 4 << 30;

/// Entries that must be purgeable before it is worth telling the log.
pub(crate) const PURGE_ENTRIES_MIN: u64 = 1024;

/// The look at the storage engine's stalls when nothing else happens. While
/// entries are applied, every nudge looks as well.
const IDLE_TICK: Duration = Duration::from_secs(1);

/// How long a defragmentation waits for readers of older views. Rows that a
/// longer read still pins keep their space until the next one.
const OLD_VIEWS_WAIT: Duration = Duration::from_secs(10);

/// How long readers of the feed may take to exchange their view.
const FEED_READERS_WAIT: Duration = Duration::from_millis(500);

/// How often it looks whether they are gone.
const OLD_VIEWS_LOOK: Duration = Duration::from_millis(5);

/// Callers that may wait for a defragmentation; those beyond wait for a slot.
pub(crate) const DEFRAGMENT_WAITERS_MAX: usize = 64;

/// Up to where the log may go, and the flush that allows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Purge {
    /// The last entry that a completed flush covers.
    pub(crate) flushed: LogMark,
    /// openraft's index of the last entry that may go.
    pub(crate) upto: Option<u64>,
}

/// How the house is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) snapshot_entries: u64,
    pub(crate) catchup_entries: u64,
    /// Entries that must be purgeable before it is worth telling the log.
    pub(crate) purge_entries_min: u64,
    pub(crate) compaction_batch: usize,
    pub(crate) compaction_sleep: Duration,
}

/// Who waits for a defragmentation.
pub(crate) type DefragmentWaiter = oneshot::Sender<Result<(), Fault>>;

/// The thread's state.
pub(crate) struct Housekeeper {
    pub(crate) rules: Rules,
    pub(crate) flusher: Flusher,
    pub(crate) reads: ReadHandle,
    pub(crate) feed: Feed,
    pub(crate) worker: JobSender,
    pub(crate) positions: Arc<Positions>,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) log: LogStore,
    pub(crate) flow: Arc<Flow>,
    pub(crate) faults: FaultLine,
    /// To the raft thread. Only the newest counts.
    pub(crate) purges: watch::Sender<Option<Purge>>,
    pub(crate) defragments: mpsc::Receiver<DefragmentWaiter>,
    /// The compact revision that was scrubbed last.
    pub(crate) scrubbed: watch::Sender<i64>,
    pub(crate) nudge: Nudge,
    pub(crate) wakes: Wakes,
}

impl Housekeeper {
    /// Starts the thread.
    pub(crate) fn start(self) -> io::Result<JoinHandle<()>> {
        std::thread::Builder::new()
            .name("housekeeper".into())
            .spawn(move || {
                let _guard = self.faults.guard("housekeeper");
                let faults = self.faults.clone();
                if let Err(fault) = self.keeping().run() {
                    faults.raise(&fault.to_string());
                }
            })
    }

    /// What the thread works with.
    pub(crate) fn keeping(self) -> Keeping {
        Keeping {
            scrub: Scrub::new(self.rules.compaction_batch, self.rules.compaction_sleep),
            purged: 0,
            flush_retry: None,
            defragmenting: None,
            house: self,
        }
    }
}

/// A defragmentation under way, and who waits for it.
struct Defragmenting {
    begun: Instant,
    /// Rewrites the files, and says how that went before it wakes us.
    thread: JoinHandle<()>,
    result: Receiver<Result<(), Fault>>,
    waiters: Vec<DefragmentWaiter>,
}

pub(crate) struct Keeping {
    house: Housekeeper,
    scrub: Scrub,
    /// The last index the log was told to purge, plus one.
    purged: u64,
    /// A flush that found no room is owed: when to try it again.
    flush_retry: Option<Instant>,
    defragmenting: Option<Defragmenting>,
}

impl Keeping {
    fn run(mut self) -> Result<(), Fault> {
        // A scrub that a stop or a crash interrupted goes on.
        self.scrub.wanted_since = (!self.house.reads.view().scrubbed()).then(Instant::now);
        while !self.is_ending() {
            self.house
                .flow
                .set_stalled(self.house.flusher.write_stalled());
            self.flush_if_due()?;
            if self.scrub_is_due() {
                self.scrub_once();
            }
            self.defragment()?;
            self.tidy();
            self.rest();
        }
        self.finish_defragmenting(true);
        Ok(())
    }

    /// One look at the flush rule, on the caller's thread.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn turn(&mut self) -> Result<(), Fault> {
        self.flush_if_due()
    }

    /// What an installed state leaves to be done.
    fn tidy(&self) {
        self.house.snapshots.tidy();
        if self.house.snapshots.take_installed() {
            // It says by itself what is still to be scrubbed.
            self.house.scrubbed.send_replace(-1);
        }
    }

    /// Sleeps until a wake, or until the next scrub step is due.
    fn rest(&self) {
        let rest = match self.scrub.wanted_since {
            Some(_) => self.scrub.due.saturating_duration_since(Instant::now()),
            None => IDLE_TICK,
        };
        if !rest.is_zero() {
            self.house.wakes.sleep(rest);
        }
    }

    fn flush_if_due(&mut self) -> Result<(), Fault> {
        if !self.flush_is_due() {
            return Ok(());
        }
        match self.flush() {
            Err(full @ Fault::NoRoom(_)) => {
                tracing::warn!(error = %full, "the state can't be flushed: trying again each second");
                Ok(())
            }
            result => result,
        }
    }

    fn flush_is_due(&self) -> bool {
        if let Some(retry) = self.flush_retry {
            return retry <= Instant::now();
        }
        let entries_max = self
            .house
            .rules
            .snapshot_entries
            .clamp(1, FLUSH_ENTRIES_MAX);
        let (entries, bytes) = self.house.wakes.unflushed();
        entries >= entries_max
            || bytes >= FLUSH_LOG_BYTES
            || self.house.flusher.unflushed_bytes() >= FLUSH_MEMTABLE_BYTES
    }

    /// Flushes, then lets the log go as far as the flush allows. A flush that
    /// finds no room is owed, and tried again.
    fn flush(&mut self) -> Result<(), Fault> {
        let started = Instant::now();
        self.house.wakes.begin_flush();
        // The mark first: the flush covers it, and maybe more.
        let applied = self.house.positions.applied.lock().clone();
        let flushed = self.house.flusher.flush();
        let is_owed = matches!(flushed, Err(Fault::NoRoom(_)));
        self.flush_retry = is_owed.then(|| Instant::now() + FULL_DISK_RETRY);
        flushed?;
        self.house.faults.state_flushed(started.elapsed());
        let Some(mark) = applied.mark else {
            return Ok(());
        };
        let mut flushed = self.house.positions.flushed.lock();
        // A state may have been installed meanwhile that goes further.
        if flushed.mark < applied.mark {
            *flushed = applied;
        }
        drop(flushed);
        let purgeable = self.purgeable(mark);
        if purgeable >= self.purged + self.house.rules.purge_entries_min {
            self.purged = purgeable;
        }
        // Said again each time: the raft thread sees only the newest.
        let upto = self.purged.checked_sub(1);
        self.house.purges.send_replace(Some(Purge {
            flushed: mark,
            upto,
        }));
        Ok(())
    }

    /// How many entries the log may do without: those that are flushed, but not
    /// the newest, which a slow follower can still get, nor those after a
    /// state that is being sent, which its receiver will need.
    fn purgeable(&self, flushed: LogMark) -> u64 {
        let Housekeeper {
            flow,
            rules,
            snapshots,
            log,
            ..
        } = &self.house;
        let kept = flow.applied().saturating_sub(rules.catchup_entries);
        let limit = snapshots
            .purge_limit()
            .filter(|last| log.log_bytes_since(last + 1) <= HELD_LOG_BYTES_MAX)
            .map_or(u64::MAX, |last| last + 1);
        kept.min(flushed.index + 1).min(limit)
    }

    fn scrub_is_due(&mut self) -> bool {
        if self.house.wakes.take_scrub_wanted() {
            self.scrub.wanted_since.get_or_insert_with(Instant::now);
        }
        self.scrub.wanted_since.is_some() && self.scrub.due <= Instant::now()
    }

    /// One step of the scrub.
    fn scrub_once(&mut self) {
        let since = *self.scrub.wanted_since.get_or_insert_with(Instant::now);
        let Some(step) = self.house.worker.scrub(self.scrub.rows) else {
            return;
        };
        self.scrub.pace(
            step.progress.rows_deleted,
            step.took,
            self.house.flow.is_stalled(),
        );
        if !step.progress.done {
            return;
        }
        self.house.scrubbed.send_replace(step.compact_revision);
        if self.house.reads.view().scrubbed() {
            self.scrub.wanted_since = None;
            self.house.faults.compaction_finished(since.elapsed());
            // Readers of the feed still hold views from before the scrub.
            self.house.worker.publish_view();
        }
    }

    /// Begins and ends defragmentations, one at a time. While the files are
    /// rewritten, on a thread of its own, flushes and purges go on here.
    fn defragment(&mut self) -> Result<(), Fault> {
        self.finish_defragmenting(false);
        if self.defragmenting.is_some() {
            return Ok(());
        }
        let mut waiters = Vec::new();
        while let Ok(waiter) = self.house.defragments.try_recv() {
            waiters.push(waiter);
        }
        if waiters.is_empty() {
            return Ok(());
        }
        let begun = Instant::now();
        self.scrub_all()?;
        self.drop_old_views()?;
        match self.flush() {
            Err(full @ Fault::NoRoom(_)) => {
                answer(waiters, &Err(full));
                return Ok(());
            }
            result => result?,
        }
        let (flusher, nudge) = (self.house.flusher.clone(), self.house.nudge.clone());
        let (done, result) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("defragment".into())
            .spawn(move || {
                let _ = done.send(flusher.compact_files());
                nudge.wake();
            });
        match thread {
            Ok(thread) => {
                self.defragmenting = Some(Defragmenting {
                    begun,
                    thread,
                    result,
                    waiters,
                })
            }
            Err(error) => answer(
                waiters,
                &Err(Fault::Backend(format!("can't start a thread: {error}"))),
            ),
        }
        Ok(())
    }

    /// Answers those who wait once the files are rewritten; `wait`s for that
    /// at the end.
    fn finish_defragmenting(&mut self, wait: bool) {
        let Some(under_way) = &self.defragmenting else {
            return;
        };
        let result = match wait {
            true => under_way
                .result
                .recv()
                .map_err(|_| TryRecvError::Disconnected),
            false => under_way.result.try_recv(),
        };
        let result = match result {
            Ok(result) => result,
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Disconnected) => {
                Err(Fault::Backend("the defragment thread panicked".into()))
            }
        };
        let Some(Defragmenting {
            begun,
            thread,
            waiters,
            ..
        }) = self.defragmenting.take()
        else {
            return;
        };
        let _ = thread.join();
        tracing::info!(took = ?begun.elapsed(), ok = result.is_ok(), "defragmented");
        answer(waiters, &result);
    }

    /// Up to the compact revision as it is now, without rests: a step takes a
    /// millisecond, and chunks go first.
    fn scrub_all(&mut self) -> Result<(), Fault> {
        let target = self.house.reads.view().compact_revision();
        while !self.house.reads.view().scrubbed()
            && *self.house.scrubbed.borrow() < target
            && !self.is_ending()
        {
            self.scrub_once();
            self.flush_if_due()?;
        }
        Ok(())
    }

    /// Waits until nobody holds a view from before the scrub. Slow readers of
    /// the feed get a moment, then they are made to lag.
    fn drop_old_views(&mut self) -> Result<(), Fault> {
        let Some(older) = self.house.worker.publish_view() else {
            return Ok(());
        };
        let begun = Instant::now();
        let is_held = |view: &OldView| view.strong_count() > 0;
        while older.iter().any(is_held) && begun.elapsed() < OLD_VIEWS_WAIT && !self.is_ending() {
            if begun.elapsed() >= FEED_READERS_WAIT {
                self.house.feed.forget();
            }
            std::thread::sleep(OLD_VIEWS_LOOK);
            self.flush_if_due()?;
        }
        Ok(())
    }

    fn is_ending(&self) -> bool {
        self.house.wakes.is_stopping() || self.house.flow.has_failed()
    }
}

fn answer(waiters: Vec<DefragmentWaiter>, result: &Result<(), Fault>) {
    for waiter in waiters {
        let result = match result {
            Ok(()) => Ok(()),
            Err(fault) => Err(Fault::Backend(fault.to_string())),
        };
        let _ = waiter.send(result);
    }
}
