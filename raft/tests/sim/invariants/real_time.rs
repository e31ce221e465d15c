//! What ended before something else began comes before it: a put gets a later
//! revision than all that was answered before it was asked, and a read shows
//! all of that. Together with what reads show this is linearizability.

use crate::history::{Asked, Operation};

pub fn check(operations: &[Operation]) -> Result<(), String> {
    for later in operations {
        let Some(revision) = later.revision() else {
            continue;
        };
        for earlier in operations {
            let (Some(returned), Some(before)) = (earlier.returned, earlier.revision()) else {
                continue;
            };
            if returned >= later.invoked {
                continue;
            }
            let is_put = matches!(later.asked, Asked::Put { .. });
            if revision < before || (is_put && revision == before) {
                return Err(format!("{later:?} does not come after {earlier:?}"));
            }
        }
    }
    Ok(())
}
