//! What must hold, one promise a file. Each check says what is violated.

mod acknowledged;
mod once;
mod one_leader;
mod reads;
mod real_time;
mod same_state;

pub use one_leader::OneLeader;
pub use same_state::SameState;

use crate::history::{Operation, Writes};

/// The promises about what clients were told.
pub fn check(operations: &[Operation], writes: &Writes) -> Result<(), String> {
    acknowledged::check(operations, writes)?;
    once::check(operations, writes)?;
    reads::check(operations, writes)?;
    real_time::check(operations)
}
