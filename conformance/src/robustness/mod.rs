//! Traffic on a cluster that is hurt meanwhile, and what its clients may believe afterwards.
//!
//! * [`run`]: one run of a seed: a cluster, traffic, faults, healing, checks;
//! * [`traffic`] and [`watching`]: what clients do, and what they were told;
//! * [`compactor`]: what compacts meanwhile, and [`together`]: how far it may;
//! * [`record`]: where all of them write it down;
//! * [`ending`]: what every member must say when all is quiet;
//! * [`fault`]: what happens to members and links;
//! * [`story`]: all changes by revision, as the watchers tell them together;
//! * [`linearizable`]: Porcupine over the recorded operations;
//! * [`checks`]: one file for each promise of watches, of reads, of compactions, of
//!   durability.

pub mod checks;
pub mod compactor;
pub mod ending;
pub mod fault;
pub mod linearizable;
pub mod operation;
pub mod record;
mod requests;
pub mod run;
pub mod story;
pub mod together;
pub mod traffic;
pub mod watching;
