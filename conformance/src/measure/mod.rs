//! What the benchmark binary measures, and how.
//!
//! * [`lines`]: the lines of etcd's load tool that the budgets are about;
//! * [`store`]: a loader of ours, then the store's disk, memory, pages and restart;
//! * [`quota`]: whether what fits etcd's quota fits ours;
//! * [`housekeeping`]: puts beside a defragment, a compaction, a hash, long ranges;
//! * [`slow_watcher`] and [`many_watches`]: watch streams that do not read, and that are many;
//! * [`catch_up`]: a member that was away, under load;
//! * [`cluster`]: three local members of each server;
//! * [`callgrind`]: instructions, for the guard in `tests/instructions.rs`.

pub mod budget;
pub mod callgrind;
pub mod cases;
pub mod catch_up;
pub mod cluster;
pub mod housekeeping;
pub mod lines;
pub mod load;
pub mod machine;
pub mod many_watches;
pub mod options;
pub mod paced;
pub mod proc;
pub mod quota;
pub mod raw;
pub mod reader;
pub mod report;
pub mod slow_watcher;
pub mod stats;
pub mod store;
pub mod values;
