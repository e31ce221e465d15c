//! Which points there are, and what each is armed with.

use super::terms;
use std::{
    panic::catch_unwind,
    process,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// One point, known at compile time.
struct Point {
    name: &'static str,
    /// Whether the step can fail: then `return` is a term for it.
    fails: bool,
}

const fn at(name: &'static str) -> Point {
    Point { name, fails: false }
}

const fn fails(name: &'static str) -> Point {
    Point { name, fails: true }
}

/// All points, in the order in which an entry meets them.
const POINTS: [Point; 38] = [
    // Members talk.
    at("raftBeforeForwardPropose"),
    at("raftBeforeLeaderSend"),
    at("raftBeforeFollowerSend"),
    // The log.
    at("raftBeforeSaveVote"),
    at("raftAfterSaveVote"),
    at("raftBeforeSave"),
    at("raftAfterSave"),
    fails("walBeforeSync"),
    at("walAfterSync"),
    at("walBeforeRotate"),
    at("walAfterRotate"),
    at("raftBeforeWALRelease"),
    at("raftAfterWALRelease"),
    // Apply.
    at("beforeApplyOneConfChange"),
    at("afterApplyOneConfChange"),
    at("beforeRevokeLease"),
    at("compactBeforeSetScheduledCompact"),
    at("compactAfterSetScheduledCompact"),
    fails("beforeCommit"),
    at("afterCommit"),
    at("applyBeforeAnswer"),
    at("beforeSendWatchResponse"),
    // Housekeeping.
    fails("stateBeforeFlush"),
    at("stateAfterFlush"),
    at("compactBeforeCommitBatch"),
    at("compactAfterCommitBatch"),
    at("compactBeforeSetFinishedCompact"),
    at("compactAfterSetFinishedCompact"),
    fails("defragBeforeCopy"),
    at("defragAfterCopy"),
    // A whole state on its way.
    fails("snapBeforeSend"),
    fails("snapBeforeReceive"),
    fails("snapBeforeVerify"),
    at("raftBeforeApplySnap"),
    at("snapBeforeRename"),
    at("snapAfterRename"),
    at("applyBeforeOpenSnapshot"),
    at("raftAfterApplySnap"),
];

// No name is there twice.
const _: () = {
    let mut at = 0;
    while at < POINTS.len() {
        assert!(number(POINTS[at].name) == at);
        at += 1;
    }
};

/// What a point is armed with.
struct State {
    /// Looked at first, so that what is not armed costs next to nothing.
    armed: AtomicBool,
    passed: AtomicU64,
    terms: Mutex<String>,
}

impl State {
    const fn new() -> Self {
        Self {
            armed: AtomicBool::new(false),
            passed: AtomicU64::new(0),
            terms: Mutex::new(String::new()),
        }
    }

    fn terms(&self) -> MutexGuard<'_, String> {
        // A text is whole whoever held it.
        self.terms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

static STATES: [State; POINTS.len()] = [const { State::new() }; POINTS.len()];

static END: OnceLock<fn(&str) -> !> = OnceLock::new();

/// Why a point can't be armed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArmError {
    /// There is none of that name.
    #[error("no failpoint is named {0:?}")]
    Unknown(String),
    /// What is wrong with the terms.
    #[error("{0}")]
    Terms(String),
}

/// The number of a point. Called while compiling, so that a name which is not
/// in the list does not compile.
///
/// # Panics
/// If there is no such point.
pub const fn number(name: &str) -> usize {
    let mut number = 0;
    while number < POINTS.len() {
        if same(POINTS[number].name.as_bytes(), name.as_bytes()) {
            return number;
        }
        number += 1;
    }
    panic!("not in the list of failpoints")
}

const fn same(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

/// A thread is at the point: does what it is armed with. A text if the step
/// shall fail. A panic ends the process, on whatever thread: half a step that
/// somebody catches would be no crash.
pub fn pass(number: usize) -> Option<String> {
    let state = &STATES[number];
    if !state.armed.load(Ordering::Acquire) {
        return None;
    }
    state.passed.fetch_add(1, Ordering::Relaxed);
    let name = POINTS[number].name;
    match catch_unwind(|| act(name)) {
        Ok(failure) => failure,
        Err(_) => match END.get() {
            Some(end) => end(name),
            None => process::abort(),
        },
    }
}

fn act(name: &str) -> Option<String> {
    fail::fail_point!(name, |text| Some(text.unwrap_or_default()));
    None
}

/// What ends the process after a panic. The first call counts; without one
/// the process aborts.
pub fn on_panic(end: fn(&str) -> !) {
    let _ = END.set(end);
}

fn find(name: &str) -> Result<usize, ArmError> {
    POINTS
        .iter()
        .position(|point| point.name == name)
        .ok_or_else(|| ArmError::Unknown(name.to_owned()))
}

/// Arms a point with gofail's terms, such as `panic`, `sleep("1s")`,
/// `2*sleep(100)->panic`, `return("text")` or `off`; its passes are counted anew.
pub fn arm(name: &str, terms: &str) -> Result<(), ArmError> {
    let number = find(name)?;
    let terms = terms.trim();
    let wrong = |why| ArmError::Terms(format!("{name}: {why}"));
    let translated = terms::translate(terms, POINTS[number].fails).map_err(wrong)?;
    let mut armed = STATES[number].terms();
    fail::cfg(name, &translated).map_err(wrong)?;
    terms.clone_into(&mut armed);
    STATES[number].passed.store(0, Ordering::Relaxed);
    STATES[number].armed.store(true, Ordering::Release);
    Ok(())
}

/// Lets threads pass freely again. How often they have passed is still known.
pub fn disarm(name: &str) -> Result<(), ArmError> {
    let state = &STATES[find(name)?];
    let mut armed = state.terms();
    state.armed.store(false, Ordering::Release);
    fail::remove(name);
    armed.clear();
    Ok(())
}

/// All points, sorted by name, each with what it is armed with, if anything.
pub fn list() -> Vec<(&'static str, String)> {
    let states = POINTS.iter().zip(&STATES);
    let mut all: Vec<_> = states
        .map(|(point, state)| (point.name, state.terms().clone()))
        .collect();
    all.sort_unstable();
    all
}

/// How often threads were at a point since it was armed.
pub fn passed(name: &str) -> Result<u64, ArmError> {
    Ok(STATES[find(name)?].passed.load(Ordering::Relaxed))
}
