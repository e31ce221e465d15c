//! A read shows the state of its revision.

use crate::history::{Asked, Operation, Writes};

pub fn check(operations: &[Operation], writes: &Writes) -> Result<(), String> {
    for operation in operations {
        let Asked::Read {
            key,
            value,
            revision,
        } = &operation.asked
        else {
            continue;
        };
        let newest = writes
            .range(..=*revision)
            .rev()
            .find(|(_, (written, _))| written == key)
            .map(|(_, (_, value))| value);
        if newest != value.as_ref() {
            return Err(format!("{operation:?} should have shown {newest:?}"));
        }
    }
    Ok(())
}
