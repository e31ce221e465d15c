//! The log on disk against crashes, damage and full disks.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod crash;
mod damage;
mod faults;
mod lifecycle;
