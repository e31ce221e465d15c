//! What `--help`, `--version` and a mistake on the command line print.

use super::flags::{FLAGS, Status};
use crate::cli;
use std::fmt::Write as _;

/// The short form, below a mistake.
pub const USAGE: &str = "Usage:

  sternpost [flags]
    Start a server. Without flags: data in default.etcd, clients on http://localhost:2379.

  sternpost --version
    Show the versions.

  sternpost -h | --help
    Show every flag.

  sternpost --config-file <file>
    Start with a YAML or JSON file; other flags and ETCD_* variables are then ignored.
    Durations in it are whole numbers of nanoseconds (600000000000 for 10m).

Each flag can be given as -name or --name, or as a variable: --data-dir is ETCD_DATA_DIR.
";

/// Every flag, by group.
pub fn help() -> String {
    let mut text = USAGE.to_owned();
    let mut group = None;
    for flag in FLAGS.iter() {
        if group != Some(flag.group) {
            group = Some(flag.group);
            let _ = write!(text, "\n{}:\n", flag.group.heading());
        }
        let value = if flag.is_bool() {
            format!("'{}'", flag.default)
        } else {
            format!("'{}' ({})", flag.default, flag.placeholder)
        };
        let note = match flag.status {
            Status::Built | Status::Moot => "",
            Status::Later => " [not built yet]",
            Status::Ignored => " [ignored]",
            Status::Refused => " [not built yet: refused]",
        };
        let _ = write!(text, "  --{} {value}\n    {}{note}\n", flag.name, flag.help);
    }
    text
}

/// etcd's four lines, then ours.
pub fn version() -> String {
    cli::version_lines()
}
