//! The log on disk: segments of records, one writer thread.
//!
//! Callers encode records into a shared buffer and go on; the writer thread
//! takes the buffer, writes it with one call and makes it durable with one
//! fdatasync for all that queued meanwhile. The order on disk is the order of
//! the calls, votes included. What is in here at once, durable or not, can be
//! read: the newest entries from memory, older ones from the files.
//!
//! - `files`: the operations on files, so that tests can forget and fail.
//! - `record`, `segment`: the format. `marks`: what records change.
//! - `index`: where entries are in the files. `tail`: the callers' view.
//! - `recover`: opening. `writer`: the thread.
//!
//! A full disk does not end the log: one segment is always prepared in
//! advance, and when there is none left, records wait in memory (bounded by
//! what the callers admit) and are tried again each second. A failed write or
//! fdatasync does end it, at once and for good.
//!
//! openraft's traits over this are in `log_store`.

pub mod files;
mod index;
mod marks;
pub(crate) mod record;
pub(crate) mod recover;
pub(crate) mod segment;
mod tail;
mod writer;

use self::{
    files::Files,
    index::{Index, Stretch},
    marks::Op,
    recover::Found,
    segment::{Active, Place, SPARE},
    tail::{CACHE_BYTES_ALONE_MAX, CACHE_BYTES_MAX, Tail},
    writer::{Batch, Writer},
};
use crate::{
    error::OpenError,
    observer::Observer,
    options::Identity,
    types::{Entry, LogId, TypeConfig, Vote},
};
use openraft::storage::IOFlushed;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::{io, ops::Range, sync::Arc, thread};
use tokio::sync::{Notify, oneshot, watch};

pub use self::marks::Marks;

/// What one read from a file takes at most, but for a single longer entry.
const READ_BYTES_MAX: u64 = 1 << 20;

/// What the log's callers and its writer share.
struct Shared {
    files: Arc<dyn Files>,
    identity: Identity,
    inner: Mutex<Inner>,
    wake: Condvar,
    /// The next turn is not the thread's.
    soon: Notify,
    durable: watch::Sender<Durability>,
}

struct Inner {
    tail: Tail,
    index: Index,
    pending: Batch,
    /// Something in `pending`, or left by a turn, should be written soon.
    urgent: bool,
    /// No other member takes part: see [`Wal::set_alone`].
    alone: bool,
    /// Another member leads: see [`Wal::set_follows`].
    follows: bool,
    /// Somebody is in [`Wal::take_turns`].
    turns: bool,
    /// The last vote known to be durable.
    vote: Option<Vote>,
    /// Why nothing is accepted any more.
    failed: Option<Arc<str>>,
    closing: bool,
}

/// Somebody takes turns until this is dropped.
struct TakesTurns<'a>(&'a Shared);

impl<'a> TakesTurns<'a> {
    fn of(shared: &'a Shared) -> Self {
        shared.inner.lock().turns = true;
        Self(shared)
    }
}

impl Drop for TakesTurns<'_> {
    fn drop(&mut self) {
        self.0.inner.lock().turns = false;
        // For what was to be written next.
        self.0.wake.notify_one();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Durability {
    end: u64,
    stopped: bool,
}

impl Inner {
    fn push(&mut self, op: Op) -> io::Result<()> {
        self.tail.apply(&op)?;
        self.pending.push(op, |buffer| record::push_op(buffer, &op));
        Ok(())
    }
}

impl Shared {
    fn publish(&self, inner: &Inner) {
        let now = Durability {
            end: inner.tail.durable_end(),
            stopped: inner.failed.is_some(),
        };
        self.durable
            .send_if_modified(|then| std::mem::replace(then, now) != now);
    }

    fn open(&self) -> io::Result<MutexGuard<'_, Inner>> {
        let inner = self.inner.lock();
        match &inner.failed {
            None => Ok(inner),
            Some(text) => Err(io::Error::other(text.to_string())),
        }
    }
}

/// How far the log is durable on this member.
#[derive(Clone)]
pub struct Durable {
    receiver: watch::Receiver<Durability>,
}

/// The log has stopped before it was durable up to the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the raft log has stopped")]
pub struct LogStopped;

impl Durable {
    /// The last durable entry of the log as it is now.
    pub fn index(&self) -> Option<u64> {
        self.receiver.borrow().end.checked_sub(1)
    }

    /// Waits until the log is durable up to `index`. For committed entries
    /// only: others may be replaced.
    pub async fn wait(&mut self, index: u64) -> Result<(), LogStopped> {
        let reached = self.receiver.wait_for(|now| now.end > index || now.stopped);
        match reached.await {
            Ok(now) if now.end > index => Ok(()),
            _ => Err(LogStopped),
        }
    }
}

/// The open log. Closed when dropped.
pub struct Wal {
    shared: Arc<Shared>,
    writer: Arc<Mutex<Writer>>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

impl Wal {
    /// Opens the log, or makes one for `identity` if there is none.
    pub fn open(
        files: Arc<dyn Files>,
        segment_bytes: u64,
        identity: Option<Identity>,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, OpenError> {
        let wal = Self::open_idle(files, segment_bytes, identity, observer)?;
        wal.start()?;
        Ok(wal)
    }

    /// As `open`, but the writer has no thread yet.
    pub(crate) fn open_idle(
        files: Arc<dyn Files>,
        segment_bytes: u64,
        identity: Option<Identity>,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io {
            path: files.path_of(""),
            source,
        };
        let lock = files.lock().map_err(io)?;
        let found = match recover::recover(&*files)? {
            Some(mut found) => {
                resume(&mut found.active).map_err(io)?;
                found
            }
            None => create(&*files, segment_bytes, identity)?,
        };
        let spare = existing_spare(&*files, segment_bytes).map_err(io)?;
        let marks = found.index.marks;
        let tail = Tail::new(marks, CACHE_BYTES_MAX);
        let durable = Durability {
            end: tail.durable_end(),
            stopped: false,
        };
        let shared = Arc::new(Shared {
            files,
            identity: found.identity,
            inner: Mutex::new(Inner {
                tail,
                index: found.index,
                pending: Batch::default(),
                urgent: false,
                alone: false,
                follows: false,
                turns: false,
                vote: marks.vote,
                failed: None,
                closing: false,
            }),
            wake: Condvar::new(),
            soon: Notify::new(),
            durable: watch::Sender::new(durable),
        });
        let writer = Writer::new(
            shared.clone(),
            observer,
            found.active,
            spare,
            segment_bytes,
            lock,
        );
        Ok(Self {
            shared,
            writer: Arc::new(Mutex::new(writer)),
            thread: Mutex::new(None),
        })
    }

    /// Gives the writer its thread.
    fn start(&self) -> Result<(), OpenError> {
        let (runs, wakes) = (self.writer.clone(), self.shared.clone());
        let thread = thread::Builder::new()
            .name("raft-log".into())
            .spawn(move || writer::run(&runs, &wakes))
            .map_err(|source| OpenError::Io {
                path: "thread raft-log".into(),
                source,
            })?;
        *self.thread.lock() = Some(thread);
        Ok(())
    }

    /// One round of the writer's on this thread; false once it has ended.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn turn(&self) -> bool {
        self.writer.lock().round().is_ok()
    }

    /// Whose log it is.
    pub fn identity(&self) -> Identity {
        self.shared.identity
    }

    /// The ends of the log, as last asked for.
    pub fn marks(&self) -> Marks {
        self.shared.inner.lock().tail.marks
    }

    /// The last durable vote.
    pub fn vote(&self) -> Option<Vote> {
        self.shared.inner.lock().vote
    }

    /// How far the log is durable.
    pub fn durable(&self) -> Durable {
        Durable {
            receiver: self.shared.durable.subscribe(),
        }
    }

    /// Appends entries; they can be read when this returns, and `done` is
    /// called when they are durable.
    pub fn append(
        &self,
        entries: impl Iterator<Item = Entry>,
        done: IOFlushed<TypeConfig>,
    ) -> io::Result<()> {
        let mut inner = self.shared.open()?;
        let Inner { tail, pending, .. } = &mut *inner;
        for entry in entries {
            let op = Op::Append(entry.log_id);
            let mut next = tail.marks;
            next.apply(&op)?;
            let length = pending.push(op, |buffer| record::push_entry(buffer, &entry));
            tail.append(entry, length)?;
        }
        pending.callbacks.push(done);
        pending.sync = true;
        if pending.ops.is_empty() {
            // Nothing to write, but whoever waits must hear of what is before.
            let op = Op::Committed(tail.marks.committed);
            tail.apply(&op)?;
            pending.push(op, |buffer| record::push_op(buffer, &op));
        }
        let small = pending.is_small();
        let (alone, follows, turns) = (inner.alone, inner.follows, inner.turns);
        inner.urgent = true;
        drop(inner);
        // A wake there and one back cost more than the write. Alone, nobody
        // waits for this thread meanwhile; a follower has nothing to say before
        // this is durable; a leader has to send it first.
        let sent_first = !alone && !follows;
        if small && sent_first && turns {
            self.shared.soon.notify_one();
        } else if !small || sent_first || !self.turn_here(|writer| alone || writer.is_quick()) {
            self.shared.wake.notify_one();
        }
        Ok(())
    }

    fn turn_here(&self, may: impl FnOnce(&Writer) -> bool) -> bool {
        let writer = self.writer.try_lock();
        writer.is_some_and(|mut writer| may(&writer) && writer.turn_here())
    }

    /// Writes the small appends of a leader with followers on this thread, each after all else that
    /// is ready to run here: what it sends them is on its way by then. Until it is dropped.
    pub async fn take_turns(&self) {
        let _until_dropped = TakesTurns::of(&self.shared);
        loop {
            self.shared.soon.notified().await;
            tokio::task::yield_now().await;
            if !self.turn_here(Writer::is_quick) {
                self.shared.wake.notify_one();
            }
        }
    }

    /// Makes a vote durable; the receiver hears when it is.
    pub fn save_vote(&self, vote: Vote) -> io::Result<oneshot::Receiver<io::Result<()>>> {
        let (sender, receiver) = oneshot::channel();
        let mut inner = self.push(Op::Vote(vote))?;
        inner.pending.votes.push(sender);
        inner.pending.sync = true;
        self.wake(inner);
        Ok(receiver)
    }

    /// A vote that `save_vote` has made durable can be read from now on.
    pub fn vote_saved(&self, vote: Vote) {
        self.shared.inner.lock().vote = Some(vote);
    }

    /// Removes the entries after `after`.
    pub fn truncate(&self, after: Option<LogId>) -> io::Result<()> {
        let inner = self.push(Op::Truncate(after))?;
        self.shared.publish(&inner);
        self.wake(inner);
        Ok(())
    }

    /// Removes the entries up to `upto`.
    pub fn purge(&self, upto: LogId) -> io::Result<()> {
        let inner = self.push(Op::Purge(upto))?;
        self.shared.publish(&inner);
        self.wake(inner);
        Ok(())
    }

    /// Notes the committed hint. It travels with the next write: whoever
    /// starts without it learns from an election what is committed.
    pub fn save_committed(&self, committed: Option<LogId>) -> io::Result<()> {
        let mut inner = self.shared.open()?;
        if inner.tail.marks.committed == committed {
            return Ok(());
        }
        inner.push(Op::Committed(committed))
    }

    /// Whether this member is the only one, with no one to replicate to: a
    /// small append is then written by its caller, and memory keeps only what
    /// is still to be applied.
    pub fn set_alone(&self, alone: bool) {
        let mut inner = self.shared.inner.lock();
        inner.alone = alone;
        inner.tail.set_cache_bytes_max(match alone {
            true => CACHE_BYTES_ALONE_MAX,
            false => CACHE_BYTES_MAX,
        });
    }

    /// Whether another member leads: a small append is then written by its
    /// caller, as long as the disk is quick.
    pub fn set_follows(&self, follows: bool) {
        self.shared.inner.lock().follows = follows;
    }

    /// Whether the disk counts as quick from now on, whatever it does: for simulation.
    #[cfg(any(test, feature = "testing"))]
    pub fn set_quick(&self, quick: bool) {
        self.writer.lock().set_quick(quick);
    }

    /// A change that is to be written soon.
    fn push(&self, op: Op) -> io::Result<MutexGuard<'_, Inner>> {
        let mut inner = self.shared.open()?;
        inner.push(op)?;
        inner.urgent = true;
        Ok(inner)
    }

    fn wake(&self, inner: MutexGuard<'_, Inner>) {
        drop(inner);
        self.shared.wake.notify_one();
    }

    /// The entries of `range` that the log holds, from its start, `bytes_max`
    /// of them together but at least one.
    pub fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let inner = self.shared.inner.lock();
        let marks = inner.tail.marks;
        let start = range.start.max(marks.first);
        let end = range.end.min(marks.end());
        let cached = inner.tail.cache_start();
        if start >= end {
            return Ok(Vec::new());
        }
        if start >= cached {
            return Ok(inner.tail.cached(start..end, bytes_max));
        }
        // Planned under the lock, read after it: a segment that is given back
        // meanwhile keeps its content as long as the plan holds it.
        let index = &inner.index;
        let limit = index.limit(start..end.min(cached), bytes_max as u64);
        let stretches = Stretch::plan(index, start..limit, READ_BYTES_MAX)?;
        let rest = match bytes_max {
            usize::MAX if limit < end => inner.tail.cached(limit..end, usize::MAX),
            _ => Vec::new(),
        };
        drop(inner);
        let mut entries = Vec::new();
        let name = |sequence| self.shared.files.path_of(&segment::name(sequence));
        for stretch in stretches {
            entries.extend(stretch.read(name)?);
        }
        entries.extend(rest);
        Ok(entries)
    }

    /// About how many bytes the log holds from `index` on.
    pub fn bytes_since(&self, index: u64) -> u64 {
        let inner = self.shared.inner.lock();
        inner.index.bytes_since(index) + inner.pending.bytes.len() as u64
    }

    /// Writes what is queued and ends the writer thread.
    pub fn close(&self) {
        self.shared.inner.lock().closing = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the log writer has panicked");
        }
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        self.close();
    }
}

/// What was read back may not be durable yet, if only the process had died:
/// makes it so. The mark's number of openings makes all that is written from
/// here on differ from what a cut-off write may have left behind.
fn resume(active: &mut Active) -> io::Result<()> {
    if active.room() >= record::MARK_LEN as u64 {
        active.synced_to = active.begin;
        active.write(&mut [0; record::MARK_LEN], |_, _, _| {})?;
    }
    active.sync()
}

fn create(
    files: &dyn Files,
    segment_bytes: u64,
    identity: Option<Identity>,
) -> Result<Found, OpenError> {
    let io = |source| OpenError::Io {
        path: files.path_of(&segment::name(1)),
        source,
    };
    let identity = identity
        .ok_or_else(|| OpenError::Log(format!("there is no log in {}", files.path_of(""))))?;
    let spare = files.create(SPARE, segment_bytes).map_err(io)?;
    let place = Place {
        identity,
        sequence: 1,
        previous_end: 0,
        previous_crc: 0,
        opens: 1,
        marks: Marks::default(),
    };
    let active = segment::begin(files, spare, &place).map_err(io)?;
    let mut index = Index::starting_at(Marks::default());
    index.segments.push_back(active.segment.clone());
    Ok(Found {
        identity,
        index,
        active,
    })
}

fn existing_spare(
    files: &dyn Files,
    segment_bytes: u64,
) -> io::Result<Option<Arc<dyn files::File>>> {
    if !files.list()?.iter().any(|name| name == SPARE) {
        return Ok(None);
    }
    let spare = files.open(SPARE)?;
    Ok((spare.len()? == segment_bytes).then_some(spare))
}
