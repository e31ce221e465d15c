//! Porcupine over the recorded operations, in a Go program of ours (`porcupine/`).

use super::operation::{Ask, Operation, Recorded};
use super::story::Story;
use crate::binaries;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds the checker.
///
/// # Panics
/// Without Go, or when it does not build.
#[must_use]
pub fn build() -> PathBuf {
    go(&["build", "-o", "bin/porcupine", "."]).join("bin/porcupine")
}

/// Tests the checker itself.
///
/// # Panics
/// Without Go, or when a test of its fails.
pub fn test() {
    go(&["test", "./..."]);
}

/// Runs Go where the checker is, and says where that is.
fn go(arguments: &[&str]) -> PathBuf {
    let dir = binaries::conformance_dir().join("porcupine");
    let status = Command::new("go")
        .args(arguments)
        .current_dir(&dir)
        .status()
        .expect("Go is installed: see `make deps`");
    assert!(status.success(), "go {} has failed", arguments.join(" "));
    dir
}

/// Checks the history; it and a picture of what is wrong are left in `dir`.
///
/// # Errors
/// With the verdict, when it is not linearizable, or that can't be decided in time.
///
/// # Panics
/// When the checker does not run.
pub fn check(
    checker: &Path,
    operations: &[Operation],
    story: &Story,
    dir: &Path,
) -> Result<String, String> {
    let checked = |one: &&Operation| {
        let of_keys = !matches!(one.ask, Ask::Grant(_) | Ask::Past(_));
        of_keys && !one.local && one.told.refusal.is_none()
    };
    let end = story.traffic_end();
    let (mut persisted, mut deletions) = (story.values(), story.deletions());
    persisted.retain(|_, revision| *revision < end);
    deletions.retain(|deletion| deletion.revision < end);
    let recorded = Recorded {
        operations: operations.iter().filter(checked).collect(),
        persisted,
        deletions,
    };
    let text = serde_json::to_vec(&recorded).expect("a history is plain data");
    let file = dir.join("history.json");
    std::fs::write(&file, text).expect("the run's directory is writable");
    let output = Command::new(checker)
        .arg(&file)
        .arg(dir.join("history.html"))
        .output()
        .expect("the checker starts");
    let verdict = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() {
        return Ok(verdict);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("not linearizable: {verdict} {errors}"))
}
