//! The writer: takes all that queued up, writes it with one call, makes it
//! durable with one fdatasync, and tells who waits. It has a thread; a small
//! append takes a turn on the caller's instead.
//!
//! A write or fdatasync that fails ends the log: what the kernel then holds
//! is unknown, so it is never tried again, and nothing is acknowledged after.
//! A full disk is another matter: the log keeps one prepared segment in
//! spare; when it has none and can't make one, or the file system has no room
//! for a write, the records wait and are tried again each second.

use super::{
    Shared,
    files::File,
    marks::Op,
    record::MARK_LEN,
    segment::{self, Active, Place, SPARE},
};
use crate::{observer::Observer, room::FULL_DISK_RETRY, types::TypeConfig};
use openraft::storage::IOFlushed;
use parking_lot::Mutex;
use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};
use sternpost_storage::failpoint;
use tokio::sync::oneshot;

/// A write that took this long, a heartbeat's interval by default, is not one
/// to wait for where messages of peers wait as well.
const SLOW_SYNC: Duration = Duration::from_millis(100);
/// How long a disk counts as slow after such a write.
const SLOW_FOR: Duration = Duration::from_secs(1);
/// Buffers above this are not kept for the next write.
const BUFFER_KEPT_MAX: usize = 4 << 20;

/// What queued up since the writer last looked.
#[derive(Default)]
pub struct Batch {
    /// Room for a mark, then records without checksums.
    pub bytes: Vec<u8>,
    /// What the records change, with each one's length.
    pub ops: Vec<(Op, u32)>,
    /// Whoever waits for appended entries.
    pub callbacks: Vec<IOFlushed<TypeConfig>>,
    /// Whoever waits for a vote.
    pub votes: Vec<oneshot::Sender<io::Result<()>>>,
    /// Something in here must be durable soon.
    pub sync: bool,
    /// The number of the last record.
    pub last: u64,
}

/// What an append may hold to be written by its caller: a few entries, in one
/// go with little more than the price of the fdatasync.
const SMALL_OPS_MAX: usize = 4;
const SMALL_BYTES_MAX: usize = 64 << 10;

impl Batch {
    /// Adds a record.
    pub fn push(&mut self, op: Op, encode: impl FnOnce(&mut Vec<u8>) -> usize) -> usize {
        if self.bytes.is_empty() {
            self.bytes.extend_from_slice(&[0; MARK_LEN]);
        }
        let length = encode(&mut self.bytes);
        self.ops.push((op, length as u32));
        length
    }

    /// Holds a few entries, and nothing that takes segments away.
    pub fn is_small(&self) -> bool {
        let plain = |(op, _): &(Op, u32)| matches!(op, Op::Append(_) | Op::Committed(_));
        self.bytes.len() <= SMALL_BYTES_MAX
            && self.ops.len() <= SMALL_OPS_MAX
            && self.ops.iter().all(plain)
    }

    fn clear(&mut self) {
        if self.bytes.capacity() > BUFFER_KEPT_MAX {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
        self.ops.clear();
        self.sync = false;
    }

    /// Tells all who wait. A newer append speaks for the older ones; only
    /// signals, which can't know of one another, are sent each.
    pub fn finish(&mut self, result: Result<(), &str>) {
        let answer = || result.map_err(|text| io::Error::other(text.to_string()));
        let notifies = |callback: &IOFlushed<_>| matches!(callback, IOFlushed::Notify(_));
        let newest = self.callbacks.iter().rposition(notifies);
        for (at, callback) in self.callbacks.drain(..).enumerate() {
            if Some(at) == newest || result.is_err() || !notifies(&callback) {
                callback.io_completed(answer());
            }
        }
        for vote in self.votes.drain(..) {
            // A caller that went away needs no answer.
            let _ = vote.send(answer());
        }
    }
}

/// Why the writer stops writing.
enum Halt {
    /// Text for the process's last line.
    Fatal(String),
    /// Asked to close, perhaps while it waited for a full disk.
    Closed,
    /// The disk is full, and this is not the thread that may wait for room.
    Full,
}

/// The writer thread. Runs until the log is closed or fails.
pub fn run(writer: &Mutex<Writer>, shared: &Shared) {
    let mut turn = writer.lock();
    // What was purged before the start may still be there.
    if let Err(halt) = turn.retire() {
        return turn.stop(&halt);
    }
    drop(turn);
    loop {
        let round = writer.lock().round();
        match round {
            Ok(due) if shared.wait_for_work(due) => {}
            _ => return,
        }
    }
}

/// The writer writes no more.
pub struct Ended;

impl Shared {
    /// Waits until there is something to write, the log closes, or `due`;
    /// false once it has failed.
    fn wait_for_work(&self, due: Option<Instant>) -> bool {
        let mut inner = self.inner.lock();
        loop {
            if inner.failed.is_some() {
                return false;
            }
            if inner.urgent || inner.closing {
                return true;
            }
            match due {
                Some(due) => {
                    if self.wake.wait_until(&mut inner, due).timed_out() {
                        return true;
                    }
                }
                None => self.wake.wait(&mut inner),
            }
        }
    }
}

/// What it takes to write. Whoever holds it has the turn.
pub struct Writer {
    shared: Arc<Shared>,
    observer: Arc<dyn Observer>,
    active: Active,
    spare: Option<Arc<dyn File>>,
    /// Making a spare failed: when to try again.
    spare_retry: Option<Instant>,
    segment_bytes: u64,
    batch: Batch,
    /// This turn is not on the thread that may wait.
    here: bool,
    /// When the disk was last slow.
    slow: Option<Instant>,
    /// Keeps other processes out until the log is closed.
    lock: Option<Box<dyn Send>>,
}

impl Writer {
    /// The writer of an opened log. `lock` keeps other processes out.
    pub fn new(
        shared: Arc<Shared>,
        observer: Arc<dyn Observer>,
        active: Active,
        spare: Option<Arc<dyn File>>,
        segment_bytes: u64,
        lock: Box<dyn Send>,
    ) -> Self {
        Self {
            shared,
            observer,
            active,
            spare,
            spare_retry: None,
            segment_bytes,
            batch: Batch::default(),
            here: false,
            slow: None,
            lock: Some(lock),
        }
    }

    /// What the thread does between two waits; when to come back at the latest.
    pub fn round(&mut self) -> Result<Option<Instant>, Ended> {
        match self.turn() {
            Ok(()) => Ok(self.idle()),
            Err(halt) => {
                self.stop(&halt);
                Err(Ended)
            }
        }
    }

    /// Whether it is time for a spare. The first half of a segment is time for
    /// an old one to be given back, which is cheaper than making one.
    fn wants_spare(&self) -> bool {
        self.spare.is_none() && self.active.room() < self.segment_bytes / 2
    }

    /// What there is to do while nothing is queued; when to come back for it.
    fn idle(&mut self) -> Option<Instant> {
        if !self.wants_spare() || self.shared.inner.lock().urgent {
            return None;
        }
        if self.spare_retry.is_none_or(|due| due <= Instant::now()) {
            // Nobody waits for this.
            let _ = self.make_spare();
        }
        self.spare_retry
    }

    /// Writes what is queued, waiting for room on a full disk.
    fn turn(&mut self) -> Result<(), Halt> {
        if self.batch.ops.is_empty() && !self.take() {
            let closing = self.shared.inner.lock().closing;
            return if closing { Err(Halt::Closed) } else { Ok(()) };
        }
        self.process()
    }

    /// Writes what is queued on the caller's thread, if that is done in one
    /// go; otherwise false, and it is left to the writer thread.
    pub fn turn_here(&mut self) -> bool {
        // The thread has to make a spare.
        if !self.batch.ops.is_empty() || self.wants_spare() {
            return false;
        }
        let inner = self.shared.inner.lock();
        if !inner.pending.is_small() || self.active.room() < inner.pending.bytes.len() as u64 {
            return false;
        }
        drop(inner);
        if !self.take() {
            return true;
        }
        self.here = true;
        let result = self.process();
        self.here = false;
        match result {
            Ok(()) => true,
            Err(Halt::Full) => {
                self.shared.inner.lock().urgent = true;
                false
            }
            Err(halt) => {
                self.stop(&halt);
                true
            }
        }
    }

    /// Whether the disk has not kept anyone waiting lately.
    pub fn is_quick(&self) -> bool {
        self.slow.is_none_or(|slow| slow.elapsed() > SLOW_FOR)
    }

    /// Makes it so.
    #[cfg(any(test, feature = "testing"))]
    pub fn set_quick(&mut self, quick: bool) {
        self.slow = (!quick).then(Instant::now);
    }

    /// Takes all that queued up; false if there is nothing, or nothing may be
    /// written any more.
    fn take(&mut self) -> bool {
        let mut inner = self.shared.inner.lock();
        inner.urgent = false;
        if inner.pending.ops.is_empty() || inner.failed.is_some() {
            return false;
        }
        std::mem::swap(&mut inner.pending, &mut self.batch);
        self.batch.last = inner.tail.queued();
        true
    }

    fn process(&mut self) -> Result<(), Halt> {
        let start = Instant::now();
        let bytes = self.batch.bytes.len() as u64;
        failpoint!("raftBeforeSave");
        self.write()?;
        let purges = |op: &Op| matches!(op, Op::Purge(_));
        let purged = self.batch.ops.iter().any(|(op, _)| purges(op));
        if self.batch.sync || (purged && self.removable() > 0) {
            self.sync()?;
            let mut inner = self.shared.inner.lock();
            inner.tail.synced(self.batch.last);
            self.shared.publish(&inner);
            drop(inner);
            let took = start.elapsed();
            if took > SLOW_SYNC {
                self.slow = Some(Instant::now());
            }
            self.observer.log_written(bytes, took);
            failpoint!("raftAfterSave");
            self.batch.finish(Ok(()));
            self.retire()?;
        }
        self.batch.clear();
        if self.spare.is_none() && self.active.room() < self.segment_bytes / 4 {
            // Busy, but the end is near.
            let _ = self.make_spare();
        }
        Ok(())
    }

    /// Writes the batch, into the next segments where this one ends.
    fn write(&mut self) -> Result<(), Halt> {
        let mut batch = std::mem::take(&mut self.batch);
        let result = self.write_batch(&mut batch);
        self.batch = batch;
        result
    }

    fn write_batch(&mut self, batch: &mut Batch) -> Result<(), Halt> {
        // The mark of a later piece takes the place of bytes already written.
        let (mut done, mut start) = (0, 0);
        while done < batch.ops.len() {
            let mut room = self.active.room().saturating_sub(MARK_LEN as u64);
            let mut end = start + MARK_LEN;
            let mut count = 0;
            for (_, length) in &batch.ops[done..] {
                // A record longer than a segment makes its segment longer.
                let alone = count == 0 && self.active.is_fresh();
                if u64::from(*length) > room && !alone {
                    break;
                }
                room = room.saturating_sub(u64::from(*length));
                end += *length as usize;
                count += 1;
            }
            if count == 0 {
                self.switch()?;
                continue;
            }
            let ops = &batch.ops[done..done + count];
            done += count;
            let last = batch.last - (batch.ops.len() - done) as u64;
            self.write_piece(&mut batch.bytes[start..end], ops, last)?;
            start = end - MARK_LEN;
        }
        Ok(())
    }

    fn write_piece(&mut self, bytes: &mut [u8], ops: &[(Op, u32)], last: u64) -> Result<(), Halt> {
        let mut places = Vec::with_capacity(ops.len());
        let sequence = self.active.segment.sequence;
        loop {
            places.clear();
            let written = self.active.write(bytes, |offset, length, crc| {
                places.push((sequence, offset, length, crc));
            });
            match written {
                Ok(()) => break,
                Err(error) if is_full(&error) => self.park(&error)?,
                Err(error) => return Err(self.fatal("write", sequence, &error)),
            }
        }
        let mut inner = self.shared.inner.lock();
        for ((op, _), place) in ops.iter().zip(places) {
            let applied = inner.index.apply(op, place);
            applied.expect("the callers' view has accepted the same change");
        }
        inner.tail.written(last);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Halt> {
        let start = Instant::now();
        let sequence = self.active.segment.sequence;
        self.active
            .sync()
            .map_err(|error| self.fatal("fdatasync", sequence, &error))?;
        self.observer.log_synced(start.elapsed());
        Ok(())
    }

    /// Goes on in the next segment, once all of this one is durable.
    fn switch(&mut self) -> Result<(), Halt> {
        self.sync()?;
        failpoint!("walBeforeRotate");
        let next = loop {
            if self.spare.is_none()
                && let Err(error) = self.make_spare()
            {
                self.park(&error)?;
                continue;
            }
            let spare = self.spare.clone().expect("made above");
            let place = Place {
                identity: self.shared.identity,
                sequence: self.active.segment.sequence + 1,
                previous_end: self.active.offset,
                previous_crc: self.active.crc,
                opens: self.active.opens,
                marks: self.shared.inner.lock().index.marks,
            };
            match segment::begin(&*self.shared.files, spare, &place) {
                Ok(next) => break next,
                Err(error) if is_full(&error) => self.park(&error)?,
                Err(error) => return Err(self.fatal("begin", place.sequence, &error)),
            }
        };
        failpoint!("walAfterRotate");
        self.spare = None;
        let mut inner = self.shared.inner.lock();
        inner.index.segments.push_back(next.segment.clone());
        drop(inner);
        if let Err(error) = self.active.seal() {
            tracing::warn!(%error, "the old log segment could not be sealed");
        }
        self.active = next;
        Ok(())
    }

    fn make_spare(&mut self) -> io::Result<()> {
        let files = &self.shared.files;
        let made = files.create(SPARE, self.segment_bytes);
        match made {
            Ok(file) => {
                self.spare = Some(file);
                self.spare_retry = None;
                Ok(())
            }
            Err(error) => {
                if self.spare_retry.is_none() {
                    tracing::warn!(
                        file = files.path_of(SPARE),
                        %error,
                        "the next log segment can't be prepared: trying again each second"
                    );
                }
                // What was made of it takes room from others.
                let _ = files.remove(SPARE);
                self.spare_retry = Some(Instant::now() + FULL_DISK_RETRY);
                Err(error)
            }
        }
    }

    /// Waits while the disk is full, where that delays no one else.
    fn park(&self, error: &io::Error) -> Result<(), Halt> {
        if self.here {
            return Err(Halt::Full);
        }
        let dir = self.shared.files.path_of("");
        tracing::warn!(dir, %error, "the log can't grow: its records wait until there is room");
        let mut inner = self.shared.inner.lock();
        let until = Instant::now() + FULL_DISK_RETRY;
        while !inner.closing {
            if self.shared.wake.wait_until(&mut inner, until).timed_out() {
                return Ok(());
            }
        }
        Err(Halt::Closed)
    }

    fn removable(&self) -> usize {
        let inner = self.shared.inner.lock();
        let purged = inner.index.marks.purged;
        purged.map_or(0, |purged| inner.index.removable(purged.index))
    }

    /// Gives back the segments that hold purged entries only. The purge must
    /// be durable.
    fn retire(&mut self) -> Result<(), Halt> {
        let files = self.shared.files.clone();
        while self.removable() > 0 {
            failpoint!("raftBeforeWALRelease");
            let oldest = self.shared.inner.lock().index.segments.pop_front();
            let oldest = oldest.expect("a removable segment is there");
            let name = segment::name(oldest.sequence);
            // A reader may still hold it: then its content must stay.
            let reusable = self.spare.is_none()
                && Arc::strong_count(&oldest) == 1
                && oldest.file.len().is_ok_and(|len| len == self.segment_bytes);
            let gone = if reusable {
                files.rename(&name, SPARE)
            } else {
                files.remove(&name)
            };
            if let Err(error) = gone {
                tracing::warn!(file = files.path_of(&name), %error, "can't be removed");
                self.shared.inner.lock().index.segments.push_front(oldest);
                return Ok(());
            }
            // Before the next one goes, so that no gap can be left.
            files
                .sync_names()
                .map_err(|error| self.fatal("remove", oldest.sequence, &error))?;
            failpoint!("raftAfterWALRelease");
            if reusable {
                self.spare = Some(oldest.file.clone());
                self.spare_retry = None;
            }
        }
        Ok(())
    }

    fn fatal(&self, what: &str, sequence: u64, error: &io::Error) -> Halt {
        let path = self.shared.files.path_of(&segment::name(sequence));
        Halt::Fatal(format!("raft log: {what} of {path}: {error}"))
    }

    /// The end: nothing is acknowledged after this.
    fn stop(&mut self, halt: &Halt) {
        let (fatal, text) = match halt {
            Halt::Fatal(reason) => (true, reason.as_str()),
            Halt::Closed | Halt::Full => (false, "the log is closed"),
        };
        // Says that all before it is durable. Nobody waits for it, and the
        // log opens without it.
        let active = &mut self.active;
        if !fatal && active.sync().is_ok() && active.room() >= MARK_LEN as u64 {
            let _ = active.write(&mut [0; MARK_LEN], |_, _, _| {});
            let _ = active.sync();
        }
        let mut inner = self.shared.inner.lock();
        inner.failed = Some(text.into());
        let mut pending = std::mem::take(&mut inner.pending);
        self.shared.publish(&inner);
        drop(inner);
        if fatal {
            self.observer.fatal(text);
        }
        self.batch.finish(Err(text));
        pending.finish(Err(text));
        self.lock = None;
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
