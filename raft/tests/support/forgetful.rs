//! Files in memory that lose on a power cut what was not synced, and fail on
//! cue. As on a real disk, any of the unsynced sectors may have arrived.

use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use sternpost_raft::wal::files::{File, Files};

/// What a disk writes in one piece.
const SECTOR: usize = 512;

/// A directory that forgets.
#[derive(Clone, Default)]
pub struct Forgetful {
    disk: Arc<Disk>,
}

#[derive(Default)]
struct Disk {
    names: Mutex<Names>,
    locked: Arc<AtomicBool>,
    faults: Faults,
    watcher: Mutex<Option<Arc<Watcher>>>,
    before_read: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

/// Called before each operation that changes something.
type Watcher = dyn Fn(&Forgetful) + Send + Sync;

#[derive(Default)]
struct Names {
    now: BTreeMap<String, Arc<Content>>,
    durable: BTreeMap<String, Arc<Content>>,
}

#[derive(Default)]
struct Faults {
    /// The next sync fails.
    sync: AtomicBool,
    /// Syncs do nothing, as a disk that lies.
    lie: AtomicBool,
    /// No room for a new file.
    full: AtomicBool,
    /// No room for a write.
    no_writes: AtomicBool,
    /// Attempts that met a full disk.
    refused: AtomicU64,
    syncs: AtomicU64,
}

struct Content {
    bytes: Mutex<Bytes>,
    disk: std::sync::Weak<Disk>,
}

#[derive(Clone, Default)]
struct Bytes {
    now: Vec<u8>,
    durable: Vec<u8>,
}

impl Forgetful {
    /// The power goes. Each sector that was written and not synced is lost or
    /// not, as `arrived` says; names that were not synced are lost.
    pub fn power_cut(&self, mut arrived: impl FnMut() -> bool) -> Forgetful {
        let names = self.disk.names.lock();
        let after = Forgetful::default();
        let mut copies = Names::default();
        for (name, content) in &names.durable {
            let bytes = content.bytes.lock();
            let mut left = bytes.durable.clone();
            left.resize(bytes.now.len(), 0);
            for start in (0..left.len()).step_by(SECTOR) {
                let end = left.len().min(start + SECTOR);
                if left[start..end] != bytes.now[start..end] && arrived() {
                    left[start..end].copy_from_slice(&bytes.now[start..end]);
                }
            }
            let copy = Arc::new(Content {
                bytes: Mutex::new(Bytes {
                    now: left.clone(),
                    durable: left,
                }),
                disk: Arc::downgrade(&after.disk),
            });
            copies.now.insert(name.clone(), copy.clone());
            copies.durable.insert(name.clone(), copy);
        }
        *after.disk.names.lock() = copies;
        after
    }

    /// Calls `watcher` before each operation that changes something.
    pub fn watch(&self, watcher: impl Fn(&Forgetful) + Send + Sync + 'static) {
        *self.disk.watcher.lock() = Some(Arc::new(watcher));
    }

    /// Calls `before` once, in the middle of the next read: its offset is
    /// chosen, its bytes are not there yet.
    pub fn before_next_read(&self, before: impl FnOnce() + Send + 'static) {
        *self.disk.before_read.lock() = Some(Box::new(before));
    }

    pub fn tell_the_truth_about_syncs(&self) {
        self.disk.faults.lie.store(false, Ordering::SeqCst);
    }

    /// A file's content as it is now.
    pub fn read(&self, name: &str) -> Vec<u8> {
        self.disk.names.lock().now[name].bytes.lock().now.clone()
    }

    /// Puts a file there, durably, or takes it away.
    pub fn put(&self, name: &str, bytes: Option<Vec<u8>>) {
        let mut names = self.disk.names.lock();
        names.now.remove(name);
        if let Some(bytes) = bytes {
            let content = Content {
                bytes: Mutex::new(Bytes {
                    durable: bytes.clone(),
                    now: bytes,
                }),
                disk: Arc::downgrade(&self.disk),
            };
            names.now.insert(name.into(), Arc::new(content));
        }
        names.durable = names.now.clone();
    }

    /// Another disk with the same files.
    pub fn copy(&self) -> Forgetful {
        let copy = Forgetful::default();
        for name in self.list().unwrap() {
            copy.put(&name, Some(self.read(&name)));
        }
        copy
    }

    pub fn fail_next_sync(&self) {
        self.disk.faults.sync.store(true, Ordering::SeqCst);
    }

    pub fn lie_about_syncs(&self) {
        self.disk.faults.lie.store(true, Ordering::SeqCst);
    }

    pub fn set_full(&self, full: bool) {
        self.disk.faults.full.store(full, Ordering::SeqCst);
    }

    pub fn set_no_writes(&self, no_writes: bool) {
        self.disk
            .faults
            .no_writes
            .store(no_writes, Ordering::SeqCst);
    }

    /// Attempts that met a full disk so far.
    pub fn refused(&self) -> u64 {
        self.disk.faults.refused.load(Ordering::SeqCst)
    }

    pub fn syncs(&self) -> u64 {
        self.disk.faults.syncs.load(Ordering::SeqCst)
    }
}

impl Disk {
    fn tell(self: &Arc<Self>) {
        let watcher = self.watcher.lock().clone();
        if let Some(watcher) = watcher {
            watcher(&Forgetful { disk: self.clone() });
        }
    }
}

impl Faults {
    fn full(&self, flag: &AtomicBool) -> io::Result<()> {
        if flag.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// Whether a sync shall take place.
    fn sync(&self) -> io::Result<bool> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        if self.sync.swap(false, Ordering::SeqCst) {
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(!self.lie.load(Ordering::SeqCst))
    }
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

struct Unlock(Arc<AtomicBool>);

impl Drop for Unlock {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Files for Forgetful {
    fn path_of(&self, name: &str) -> String {
        format!("memory/{name}")
    }

    fn lock(&self) -> io::Result<Box<dyn Send>> {
        if self.disk.locked.swap(true, Ordering::SeqCst) {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        Ok(Box::new(Unlock(self.disk.locked.clone())))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.disk.names.lock().now.keys().cloned().collect())
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn File>> {
        self.disk.tell();
        self.disk.faults.full(&self.disk.faults.full)?;
        let zeros = vec![0; bytes as usize];
        let content = Arc::new(Content {
            bytes: Mutex::new(Bytes {
                now: zeros.clone(),
                durable: zeros,
            }),
            disk: Arc::downgrade(&self.disk),
        });
        let mut names = self.disk.names.lock();
        names.now.insert(name.into(), content.clone());
        Ok(content)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let names = self.disk.names.lock();
        let content = names.now.get(name).ok_or_else(not_found)?;
        Ok(content.clone())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.tell();
        let mut names = self.disk.names.lock();
        let content = names.now.remove(from).ok_or_else(not_found)?;
        names.now.insert(to.into(), content);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.tell();
        let mut names = self.disk.names.lock();
        names.now.remove(name).map(drop).ok_or_else(not_found)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.disk.tell();
        if self.disk.faults.sync()? {
            let mut names = self.disk.names.lock();
            names.durable = names.now.clone();
        }
        Ok(())
    }
}

impl File for Content {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().now.len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let disk = self.disk.upgrade();
        let before = disk.and_then(|disk| disk.before_read.lock().take());
        if let Some(before) = before {
            before();
        }
        let bytes = self.bytes.lock();
        let start = offset as usize;
        let found = bytes.now.get(start..start + buffer.len());
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_all_at(&self, written: &[u8], offset: u64) -> io::Result<()> {
        if let Some(disk) = self.disk.upgrade() {
            disk.tell();
            disk.faults.full(&disk.faults.no_writes)?;
        }
        let mut bytes = self.bytes.lock();
        let (start, end) = (offset as usize, offset as usize + written.len());
        if bytes.now.len() < end {
            bytes.now.resize(end, 0);
        }
        bytes.now[start..end].copy_from_slice(written);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let disk = self.disk.upgrade().ok_or_else(not_found)?;
        disk.tell();
        if disk.faults.sync()? {
            let mut bytes = self.bytes.lock();
            bytes.durable = bytes.now.clone();
        }
        Ok(())
    }
}
