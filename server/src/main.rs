//! The `sternpost` process: wiring only.

mod alarms;
mod api;
mod bootstrap;
mod cli;
mod compactor;
mod config;
#[cfg(feature = "failpoints")]
mod failpoints;
mod http;
mod layers;
mod lease;
mod logging;
mod member;
mod metrics;
mod pace;
mod peer;
mod propose;
mod read;
mod serve;
mod transport;
mod watch;

use std::env;

/// One allocator for Rust and for RocksDB's C++: fragments stay small, and
/// freed memory goes back to the system.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Read by jemalloc before `main`: give memory back after a second, by a
/// thread of its own, and keep few arenas, since few threads allocate.
#[used]
#[unsafe(export_name = "malloc_conf")]
static MALLOC_CONF: &[u8; 71] =
    b"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0,narenas:4\0\0";

fn main() {
    let mut arguments = env::args_os().map(|argument| argument.to_string_lossy().into_owned());
    let program = arguments.next().unwrap_or_default();
    let arguments: Vec<String> = arguments.collect();
    let code = match cli::role(&program, arguments.first().map(String::as_str)) {
        cli::Role::Server => serve::run(&program, &arguments),
        cli::Role::Tool => cli::run(&arguments),
        cli::Role::Proxy => {
            eprintln!(
                "etcd's gateway and grpc-proxy are not part of this server: see docs/compat.md"
            );
            2
        }
    };
    std::process::exit(code);
}
