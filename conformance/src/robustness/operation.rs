//! One operation of a client: what was asked, what was told, and when.

use serde::Serialize;
use std::collections::BTreeMap;

/// A key as a read shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
    /// The revision of its last put.
    pub modified: i64,
}

/// A write inside a request. Values are unique over a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Put {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
    /// The lease, 0 for none.
    pub lease: i64,
}

/// What must hold for a write: otherwise its key is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Guard {
    /// This key
    pub key: String,
    /// was modified last in this revision; 0: is not there.
    pub modified: i64,
}

/// A write: puts and deletes, all or none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The condition.
    pub guard: Option<Guard>,
    /// Different keys.
    pub puts: Vec<Put>,
    /// None of them put.
    pub deletes: Vec<String>,
    /// All keys are read as they were in this revision, before the write. If they can't be,
    /// nothing is written.
    #[serde(skip)]
    pub past: Option<i64>,
}

/// Why there is nothing to be had of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is compacted.
    Compacted,
    /// It is yet to come.
    Future,
    /// In words that are neither of the two that etcd has.
    Unknown(String),
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Ask {
    /// A key, or all that begin so.
    Read {
        /// The key or the beginning.
        key: String,
        /// Which of the two.
        prefix: bool,
    },
    /// All keys as they were in a revision.
    #[serde(skip_serializing)]
    Past(i64),
    /// Puts and deletes, all or none.
    Write(Change),
    /// A new lease; no promise of keys.
    #[serde(skip_serializing)]
    Grant(i64),
    /// The end of a lease and of its keys.
    Revoke {
        /// Which.
        lease: i64,
    },
}

impl Ask {
    /// The past revision that is read.
    #[must_use]
    pub fn past(&self) -> Option<i64> {
        match self {
            Self::Past(revision) => Some(*revision),
            Self::Write(change) => change.past,
            _ => None,
        }
    }
}

/// What was told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Told {
    /// False: nothing was; it may have happened or not.
    pub known: bool,
    /// The revision in the header.
    pub revision: i64,
    /// Whether the guard held.
    pub succeeded: bool,
    /// Keys deleted.
    pub deleted: i64,
    /// What a read found.
    pub rows: Vec<Row>,
    /// Why nothing was done.
    #[serde(skip)]
    pub refusal: Option<Refusal>,
}

impl Told {
    /// That nothing was done, and why.
    #[must_use]
    pub fn refused(refusal: Refusal) -> Self {
        Self {
            known: true,
            refusal: Some(refusal),
            ..Self::default()
        }
    }
}

/// One operation. Times are nanoseconds since the run's beginning.
#[derive(Clone, Debug, Serialize)]
pub struct Operation {
    /// Who asked; nobody asks twice at once.
    pub client: u32,
    /// Which member was asked.
    #[serde(skip)]
    pub member: usize,
    /// A read of that member's own state.
    #[serde(skip)]
    pub local: bool,
    /// When it was asked.
    pub call: u64,
    /// When the answer came, 0 for never.
    #[serde(rename = "return")]
    pub back: u64,
    /// What was asked.
    pub ask: Ask,
    /// What was told.
    pub told: Told,
}

/// What the linearizability checker reads.
#[derive(Serialize)]
pub struct Recorded<'a> {
    /// All operations but local reads, reads of the past, and what was refused.
    pub operations: Vec<&'a Operation>,
    /// Every value that was ever held, with its revision.
    pub persisted: BTreeMap<&'a str, i64>,
    /// Every revision that put nothing, in order.
    pub deletions: Vec<Deletion>,
}

/// A revision that only deletes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deletion {
    /// Which.
    pub revision: i64,
    /// The keys in the order of its events.
    pub keys: Vec<String>,
    /// The lease that held these keys and no others; 0 for none.
    pub lease: i64,
}
