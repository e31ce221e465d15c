//! Whole states between real members: sent, cut, resumed, installed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cluster;
mod hostile;
#[path = "../nodes/mod.rs"]
mod nodes;
mod opening;
mod transfer;
