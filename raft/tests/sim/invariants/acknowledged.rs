//! What was acknowledged is there, where the answer said; what was refused is
//! not, and never will be.

use super::{Checked, history::History};
use std::collections::BTreeMap;

/// What a client knows of its write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    Written(i64),
    NotAccepted,
    /// It may have happened, or may yet.
    Unknown,
}

#[derive(Default)]
pub struct Acknowledged(BTreeMap<String, Known>);

impl Acknowledged {
    pub fn answered(&mut self, value: String, known: Known) {
        self.0.insert(value, known);
    }

    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |of: fn(&Known) -> bool| self.0.values().filter(|known| of(known)).count();
        (
            count(|known| matches!(known, Known::Written(_))),
            count(|known| *known == Known::NotAccepted),
            count(|known| *known == Known::Unknown),
        )
    }

    /// At the end, when all that could be applied is.
    pub fn check(&self, history: &History) -> Checked {
        for (value, known) in &self.0 {
            let found = history.values.get(value).copied();
            match known {
                Known::Written(revision) if found != Some(*revision) => {
                    return Err(format!(
                        "{value} was acknowledged at revision {revision}, and is found at {found:?}"
                    ));
                }
                Known::NotAccepted if found.is_some() => {
                    return Err(format!(
                        "{value} was answered as not accepted, and is found at {found:?}"
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
