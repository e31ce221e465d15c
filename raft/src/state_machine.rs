//! openraft's view of the state machine: collects what is ready to apply into
//! chunks and hands them to the apply worker.
//!
//! A chunk goes to the worker only once the local log is durable up to its
//! end, so what the store holds is never ahead of its own log, whatever
//! crashes. A snapshot is a mark of what the store has flushed, until it is
//! sent; one that comes from another member replaces the store.

use crate::{
    apply_worker::{Chunk, JobSender},
    codec,
    snapshot::{SnapshotData, Snapshots},
    types::{Entry, EntryPayload, LogId, StoredMembership, TypeConfig, log_id},
    wal::Durable,
};
use bytes::Bytes;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use openraft::{
    OptionalSend, RaftSnapshotBuilder,
    storage::{ApplyResponder, EntryResponder, RaftStateMachine},
    type_config::alias::{SnapshotMetaOf, SnapshotOf},
};
use parking_lot::Mutex;
use prost::Message as _;
use std::{io, sync::Arc};
use sternpost_proto::internal;
use sternpost_storage::LogMark;
use tokio::sync::oneshot;

/// openraft, as this crate uses it.
pub(crate) type Raft = openraft::Raft<TypeConfig, Applier>;

/// Entries in a chunk: one write batch, one published view. As many as
/// openraft merges into one append.
const CHUNK_ENTRIES_MAX: usize = 4096;

/// Bytes in a chunk. A chunk delays the answers of its first entries until
/// its last is applied, and its write batch is held in memory.
const CHUNK_BYTES_MAX: usize = 4 << 20;

/// A position of the store: an entry, and the membership in force there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) mark: Option<LogMark>,
    /// `internal::StoredMembership`, encoded.
    pub(crate) membership: Option<Bytes>,
}

impl Position {
    fn log_id(&self) -> Option<LogId> {
        self.mark.map(|mark| log_id(mark.term, mark.index))
    }

    pub(crate) fn stored_membership(&self) -> io::Result<StoredMembership> {
        match &self.membership {
            Some(bytes) => {
                let message = internal::StoredMembership::decode(bytes.clone())?;
                codec::stored_membership_from_message(message)
            }
            None => Ok(StoredMembership::default()),
        }
    }

    /// The state there or later, which is copied only when it is sent: whoever
    /// installs it holds at least what openraft is told here.
    fn snapshot(
        &self,
        snapshots: &Arc<Snapshots>,
    ) -> io::Result<Option<SnapshotOf<TypeConfig, SnapshotData>>> {
        let Some(last_log_id) = self.log_id() else {
            return Ok(None);
        };
        let last_membership = self.stored_membership()?;
        let meta = SnapshotMetaOf::<TypeConfig> {
            last_log_id: Some(last_log_id),
            last_membership,
        };
        Ok(Some(SnapshotOf::<TypeConfig, SnapshotData> {
            meta,
            snapshot: snapshots.own(self),
        }))
    }
}

/// What the store has applied, and what a crash leaves of it.
#[derive(Default)]
pub(crate) struct Positions {
    /// Readable.
    pub(crate) applied: Mutex<Position>,
    /// On disk.
    pub(crate) flushed: Mutex<Position>,
}

/// What openraft owns in the state machine's place.
pub(crate) struct Applier {
    pub(crate) worker: JobSender,
    pub(crate) durable: Durable,
    pub(crate) positions: Arc<Positions>,
    pub(crate) snapshots: Arc<Snapshots>,
}

/// Entries that are ready, and who waits for them inside openraft.
#[derive(Default)]
struct Ready {
    entries: Vec<Entry>,
    responders: Vec<ApplyResponder<TypeConfig>>,
    bytes: usize,
}

impl Ready {
    /// Waits for a first entry, then takes along what is there already.
    /// `None` at the end of the stream.
    async fn collect<S>(stream: &mut S) -> io::Result<Option<Self>>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin,
    {
        let mut ready = Self::default();
        let mut next = stream.next().await;
        while let Some(item) = next {
            let (entry, responder) = item?;
            if let EntryPayload::Normal(data) = &entry.payload {
                ready.bytes += data.encoded().len();
            }
            ready.entries.push(entry);
            ready.responders.extend(responder);
            if ready.entries.len() >= CHUNK_ENTRIES_MAX || ready.bytes >= CHUNK_BYTES_MAX {
                break;
            }
            next = stream.next().now_or_never().flatten();
        }
        Ok((!ready.entries.is_empty()).then_some(ready))
    }
}

impl RaftStateMachine<TypeConfig> for Applier {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = FlushedMark;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let applied = self.positions.applied.lock();
        Ok((applied.log_id(), applied.stored_membership()?))
    }

    async fn apply<S>(&mut self, mut stream: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(ready) = Ready::collect(&mut stream).await? {
            let last = ready.entries.last().expect("a chunk is never empty").log_id;
            self.durable
                .wait(last.index)
                .await
                .map_err(io::Error::other)?;
            // The worker has said why when it ends.
            let stopped = || io::Error::other("the state machine has stopped");
            match self.worker.apply_here(&ready.entries, ready.bytes) {
                Some(true) => {}
                Some(false) => return Err(stopped()),
                None => {
                    let (done, applied) = oneshot::channel();
                    self.worker.send(Chunk {
                        entries: ready.entries,
                        bytes: ready.bytes,
                        done,
                    })?;
                    applied.await.map_err(|_| stopped())?;
                }
            }
            for responder in ready.responders {
                responder.send(());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> FlushedMark {
        FlushedMark {
            positions: self.positions.clone(),
            snapshots: self.snapshots.clone(),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<TypeConfig>,
        snapshot: SnapshotData,
    ) -> Result<(), io::Error> {
        let SnapshotData::Arrived(arrival) = snapshot else {
            // openraft installs none of our own, because it is never ahead.
            return Err(io::Error::other(format!("snapshot {meta}: it is our own")));
        };
        let (done, installed) = oneshot::channel();
        self.worker.install(arrival, done)?;
        // The worker has said why when it ends.
        let stopped = |_| io::Error::other("the state machine has stopped");
        installed.await.map_err(stopped)
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<SnapshotOf<TypeConfig, SnapshotData>>, io::Error> {
        self.positions.flushed.lock().snapshot(&self.snapshots)
    }
}

/// Builds a snapshot: reads off what has been flushed.
pub(crate) struct FlushedMark {
    positions: Arc<Positions>,
    snapshots: Arc<Snapshots>,
}

impl RaftSnapshotBuilder<TypeConfig> for FlushedMark {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<TypeConfig, SnapshotData>, io::Error> {
        let flushed = self.positions.flushed.lock();
        flushed
            .snapshot(&self.snapshots)?
            .ok_or_else(|| io::Error::other("nothing has been flushed yet"))
    }
}
