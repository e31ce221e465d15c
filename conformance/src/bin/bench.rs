//! Measures ours beside the reference and says which budgets are met.
//!
//! `bench [--only NAME,NAME] [--rounds N] [--keys N] [--secs N] [--rate N] [--ours] [--out FILE]`
//!
//! Names: a line of the load tool (`put-1`, ...) or `lines` for all of them, `load-1m`,
//! `load-1m-json`, `load-10m`, `quota`, `housekeeping`, `slow-watcher`, `many-watches`. `--keys`,
//! `--secs`, `--rate` and `--rounds` make a run smaller or larger, `--ours` leaves the reference
//! out. Each section is printed once it is measured, and put into FILE between its marks, in
//! the place of the section of the same heading.

use std::process::ExitCode;
use sternpost_conformance::measure::options::Options;
use sternpost_conformance::measure::report::{self, Section};
use sternpost_conformance::measure::{
    housekeeping, lines, machine, many_watches, quota, slow_watcher, store,
};

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(wrong) => {
            eprintln!("{wrong}");
            return ExitCode::FAILURE;
        }
    };
    println!("{}", machine::describe());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime starts");
    let mut checks = Vec::new();
    let mut done = |section: Section| {
        println!("\n{}", section.markdown());
        if let Some(file) = &options.out {
            report::write(file, &section);
        }
        checks.extend(section.checks);
    };
    if let Some(section) = lines::section(&options) {
        done(section);
    }
    for store in store::STORES {
        if options.wants(store.name) {
            done(runtime.block_on(store.section(&options)));
        }
    }
    if options.wants("quota") {
        done(runtime.block_on(quota::section(&options)));
    }
    if options.wants("housekeeping") {
        done(runtime.block_on(housekeeping::section(&options)));
    }
    if options.wants("slow-watcher") {
        done(runtime.block_on(slow_watcher::section(&options)));
    }
    if options.wants("many-watches") {
        done(runtime.block_on(many_watches::section(&options)));
    }
    println!("{}", report::all(&checks));
    ExitCode::SUCCESS
}
