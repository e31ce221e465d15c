//! A disk that can lose power.
//!
//! An ext4 file system in a file, on a loop device. Power loss is ext4's own
//! emergency stop (`FS_IOC_SHUTDOWN` without flushing the journal): from that moment
//! nothing reaches the file any more. What a later mount finds is what was synced:
//! the journal is replayed, and everything that was only in memory is gone. It is
//! mounted with a commit interval longer than any run, so that nothing becomes
//! durable by itself.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// `_IOR('X', 125, u32)`.
const FS_IOC_SHUTDOWN: libc::c_ulong = 0x8004_587d;
/// Stop at once, the journal left as it is.
const NO_LOG_FLUSH: u32 = 2;
/// Room for a run; the file is sparse.
const SIZE: u64 = 2 << 30;
/// Seconds until the file system would sync by itself.
const COMMIT_SECS: u32 = 900;

/// A mounted disk. Dropping it unmounts and removes it.
pub struct Disk {
    dir: TempDir,
}

impl Disk {
    /// Makes one and mounts it.
    ///
    /// # Errors
    /// Where loop devices cannot be mounted: it takes root.
    pub fn create() -> Result<Self, String> {
        Self::create_in(&std::env::temp_dir())
    }

    /// The same with its file in this directory.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn create_in(parent: &Path) -> Result<Self, String> {
        let dir = tempfile::Builder::new().prefix("power-").tempdir_in(parent);
        let dir = dir.map_err(|error| error.to_string())?;
        let disk = Self { dir };
        let image = File::create(disk.image()).map_err(|error| error.to_string())?;
        image.set_len(SIZE).map_err(|error| error.to_string())?;
        fs::create_dir(disk.mount_point()).map_err(|error| error.to_string())?;
        run("mkfs.ext4", &["-q", "-F", &text(&disk.image())])?;
        disk.mount()?;
        Ok(disk)
    }

    /// Where the data goes.
    #[must_use]
    pub fn mount_point(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    /// From here on nothing is written; who writes gets an error.
    ///
    /// # Panics
    /// When the file system refuses.
    pub fn lose_power(&self) {
        let root = File::open(self.mount_point()).expect("the disk is mounted");
        // SAFETY: the descriptor is open, and the argument is the u32 that this call reads.
        let done = unsafe { libc::ioctl(root.as_raw_fd(), FS_IOC_SHUTDOWN, &NO_LOG_FLUSH) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }

    /// The next start of the machine: whoever used the disk must be gone.
    ///
    /// # Panics
    /// When it cannot be mounted again.
    pub fn power_on(&self) {
        run("umount", &[&text(&self.mount_point())]).expect("nobody uses the disk any more");
        // What a disk could not take is given up with it.
        self.mount().expect("the journal can be replayed");
    }

    fn mount(&self) -> Result<(), String> {
        let options = format!("loop,commit={COMMIT_SECS},noauto_da_alloc");
        run(
            "mount",
            &[
                "-o",
                &options,
                &text(&self.image()),
                &text(&self.mount_point()),
            ],
        )
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = run("umount", &["--lazy", &text(&self.mount_point())]);
    }
}

/// A path for a command line.
pub(crate) fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Runs a program of the system; what it complains of is the error.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr)
    ))
}
