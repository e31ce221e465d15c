//! The receiver's files: what has arrived is kept across a cut, and checked as
//! a whole before it is used. Runs where it may block.

use super::{Arrival, receive::Slot, stores};
use crate::room::free_bytes;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};
use sternpost_proto::internal::{self as pb, SnapshotProgress, snapshot_progress::Step};
use sternpost_storage::{SnapshotFile, SnapshotState, failpoint, snapshot};
use tokio::sync::mpsc;

/// What is taken in one piece.
const CHUNK_BYTES_MAX: usize = 1 << 20;

/// The sender hears each time this much has been received or checked.
const WORKING_BYTES: u64 = 1 << 20;

/// What must be left on the disk beside the copy.
const ROOM_LEFT_BYTES: u64 = 64 << 20;

fn invalid(detail: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, detail.into())
}

/// Tells the sender that work goes on; an error once it has gone.
pub(super) struct Working {
    pub(super) progress: mpsc::Sender<SnapshotProgress>,
    pub(super) bytes: u64,
}

impl Working {
    fn did(&mut self, bytes: usize) -> io::Result<()> {
        if self.progress.is_closed() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let before = self.bytes / WORKING_BYTES;
        self.bytes += bytes as u64;
        if self.bytes / WORKING_BYTES > before {
            let working = pb::SnapshotWorking { bytes: self.bytes };
            // One that finds no place says nothing new.
            let _ = self.progress.try_send(SnapshotProgress {
                step: Some(Step::Working(working)),
            });
        }
        Ok(())
    }
}

/// A file on its way.
#[derive(Default)]
struct Received {
    bytes: u64,
    crc: u32,
    /// Ended, compared and durable.
    complete: bool,
}

/// A copy on its way.
pub(super) struct Incoming {
    dir: PathBuf,
    slot: Slot,
    files: Vec<SnapshotFile>,
    received: Vec<Received>,
    /// The file that is being written.
    open: Option<(usize, File)>,
    working: Working,
}

impl Incoming {
    /// Goes on with what an earlier transfer of the same files has left in
    /// `dir`; what can't be part of them is removed.
    pub(super) fn open(
        dir: PathBuf,
        slot: Slot,
        files: Vec<SnapshotFile>,
        mut working: Working,
    ) -> io::Result<Self> {
        stores::make(&dir)?;
        let mut left = leftovers(&dir, &files)?;
        let mut received = Vec::with_capacity(files.len());
        for file in &files {
            let Some(path) = left.remove(&file.name) else {
                received.push(Received::default());
                continue;
            };
            let did = &mut |bytes| working.did(bytes);
            let (bytes, crc) = snapshot::checksum(&path, u64::MAX, did)?;
            received.push(Received {
                bytes,
                crc,
                complete: false,
            });
        }
        let incoming = Self {
            dir,
            slot,
            files,
            received,
            open: None,
            working,
        };
        incoming.check_room()?;
        Ok(incoming)
    }

    fn check_room(&self) -> io::Result<()> {
        let wanted: u64 = self.files.iter().map(|file| file.bytes).sum();
        let here: u64 = self.received.iter().map(|received| received.bytes).sum();
        let wanted = wanted.saturating_sub(here).saturating_add(ROOM_LEFT_BYTES);
        match free_bytes(&self.dir) {
            Some(free) if free < wanted => Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!("the copy needs {wanted} bytes, the disk has {free} left"),
            )),
            _ => Ok(()),
        }
    }

    /// What is there already.
    pub(super) fn parts(&self) -> Vec<pb::SnapshotPart> {
        let received = self.received.iter().enumerate();
        received
            .filter(|(_, received)| received.bytes > 0)
            .map(|(file, received)| pb::SnapshotPart {
                file: file as u32,
                bytes: received.bytes,
                crc32c: received.crc,
            })
            .collect()
    }

    /// Takes a piece.
    pub(super) fn write(&mut self, chunk: &pb::SnapshotChunk) -> io::Result<()> {
        failpoint!("snapBeforeReceive", io::Error::other);
        let number = chunk.file as usize;
        let (Some(file), Some(received)) = (self.files.get(number), self.received.get_mut(number))
        else {
            return Err(invalid("a piece of a file that was not announced"));
        };
        let path = self.dir.join(&file.name);
        if received.complete || chunk.data.len() > CHUNK_BYTES_MAX {
            return Err(invalid(format!(
                "{}: a piece too many, or too large",
                file.name
            )));
        }
        if self.open.as_ref().is_none_or(|(open, _)| *open != number) {
            let again = chunk.offset > 0;
            let options = &mut File::options();
            options.create(true).append(true);
            let opened = options.open(&path)?;
            if !again {
                opened.set_len(0)?;
                *received = Received::default();
            }
            self.open = Some((number, opened));
        }
        let end = chunk.offset.checked_add(chunk.data.len() as u64);
        if chunk.offset != received.bytes || end.is_none_or(|end| end > file.bytes) {
            return Err(invalid(format!(
                "{}: a piece that does not follow",
                file.name
            )));
        }
        let Some((_, open)) = &mut self.open else {
            return Err(invalid("no file is open"));
        };
        open.write_all(&chunk.data)?;
        received.bytes += chunk.data.len() as u64;
        received.crc = crc32c::crc32c_append(received.crc, &chunk.data);
        if chunk.last {
            if (received.bytes, received.crc) != (file.bytes, chunk.crc32c) {
                fs::remove_file(&path)?;
                return Err(invalid(format!(
                    "{}: checksum or length is wrong",
                    file.name
                )));
            }
            open.sync_all()?;
            received.complete = true;
            self.open = None;
        }
        self.working.did(chunk.data.len())
    }

    /// Checks that all is there, and that it is the state announced.
    pub(super) fn finish(mut self, state: SnapshotState) -> io::Result<Arrival> {
        if !self.received.iter().all(|received| received.complete) {
            return Err(invalid("the end came before all files"));
        }
        failpoint!("snapBeforeVerify", io::Error::other);
        let crcs = self.received.iter().map(|received| received.crc);
        let files: Vec<_> = self.files.into_iter().zip(crcs).collect();
        self.slot.nothing_left();
        // From here on it is removed if it is not what it should be.
        let arrival = Arrival {
            dir: self.dir,
            state,
            _slot: self.slot,
        };
        let did = &mut |bytes| self.working.did(bytes);
        snapshot::verify(&arrival.dir, &files, did)
            .and_then(|()| snapshot::prepare(&arrival.dir, &arrival.state))
            .map_err(io::Error::other)?;
        Ok(arrival)
    }
}

/// What an earlier transfer left of these files. All else is removed.
fn leftovers(dir: &Path, files: &[SnapshotFile]) -> io::Result<BTreeMap<String, PathBuf>> {
    let wanted: BTreeMap<&str, u64> = files
        .iter()
        .map(|file| (file.name.as_str(), file.bytes))
        .collect();
    let mut left = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let (name, path) = (entry.file_name(), entry.path());
        let metadata = fs::symlink_metadata(&path)?;
        let announced = name.to_str().and_then(|name| wanted.get(name));
        if metadata.is_dir() {
            stores::remove(&path)?;
        } else if metadata.is_file() && announced.is_some_and(|bytes| metadata.len() <= *bytes) {
            left.insert(name.to_string_lossy().into_owned(), path);
        } else {
            fs::remove_file(&path)?;
        }
    }
    Ok(left)
}
