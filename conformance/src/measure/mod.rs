//! What the benchmark binary measures, and how.

pub mod callgrind;
pub mod cases;
pub mod proc;
pub mod run;
pub mod table;
