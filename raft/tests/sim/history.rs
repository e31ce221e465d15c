//! What clients asked and were told, and what came of it.

use std::collections::BTreeMap;
use sternpost_storage::{Change, ReadView};
use tokio::time::Instant;

/// One request.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The member that was asked; for the text of a violation.
    #[allow(dead_code)]
    pub member: u64,
    pub invoked: Instant,
    /// When the answer came; none for what was given up.
    pub returned: Option<Instant>,
    pub asked: Asked,
}

/// What was asked, and the answer.
#[derive(Clone, Debug)]
pub enum Asked {
    Put {
        key: String,
        /// Different for each put.
        value: String,
        told: Told,
    },
    Read {
        key: String,
        value: Option<String>,
        /// The revision of the view.
        revision: i64,
    },
}

/// What a client was told of its put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Done, at this revision.
    Done(i64),
    /// Not accepted: it never happened, and never will.
    Refused,
    /// Nothing certain.
    Unknown,
}

impl Operation {
    /// The revision that the answer proves.
    pub fn revision(&self) -> Option<i64> {
        match self.asked {
            Asked::Put {
                told: Told::Done(revision),
                ..
            }
            | Asked::Read { revision, .. } => Some(revision),
            Asked::Put { .. } => None,
        }
    }
}

/// All puts that happened: key and value by revision.
pub type Writes = BTreeMap<i64, (String, String)>;

/// Reads the writes off a final view.
pub fn writes(view: &ReadView) -> Writes {
    let revisions = view.history(0, usize::MAX, usize::MAX).unwrap();
    let mut writes = Writes::new();
    for revision in revisions {
        for event in &revision.events {
            let Change::Put { value, .. } = &event.change else {
                panic!("nobody deletes: {event:?}");
            };
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let before = writes.insert(revision.revision, (text(&event.key), text(value)));
            assert!(before.is_none(), "two puts in one revision");
        }
    }
    writes
}
