//! Disks that fail, are full, are slow, or hold other bytes than were written.

pub mod faults;
