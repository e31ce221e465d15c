//! What tests of the state machine are made of: a naive model of etcd's
//! rules, a script language to drive stores with, and fuzz functions.
//!
//! Nothing of the server depends on it: the feature `testing` is for test
//! builds and for `fuzz/`.

mod audit;
pub mod engine;
pub mod fuzz;
pub mod model;
mod power;
pub mod script;
mod wire;

pub use engine::{Engine, Machine};
pub use model::Model;
pub use power::MemoryDisk;
