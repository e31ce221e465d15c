//! A put that was acknowledged is there, at the revision that was told.

use crate::history::{Asked, Operation, Told, Writes};

pub fn check(operations: &[Operation], writes: &Writes) -> Result<(), String> {
    for operation in operations {
        let Asked::Put {
            key,
            value,
            told: Told::Done(revision),
        } = &operation.asked
        else {
            continue;
        };
        let found = writes.get(revision);
        if found != Some(&(key.clone(), value.clone())) {
            return Err(format!(
                "acknowledged and not there: {operation:?}, found {found:?}"
            ));
        }
    }
    Ok(())
}
