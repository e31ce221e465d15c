//! A write that was acknowledged is in the revision it was told, whoever reads it or not.

use super::super::operation::{Ask, Operation};
use super::super::story::Story;

/// Acknowledged puts that are nowhere, or elsewhere.
#[must_use]
pub fn check(operations: &[Operation], story: &Story) -> Vec<String> {
    let values = story.values();
    let mut wrong = Vec::new();
    for one in operations {
        let Ask::Write(change) = &one.ask else {
            continue;
        };
        for put in &change.puts {
            let held = values.get(put.value.as_str()).copied();
            let done = one.told.known && one.told.succeeded;
            let refused = one.told.known && !one.told.succeeded;
            if (done && held != Some(one.told.revision)) || (refused && held.is_some()) {
                wrong.push(format!("held at {held:?}: {one:?}"));
            }
        }
    }
    wrong
}
