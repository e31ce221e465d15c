//! Measures ours beside the reference and says which budgets are met.
//!
//! `bench [--only NAME,NAME] [--rounds N] [--keys N] [--secs N] [--rate N] [--ours] [--out FILE]`
//!
//! Names: a line of the load tool (`put-1`, ...) or `lines` for all of them, `load-1m`,
//! `load-1m-json`, `load-10m`, `quota`, `housekeeping`, `slow-watcher`, `many-watches`, `cluster`, `catch-up`.
//! `--keys`, `--secs`, `--rate` and `--rounds` make a run smaller or larger, `--ours` leaves the reference
//! out. Each section is printed once it is measured, and put into FILE between its marks, in
//! the place of the section of the same heading.

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use sternpost_conformance::measure::budget::Check;
use sternpost_conformance::measure::options::Options;
use sternpost_conformance::measure::report::{self, Section};
use sternpost_conformance::measure::{
    catch_up, cluster, housekeeping, lines, machine, many_watches, quota, slow_watcher, store,
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
    let mut run = Run {
        options: &options,
        checks: Vec::new(),
        failed: Vec::new(),
    };
    run.section("lines", || lines::section(&options));
    for store in &store::STORES {
        run.asynchronous(store.name, || store.section(&options));
    }
    run.asynchronous("quota", || quota::section(&options));
    run.some("housekeeping", || housekeeping::section(&options));
    run.asynchronous("slow-watcher", || slow_watcher::section(&options));
    run.asynchronous("many-watches", || many_watches::section(&options));
    run.asynchronous("cluster", || cluster::section(&options));
    run.asynchronous("catch-up", || catch_up::section(&options));
    println!("{}", report::all(&run.checks));
    if run.failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("not measured: {}", run.failed.join(", "));
    ExitCode::FAILURE
}

/// What came out so far.
struct Run<'a> {
    options: &'a Options,
    checks: Vec<Check>,
    failed: Vec<&'static str>,
}

impl Run<'_> {
    fn asynchronous<F: Future<Output = Section>>(
        &mut self,
        name: &'static str,
        measure: impl FnOnce() -> F,
    ) {
        if self.options.wants(name) {
            self.some(name, || async { Some(measure().await) });
        }
    }

    /// One that decides by itself whether it is wanted.
    fn some<F: Future<Output = Option<Section>>>(
        &mut self,
        name: &'static str,
        measure: impl FnOnce() -> F,
    ) {
        // A runtime for each: what a section leaves behind ends with it.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime starts");
        self.section(name, || runtime.block_on(measure()));
    }

    /// One that fails must not cost the others, which take long.
    fn section(&mut self, name: &'static str, measure: impl FnOnce() -> Option<Section>) {
        match std::panic::catch_unwind(AssertUnwindSafe(measure)) {
            Ok(Some(section)) => {
                println!("\n{}", section.markdown());
                if let Some(file) = &self.options.out {
                    report::write(file, &section);
                }
                self.checks.extend(section.checks);
            }
            Ok(None) => {}
            Err(_) => self.failed.push(name),
        }
    }
}
