//! No put happens twice, and none that was said not to have been accepted.

use crate::history::{Asked, Operation, Told, Writes};
use std::collections::{HashMap, HashSet};

pub fn check(operations: &[Operation], writes: &Writes) -> Result<(), String> {
    let mut seen: HashMap<&str, i64> = HashMap::new();
    for (revision, (_, value)) in writes {
        if let Some(before) = seen.insert(value, *revision) {
            return Err(format!(
                "{value} was put at {before} and again at {revision}"
            ));
        }
    }
    let mut asked = HashSet::new();
    for operation in operations {
        let Asked::Put { value, told, .. } = &operation.asked else {
            continue;
        };
        asked.insert(value.as_str());
        if *told == Told::Refused && seen.contains_key(value.as_str()) {
            return Err(format!("refused, and yet there: {operation:?}"));
        }
    }
    match seen.keys().find(|value| !asked.contains(**value)) {
        Some(value) => Err(format!("nobody put {value}")),
        None => Ok(()),
    }
}
