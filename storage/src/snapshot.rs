//! A whole store as a set of files: described by who made it, and checked
//! before it is opened by whoever got it from another member.
//!
//! The files are those of a checkpoint. A name says nothing but which file of
//! a store it is: whatever else a peer announces is refused here.

use crate::{
    backend::{Memory, ROWS, Read, Rocks, get_owned},
    error::Fault,
    ids::LogMark,
    options::StorageOptions,
    schema::{
        Family,
        meta::{self, StateRow},
    },
    state_machine::StateMachine,
};
use bytes::Bytes;
use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read as _},
    path::Path,
};

/// Files that a store may have. RocksDB's are 32 MiB, so it is terabytes.
const FILES_MAX: usize = 65_536;

/// What RocksDB writes for itself into any directory it opens.
const NOTES: [&str; 3] = ["LOG", "LOCK", "IDENTITY"];

/// Read at once when a file is checked.
const READ_BYTES: usize = 1 << 20;

/// The cache of a store that is opened only to be looked at.
const LOOK_CACHE_BYTES: usize = 4 << 20;

/// One file of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFile {
    /// Its name, without a directory.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// What a store holds, in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotState {
    /// The last entry applied.
    pub applied: LogMark,
    /// `internal::StoredMembership`, encoded.
    pub membership: Option<Bytes>,
    /// The current revision.
    pub revision: i64,
    /// The state digest.
    pub digest: u32,
}

/// A store copied into a directory of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// What it holds.
    pub state: SnapshotState,
    /// Its files, those that never change first.
    pub files: Vec<SnapshotFile>,
}

impl Checkpoint {
    /// Describes the checkpoint in `dir`.
    pub(crate) fn read(dir: &Path) -> Result<Self, Fault> {
        let files = list(dir)?;
        let state = if dir.join(ROWS).exists() {
            SnapshotState::read(&Memory::load(dir)?)?
        } else {
            SnapshotState::read(&Rocks::open_to_read(&look(dir))?)?
        };
        Ok(Self { state, files })
    }
}

fn look(dir: &Path) -> StorageOptions {
    StorageOptions {
        block_cache_bytes: LOOK_CACHE_BYTES,
        ..StorageOptions::at(dir)
    }
}

impl SnapshotState {
    /// What a store holds.
    pub(crate) fn read(read: &dyn Read) -> Result<Self, Fault> {
        let row = get_owned(read, Family::Meta, meta::STATE)?;
        let state = row.map_or(Ok(StateRow::default()), |row| StateRow::decode(&row))?;
        let applied = state.applied.ok_or_else(|| {
            Fault::Backend("nothing has been applied yet: there is nothing to copy".to_owned())
        })?;
        Ok(Self {
            applied,
            membership: get_owned(read, Family::Meta, meta::MEMBERSHIP)?.map(Bytes::from),
            revision: state.revision,
            digest: state.digest,
        })
    }
}

fn list(dir: &Path) -> Result<Vec<SnapshotFile>, Fault> {
    let io = |error: io::Error| Fault::Backend(format!("{}: {error}", dir.display()));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_note(&name) {
            continue;
        }
        let bytes = entry.metadata().map_err(io)?.len();
        files.push(SnapshotFile { name, bytes });
    }
    // Numbers, which name the files that never change, sort before letters.
    files.sort_by(|a, b| a.name.cmp(&b.name));
    check_files(&files).map_err(|detail| Fault::Corrupt {
        place: dir.display().to_string(),
        detail,
    })?;
    Ok(files)
}

fn is_note(name: &str) -> bool {
    NOTES.contains(&name) || name.starts_with("LOG.old.")
}

/// Whether these can be the files of one store. The error says why not.
pub fn check_files(files: &[SnapshotFile]) -> Result<(), String> {
    if files.len() > FILES_MAX {
        return Err(format!("{} files are too many", files.len()));
    }
    let mut names = BTreeSet::new();
    let mut total = 0u64;
    for file in files {
        if !is_known(&file.name) {
            return Err(format!("{:?} is no file of a store", file.name));
        }
        if !names.insert(file.name.as_str()) {
            return Err(format!("{} is named twice", file.name));
        }
        total = total
            .checked_add(file.bytes)
            .filter(|&total| i64::try_from(total).is_ok())
            .ok_or("larger than any disk")?;
    }
    let manifests = names
        .iter()
        .filter(|name| name.starts_with("MANIFEST-"))
        .count();
    let rocks = names.contains("CURRENT") && manifests == 1 && !names.contains(ROWS);
    let memory = names.len() == 1 && names.contains(ROWS);
    match rocks || memory {
        true => Ok(()),
        false => Err("the files do not make a store".to_owned()),
    }
}

fn is_known(name: &str) -> bool {
    let is_number =
        |text: &str| (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let numbered = ["MANIFEST-", "OPTIONS-"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .or_else(|| name.strip_suffix(".sst"))
        .or_else(|| name.strip_suffix(".log"));
    name == "CURRENT" || name == ROWS || numbered.is_some_and(is_number)
}

/// CRC-32C of the first `bytes` of a file, or of fewer if it is shorter, and
/// how many there were. `read` hears of each piece and may end it.
pub fn checksum(
    path: &Path,
    bytes: u64,
    read: &mut dyn FnMut(usize) -> io::Result<()>,
) -> io::Result<(u64, u32)> {
    let mut file = File::open(path)?.take(bytes);
    let mut buffer = vec![0; READ_BYTES];
    let (mut total, mut crc) = (0, 0);
    loop {
        let got = file.read(&mut buffer)?;
        if got == 0 {
            return Ok((total, crc));
        }
        crc = crc32c::crc32c_append(crc, &buffer[..got]);
        total += got as u64;
        read(got)?;
    }
}

/// Checks a directory that came from another member, byte by byte, before it
/// is opened: these files with these checksums, and nothing else.
pub fn verify(
    dir: &Path,
    files: &[(SnapshotFile, u32)],
    read: &mut dyn FnMut(usize) -> io::Result<()>,
) -> Result<(), Fault> {
    let wrong = |name: &str, detail: String| Fault::Corrupt {
        place: dir.join(name).display().to_string(),
        detail,
    };
    let plain: Vec<SnapshotFile> = files.iter().map(|(file, _)| file.clone()).collect();
    check_files(&plain).map_err(|detail| wrong("", detail))?;
    let entries = std::fs::read_dir(dir).map_err(|error| wrong("", error.to_string()))?;
    for entry in entries {
        let entry = entry.map_err(|error| wrong("", error.to_string()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if !is_file || !plain.iter().any(|file| file.name == name) {
            return Err(wrong(&name, "it does not belong to the copy".to_owned()));
        }
    }
    for (file, crc) in files {
        let found = checksum(&dir.join(&file.name), u64::MAX, read)
            .map_err(|error| wrong(&file.name, error.to_string()))?;
        if found != (file.bytes, *crc) {
            let detail = format!(
                "{} bytes with checksum {:08x}, announced were {} with {crc:08x}",
                found.0, found.1, file.bytes
            );
            return Err(wrong(&file.name, detail));
        }
    }
    Ok(())
}

/// Opens a verified directory, compares what it holds with what was
/// announced, and marks it as installed. Durable when this returns, but for
/// its name; it is closed again.
pub fn prepare(dir: &Path, announced: &SnapshotState) -> Result<(), Fault> {
    let mut machine = StateMachine::open_snapshot(&look(dir))?;
    let found = machine.describe()?;
    if found != *announced {
        return Err(Fault::Corrupt {
            place: dir.display().to_string(),
            detail: format!("it holds {found:?}, announced was {announced:?}"),
        });
    }
    machine.mark_installed(announced.applied)?;
    let io = |error: io::Error| Fault::Backend(format!("{}: {error}", dir.display()));
    if dir.join(ROWS).exists() {
        let copy = dir.join("copy");
        machine.copy_to(&copy)?;
        std::fs::rename(copy.join(ROWS), dir.join(ROWS)).map_err(io)?;
        std::fs::remove_dir(&copy).map_err(io)?;
    }
    drop(machine);
    sync(dir).map_err(io)
}

/// Makes a directory's names durable.
fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests;
