//! Where and when, as far as a reader needs it to judge the figures.

use crate::binaries;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One line: cores, memory, disk, versions, date.
#[must_use]
pub fn describe() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = field("/proc/meminfo", "MemTotal:").and_then(|text| {
        let kib: f64 = text.split_whitespace().next()?.parse().ok()?;
        Some(kib / f64::from(1 << 20))
    });
    format!(
        "{}: {cores} cores ({}), {:.0} GiB memory, data on {}, Linux {}. Sternpost {}{}, built with cargo's profile {}; etcd {}.",
        output("date", &["-u", "+%Y-%m-%d"]),
        field("/proc/cpuinfo", "model name").unwrap_or_default(),
        memory.unwrap_or_default(),
        file_system(&std::env::temp_dir()),
        output("uname", &["-r"]),
        version(&binaries::sternpost(), "Sternpost Version:"),
        commit(),
        profile(&binaries::sternpost()),
        [
            version(&binaries::etcd(), "etcd Version:"),
            version(&binaries::etcd(), "Go Version:")
        ]
        .join(" with ")
    )
}

fn commit() -> String {
    match output("git", &["rev-parse", "--short", "HEAD"]) {
        hash if hash.is_empty() => hash,
        hash => format!(" at {hash}"),
    }
}

/// Cargo names the directory of a binary after its profile, but for `dev`.
fn profile(binary: &Path) -> String {
    let directory = binary.parent().and_then(Path::file_name);
    match directory.map(|name| name.to_string_lossy()) {
        Some(name) if name == "debug" => "dev".to_owned(),
        Some(name) => name.into_owned(),
        None => "unknown".to_owned(),
    }
}

fn version(program: &Path, name: &str) -> String {
    let text = output(&program.display().to_string(), &["--version"]);
    let found = text.lines().find_map(|line| line.strip_prefix(name));
    found.unwrap_or("of unknown version").trim().to_owned()
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.unwrap_or_default().trim().to_owned()
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The type of the file system that holds `path`. On one in memory a sync is free, and says so.
fn file_system(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let holding = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let point = PathBuf::from(words.next()?);
        let kind = words.next()?.to_owned();
        path.starts_with(&point).then_some((point, kind))
    });
    let longest = holding.max_by_key(|(point, _)| point.components().count());
    match longest {
        Some((_, kind)) if kind == "tmpfs" => "tmpfs (MEMORY: syncs cost nothing here)".to_owned(),
        Some((_, kind)) => kind,
        None => "an unknown file system".to_owned(),
    }
}
