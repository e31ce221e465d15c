//! The apply thread: applies chunks, and between them removes rows that
//! compaction made dead. A few puts are applied by whoever brings them, while
//! the thread has nothing to do and the engine makes nobody wait.
//!
//! Order for each chunk: written and its view published by the store, then
//! the feed, then the positions that reads wait for, then the answers. So
//! whoever hears of an entry can read it.

use crate::{
    applied::Feed,
    codec,
    error::ProposeError,
    flow::{FaultLine, Flow},
    forward::Pending,
    lanes::{Answer, Handback, Returns},
    nudge::Nudge,
    observer::Observer as _,
    room::Room,
    snapshot::{Arrival, Snapshots},
    state_machine::{Position, Positions},
    types::{Entry, EntryPayload, StoredMembership},
};
use parking_lot::Mutex;
use prost::Message as _;
use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};
use sternpost_proto::internal::command::Verb;
use sternpost_storage::{
    Applied, AppliedBatch, Entry as StoredEntry, EntryPayload as StoredPayload, Fault, LogMark,
    ReadHandle, ReadView, ScrubProgress, StateChange, StateMachine, StorageOptions, failpoint,
};
use tokio::sync::oneshot;

/// Jobs that may wait. openraft has one chunk on its way at a time, the
/// housekeeper one request, and there is the word to stop; the rest is slack.
const JOBS_MAX: usize = 8;

/// Time that chunks may take before a waiting scrub step, of a millisecond,
/// has its turn. Under a load that always has a chunk ready the scrub must go
/// on as well, with a fifth of the thread, or dead rows would pile up.
const CHUNKS_BEFORE_SCRUB: Duration = Duration::from_millis(4);

/// Puts that may be applied on the caller's thread: a wake there and one back
/// cost more than so few.
const PUTS_HERE_MAX: usize = 4;
/// The same of their bytes: what is copied within some ten microseconds.
const BYTES_HERE_MAX: usize = 64 << 10;

/// Published views that may be remembered before those that nobody holds any
/// more are dropped out of order, behind one that is held for long.
const VIEWS_MAX: usize = 1024;

/// Committed entries, ready to be applied: the log is durable up to the last.
pub(crate) struct Chunk {
    pub(crate) entries: Vec<Entry>,
    pub(crate) bytes: usize,
    pub(crate) done: oneshot::Sender<()>,
}

/// One step of the scrub.
pub(crate) struct ScrubStep {
    pub(crate) rows_max: usize,
    pub(crate) done: SyncSender<Scrubbed>,
}

/// What a step of the scrub came to.
pub(crate) struct Scrubbed {
    pub(crate) progress: ScrubProgress,
    /// The worker's time for it.
    pub(crate) took: Duration,
    /// Rows below it are gone once the progress says that all is done.
    pub(crate) compact_revision: i64,
}

enum Job {
    Chunk(Chunk),
    Scrub(ScrubStep),
    PublishView(SyncSender<Vec<OldView>>),
    Install(Arrival, oneshot::Sender<()>),
    Stop,
}

/// The way to the worker.
#[derive(Clone)]
pub(crate) struct JobSender {
    jobs: SyncSender<Job>,
    chunks_waiting: Arc<AtomicUsize>,
    worker: Arc<Mutex<ApplyWorker>>,
}

impl JobSender {
    /// Applies a chunk on this thread, where peers may wait, if that is sure
    /// to be short and nothing else is under way: `None` if it must be sent,
    /// otherwise whether it went well.
    pub(crate) fn apply_here(&self, entries: &[Entry], bytes: usize) -> Option<bool> {
        let is_small = entries.len() <= PUTS_HERE_MAX && bytes <= BYTES_HERE_MAX;
        if !is_small || !entries.iter().all(is_put) {
            return None;
        }
        let mut worker = self.worker.try_lock()?;
        if worker.flow.has_failed() {
            return None;
        }
        worker.run(entries, bytes, StateMachine::try_apply_batch)
    }

    /// Sends a chunk without waiting.
    pub(crate) fn send(&self, chunk: Chunk) -> io::Result<()> {
        self.chunks_waiting.fetch_add(1, Ordering::AcqRel);
        let Err(error) = self.jobs.try_send(Job::Chunk(chunk)) else {
            return Ok(());
        };
        // A chunk that never comes would keep scrub steps waiting for it.
        self.chunks_waiting.fetch_sub(1, Ordering::AcqRel);
        Err(io::Error::other(match error {
            TrySendError::Full(_) => "more chunks on their way than there can be",
            TrySendError::Disconnected(_) => "the state machine has stopped",
        }))
    }

    /// Goes on with another member's state, after the chunks that were sent.
    pub(crate) fn install(&self, arrival: Arrival, done: oneshot::Sender<()>) -> io::Result<()> {
        let sent = self.jobs.try_send(Job::Install(arrival, done));
        sent.map_err(|_| io::Error::other("the state machine has stopped"))
    }

    /// Runs one scrub step and waits for it; `None` if the worker has ended.
    pub(crate) fn scrub(&self, rows_max: usize) -> Option<Scrubbed> {
        let (done, progress) = sync_channel(1);
        self.jobs
            .send(Job::Scrub(ScrubStep { rows_max, done }))
            .ok()?;
        progress.recv().ok()
    }

    /// Gives the feed's readers the newest view, and says which older ones
    /// are still held; `None` if the worker has ended.
    pub(crate) fn publish_view(&self) -> Option<Vec<OldView>> {
        let (done, older) = sync_channel(1);
        self.jobs.send(Job::PublishView(done)).ok()?;
        older.recv().ok()
    }

    /// Ends the worker after what it has been given.
    pub(crate) fn stop(&self) {
        let _ = self.jobs.send(Job::Stop);
    }
}

/// A view that was published before the newest.
pub(crate) type OldView = Weak<ReadView>;

/// The views that were published and may still be held, oldest first.
#[derive(Default)]
pub(crate) struct Views {
    published: VecDeque<OldView>,
}

impl Views {
    pub(crate) fn note(&mut self, view: &Arc<ReadView>) {
        while self
            .published
            .pop_front_if(|view| view.strong_count() == 0)
            .is_some()
        {}
        if self.published.len() >= VIEWS_MAX {
            self.published.retain(|view| view.strong_count() > 0);
        }
        self.published.push_back(Arc::downgrade(view));
    }

    fn older_than(&self, newest: &Arc<ReadView>) -> Vec<OldView> {
        let newest = Arc::as_ptr(newest);
        let held =
            |view: &&OldView| view.strong_count() > 0 && !std::ptr::eq(view.as_ptr(), newest);
        self.published.iter().filter(held).cloned().collect()
    }
}

/// What it takes to apply. Whoever holds it is the only writer.
pub(crate) struct ApplyWorker {
    pub(crate) machine: StateMachine,
    pub(crate) reads: ReadHandle,
    pub(crate) feed: Feed,
    pub(crate) flow: Arc<Flow>,
    pub(crate) positions: Arc<Positions>,
    pub(crate) returns: Arc<Returns>,
    pub(crate) pending: Arc<Pending>,
    pub(crate) nudge: Nudge,
    pub(crate) faults: FaultLine,
    pub(crate) views: Views,
    pub(crate) snapshots: Arc<Snapshots>,
    /// How the store was opened, and where: an installed one is opened likewise.
    pub(crate) storage: StorageOptions,
}

impl ApplyWorker {
    /// The way to it, and what its thread does.
    pub(crate) fn parts(mut self) -> (JobSender, Turns) {
        let mut room = Room::new(self.snapshots.parent().into(), self.flow.clone());
        self.machine.on_no_room(move |full| room.wait(full));
        let (jobs, receiver) = sync_channel(JOBS_MAX);
        let sender = JobSender {
            jobs,
            chunks_waiting: Arc::default(),
            worker: Arc::new(Mutex::new(self)),
        };
        let turns = Turns {
            worker: sender.worker.clone(),
            jobs: receiver,
            chunks_waiting: sender.chunks_waiting.clone(),
            deferred: None,
            passed: Duration::ZERO,
        };
        (sender, turns)
    }

    /// Applies a chunk and tells everyone; false after a fault, here or
    /// elsewhere: nothing is acknowledged then.
    fn apply(&mut self, entries: &[Entry], bytes: usize) -> bool {
        let done = self.run(entries, bytes, |machine, stored| {
            machine.apply_batch(stored).map(Some)
        });
        done.unwrap_or(false)
    }

    /// The same by `apply`; `None` if it left the chunk for another time.
    fn run(
        &mut self,
        entries: &[Entry],
        bytes: usize,
        apply: impl FnOnce(&mut StateMachine, &[StoredEntry]) -> Result<Option<AppliedBatch>, Fault>,
    ) -> Option<bool> {
        let started = Instant::now();
        let stored: Result<Vec<_>, _> = entries.iter().map(stored_entry).collect();
        let applied = stored.and_then(|stored| Ok((apply(&mut self.machine, &stored)?, stored)));
        let (batch, stored) = match applied {
            Ok((batch, stored)) => (batch?, stored),
            Err(fault) => {
                self.faults.raise(&fault.to_string());
                return Some(false);
            }
        };
        if self.flow.has_failed() {
            return Some(false);
        }
        self.announce(&stored, &batch);
        failpoint!("applyBeforeAnswer");
        self.answer(entries, batch.outcomes);
        self.faults.chunk_applied(entries.len(), started.elapsed());
        self.nudge.applied(entries.len() as u64, bytes as u64);
        Some(true)
    }

    /// Feed first, then positions: a read that waited for a position finds
    /// the watchers' events under way.
    fn announce(&mut self, entries: &[StoredEntry], batch: &AppliedBatch) {
        let revisions = batch
            .outcomes
            .iter()
            .filter_map(|outcome| outcome.events.clone())
            .collect();
        let changes: Vec<StateChange> = batch
            .outcomes
            .iter()
            .flat_map(|outcome| outcome.changes.iter().copied())
            .collect();
        if changes
            .iter()
            .any(|change| matches!(change, StateChange::Compacted(_)))
        {
            self.nudge.compacted();
        }
        self.views.note(&batch.view);
        self.feed.publish(revisions, changes, batch.view.clone());
        let Some(last) = entries.last() else { return };
        let mut applied = self.positions.applied.lock();
        if applied.mark < Some(last.mark) {
            let membership = entries.iter().rev().find_map(|entry| match &entry.payload {
                StoredPayload::Membership(bytes) => Some(bytes.clone()),
                _ => None,
            });
            let membership = membership.or_else(|| applied.membership.take());
            *applied = Position {
                mark: Some(last.mark),
                membership,
            };
        }
        drop(applied);
        self.flow.set_applied(last.mark.index);
    }

    /// Answers those who wait for these entries, one message for each thread.
    fn answer(&self, entries: &[Entry], outcomes: Vec<Applied>) {
        let mut threads: Vec<(usize, Vec<Answer>)> = Vec::new();
        let (mut answered, mut bytes) = (0, 0);
        let mut outcomes = outcomes.into_iter().peekable();
        for entry in entries {
            // Entries that had been applied before have no outcome, and nobody waits for them.
            let Some(outcome) =
                outcomes.next_if(|outcome| outcome.mark.index == entry.log_id.index)
            else {
                continue;
            };
            let EntryPayload::Normal(data) = &entry.payload else {
                continue;
            };
            let own = data.take_reply().map(|reply| (reply, data.encoded().len()));
            let Some((reply, size)) = own.or_else(|| self.pending.answered(data, &outcome)) else {
                continue;
            };
            answered += 1;
            bytes += size;
            let answer = match outcome.response {
                Ok(_) => Ok(outcome),
                Err(rejection) => Err(ProposeError::Rejected(rejection)),
            };
            let of_thread = match threads
                .iter()
                .position(|(thread, _)| *thread == reply.thread)
            {
                Some(position) => position,
                None => {
                    threads.push((reply.thread, Vec::with_capacity(entries.len())));
                    threads.len() - 1
                }
            };
            threads[of_thread].1.push((reply.sender, answer));
        }
        if let Some(last) = entries.last() {
            self.pending.applied(last.log_id.leader_id.term);
        }
        self.flow.arrive(answered, bytes);
        for (thread, answers) in threads {
            self.returns.send(thread, Handback::Answers(answers));
        }
    }

    /// One scrub step; false after a fault.
    fn scrub(&mut self, step: ScrubStep) -> bool {
        let started = Instant::now();
        let progress = match self.machine.scrub_step(step.rows_max) {
            Ok(progress) => progress,
            Err(fault) => {
                self.faults.raise(&fault.to_string());
                return false;
            }
        };
        let view = self.reads.view();
        let compact_revision = view.compact_revision();
        self.views.note(&view);
        self.feed.refresh(view);
        let took = started.elapsed();
        if progress.rows_deleted > 0 {
            self.faults.scrubbed(progress.rows_deleted, took);
        }
        let _ = step.done.send(Scrubbed {
            progress,
            took,
            compact_revision,
        });
        true
    }
}

/// What the thread does: one job after the other, until the word to stop or a
/// fault.
pub(crate) struct Turns {
    worker: Arc<Mutex<ApplyWorker>>,
    jobs: Receiver<Job>,
    chunks_waiting: Arc<AtomicUsize>,
    /// Waits for a moment without chunks.
    deferred: Option<ScrubStep>,
    /// The time of chunks since the last scrub step.
    passed: Duration,
}

impl Turns {
    /// Starts the thread.
    pub(crate) fn start(mut self, faults: FaultLine) -> io::Result<JoinHandle<()>> {
        std::thread::Builder::new()
            .name("apply".into())
            .spawn(move || {
                let _guard = faults.guard("apply");
                while let Ok(job) = self.jobs.recv() {
                    if !self.take(job) {
                        return;
                    }
                }
            })
    }

    /// Does what there is to do, on this thread; false after the end.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn turn(&mut self) -> bool {
        while let Ok(job) = self.jobs.try_recv() {
            if !self.take(job) {
                return false;
            }
        }
        true
    }

    /// Does one job; false at the end.
    fn take(&mut self, job: Job) -> bool {
        let mut worker = self.worker.lock();
        match job {
            Job::Chunk(Chunk {
                entries,
                bytes,
                done,
            }) => {
                self.chunks_waiting.fetch_sub(1, Ordering::AcqRel);
                let begun = Instant::now();
                if !worker.apply(&entries, bytes) {
                    return false;
                }
                // openraft may have been stopped meanwhile.
                let _ = done.send(());
                self.passed += begun.elapsed();
            }
            Job::Scrub(step) => self.deferred = Some(step),
            Job::PublishView(done) => {
                let newest = worker.reads.view();
                worker.feed.publish_view(newest.clone());
                let _ = done.send(worker.views.older_than(&newest));
            }
            Job::Install(arrival, done) => {
                if !worker.install(arrival) {
                    return false;
                }
                let _ = done.send(());
            }
            Job::Stop => return false,
        }
        let free = self.chunks_waiting.load(Ordering::Acquire) == 0;
        let due = free || self.passed >= CHUNKS_BEFORE_SCRUB;
        if let Some(step) = self.deferred.take_if(|_| due) {
            self.passed = Duration::ZERO;
            return worker.scrub(step);
        }
        true
    }
}

fn is_put(entry: &Entry) -> bool {
    let EntryPayload::Normal(data) = &entry.payload else {
        return false;
    };
    let command = data.command();
    command.is_ok_and(|command| matches!(command.verb, Some(Verb::Put(_))))
}

/// The entry as the store takes it.
fn stored_entry(entry: &Entry) -> Result<StoredEntry, Fault> {
    let mark = LogMark {
        term: entry.log_id.committed_leader_id().term,
        index: entry.log_id.index,
    };
    let payload = match &entry.payload {
        EntryPayload::Blank => StoredPayload::Blank,
        EntryPayload::Normal(data) => match data.command() {
            Ok(command) => StoredPayload::Command(command.clone()),
            Err(error) => {
                return Err(Fault::Entry {
                    index: mark.index,
                    detail: error.to_string(),
                });
            }
        },
        EntryPayload::Membership(membership) => {
            let stored = StoredMembership::new(Some(entry.log_id), membership.clone());
            StoredPayload::Membership(
                codec::stored_membership_to_message(&stored)
                    .encode_to_vec()
                    .into(),
            )
        }
    };
    Ok(StoredEntry { mark, payload })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_older_views_that_are_held_are_named() {
        // Each write publishes a view.
        let mut machine = StateMachine::in_memory();
        let reads = machine.read_handle();
        let mut views = Views::default();
        let mut held = Vec::new();
        for index in 0..2 * VIEWS_MAX as u64 {
            let entry = StoredEntry {
                mark: LogMark { term: 1, index },
                payload: StoredPayload::Blank,
            };
            let view = machine.apply_batch(&[entry]).unwrap().view;
            views.note(&view);
            if index % 1000 == 0 {
                held.push(view);
            }
        }
        assert!(views.published.len() <= VIEWS_MAX);
        let older = views.older_than(&reads.view());
        let older: Vec<_> = older
            .iter()
            .map(|view| view.upgrade().unwrap().applied())
            .collect();
        let expected: Vec<_> = held.iter().map(|view| view.applied()).collect();
        assert_eq!(older, expected);
        held.clear();
        drop(older);
        assert!(views.older_than(&reads.view()).is_empty());
    }
}
