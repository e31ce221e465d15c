//! Small file systems in memory. Takes root.

use crate::power::{run, text};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A file system in memory, of a size that can change. Dropping it unmounts it.
pub struct Space {
    dir: TempDir,
}

impl Space {
    /// Mounts one of so many bytes.
    ///
    /// # Errors
    /// Where that is not allowed: it takes root.
    pub fn create(bytes: u64) -> Result<Self, String> {
        let dir = tempfile::Builder::new().prefix("space-").tempdir();
        let dir = dir.map_err(|error| error.to_string())?;
        let options = format!("size={bytes}");
        run(
            "mount",
            &["-t", "tmpfs", "-o", &options, "tmpfs", &text(dir.path())],
        )?;
        Ok(Self { dir })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// From now on it has so many bytes.
    ///
    /// # Panics
    /// When they can't be had.
    pub fn resize(&self, bytes: u64) {
        let options = format!("remount,size={bytes}");
        run("mount", &["-o", &options, &text(self.path())]).expect("it is mounted");
    }

    /// Takes all the room that is left, until [`Self::release`].
    ///
    /// # Panics
    /// When that fails for another reason than that there is none left.
    pub fn fill(&self) {
        let mut ballast = File::create(self.ballast()).expect("a file can be made");
        for piece in [1 << 20, 4 << 10] {
            let zeros = vec![0; piece];
            while let Ok(written) = ballast.write(&zeros) {
                assert!(written > 0, "a write of nothing");
            }
        }
    }

    /// Gives back what [`Self::fill`] took.
    ///
    /// # Panics
    /// When it took nothing.
    pub fn release(&self) {
        fs::remove_file(self.ballast()).expect("it was filled");
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = run("umount", &["--lazy", &text(self.path())]);
    }
}
