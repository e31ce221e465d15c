//! The sender's files: copies the store, and streams what the receiver lacks.
//! Runs where it may block, and not faster than the leader can spare.

use super::{CHUNK_BYTES, Snapshots, stores};
use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use sternpost_proto::internal::{
    self as pb, SnapshotChunk, SnapshotPart, SnapshotUpload, snapshot_upload::Part,
};
use sternpost_storage::{Checkpoint, failpoint, snapshot};
use tokio::sync::{mpsc, oneshot};

/// What a transfer may take from disk and wire. A store of 8 GiB takes a
/// minute and a half; the leader's own writes hardly notice.
const BYTES_PER_SEC: u64 = 96 << 20;

/// One transfer's way through the store's files.
pub(super) struct Upload {
    pub(super) snapshots: Arc<Snapshots>,
    /// The leader's.
    pub(super) vote: pb::Vote,
    pub(super) uploads: mpsc::Sender<SnapshotUpload>,
    /// What the receiver has already.
    pub(super) have: oneshot::Receiver<Vec<SnapshotPart>>,
}

/// The copy, as long as it is needed.
struct Copied(PathBuf);

impl Drop for Copied {
    fn drop(&mut self) {
        if let Err(error) = stores::remove(&self.0) {
            tracing::warn!(dir = %self.0.display(), %error, "a sent copy can't be removed");
        }
    }
}

fn gone<T>(_: T) -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the transfer has been given up")
}

impl Upload {
    /// Copies and sends all. Blocks; ends early once nobody takes the pieces.
    pub(super) fn run(self) -> io::Result<()> {
        let begun = Instant::now();
        let copy = Copied(self.snapshots.outgoing());
        stores::make(&self.snapshots.stores.outgoing())?;
        let checkpoint = self.snapshots.flusher.checkpoint(&copy.0);
        let checkpoint = checkpoint.map_err(io::Error::other)?;
        let total: u64 = checkpoint.files.iter().map(|file| file.bytes).sum();
        let applied = checkpoint.state.applied;
        tracing::info!(
            applied.term, applied.index, bytes = total, files = checkpoint.files.len(),
            took = ?begun.elapsed(), "state copied, to be sent"
        );
        failpoint!("snapBeforeSend", io::Error::other);
        self.send(Part::Offer(offer(self.vote, &checkpoint)))?;
        let Self { uploads, have, .. } = self;
        let have = have.blocking_recv().map_err(gone)?;
        let mut pieces = Pieces {
            uploads,
            begun: Instant::now(),
            sent: 0,
        };
        for (number, file) in checkpoint.files.iter().enumerate() {
            let part = have.iter().find(|part| part.file as usize == number);
            let begin = part.filter(|part| part.bytes <= file.bytes);
            pieces.file(number as u32, &copy.0.join(&file.name), begin)?;
        }
        pieces.send(Part::End(pb::SnapshotEnd {}))?;
        tracing::info!(bytes = pieces.sent, took = ?begun.elapsed(), "state sent");
        Ok(())
    }

    fn send(&self, part: Part) -> io::Result<()> {
        let upload = SnapshotUpload { part: Some(part) };
        self.uploads.blocking_send(upload).map_err(gone)
    }
}

fn offer(vote: pb::Vote, checkpoint: &Checkpoint) -> pb::SnapshotOffer {
    let state = &checkpoint.state;
    let files = checkpoint.files.iter().map(|file| pb::SnapshotFile {
        name: file.name.clone(),
        bytes: file.bytes,
    });
    pb::SnapshotOffer {
        vote: Some(vote),
        last: Some(pb::LogId {
            term: state.applied.term,
            index: state.applied.index,
        }),
        membership: state.membership.clone().unwrap_or_default(),
        revision: state.revision,
        state_digest: state.digest,
        files: files.collect(),
    }
}

/// Pieces on their way, at a bounded pace.
struct Pieces {
    uploads: mpsc::Sender<SnapshotUpload>,
    begun: Instant,
    sent: u64,
}

impl Pieces {
    /// Sends what the receiver lacks of one file.
    fn file(&mut self, number: u32, path: &Path, have: Option<&SnapshotPart>) -> io::Result<()> {
        let (mut offset, mut crc) = match have {
            Some(part) if is_ours(path, part)? => (part.bytes, part.crc32c),
            _ => (0, 0),
        };
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        loop {
            let mut data = Vec::with_capacity(CHUNK_BYTES);
            let got = (&mut file)
                .take(CHUNK_BYTES as u64)
                .read_to_end(&mut data)?;
            crc = crc32c::crc32c_append(crc, &data);
            let last = got < CHUNK_BYTES;
            self.send(Part::Chunk(SnapshotChunk {
                file: number,
                offset,
                data: data.into(),
                last,
                crc32c: if last { crc } else { 0 },
            }))?;
            offset += got as u64;
            self.sent += got as u64;
            if last {
                return Ok(());
            }
            self.rest();
        }
    }

    fn send(&self, part: Part) -> io::Result<()> {
        let upload = SnapshotUpload { part: Some(part) };
        self.uploads.blocking_send(upload).map_err(gone)
    }

    /// Sleeps as long as the pieces are ahead of their pace.
    fn rest(&self) {
        let due = Duration::from_secs_f64(self.sent as f64 / BYTES_PER_SEC as f64);
        std::thread::sleep(due.saturating_sub(self.begun.elapsed()));
    }
}

/// Whether what the receiver has is how this file begins.
fn is_ours(path: &Path, part: &SnapshotPart) -> io::Result<bool> {
    let found = snapshot::checksum(path, part.bytes, &mut |_| Ok(()))?;
    Ok(found == (part.bytes, part.crc32c))
}
