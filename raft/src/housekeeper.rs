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
    observer::Observer as _,
    state_machine::Positions,
};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
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

/// Entries that must be purgeable before it is worth telling the log.
const PURGE_ENTRIES_MIN: u64 = 1024;

/// What is applied between two looks at the flush rule.
const NUDGE_ENTRIES: u64 = 256;
const NUDGE_BYTES: u64 = 2 << 20;

/// The look at the storage engine's stalls when nothing else happens. While
/// entries are applied, every nudge looks as well.
const IDLE_TICK: Duration = Duration::from_secs(1);

/// The time a scrub step may take from the apply thread.
const SCRUB_STEP_MAX: Duration = Duration::from_millis(1);

/// Rows of the first scrub step, before its pace is known, and of the shortest.
const SCRUB_ROWS_MIN: usize = 16;

/// The scrub rests this many times longer while the storage engine is behind.
const STALLED_REST_FACTOR: u32 = 10;

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
    pub(crate) compaction_batch: usize,
    pub(crate) compaction_sleep: Duration,
}

/// Wakes the housekeeper; held by the apply worker and by the node.
#[derive(Clone)]
pub(crate) struct Nudge {
    wake: SyncSender<()>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    scrub_wanted: AtomicBool,
    entries: AtomicU64,
    bytes: AtomicU64,
    /// Counted since the last nudge.
    entries_quiet: AtomicU64,
    bytes_quiet: AtomicU64,
}

impl Nudge {
    /// Entries were applied. Called by the apply worker alone.
    pub(crate) fn applied(&self, entries: u64, bytes: u64) {
        let shared = &self.shared;
        shared.entries.fetch_add(entries, Ordering::AcqRel);
        shared.bytes.fetch_add(bytes, Ordering::AcqRel);
        let entries = shared.entries_quiet.fetch_add(entries, Ordering::Relaxed) + entries;
        let bytes = shared.bytes_quiet.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if entries >= NUDGE_ENTRIES || bytes >= NUDGE_BYTES {
            shared.entries_quiet.store(0, Ordering::Relaxed);
            shared.bytes_quiet.store(0, Ordering::Relaxed);
            self.wake();
        }
    }

    /// The compact revision moved: there are rows to scrub.
    pub(crate) fn compacted(&self) {
        self.shared.scrub_wanted.store(true, Ordering::Release);
        self.wake();
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        self.wake();
    }

    /// A wake that is under way is as good as another one.
    pub(crate) fn wake(&self) {
        let _ = self.wake.try_send(());
    }
}

/// Who waits for a defragmentation.
pub(crate) type DefragmentWaiter = oneshot::Sender<Result<(), Fault>>;

/// What `Nudge` wakes.
pub(crate) struct Wakes {
    wakes: Receiver<()>,
    shared: Arc<Shared>,
}

/// The two ends of waking the housekeeper.
pub(crate) fn nudge() -> (Nudge, Wakes) {
    // One wake under way is enough: the housekeeper looks at everything.
    let (wake, wakes) = sync_channel(1);
    let shared = Arc::new(Shared::default());
    (
        Nudge {
            wake,
            shared: shared.clone(),
        },
        Wakes { wakes, shared },
    )
}

/// The thread's state.
pub(crate) struct Housekeeper {
    pub(crate) rules: Rules,
    pub(crate) flusher: Flusher,
    pub(crate) reads: ReadHandle,
    pub(crate) feed: Feed,
    pub(crate) worker: JobSender,
    pub(crate) positions: Arc<Positions>,
    pub(crate) flow: Arc<Flow>,
    pub(crate) faults: FaultLine,
    /// To the raft thread. Only the newest counts.
    pub(crate) purges: watch::Sender<Option<Purge>>,
    pub(crate) defragments: mpsc::Receiver<DefragmentWaiter>,
    /// Counts finished scrubs.
    pub(crate) scrubs: watch::Sender<u64>,
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
                let keeping = Keeping {
                    scrub: Scrub::new(self.rules),
                    purged: 0,
                    defragmenting: None,
                    house: self,
                };
                if let Err(fault) = keeping.run() {
                    faults.raise(&fault.to_string());
                }
            })
    }
}

/// A defragmentation under way, and who waits for it.
struct Defragmenting {
    files: JoinHandle<Result<(), Fault>>,
    waiters: Vec<DefragmentWaiter>,
}

struct Keeping {
    house: Housekeeper,
    scrub: Scrub,
    /// The last index the log was told to purge, plus one.
    purged: u64,
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
            self.rest();
        }
        self.finish_defragmenting(true)
    }

    /// Sleeps until a wake, or until the next scrub step is due.
    fn rest(&self) {
        let rest = match self.scrub.wanted_since {
            Some(_) => self.scrub.due.saturating_duration_since(Instant::now()),
            None => IDLE_TICK,
        };
        if rest.is_zero() {
            return;
        }
        // A wake and the timeout come to the same: look at everything.
        let _ = self.house.wakes.wakes.recv_timeout(rest);
    }

    fn flush_if_due(&mut self) -> Result<(), Fault> {
        if self.flush_is_due() {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush_is_due(&self) -> bool {
        let shared = &self.house.wakes.shared;
        let entries_max = self
            .house
            .rules
            .snapshot_entries
            .clamp(1, FLUSH_ENTRIES_MAX);
        shared.entries.load(Ordering::Acquire) >= entries_max
            || shared.bytes.load(Ordering::Acquire) >= FLUSH_LOG_BYTES
            || self.house.flusher.unflushed_bytes() >= FLUSH_MEMTABLE_BYTES
    }

    /// Flushes, then lets the log go as far as the flush allows.
    fn flush(&mut self) -> Result<(), Fault> {
        let started = Instant::now();
        let shared = &self.house.wakes.shared;
        shared.entries.store(0, Ordering::Release);
        shared.bytes.store(0, Ordering::Release);
        // The mark first: the flush covers it, and maybe more.
        let applied = self.house.positions.applied.lock().clone();
        self.house.flusher.flush()?;
        self.house.faults.state_flushed(started.elapsed());
        let Some(mark) = applied.mark else {
            return Ok(());
        };
        *self.house.positions.flushed.lock() = applied;
        let keep = self.house.rules.catchup_entries;
        let purgeable = self
            .house
            .flow
            .applied()
            .saturating_sub(keep)
            .min(mark.index + 1);
        let worth_it = purgeable >= self.purged + PURGE_ENTRIES_MIN;
        if worth_it {
            self.purged = purgeable;
        }
        let upto = worth_it.then(|| purgeable - 1);
        self.house.purges.send_replace(Some(Purge {
            flushed: mark,
            upto,
        }));
        Ok(())
    }

    fn scrub_is_due(&mut self) -> bool {
        if self
            .house
            .wakes
            .shared
            .scrub_wanted
            .swap(false, Ordering::AcqRel)
        {
            self.scrub.wanted_since.get_or_insert_with(Instant::now);
        }
        self.scrub.wanted_since.is_some() && self.scrub.due <= Instant::now()
    }

    /// One step of the scrub.
    fn scrub_once(&mut self) {
        let started = Instant::now();
        let since = *self.scrub.wanted_since.get_or_insert(started);
        let Some(progress) = self.house.worker.scrub(self.scrub.rows) else {
            return;
        };
        let rest = self.scrub.pace(
            progress.rows_deleted,
            started.elapsed(),
            self.house.flow.is_stalled(),
        );
        self.scrub.due = Instant::now() + rest;
        if progress.done && self.house.reads.view().scrubbed() {
            self.scrub.wanted_since = None;
            self.house.faults.compaction_finished(since.elapsed());
            // Readers of the feed still hold views from before the scrub.
            self.house.worker.publish_view();
            self.house.scrubs.send_modify(|count| *count += 1);
        }
    }

    /// Begins and ends defragmentations, one at a time. While the files are
    /// rewritten, on a thread of its own, flushes and purges go on here.
    fn defragment(&mut self) -> Result<(), Fault> {
        self.finish_defragmenting(false)?;
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
        self.scrub_all()?;
        self.drop_old_views()?;
        self.flush()?;
        let (flusher, nudge) = (self.house.flusher.clone(), self.house.nudge.clone());
        let files = std::thread::Builder::new()
            .name("defragment".into())
            .spawn(move || {
                let result = flusher.compact_files();
                nudge.wake();
                result
            });
        match files {
            Ok(files) => self.defragmenting = Some(Defragmenting { files, waiters }),
            Err(error) => answer(
                waiters,
                &Err(Fault::Backend(format!("can't start a thread: {error}"))),
            ),
        }
        Ok(())
    }

    /// Answers those who wait once the files are rewritten.
    fn finish_defragmenting(&mut self, wait: bool) -> Result<(), Fault> {
        let Some(Defragmenting { files, waiters }) = self
            .defragmenting
            .take_if(|it| wait || it.files.is_finished())
        else {
            return Ok(());
        };
        let result = files
            .join()
            .unwrap_or_else(|_| Err(Fault::Backend("the defragment thread panicked".into())));
        answer(waiters, &result);
        Ok(())
    }

    /// Without rests: a step takes a millisecond, and chunks go first.
    fn scrub_all(&mut self) -> Result<(), Fault> {
        while !self.house.reads.view().scrubbed() && !self.is_ending() {
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
        self.house.wakes.shared.stop.load(Ordering::Acquire) || self.house.flow.has_failed()
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

/// The scrub's pace: steps as long as the apply thread can spare, rests as
/// long as `compaction_batch` rows per `compaction_sleep` ask for.
struct Scrub {
    rules: Rules,
    rows: usize,
    due: Instant,
    wanted_since: Option<Instant>,
}

impl Scrub {
    fn new(rules: Rules) -> Self {
        let rows = SCRUB_ROWS_MIN.min(rules.compaction_batch.max(1));
        Self {
            rules,
            rows,
            due: Instant::now(),
            wanted_since: None,
        }
    }

    /// Sets the length of the next step from the last one; the rest before it.
    fn pace(&mut self, rows_deleted: u64, took: Duration, stalled: bool) -> Duration {
        let batch = self.rules.compaction_batch.max(1);
        let fitting =
            SCRUB_STEP_MAX.as_nanos().saturating_mul(self.rows as u128) / took.as_nanos().max(1);
        // At most double: one quick step says little about the next.
        let fitting = usize::try_from(fitting)
            .unwrap_or(usize::MAX)
            .min(self.rows * 2);
        self.rows = fitting.clamp(SCRUB_ROWS_MIN.min(batch), batch);
        let sleep = self.rules.compaction_sleep;
        if stalled {
            sleep * STALLED_REST_FACTOR
        } else {
            sleep.mul_f64((rows_deleted as f64 / batch as f64).min(1.0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrub() -> Scrub {
        Scrub::new(Rules {
            snapshot_entries: 10_000,
            catchup_entries: 5_000,
            compaction_batch: 1000,
            compaction_sleep: Duration::from_millis(10),
        })
    }

    #[test]
    fn steps_grow_while_they_are_quick_and_never_above_the_batch() {
        let mut scrub = scrub();
        for _ in 0..20 {
            scrub.pace(scrub.rows as u64, Duration::from_micros(10), false);
        }
        assert_eq!(scrub.rows, 1000);
    }

    #[test]
    fn a_slow_step_makes_the_next_one_short() {
        let mut scrub = scrub();
        scrub.rows = 1000;
        scrub.pace(1000, Duration::from_millis(10), false);
        assert_eq!(scrub.rows, 100);
        scrub.pace(100, Duration::from_secs(1), false);
        assert_eq!(scrub.rows, SCRUB_ROWS_MIN);
    }

    #[test]
    fn rests_shrink_with_the_rows_and_grow_with_stalls() {
        let took = Duration::from_millis(1);
        assert_eq!(scrub().pace(1000, took, false), Duration::from_millis(10));
        assert_eq!(scrub().pace(100, took, false), Duration::from_millis(1));
        assert_eq!(scrub().pace(100, took, true), Duration::from_millis(100));
    }
}
