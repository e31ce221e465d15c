//! Where the programs under test are.
//!
//! `STERNPOST_BIN` names our server, `STERNPOST_FAILPOINTS_BIN` the one with
//! failpoints; by default they are taken from the directory the tests were built
//! into. `STERNPOST_REFERENCE_BIN` names the directory of
//! the reference build; by default `reference/bin` of this crate.

use std::env;
use std::path::{Path, PathBuf};

/// Our server.
///
/// # Panics
/// When it is not there: build it with `cargo build -p sternpost-server`.
#[must_use]
pub fn sternpost() -> PathBuf {
    let path = env::var_os("STERNPOST_BIN");
    let path = path.map_or_else(|| beside_the_tests("sternpost"), PathBuf::from);
    existing(path, "cargo build -p sternpost-server")
}

/// Our server, built with failpoints.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn sternpost_with_failpoints() -> PathBuf {
    let path = env::var_os("STERNPOST_FAILPOINTS_BIN");
    let path = path.map_or_else(|| beside_the_tests("sternpost-failpoints"), PathBuf::from);
    existing(
        path,
        "cargo build -p sternpost-server --features failpoints --bin sternpost-failpoints",
    )
}

/// The reference server.
///
/// # Panics
/// When it is not there: build it with `make reference`.
#[must_use]
pub fn etcd() -> PathBuf {
    reference("server")
}

/// The unmodified command-line client.
///
/// # Panics
/// As [`etcd`].
#[must_use]
pub fn etcdctl() -> PathBuf {
    reference("etcdctl")
}

/// The reference's load tool.
///
/// # Panics
/// As [`etcd`].
#[must_use]
pub fn benchmark() -> PathBuf {
    reference("benchmark")
}

/// This crate's directory, where the reference and the foreign clients live.
#[must_use]
pub fn conformance_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn reference(name: &str) -> PathBuf {
    let dir = env::var_os("STERNPOST_REFERENCE_BIN").map_or_else(
        || conformance_dir().join("reference").join("bin"),
        PathBuf::from,
    );
    existing(dir.join(name), "make reference")
}

/// Test executables are in `target/debug/deps`, binaries one directory up.
fn beside_the_tests(name: &str) -> PathBuf {
    let me = env::current_exe().expect("a running program knows its own path");
    let mut dir = me.parent().expect("an executable is in a directory");
    if dir.ends_with("deps") {
        dir = dir
            .parent()
            .expect("deps is inside the profile's directory");
    }
    dir.join(name)
}

fn existing(path: PathBuf, how: &str) -> PathBuf {
    assert!(path.is_file(), "{} is missing: run `{how}`", path.display());
    path
}
