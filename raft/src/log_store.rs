//! openraft's log storage over the log on disk.
//!
//! What openraft asks of a log, and where it is kept: a vote is durable when
//! `save_vote` returns; entries can be read when `append` returns, and its
//! callback follows their fdatasync; all writes reach the disk in the order
//! of the calls; there is never a hole; the committed hint goes
//! along with the next write. After an error nothing is acknowledged.

use crate::{
    error::OpenError,
    flow::Flow,
    observer::Observer,
    options::Identity,
    types::{Entry, LogId, TypeConfig, Vote},
    wal::{
        Durable, Wal,
        files::{Directory, Files},
    },
};
use futures_util::Stream;
use openraft::{
    OptionalSend, RaftLogReader,
    storage::{IOFlushed, LogState, RaftLogStorage},
};
use std::{
    fmt::Debug,
    io,
    ops::{Bound, Range, RangeBounds},
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    vec,
};
use sternpost_storage::failpoint;

/// The size of a segment: small, because one in use and one in spare are there
/// always, and the state is flushed after 32 MiB of log at the latest.
pub const SEGMENT_BYTES: u64 = 8 << 20;
/// What a limited read returns at most, but for a single longer entry: one
/// message to a peer.
const LIMITED_BYTES_MAX: usize = 1 << 20;

/// How a log is opened.
#[derive(Clone, Debug)]
pub struct WalOptions {
    /// Its directory; made if it is missing.
    pub dir: PathBuf,
    /// The size of new segments; [`SEGMENT_BYTES`] but for tests.
    pub segment_bytes: u64,
    /// Whose log to make when there is none; ignored otherwise.
    pub identity: Option<Identity>,
    /// Never sync: a crash of the machine may lose everything.
    pub unsafe_no_fsync: bool,
}

/// What was found in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Whose log it is.
    pub identity: Identity,
    /// The last vote.
    pub vote: Option<Vote>,
    /// The last committed hint.
    pub committed: Option<LogId>,
    /// The last purged entry.
    pub purged: Option<LogId>,
    /// The last entry; the last purged one if there is none.
    pub last: Option<LogId>,
}

/// The raft log of this member. Cheap to clone; the last clone closes it.
#[derive(Clone)]
pub struct LogStore {
    wal: Arc<Wal>,
    flow: Option<Arc<Flow>>,
}

impl LogStore {
    /// Opens the log, or makes one. Everything found is durable then.
    pub fn open(
        options: &WalOptions,
        observer: Arc<dyn Observer>,
    ) -> Result<(Self, Recovered), OpenError> {
        let files = Directory::open(&options.dir, !options.unsafe_no_fsync);
        let files = files.map_err(|source| OpenError::Io {
            path: options.dir.display().to_string(),
            source,
        })?;
        Self::open_in(Arc::new(files), options, observer)
    }

    /// Opens the log in other files than a real directory's.
    pub fn open_in(
        files: Arc<dyn Files>,
        options: &WalOptions,
        observer: Arc<dyn Observer>,
    ) -> Result<(Self, Recovered), OpenError> {
        let wal = Wal::open(files, options.segment_bytes, options.identity, observer)?;
        Ok(Self::over(wal))
    }

    /// Opens the log without a thread: [`LogStore::turn`] does its work.
    #[cfg(any(test, feature = "testing"))]
    pub fn open_idle(
        files: Arc<dyn Files>,
        options: &WalOptions,
        observer: Arc<dyn Observer>,
    ) -> Result<(Self, Recovered), OpenError> {
        let wal = Wal::open_idle(files, options.segment_bytes, options.identity, observer)?;
        Ok(Self::over(wal))
    }

    /// One round of the log's writer; false once it has ended.
    #[cfg(any(test, feature = "testing"))]
    pub fn turn(&self) -> bool {
        self.wal.turn()
    }

    fn over(wal: Wal) -> (Self, Recovered) {
        let marks = wal.marks();
        let recovered = Recovered {
            identity: wal.identity(),
            vote: marks.vote,
            committed: marks.committed,
            purged: marks.purged,
            last: marks.last,
        };
        let log = Self {
            wal: Arc::new(wal),
            flow: None,
        };
        (log, recovered)
    }

    /// The same log, telling `flow` what is committed: openraft says it here
    /// before anything else hears of it.
    pub(crate) fn telling(mut self, flow: Arc<Flow>) -> Self {
        self.flow = Some(flow);
        self
    }

    /// How far the log is durable on this member: an entry is applied only
    /// after that.
    pub fn durable(&self) -> Durable {
        self.wal.durable()
    }

    /// Whether this member is the only one. It has no effect on what is in
    /// the log or when it is durable, only on which thread writes small appends.
    pub fn set_alone(&self, alone: bool) {
        self.wal.set_alone(alone);
    }

    /// Whether another member leads. It has the same effect as above.
    pub fn set_follows(&self, follows: bool) {
        self.wal.set_follows(follows);
    }

    /// Writes what a leader with followers appends, if it is small, on the thread
    /// it is appended on. Until it is dropped.
    pub async fn take_turns(&self) {
        self.wal.take_turns().await;
    }

    /// Whether the disk counts as quick from now on, whatever it does.
    #[cfg(any(test, feature = "testing"))]
    pub fn set_quick(&self, quick: bool) {
        self.wal.set_quick(quick);
    }

    /// About how many bytes the log holds from `index` on.
    pub fn log_bytes_since(&self, index: u64) -> u64 {
        self.wal.bytes_since(index)
    }

    /// The index of the first entry and the one after the last.
    pub fn range(&self) -> Range<u64> {
        let marks = self.wal.marks();
        marks.first..marks.end()
    }

    /// Lets the log go on behind `mark`, the end of a state that was installed
    /// while the log knew nothing of it; says whether anything had to be done.
    /// What the log holds that contradicts the state goes.
    pub(crate) fn forward(&self, mark: LogId) -> io::Result<bool> {
        let marks = self.wal.marks();
        if marks.purged >= Some(mark) {
            return Ok(false);
        }
        let own = self.wal.read(mark.index..mark.index + 1, usize::MAX)?;
        match own.first() {
            // The log went further already: it is behind the state as it is.
            Some(own) if own.log_id == mark => return Ok(false),
            Some(_) => self.wal.truncate(marks.purged)?,
            None => {}
        }
        self.wal.purge(mark)?;
        Ok(true)
    }

    /// Writes what is queued and ends the writer thread. Nothing is accepted
    /// after this.
    pub fn close(&self) {
        self.wal.close();
    }
}

fn bounds(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<Entry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        self.wal.read(bounds(&range), usize::MAX)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.wal.vote())
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.wal.read(start..end, LIMITED_BYTES_MAX)
    }

    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        EntryStream {
            wal: self.wal.clone(),
            rest: bounds(&range),
            ready: Vec::new().into_iter(),
        }
    }
}

/// Entries read piece by piece, always ready: apply drains what is ready into
/// one chunk.
struct EntryStream {
    wal: Arc<Wal>,
    rest: Range<u64>,
    ready: vec::IntoIter<Entry>,
}

impl Stream for EntryStream {
    type Item = io::Result<Entry>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ready.len() == 0 && !this.rest.is_empty() {
            match this.wal.read(this.rest.clone(), LIMITED_BYTES_MAX) {
                Ok(entries) => {
                    this.rest.start = match entries.last() {
                        Some(last) => last.log_id.index + 1,
                        None => this.rest.end,
                    };
                    this.ready = entries.into_iter();
                }
                Err(error) => {
                    this.rest.start = this.rest.end;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        Poll::Ready(this.ready.next().map(Ok))
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let marks = self.wal.marks();
        Ok(LogState {
            last_purged_log_id: marks.purged,
            last_log_id: marks.last,
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        failpoint!("raftBeforeSaveVote");
        let durable = self.wal.save_vote(*vote)?;
        let stopped = |_| io::Error::other("the log is closed");
        durable.await.map_err(stopped)??;
        failpoint!("raftAfterSaveVote");
        self.wal.vote_saved(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        if let (Some(flow), Some(committed)) = (&self.flow, &committed) {
            flow.set_committed(committed.index);
        }
        self.wal.save_committed(committed)
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.wal.marks().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.wal.append(entries.into_iter(), callback)
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        self.wal.truncate(last_log_id)
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        self.wal.purge(log_id)
    }
}
