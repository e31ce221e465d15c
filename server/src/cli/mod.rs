//! What a command line asks for before any flag is read: a server, or an
//! offline verb; and the version lines.

use crate::member::ETCD_VERSION;
use std::path::Path;

/// Offline verbs, as etcdutl spells them.
const VERBS: [&str; 7] = [
    "snapshot",
    "hashkv",
    "defrag",
    "migrate",
    "check",
    "version",
    "completion",
];

/// What to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A server: all arguments are flags.
    Server,
    /// The offline tool: the arguments start with a verb.
    Tool,
    /// One of etcd's proxies, which do not exist here.
    Proxy,
}

/// The one rule: a link named `etcd` or `etcdutl` is that program; under any
/// other name, a verb as first argument makes it the tool.
pub fn role(program: &str, first: Option<&str>) -> Role {
    let name = Path::new(program)
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    match (name, first) {
        ("etcdutl", _) => Role::Tool,
        (_, Some("gateway" | "grpc-proxy")) => Role::Proxy,
        ("etcd", _) => Role::Server,
        (_, Some(verb)) if VERBS.contains(&verb) => Role::Tool,
        _ => Role::Server,
    }
}

/// Runs an offline verb; the exit code.
pub fn run(arguments: &[String]) -> i32 {
    match arguments.first().map(String::as_str) {
        Some("version") => {
            println!(
                "etcdutl version: {ETCD_VERSION}\nAPI version: 3.7\nSternpost version: {}",
                env!("CARGO_PKG_VERSION")
            );
            0
        }
        Some(verb) if VERBS.contains(&verb) => {
            eprintln!("Error: {verb} is not built yet in this version");
            2
        }
        Some(verb) => {
            eprintln!("Error: unknown command {verb:?} for \"etcdutl\"");
            1
        }
        None => {
            println!("Offline verbs: {}", VERBS.join(", "));
            0
        }
    }
}

/// What `--version` prints: etcd's lines, so that scripts find them, then ours.
pub fn version_lines() -> String {
    format!(
        "etcd Version: {ETCD_VERSION}\nGit SHA: {}\nGo Version: none (Rust {})\nGo OS/Arch: {}/{}\nSternpost Version: {}\n",
        option_env!("STERNPOST_GIT_SHA").unwrap_or("Not provided"),
        env!("CARGO_PKG_RUST_VERSION"),
        std::env::consts::OS,
        arch(),
        env!("CARGO_PKG_VERSION"),
    )
}

/// The machine as Go calls it.
pub fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_says_what_to_be() {
        let table = [
            ("/usr/bin/etcd", None, Role::Server),
            ("etcd", Some("snapshot"), Role::Server),
            ("etcd", Some("gateway"), Role::Proxy),
            ("/opt/etcdutl", Some("snapshot"), Role::Tool),
            ("etcdutl", None, Role::Tool),
            ("sternpost", Some("--name"), Role::Server),
            ("sternpost", None, Role::Server),
            ("./sternpost", Some("hashkv"), Role::Tool),
            ("sternpost", Some("grpc-proxy"), Role::Proxy),
        ];
        for (program, first, expected) in table {
            assert_eq!(role(program, first), expected, "{program} {first:?}");
        }
    }

    #[test]
    fn scripts_find_etcd_s_version_lines() {
        let lines = version_lines();
        assert!(lines.starts_with("etcd Version: 3.7.1\nGit SHA: "));
        assert!(
            lines.contains("\nGo Version: ")
                && lines.contains("\nGo OS/Arch: ")
                && lines.contains("\nSternpost Version: ")
        );
    }
}
