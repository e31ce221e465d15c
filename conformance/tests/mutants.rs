//! The planted bugs of `mutants/` still fit the sources, say what they break and who
//! must notice, and leave nothing behind in the product. Running them is
//! `make mutants`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The patch that the others need.
const SWITCH: &str = "0000-switch.patch";
/// What the differential suite must be seen to compare.
const VERBS: [&str; 22] = [
    "put",
    "range",
    "range stream",
    "delete range",
    "txn",
    "compact",
    "lease grant",
    "lease revoke",
    "lease keep alive",
    "lease time to live",
    "lease leases",
    "watch create",
    "watch cancel",
    "watch progress",
    "watch filters",
    "watch fragment",
    "watch prev_kv",
    "status",
    "alarm",
    "hash kv",
    "member list",
    "move leader",
];

/// One planted bug.
struct Mutant {
    file: String,
    name: String,
    breaks: String,
    verb: Option<String>,
    /// Rung and command.
    caught_by: Vec<(String, String)>,
    diff: String,
}

#[test]
fn every_patch_applies_after_those_before_it() {
    let copy = tempfile::tempdir().expect("the temporary directory is writable");
    for file in touched() {
        let (from, to) = (root().join(&file), copy.path().join(&file));
        fs::create_dir_all(to.parent().expect("a source is in a directory"))
            .expect("the copy is writable");
        if from.exists() {
            fs::copy(from, to).expect("the copy is writable");
        }
    }
    git(copy.path(), &["init", "-q"]);
    for patch in patches() {
        let patch = patch.to_string_lossy().into_owned();
        git(copy.path(), &["apply", &patch]);
    }
}

#[test]
fn every_header_says_what_breaks_and_who_must_notice() {
    let mut names = BTreeSet::new();
    for mutant in mutants() {
        let Mutant { file, name, .. } = &mutant;
        assert!(file.ends_with(&format!("-{name}.patch")), "{file}: {name}");
        assert!(names.insert(name.clone()), "{name} is there twice");
        assert!(!mutant.breaks.is_empty(), "{name} breaks nothing");
        assert!(!mutant.caught_by.is_empty(), "nobody catches {name}");
        assert!(
            mutant.diff.contains(&format!("mutant(\"{name}\")")),
            "{name}: not switched"
        );
        for (rung, command) in &mutant.caught_by {
            assert!(
                !rung.is_empty() && command.contains("cargo test "),
                "{name}: {command}"
            );
        }
    }
}

#[test]
fn every_verb_has_a_difference_planted() {
    let differential = |mutant: &Mutant| {
        mutant
            .caught_by
            .iter()
            .any(|(rung, _)| rung == "differential")
    };
    let planted: Vec<Mutant> = mutants().into_iter().filter(differential).collect();
    assert!(planted.len() >= 20, "only {} differences", planted.len());
    for verb in VERBS {
        let of_verb = |mutant: &Mutant| mutant.verb.as_deref() == Some(verb);
        assert!(
            planted.iter().any(of_verb),
            "no difference planted in {verb}"
        );
    }
}

#[test]
fn the_product_does_not_know_the_switch() {
    for krate in ["proto", "storage", "raft", "server"] {
        for file in sources(&root().join(krate)) {
            let text = fs::read_to_string(&file).expect("a source is text");
            let knows = text.contains("STERNPOST_MUTANT") || text.contains("mutant(");
            assert!(!knows, "{} knows the switch", file.display());
        }
    }
}

fn mutants() -> Vec<Mutant> {
    let files = patches().into_iter().filter(|path| !path.ends_with(SWITCH));
    files.map(|path| parse(&path)).collect()
}

fn parse(path: &Path) -> Mutant {
    let text = fs::read_to_string(path).expect("a patch is text");
    let (header, diff) = text.split_once("\n\n").expect("a header, then the patch");
    let field = |name: &str| -> Vec<String> {
        let lines = header.lines();
        let values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        values.map(str::to_owned).collect()
    };
    let rules = field("Caught-by").into_iter().map(|rule| {
        let (rung, command) = rule.split_once(": ").expect("rung: command");
        (rung.to_owned(), command.to_owned())
    });
    Mutant {
        file: path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        name: field("Mutant").concat(),
        breaks: field("Breaks").concat(),
        verb: field("Verb").pop(),
        caught_by: rules.collect(),
        diff: diff.to_owned(),
    }
}

/// In the order in which they are applied.
fn patches() -> Vec<PathBuf> {
    let dir = root().join("conformance/mutants");
    let entries = fs::read_dir(&dir).expect("the patches are kept");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("the directory is readable").path())
        .filter(|path| path.extension().is_some_and(|end| end == "patch"))
        .collect();
    files.sort();
    assert!(files.first().is_some_and(|first| first.ends_with(SWITCH)));
    files
}

/// The sources that any patch changes.
fn touched() -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for patch in patches() {
        let text = fs::read_to_string(patch).expect("a patch is text");
        let lines = text.lines().filter_map(|line| line.strip_prefix("+++ b/"));
        files.extend(lines.map(str::to_owned));
    }
    files
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a crate is a directory") {
        let path = entry.expect("the directory is readable").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
    found
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent()
        .expect("a crate is inside the workspace")
        .to_owned()
}

fn git(dir: &Path, arguments: &[&str]) {
    let output = Command::new("git")
        .current_dir(dir)
        .args(arguments)
        .output()
        .expect("git is installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {errors}");
}
