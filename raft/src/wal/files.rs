//! The few file operations that the log needs, behind traits: tests stand in
//! files that forget what was not synced, or that fail on cue.

use std::{
    fs, io,
    os::{fd::AsRawFd as _, unix::fs::FileExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

/// A directory of files, flat.
pub trait Files: Send + Sync + 'static {
    /// Where the files are, for error texts.
    fn path_of(&self, name: &str) -> String;
    /// Keeps other processes out until the guard is dropped.
    fn lock(&self) -> io::Result<Box<dyn Send>>;
    /// The names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes a file of `bytes` zeros whose space is reserved, durably but for
    /// its name. An existing file of that name is replaced.
    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn File>>;
    /// Opens an existing file.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Gives a file another name; durable after `sync_names`.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Takes a name away; durable after `sync_names`.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes all changes of names durable.
    fn sync_names(&self) -> io::Result<()>;
}

/// One file.
pub trait File: Send + Sync + 'static {
    /// Its length.
    fn len(&self) -> io::Result<u64>;
    /// Whether its length is 0.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Reads all of `buffer` from `offset`.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`; durable after `sync`.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes all that was written durable.
    fn sync(&self) -> io::Result<()>;
}

/// A real directory.
pub struct Directory {
    path: PathBuf,
    handle: fs::File,
    sync: bool,
}

impl Directory {
    /// Opens the directory, and makes it if it is missing. With `sync` off
    /// nothing is ever made durable (etcd's `--unsafe-no-fsync`).
    pub fn open(path: &Path, sync: bool) -> io::Result<Self> {
        if !path.is_dir() {
            fs::create_dir_all(path)?;
            if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
                fs::File::open(parent)?.sync_all()?;
            }
        }
        Ok(Self {
            path: path.to_path_buf(),
            handle: fs::File::open(path)?,
            sync,
        })
    }

    fn wrap(&self, file: fs::File) -> Arc<dyn File> {
        Arc::new(RealFile {
            file,
            sync: self.sync,
        })
    }
}

impl Files for Directory {
    fn path_of(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }

    fn lock(&self) -> io::Result<Box<dyn Send>> {
        // A handle of its own: the lock goes when this one is closed.
        let handle = fs::File::open(&self.path)?;
        handle.try_lock().map_err(|error| match error {
            fs::TryLockError::Error(error) => error,
            fs::TryLockError::WouldBlock => io::Error::new(
                io::ErrorKind::ResourceBusy,
                "in use by another process, which must stop first",
            ),
        })?;
        Ok(Box::new(handle))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn File>> {
        let path = self.path.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = fs::File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        reserve(&file, bytes)?;
        if self.sync {
            file.sync_all()?;
        }
        Ok(self.wrap(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let file = fs::File::options()
            .read(true)
            .write(true)
            .open(self.path.join(name))?;
        Ok(self.wrap(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        if self.sync {
            self.handle.sync_all()?;
        }
        Ok(())
    }
}

struct RealFile {
    file: fs::File,
    sync: bool,
}

impl File for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        if self.sync {
            self.file.sync_data()?;
        }
        Ok(())
    }
}

/// Reserves space and sets the length: a write inside it changes no length,
/// so that syncing it needs no journal commit, and meets no full disk.
fn reserve(file: &fs::File, bytes: u64) -> io::Result<()> {
    let length = i64::try_from(bytes).map_err(io::Error::other)?;
    loop {
        // SAFETY: the descriptor is open for as long as `file` is borrowed,
        // and the call touches no memory of ours.
        if unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, length) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            // This file system can't reserve: write the zeros instead.
            Some(libc::EOPNOTSUPP | libc::ENOSYS) => return fill(file, bytes),
            _ => return Err(error),
        }
    }
}

fn fill(file: &fs::File, bytes: u64) -> io::Result<()> {
    let zeros = vec![0; 1 << 20];
    let mut offset = 0;
    while offset < bytes {
        let step = (bytes - offset).min(zeros.len() as u64);
        file.write_all_at(&zeros[..step as usize], offset)?;
        offset += step;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_is_all_zeros_and_full_length() {
        let dir = tempfile::tempdir().unwrap();
        let files = Directory::open(&dir.path().join("a/b"), true).unwrap();
        let file = files.create("x", 3 << 20).unwrap();
        file.write_all_at(b"data", 7).unwrap();
        let file = files.create("x", 3 << 20).unwrap();
        assert_eq!(file.len().unwrap(), 3 << 20);
        let mut bytes = vec![1; 3 << 20];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 0));
        assert_eq!(files.list().unwrap(), ["x"]);
    }

    #[test]
    fn the_lock_keeps_a_second_one_out() {
        let dir = tempfile::tempdir().unwrap();
        let first = Directory::open(dir.path(), true).unwrap();
        let second = Directory::open(dir.path(), true).unwrap();
        let guard = first.lock().unwrap();
        assert_eq!(
            second.lock().err().unwrap().kind(),
            io::ErrorKind::ResourceBusy
        );
        drop(guard);
        second.lock().unwrap();
    }
}
