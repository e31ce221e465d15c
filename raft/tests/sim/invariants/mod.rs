//! What must hold at every moment, one promise in each file. Each is told
//! what happened and returns what is wrong.

pub mod acknowledged;
pub mod committed;
pub mod completeness;
pub mod digests;
pub mod durable;
pub mod history;
pub mod leaders;
pub mod linearizable;
pub mod quorum;
pub mod revisions;
pub mod votes;

/// What is wrong.
pub type Checked = Result<(), String>;
