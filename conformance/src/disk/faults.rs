//! File operations of a server that fail on cue.
//!
//! A small library of ours (`faults/faults.c`) is loaded into the server and stands
//! in for the system's calls; a page of memory that both have mapped says what
//! fails now, and counts how often it did.

use crate::{preload, wait};
use std::ffi::c_int;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// The layout of the control file, as in `faults.c`.
const CONTROL_BYTES: usize = 4096;
const RULE_AT: usize = 4;
const RULE_BYTES: usize = 1024;
const HITS_AT: usize = RULE_AT + RULE_BYTES;
/// A load hits every file within this even on a very busy machine.
const HIT_LIMIT: Duration = Duration::from_secs(60);

/// What happens to calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// fsync, fdatasync and the like fail with this errno.
    Sync(c_int),
    /// Reads fail with this errno.
    Read(c_int),
    /// Writes and reservations of space fail with this errno.
    Write(c_int),
    /// Writes do half of what they should, and at last fail with this errno.
    Short(c_int),
    /// Syncs take so long.
    Slow(Duration),
}

/// The faults of one server.
pub struct Faults {
    dir: TempDir,
    library: PathBuf,
    control: *mut u8,
}

impl Faults {
    /// Builds the library; nothing fails yet.
    ///
    /// # Panics
    /// When there is no C compiler.
    #[must_use]
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("faults-").tempdir();
        let dir = dir.expect("the temporary directory is writable");
        let library = preload::library("faults/faults.c", dir.path());
        let file = File::options()
            .create_new(true)
            .read(true)
            .write(true)
            .open(dir.path().join("control"))
            .expect("the temporary directory is writable");
        file.set_len(CONTROL_BYTES as u64)
            .expect("a page can be had");
        // SAFETY: a new mapping of a file of that size; it outlives the descriptor, and is
        // undone in `drop`.
        let control = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                CONTROL_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        assert_ne!(control, libc::MAP_FAILED, "a page can be mapped");
        Self {
            dir,
            library,
            control: control.cast(),
        }
    }

    /// What the server's environment must have.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, PathBuf)> {
        vec![
            ("LD_PRELOAD".to_owned(), self.library.clone()),
            (
                "STERNPOST_FAULTS".to_owned(),
                self.dir.path().join("control"),
            ),
        ]
    }

    /// From now on calls on files whose path holds `part` end so.
    ///
    /// # Panics
    /// When the rule is too long.
    pub fn arm(&self, fault: Fault, part: &str) {
        self.disarm();
        let (kind, number) = match fault {
            Fault::Sync(errno) => ("sync", i64::from(errno)),
            Fault::Read(errno) => ("read", i64::from(errno)),
            Fault::Write(errno) => ("write", i64::from(errno)),
            Fault::Short(errno) => ("short", i64::from(errno)),
            Fault::Slow(time) => ("slow", i64::try_from(time.as_millis()).unwrap_or(i64::MAX)),
        };
        let rule = format!("{kind} {part} {number}\0");
        assert!(rule.len() <= RULE_BYTES, "{rule} is too long");
        // SAFETY: inside the mapping; the server reads it only while it is armed.
        unsafe {
            std::ptr::copy_nonoverlapping(rule.as_ptr(), self.control.add(RULE_AT), rule.len());
        }
        self.word(HITS_AT).store(0, Ordering::SeqCst);
        self.word(0).store(1, Ordering::SeqCst);
    }

    /// Nothing fails any more.
    pub fn disarm(&self) {
        self.word(0).store(0, Ordering::SeqCst);
    }

    /// How many calls the rule has hit.
    #[must_use]
    pub fn hits(&self) -> u32 {
        self.word(HITS_AT).load(Ordering::SeqCst)
    }

    /// Waits until the rule has hit so many calls.
    ///
    /// # Panics
    /// When it does not.
    pub async fn wait_hits(&self, count: u32) {
        wait::until_async("the fault was met", HIT_LIMIT, || async {
            (self.hits() >= count).then_some(())
        })
        .await;
    }

    fn word(&self, at: usize) -> &AtomicU32 {
        // SAFETY: inside the mapping, aligned to four, and the other side uses atomics too.
        unsafe { AtomicU32::from_ptr(self.control.add(at).cast()) }
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: the mapping belongs to this value alone, and all of its words are atomics but the
// rule, which is written before it is armed.
unsafe impl Send for Faults {}
// SAFETY: as above; two threads that arm at once would only mix up the rule's text.
unsafe impl Sync for Faults {}

impl Drop for Faults {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, and nobody keeps a reference into it.
        unsafe { libc::munmap(self.control.cast(), CONTROL_BYTES) };
    }
}
