//! Small libraries of ours that stand in for calls of the C library in a server.

use crate::binaries;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds `source`, a path below this crate, into `dir`; what `LD_PRELOAD` is to name.
///
/// # Panics
/// When there is no C compiler, or it refuses.
#[must_use]
pub fn library(source: &str, dir: &Path) -> PathBuf {
    let source = binaries::conformance_dir().join(source);
    let library = dir.join("preload.so");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .output()
        .expect("there is a C compiler");
    let errors = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{errors}");
    library
}
