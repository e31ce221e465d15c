//! The unmodified etcdctl against two servers, by scripts: one command a line,
//! the same for both, and the output must be the same but for [`mask::MASKS`].
//!
//! A script line is a command line of etcdctl. `-w *` stands for every output
//! format. Indented lines below it are its standard input. After the command may
//! stand `=> NAME` (its first id is remembered, and `NAME` stands for it from then
//! on) or `until N lines` (etcdctl is ended once it has printed so many).

pub mod cluster;
pub mod mask;
pub mod run;
pub mod script;

use crate::target::Target;
use run::Output;
use script::Step;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Runs a script on both servers and returns a report of every difference.
///
/// # Panics
/// When the script itself cannot be read.
#[must_use]
pub fn differences(script: &str, targets: [&Target; 2]) -> Vec<String> {
    let [one, other] = targets;
    let mut sides = [Side::new(one), Side::new(other)];
    let mut reports = Vec::new();
    for step in script::parse(script) {
        let [left, right] = &mut sides;
        let (left_out, right_out) = std::thread::scope(|scope| {
            let other = scope.spawn(|| right.run(&step));
            let one = left.run(&step);
            (one, other.join().expect("running a command never panics"))
        });
        if left_out != right_out {
            let mut report = format!("line {}: etcdctl {}\n", step.line, step.words.join(" "));
            let _ = writeln!(report, "--- {}:\n{left_out}", one.name());
            let _ = writeln!(report, "--- {}:\n{right_out}", other.name());
            reports.push(report);
        }
    }
    reports
}

/// One server, and what the script has bound on it.
struct Side {
    endpoint: String,
    identity: mask::Identity,
    names: BTreeMap<String, String>,
}

impl Side {
    fn new(target: &Target) -> Self {
        Self {
            endpoint: target.endpoint().to_owned(),
            identity: mask::Identity::of(target.endpoint()),
            names: BTreeMap::new(),
        }
    }

    fn run(&mut self, step: &Step) -> Output {
        let named = |word: &String| self.names.get(word).unwrap_or(word).clone();
        let words: Vec<String> = step.words.iter().map(named).collect();
        let raw = run::etcdctl(&self.endpoint, &words, &step.stdin, step.until_lines);
        if let Some(name) = &step.bind {
            let id = mask::first_id(&raw.stdout).unwrap_or_default();
            self.names.insert(name.clone(), id);
        }
        mask::apply(&self.identity, &self.names, raw)
    }
}
