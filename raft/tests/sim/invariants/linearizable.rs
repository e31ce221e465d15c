//! Reads and writes happen one after the other, in the order of revisions,
//! and between question and answer: whatever was answered before a request
//! began, it sees.

use super::{Checked, history::History};

/// The newest revision that anybody was told of.
#[derive(Default)]
pub struct Linearizable {
    told: i64,
    reads: Vec<Read>,
}

/// What a read found.
pub struct Read {
    pub client: usize,
    pub key: String,
    /// The revision of the whole answer.
    pub revision: i64,
    pub found: Option<(i64, String)>,
}

impl Linearizable {
    /// A request begins: it must see this revision.
    pub fn floor(&self) -> i64 {
        self.told
    }

    /// A write that began at `floor` was answered.
    pub fn written(&mut self, client: usize, floor: i64, revision: i64) -> Checked {
        if revision <= floor {
            return Err(format!(
                "client {client} wrote at revision {revision} after {floor} had been answered"
            ));
        }
        self.told = self.told.max(revision);
        Ok(())
    }

    /// A read that began at `floor` was answered.
    pub fn read(&mut self, floor: i64, read: Read) -> Checked {
        if read.revision < floor {
            return Err(format!(
                "stale: client {} read {} at revision {} after {floor} had been answered",
                read.client, read.key, read.revision
            ));
        }
        self.told = self.told.max(read.revision);
        self.reads.push(read);
        Ok(())
    }

    /// At the end: every read found what the history says.
    pub fn check(&self, history: &History) -> Checked {
        for Read {
            client,
            key,
            revision,
            found,
        } in &self.reads
        {
            let expected = history.at(key, *revision);
            let expected = expected.and_then(|(at, written)| Some((at, written.value.clone()?)));
            if *found != expected {
                return Err(format!(
                    "client {client} read {key} at revision {revision} and found {found:?}; the history says {expected:?}"
                ));
            }
        }
        Ok(())
    }
}
