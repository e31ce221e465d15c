//! The `sternpost` process: wiring only.

#![allow(dead_code, unused_imports, missing_docs)]

mod alarms;
mod api;
mod bootstrap;
mod cli;
mod compactor;
mod config;
mod http;
mod layers;
mod lease;
mod logging;
mod member;
mod metrics;
mod propose;
mod read;
mod transport;
mod watch;

fn main() {}
