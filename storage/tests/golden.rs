//! One behaviour per script in `testscripts/`: statements, `---`, and what
//! must come of them. Each script runs on the model, on the store in memory
//! and on RocksDB, and all three must tell the same.
//!
//! `UPDATE=1` rewrites the expectations of all scripts but those in `hash/`,
//! whose numbers come from etcd itself. Read the difference before it stays.

use std::{
    env, fs,
    path::{Path, PathBuf},
};
use sternpost_storage::testing::{
    Engine, Machine, Model,
    script::{Session, parse},
};

/// Its numbers were seen on etcd: `UPDATE` never touches them.
const FROM_ETCD: &str = "hash";

/// Statements and what they must print.
struct Block {
    statements: String,
    expected: String,
}

/// Blocks are parted by blank lines; `---` parts statements from output.
fn blocks(script: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut statements = String::new();
    let mut lines = script.lines();
    while let Some(line) = lines.next() {
        if line == "---" {
            let expected = lines.by_ref().take_while(|line| !line.is_empty());
            let expected = expected.map(|line| line.to_owned() + "\n").collect();
            blocks.push(Block {
                statements: std::mem::take(&mut statements),
                expected,
            });
        } else {
            statements += line;
            statements.push('\n');
        }
    }
    assert!(
        statements.trim().is_empty(),
        "statements without `---` after them:\n{statements}"
    );
    blocks
}

fn scripts(directory: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testscripts")
        .join(directory);
    let entries = fs::read_dir(directory).expect("the scripts' directory");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a directory entry").path())
        .collect();
    paths.sort();
    paths
}

/// The script with the output that an engine gives.
fn run(path: &Path, blocks: &[Block], engine: &mut impl Engine) -> String {
    let mut session = Session::default();
    let mut output = Vec::new();
    for block in blocks {
        let steps =
            parse(&block.statements).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let told: String = steps
            .iter()
            .map(|step| session.step(engine, step))
            .collect();
        output.push(format!("{}---\n{told}", block.statements));
    }
    output.join("\n")
}

#[cfg(feature = "rocksdb")]
fn run_on_rocksdb(path: &Path, blocks: &[Block]) -> Option<String> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    Some(run(
        path,
        blocks,
        &mut Machine::in_directory(directory.path(), usize::MAX),
    ))
}

#[cfg(not(feature = "rocksdb"))]
fn run_on_rocksdb(_path: &Path, _blocks: &[Block]) -> Option<String> {
    None
}

fn check(path: &Path, update: bool, failures: &mut Vec<String>) {
    let script = fs::read_to_string(path).expect("a script");
    let blocks = blocks(&script);
    let model = run(path, &blocks, &mut Model::new());
    if update {
        fs::write(path, &model).expect("the script is writable");
    }
    let expected: Vec<String> = blocks
        .iter()
        .map(|block| format!("{}---\n{}", block.statements, block.expected))
        .collect();
    let expected = if update {
        model.clone()
    } else {
        expected.join("\n")
    };
    let memory = run(path, &blocks, &mut Machine::in_memory(usize::MAX));
    let told = [
        ("the model", Some(model)),
        ("memory", Some(memory)),
        ("RocksDB", run_on_rocksdb(path, &blocks)),
    ];
    for (engine, told) in told {
        let Some(told) = told else { continue };
        if told != expected {
            failures.push(format!(
                "{} on {engine}:\n{}",
                path.display(),
                first_difference(&expected, &told)
            ));
        }
    }
}

fn first_difference(expected: &str, told: &str) -> String {
    let lines = expected.lines().map(Some).chain(std::iter::repeat(None));
    let pairs = lines
        .zip(told.lines().map(Some).chain(std::iter::repeat(None)))
        .zip(1..);
    let (pair, number) = pairs
        .into_iter()
        .find(|(pair, _)| pair.0 != pair.1)
        .expect("they differ");
    let (expected, told) = (pair.0.unwrap_or("the end"), pair.1.unwrap_or("the end"));
    format!("  line {number}\n  expected {expected}\n  got      {told}")
}

fn check_all(directory: &str) {
    let update = env::var_os("UPDATE").is_some() && directory != FROM_ETCD;
    let paths = scripts(directory);
    assert!(!paths.is_empty(), "no scripts in {directory}");
    let mut failures = Vec::new();
    for path in &paths {
        check(path, update, &mut failures);
    }
    assert!(
        failures.is_empty(),
        "{} of {} scripts:\n{}",
        failures.len(),
        paths.len(),
        failures.join("\n")
    );
}

#[test]
fn mvcc() {
    check_all("mvcc");
}

#[test]
fn txn() {
    check_all("txn");
}

#[test]
fn lease() {
    check_all("lease");
}

#[test]
fn compaction() {
    check_all("compaction");
}

#[test]
fn alarm() {
    check_all("alarm");
}

#[test]
fn restore() {
    check_all("restore");
}

#[test]
fn hash() {
    check_all(FROM_ETCD);
}

/// A directory without a test of its own would never be looked at.
#[test]
fn every_directory_is_looked_at() {
    let known = [
        "alarm",
        "compaction",
        FROM_ETCD,
        "lease",
        "mvcc",
        "restore",
        "txn",
    ];
    let found: Vec<_> = scripts("")
        .iter()
        .filter_map(|path| path.file_name().map(ToOwned::to_owned))
        .collect();
    assert_eq!(found, known);
}
