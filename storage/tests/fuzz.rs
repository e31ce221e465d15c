//! Replays the corpus through the fuzz functions, and the corpus and the
//! golden scripts once more with random damage.
//!
//! `STERNPOST_CASES` sets the number of damaged inputs.

use proptest::{
    prelude::{Strategy, any},
    sample::Index,
    test_runner::{Config, TestRunner},
};
use std::{
    env, fs,
    path::{Path, PathBuf},
};
use sternpost_storage::testing::{
    fuzz::{commands_input, fuzz_commands, fuzz_rows},
    script::{Step, parse},
};

const CASES: u32 = 2000;

fn files(directory: &str) -> Vec<PathBuf> {
    let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)];
    let mut files = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a directory");
            open.extend(entries.map(|entry| entry.expect("a directory entry").path()));
        } else {
            files.push(path);
        }
    }
    files.sort();
    assert!(!files.is_empty(), "nothing in {directory}");
    files
}

fn read_all(directory: &str) -> Vec<Vec<u8>> {
    files(directory)
        .iter()
        .map(|path| fs::read(path).expect("a corpus file"))
        .collect()
}

/// The commands of all golden scripts.
fn scripted_commands() -> Vec<Vec<u8>> {
    let input = |path: &PathBuf| {
        let script = fs::read_to_string(path).expect("a script");
        let parts = script
            .split("\n\n")
            .map(|block| block.split("---\n").next().unwrap_or_default());
        let steps: Vec<Step> = parts
            .flat_map(|part| parse(part).expect("a golden script"))
            .collect();
        let payloads = steps.into_iter().filter_map(|step| match step {
            Step::Apply(payloads) => Some(payloads),
            _ => None,
        });
        commands_input(&payloads.flatten().collect::<Vec<_>>())
    };
    files("testscripts").iter().map(input).collect()
}

/// Overwrites bytes, cuts, or repeats a part.
fn damaged(inputs: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let changes = proptest::collection::vec((any::<Index>(), any::<u8>(), 0..8_u8), 1..6);
    (any::<Index>(), changes).prop_map(move |(which, changes)| {
        let mut input = which.get(&inputs).clone();
        for (at, byte, kind) in changes {
            let at = at.index(input.len().max(1));
            match kind {
                0 => input.truncate(at),
                1 => input.extend_from_within(at.min(input.len())..),
                _ => {
                    if let Some(place) = input.get_mut(at) {
                        *place = byte;
                    }
                }
            }
        }
        input
    })
}

fn replay(inputs: Vec<Vec<u8>>, fuzz: fn(&[u8])) {
    inputs.iter().for_each(|input| fuzz(input));
    let cases = env::var("STERNPOST_CASES").ok();
    let cases = cases.map_or(CASES, |cases| {
        cases.parse().expect("STERNPOST_CASES is a number")
    });
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&damaged(inputs), |input| {
        fuzz(&input);
        Ok(())
    });
    outcome.expect("no input breaks a promise: save the one shown in the corpus");
}

#[test]
fn commands() {
    let mut inputs = read_all("corpus/commands");
    inputs.extend(scripted_commands());
    replay(inputs, fuzz_commands);
}

#[test]
fn rows() {
    replay(read_all("corpus/rows"), fuzz_rows);
}
