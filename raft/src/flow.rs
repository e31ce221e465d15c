//! Where the node stands, in plain numbers that every thread may read.
//!
//! Nothing here waits or takes a lock: it is what admission, response headers
//! and reads look at for each request.

use crate::{
    error::ProposeError,
    observer::{Observer, Way},
};
use parking_lot::Mutex;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
};

/// Entries that may be committed but not applied before new proposals are
/// refused: etcd's limit. Beyond it an answer would come too late anyway.
const BACKLOG_MAX: u64 = 5_000;

/// Proposals made here that may wait for an answer. Without a quorum nothing
/// is committed, so the backlog alone would not bound them.
const IN_FLIGHT_MAX: usize = 65_536;

/// Bytes of those proposals. With etcd's request limit of 1.5 MiB the count
/// alone would allow 96 GiB.
const IN_FLIGHT_BYTES_MAX: usize = 256 << 20;

const RUNNING: u8 = 0;
const STOPPING: u8 = 1;
const FAILED: u8 = 2;

/// The node's numbers.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    state: AtomicU8,
    /// openraft's index + 1, so that 0 means none; the same for `applied`.
    committed: AtomicU64,
    applied: AtomicU64,
    term: AtomicU64,
    in_flight: AtomicUsize,
    in_flight_bytes: AtomicUsize,
    sole_leader: AtomicBool,
    /// See [`Flow::set_confirmed`]; 0 for never.
    confirmed_us: AtomicU64,
    /// How many hold `sole_leader` off; locked to change it.
    shared: Mutex<usize>,
    follows: AtomicBool,
    stalled: AtomicBool,
}

impl Flow {
    /// Whether a proposal may be made now.
    pub(crate) fn admit(&self) -> Result<(), ProposeError> {
        if self.state.load(Ordering::Acquire) != RUNNING {
            return Err(ProposeError::Stopped);
        }
        let backlog = self.committed().saturating_sub(self.applied());
        let over = backlog > BACKLOG_MAX
            || self.in_flight.load(Ordering::Relaxed) >= IN_FLIGHT_MAX
            || self.in_flight_bytes.load(Ordering::Relaxed) >= IN_FLIGHT_BYTES_MAX;
        if over {
            Err(ProposeError::Overloaded)
        } else {
            Ok(())
        }
    }

    /// Whether requests are still taken.
    pub(crate) fn is_running(&self) -> bool {
        self.state.load(Ordering::Acquire) == RUNNING
    }

    /// Whether a fault has ended this node.
    pub(crate) fn has_failed(&self) -> bool {
        self.state.load(Ordering::Acquire) == FAILED
    }

    /// Takes no more requests. A fault stays a fault.
    pub(crate) fn stop(&self) {
        let _ = self
            .state
            .compare_exchange(RUNNING, STOPPING, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Proposals set off, in one batch.
    pub(crate) fn depart(&self, proposals: usize, bytes: usize) {
        self.in_flight.fetch_add(proposals, Ordering::Relaxed);
        self.in_flight_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Proposals got their answers: whoever takes a reply counts it here.
    pub(crate) fn arrive(&self, proposals: usize, bytes: usize) {
        self.in_flight.fetch_sub(proposals, Ordering::Relaxed);
        self.in_flight_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// The number of committed entries.
    pub(crate) fn committed(&self) -> u64 {
        // A single member may apply before its metrics tell the commit.
        self.committed.load(Ordering::Acquire).max(self.applied())
    }

    /// The number of applied entries.
    pub(crate) fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// Entries up to openraft's `index` are committed.
    pub(crate) fn set_committed(&self, index: u64) {
        self.committed.store(index + 1, Ordering::Release);
    }

    /// Entries up to openraft's `index` are applied, and readable.
    pub(crate) fn set_applied(&self, index: u64) {
        self.applied.store(index + 1, Ordering::Release);
    }

    /// The current term.
    pub(crate) fn term(&self) -> u64 {
        self.term.load(Ordering::Relaxed)
    }

    /// A new term.
    pub(crate) fn set_term(&self, term: u64) {
        self.term.store(term, Ordering::Relaxed);
    }

    /// There is no other member, learners included, and this one leads and has
    /// applied its term's first entry and the membership that says so: nobody
    /// else can have acknowledged anything that is not applied here.
    pub(crate) fn is_sole_leader(&self) -> bool {
        self.sole_leader.load(Ordering::Acquire)
    }

    /// Whether this member leads alone; no effect while that is held off.
    /// `also` hears of it under the same lock.
    pub(crate) fn set_sole_leader(&self, sole: bool, also: impl FnOnce(bool)) {
        let shared = self.shared.lock();
        let sole = sole && *shared == 0;
        self.sole_leader.store(sole, Ordering::Release);
        also(sole);
    }

    /// Ends what a sole leader may do, until as often as this is called
    /// [`Flow::allow_sole`] is: before another member can take part.
    pub(crate) fn hold_off_sole(&self, also: impl FnOnce(bool)) {
        let mut shared = self.shared.lock();
        *shared += 1;
        self.sole_leader.store(false, Ordering::Release);
        also(false);
    }

    /// Takes one hold back. Whoever follows the metrics decides anew.
    pub(crate) fn allow_sole(&self) {
        let mut shared = self.shared.lock();
        *shared = shared.saturating_sub(1);
    }

    /// Another member leads: proposals go there.
    pub(crate) fn follows(&self) -> bool {
        self.follows.load(Ordering::Relaxed)
    }

    /// Whether another member leads.
    pub(crate) fn set_follows(&self, follows: bool) {
        self.follows.store(follows, Ordering::Relaxed);
    }

    /// Voters that are a quorum have answered what was sent at this time, in
    /// microseconds of any clock of this process that does not go back.
    pub(crate) fn set_confirmed(&self, at_us: u64) {
        self.confirmed_us.store(at_us, Ordering::Release);
    }

    /// When a quorum last confirmed this member as the leader.
    pub(crate) fn confirmed_us(&self) -> u64 {
        self.confirmed_us.load(Ordering::Acquire)
    }

    /// Whether the storage engine asks for fewer writes.
    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    /// What the storage engine says.
    pub(crate) fn set_stalled(&self, stalled: bool) {
        self.stalled.store(stalled, Ordering::Relaxed);
    }
}

/// The way to the end: the first fault is reported, and only that one.
#[derive(Clone)]
pub(crate) struct FaultLine {
    flow: Arc<Flow>,
    observer: Arc<dyn Observer>,
}

impl FaultLine {
    /// Reports to `observer`, and shuts `flow`.
    pub(crate) fn new(flow: Arc<Flow>, observer: Arc<dyn Observer>) -> Self {
        Self { flow, observer }
    }

    /// Nothing is acknowledged after this. The first text goes to the observer.
    pub(crate) fn raise(&self, text: &str) {
        if self.flow.state.swap(FAILED, Ordering::AcqRel) != FAILED {
            tracing::error!("fatal: {text}");
            self.observer.fatal(text);
        }
    }

    /// Raises a fault if the thread that holds the guard panics.
    pub(crate) fn guard(&self, thread: &'static str) -> PanicGuard {
        PanicGuard {
            line: self.clone(),
            thread,
        }
    }
}

/// What the log reports as fatal goes through the fault line as well, so that
/// the process hears of one fault only. Measures pass through.
impl Observer for FaultLine {
    fn log_synced(&self, took: std::time::Duration) {
        self.observer.log_synced(took);
    }

    fn log_written(&self, bytes: u64, took: std::time::Duration) {
        self.observer.log_written(bytes, took);
    }

    fn chunk_applied(&self, entries: usize, took: std::time::Duration) {
        self.observer.chunk_applied(entries, took);
    }

    fn state_flushed(&self, took: std::time::Duration) {
        self.observer.state_flushed(took);
    }

    fn scrubbed(&self, rows: u64, took: std::time::Duration) {
        self.observer.scrubbed(rows, took);
    }

    fn compaction_finished(&self, took: std::time::Duration) {
        self.observer.compaction_finished(took);
    }

    fn state_leaves(&self, way: Way) {
        self.observer.state_leaves(way);
    }

    fn state_arrives(&self, way: Way, took: Option<std::time::Duration>) {
        self.observer.state_arrives(way, took);
    }

    fn removed(&self) {
        self.observer.removed();
    }

    fn fatal(&self, text: &str) {
        self.raise(text);
    }
}

/// See [`FaultLine::guard`].
pub(crate) struct PanicGuard {
    line: FaultLine,
    thread: &'static str,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.line
                .raise(&format!("the {} thread panicked", self.thread));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_above_the_limit_is_refused_until_it_shrinks() {
        let flow = Flow::default();
        flow.set_committed(BACKLOG_MAX - 1);
        assert_eq!(flow.admit(), Ok(()));
        flow.set_committed(BACKLOG_MAX);
        assert_eq!(flow.admit(), Err(ProposeError::Overloaded));
        flow.set_applied(0);
        assert_eq!(flow.admit(), Ok(()));
    }

    #[test]
    fn proposals_in_flight_are_bounded_in_number_and_bytes() {
        let flow = Flow::default();
        flow.depart(IN_FLIGHT_MAX, 0);
        assert_eq!(flow.admit(), Err(ProposeError::Overloaded));
        flow.arrive(1, 0);
        assert_eq!(flow.admit(), Ok(()));
        flow.depart(0, IN_FLIGHT_BYTES_MAX);
        assert_eq!(flow.admit(), Err(ProposeError::Overloaded));
    }

    #[test]
    fn only_the_first_fault_is_reported_and_nothing_is_admitted_after_it() {
        #[derive(Default)]
        struct Texts(parking_lot::Mutex<Vec<String>>);
        impl Observer for Texts {
            fn fatal(&self, text: &str) {
                self.0.lock().push(text.to_owned());
            }
        }
        let (flow, texts) = (Arc::new(Flow::default()), Arc::new(Texts::default()));
        let line = FaultLine::new(flow.clone(), texts.clone());
        line.raise("one");
        line.raise("two");
        flow.stop();
        assert_eq!(*texts.0.lock(), ["one"]);
        assert_eq!(flow.admit(), Err(ProposeError::Stopped));
        assert!(flow.has_failed());
    }
}
