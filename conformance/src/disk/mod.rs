//! Disks that fail, are full, are slow, or hold other bytes than were written.

pub mod answers;
pub mod dataset;
pub mod faults;
pub mod log;
pub mod room;
pub mod space;
pub mod verdict;
