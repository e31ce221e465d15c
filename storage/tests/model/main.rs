//! Random scripts: the store on every backend tells what the model tells,
//! whatever the chunks it is fed, and all of them come to the same digest.
//!
//! `STERNPOST_CASES` sets the number of runs. A failure ends in a script:
//! saved under `testscripts/` with a last line `---`, it is a golden script.

mod crowd;
mod generate;

use generate::Plan;

use proptest::{
    strategy::Strategy,
    test_runner::{Config, TestCaseError, TestError, TestRunner},
};
use std::{
    env,
    panic::{AssertUnwindSafe, catch_unwind},
};
use sternpost_storage::testing::{
    Engine, Machine, Model,
    fuzz::{commands_input, fuzz_commands},
    script::{Session, Step, parse, print},
};
use tempfile::TempDir;

const CASES: u32 = 400;
/// Opening a database takes as long as a whole run in memory.
#[cfg(feature = "rocksdb")]
const CASES_PER_ROCKSDB_CASE: u32 = 10;
/// Thousands of keys take a hundred times as long as a dozen.
const CASES_PER_CROWD: u32 = 40;
#[cfg(feature = "rocksdb")]
const CASES_PER_CROWD_ON_ROCKSDB: u32 = 130;

/// An engine in its own session, so that all see the same entries.
struct Candidate {
    name: &'static str,
    engine: Machine,
    session: Session,
    /// Goes after the engine.
    _directory: Option<TempDir>,
}

impl Candidate {
    fn in_memory(name: &'static str, chunk_max: usize) -> Self {
        let engine = Machine::in_memory(chunk_max);
        Self {
            name,
            engine,
            session: Session::default(),
            _directory: None,
        }
    }

    #[cfg(feature = "rocksdb")]
    fn on_rocksdb(name: &'static str, chunk_max: usize) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let engine = Machine::in_directory(directory.path(), chunk_max);
        Self {
            name,
            engine,
            session: Session::default(),
            _directory: Some(directory),
        }
    }
}

/// One run on the model and on all candidates.
struct Run {
    model: Model,
    session: Session,
    candidates: Vec<Candidate>,
}

impl Run {
    fn step(&mut self, step: &Step) -> Result<(), String> {
        let expected = self.session.step(&mut self.model, step);
        let mut digest = None;
        for candidate in &mut self.candidates {
            let told = candidate.session.step(&mut candidate.engine, step);
            same(&expected, &told).map_err(|detail| format!("{}: {detail}", candidate.name))?;
            let own = candidate.engine.digest();
            if *digest.get_or_insert(own) != own {
                return Err(format!("{}: another digest", candidate.name));
            }
        }
        Ok(())
    }
}

/// Runs plans on the model and on the candidates; the steps run so far are
/// left in `script`.
fn compare(
    plans: &[Plan],
    candidates: Vec<Candidate>,
    script: &mut Vec<Step>,
) -> Result<(), String> {
    let mut run = Run {
        model: Model::new(),
        session: Session::default(),
        candidates,
    };
    for plan in plans {
        script.push(plan.settle(&run.model));
        run.step(&script[script.len() - 1])?;
    }
    Ok(())
}

fn same(expected: &str, told: &str) -> Result<(), String> {
    if expected == told {
        return Ok(());
    }
    let mut expected = expected.lines();
    let mut told = told.lines();
    loop {
        let pair = (expected.next(), told.next());
        if pair.0 != pair.1 {
            let (expected, told) = (pair.0.unwrap_or("nothing"), pair.1.unwrap_or("nothing"));
            return Err(format!(
                "the last step tells\n  {told}\nwhere the model tells\n  {expected}"
            ));
        }
    }
}

/// Runs random plans until one fails, then shrinks it to a short script.
fn explore(
    cases: u32,
    plans: impl Strategy<Value = Vec<Plan>>,
    candidates: impl Fn() -> Vec<Candidate>,
) {
    let config = Config {
        cases: cases.max(1),
        failure_persistence: None,
        max_shrink_iters: 4000,
        max_shrink_time: 60_000,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&plans, |plans| {
        let mut steps = Vec::new();
        compare(&plans, candidates(), &mut steps).map_err(TestCaseError::fail)?;
        let text = print(&steps);
        let again = parse(&text).map_err(|error| TestCaseError::fail(error.to_string()))?;
        if print(&again) != text {
            return Err(TestCaseError::fail(
                "the script is not read back as it was written",
            ));
        }
        Ok(())
    });
    if let Err(TestError::Fail(reason, plans)) = outcome {
        let mut steps = Vec::new();
        // It may fail by a panic of the store: what counts is how far it came.
        let run = AssertUnwindSafe(|| compare(&plans, candidates(), &mut steps).is_err());
        let failed_again = catch_unwind(run).unwrap_or(true);
        assert!(!failed_again, "{reason}\n\n{}", print(&steps));
        panic!(
            "{reason}\nonly sometimes, so the store is not deterministic:\n\n{}",
            print(&steps)
        );
    }
}

fn cases() -> u32 {
    let cases = env::var("STERNPOST_CASES").ok();
    cases.map_or(CASES, |cases| {
        cases.parse().expect("STERNPOST_CASES is a number")
    })
}

fn in_memory() -> Vec<Candidate> {
    vec![
        Candidate::in_memory("in memory", usize::MAX),
        Candidate::in_memory("in memory, one by one", 1),
    ]
}

#[test]
fn memory_tells_what_the_model_tells() {
    explore(cases(), generate::plans(), in_memory);
}

#[cfg(feature = "rocksdb")]
#[test]
fn rocksdb_tells_what_the_model_tells() {
    explore(cases() / CASES_PER_ROCKSDB_CASE, generate::plans(), || {
        let mut candidates = in_memory();
        candidates.push(Candidate::on_rocksdb("RocksDB", usize::MAX));
        candidates.push(Candidate::on_rocksdb("RocksDB, two by two", 2));
        candidates
    });
}

/// The same among thousands of keys; the engine is left to chunk as it likes.
#[test]
fn memory_counts_what_the_model_counts() {
    explore(cases() / CASES_PER_CROWD, crowd::plans(), || {
        vec![Candidate::in_memory("in memory", usize::MAX)]
    });
}

#[cfg(feature = "rocksdb")]
#[test]
fn rocksdb_counts_what_the_model_counts() {
    explore(cases() / CASES_PER_CROWD_ON_ROCKSDB, crowd::plans(), || {
        vec![
            Candidate::on_rocksdb("RocksDB", usize::MAX),
            Candidate::in_memory("in memory, by tens", 10),
        ]
    });
}

/// Too many keys for the model to count them in time, but each has a number.
#[test]
fn counts_span_many_runs_of_blocks() {
    const KEYS: u32 = 90_000;
    // Blocks are cut between chunks: one large chunk makes few runs.
    let mut store = Machine::in_memory(4);
    let entries = Session::default().entries(&crowd::all_puts(KEYS));
    store.apply(&entries);
    for first in (0..KEYS).step_by(7_919) {
        for last in (first..KEYS).step_by(4_987) {
            let count = store.count(&crowd::key(first), &crowd::key(last));
            assert_eq!(
                count,
                i64::from(last - first),
                "keys from {first} to {last}"
            );
        }
    }
    assert_eq!(store.summary().keys_total, i64::from(KEYS));
}

/// The server refuses transactions that write a key twice; should one come
/// through, no member stops and none differs.
#[test]
fn unchecked_entries_do_no_harm() {
    let config = Config {
        cases: cases(),
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&generate::unchecked_payloads(), |payloads| {
        fuzz_commands(&commands_input(&payloads));
        Ok(())
    });
    if let Err(TestError::Fail(reason, payloads)) = outcome {
        panic!("{reason}\n\n{}", print(&[Step::Apply(payloads)]));
    }
}
