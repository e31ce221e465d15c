//! Rules of the house that no compiler checks: arrows between crates, sizes of files
//! and functions, words that may not appear.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What each crate may depend on of ours.
const ARROWS: [(&str, &[&str]); 5] = [
    ("proto", &[]),
    ("storage", &["proto"]),
    ("raft", &["proto", "storage"]),
    ("server", &["proto", "storage", "raft"]),
    ("conformance", &["proto"]),
];
/// What a crate may not depend on of others'.
const FOREIGN: [(&str, &[&str]); 5] = [
    ("proto", &["tokio", "rocksdb", "openraft"]),
    (
        "storage",
        &["tokio", "tonic", "openraft", "rand", "axum", "hyper"],
    ),
    ("raft", &["rocksdb", "axum"]),
    ("server", &["openraft", "rocksdb"]),
    ("conformance", &["openraft", "rocksdb"]),
];
/// What the deterministic core may not name: clocks, threads, chance, order by hash.
const NOT_IN_STORAGE: [&str; 10] = [
    "tokio::",
    "tonic::",
    "openraft::",
    "rand::",
    "std::time",
    "std::thread",
    "HashMap",
    "HashSet",
    "SystemTime",
    "Instant",
];
/// A file is asked about from here on.
const FILE_ASK: usize = 500;
/// And may not be longer than this.
const FILE_STOP: usize = 700;
/// A function may not be longer than this.
const FUNCTION_STOP: usize = 70;

#[test]
fn arrows_point_one_way() {
    for (krate, allowed) in ARROWS {
        let manifest = read(&root().join(krate).join("Cargo.toml"));
        for dependency in dependencies(&manifest) {
            if let Some(ours) = dependency.strip_prefix("sternpost-") {
                assert!(allowed.contains(&ours), "{krate} depends on {ours}");
            }
        }
    }
    for (krate, forbidden) in FOREIGN {
        let manifest = read(&root().join(krate).join("Cargo.toml"));
        for dependency in dependencies(&manifest) {
            assert!(
                !forbidden.contains(&dependency.as_str()),
                "{krate} depends on {dependency}"
            );
        }
    }
}

#[test]
fn only_raft_names_openraft() {
    for (path, text) in sources() {
        if !path.starts_with("raft") && !path.starts_with("conformance") {
            let named = code(&text).any(|(_, line)| line.contains("openraft::"));
            assert!(!named, "{} names openraft", path.display());
        }
    }
}

#[test]
fn the_core_is_deterministic() {
    let only_in_tests = files_only_in_tests();
    let mut found = Vec::new();
    for (path, text) in sources() {
        if !path.starts_with("storage/src") || is_test_file(&path) || only_in_tests.contains(&path)
        {
            continue;
        }
        for (number, line) in code(&text) {
            for word in NOT_IN_STORAGE {
                if line.contains(word) {
                    found.push(format!("{}:{number}: {word}", path.display()));
                }
            }
        }
    }
    none("storage names what may differ between replicas", &found);
}

#[test]
fn files_are_short() {
    let mut found = Vec::new();
    for (path, text) in sources() {
        let lines = text.lines().count();
        if lines > FILE_STOP {
            found.push(format!("{}: {lines} lines", path.display()));
        } else if lines > FILE_ASK {
            println!("{}: {lines} lines; one idea?", path.display());
        }
    }
    none("files too long", &found);
}

#[test]
fn functions_are_short() {
    let mut found = Vec::new();
    for (path, text) in sources() {
        for (name, line, length) in functions(&text) {
            if length > FUNCTION_STOP {
                found.push(format!(
                    "{}:{line}: {name} has {length} lines",
                    path.display()
                ));
            }
        }
    }
    none("functions too long", &found);
}

#[test]
fn nothing_is_left_open() {
    let open = ["todo", "unimplemented"].map(|name| format!("{name}!("));
    let skipped = format!("#[{}", "ignore");
    let unwrap = format!(".{}()", "unwrap");
    let only_in_tests = files_only_in_tests();
    let mut found = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_start();
            if !line.starts_with("//") && open.iter().any(|word| line.contains(word)) {
                found.push(format!("{}:{}: left open", path.display(), number + 1));
            }
            if line.starts_with(&skipped) {
                found.push(format!("{}:{}: skipped test", path.display(), number + 1));
            }
        }
        if is_test_file(&path) || only_in_tests.contains(&path) {
            continue;
        }
        for (number, line) in code(&text) {
            if line.contains(&unwrap) {
                found.push(format!("{}:{number}: {unwrap}", path.display()));
            }
        }
    }
    none("left open", &found);
}

#[test]
fn no_machine_is_named() {
    let roots = ["work", "home", "root", "Users"].map(|dir| format!("/{dir}/"));
    let mut found = Vec::new();
    for path in files(&root()) {
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            // A path begins a word; `docs/work/x` is not one.
            let mut words = line.split([' ', '"', '\'', '`', '=', '(', ':']);
            if words.any(|word| roots.iter().any(|dir| word.starts_with(dir))) {
                found.push(format!("{}:{}: {line}", path.display(), number + 1));
            }
        }
    }
    none("paths of somebody's machine", &found);
}

fn none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent()
        .expect("a crate is inside the workspace")
        .to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Names in `[dependencies]` and `[build-dependencies]`; tests may use more.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines() {
        if let Some(section) = line.strip_prefix('[') {
            inside =
                section.starts_with("dependencies]") || section.starts_with("build-dependencies]");
        } else if inside && line.starts_with(|c: char| c.is_ascii_alphabetic()) {
            let end = line.find(['.', ' ', '=']).unwrap_or(line.len());
            names.push(line[..end].to_owned());
        }
    }
    names
}

/// All Rust sources of the crates by path from the root.
fn sources() -> BTreeMap<PathBuf, String> {
    let root = root();
    let rust = files(&root)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|end| end == "rs"));
    rust.map(|path| {
        let short = path
            .strip_prefix(&root)
            .expect("found below the root")
            .to_owned();
        (short, read(&path))
    })
    .collect()
}

/// Everything that belongs to the project: no build output, nothing hidden, no data.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    for entry in entries {
        let path = entry.expect("the directory is readable").path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with('.')
            || ["target", "bin", "data", "default.etcd"].contains(&name.as_str())
        {
            continue;
        }
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// Code that only tests see: the tests, and models and drivers kept for them.
fn is_test_file(path: &Path) -> bool {
    let mut parts = path
        .components()
        .map(|part| part.as_os_str().to_string_lossy());
    parts.any(|part| ["tests", "tests.rs", "testing", "benches", "examples"].contains(&&*part))
}

/// Files brought in by `#[cfg(test)] mod name;`.
fn files_only_in_tests() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (path, text) in sources() {
        let dir = path.parent().expect("a source is in a directory");
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for (number, _) in lines
            .iter()
            .enumerate()
            .filter(|(_, line)| **line == "#[cfg(test)]")
        {
            let mut below = lines[number + 1..].iter();
            let item = below.find(|line| !line.starts_with("#["));
            let name = item.and_then(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
            if let Some(name) = name {
                found.push(dir.join(format!("{name}.rs")));
                found.push(path.with_extension("").join(format!("{name}.rs")));
            }
        }
    }
    found
}

/// Lines with their numbers, without comments and without `#[cfg(test)]` items.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut hidden: Option<usize> = None;
    let mut lines = text.lines().enumerate();
    std::iter::from_fn(move || {
        for (number, line) in lines.by_ref() {
            let bare = line.trim_start();
            let indent = line.len() - bare.len();
            if let Some(depth) = hidden {
                // rustfmt ends an item with a brace or a semicolon at its own depth.
                let ends = indent == depth && (bare.starts_with('}') || bare.ends_with(';'));
                if ends {
                    hidden = None;
                }
                continue;
            }
            if bare.starts_with("#[cfg(test)]") {
                hidden = Some(indent);
                continue;
            }
            if !bare.starts_with("//") {
                return Some((number + 1, line));
            }
        }
        None
    })
}

/// Name, first line and lines of code of every function; rustfmt closes one at its own depth.
fn functions(text: &str) -> Vec<(String, usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let bare = line.trim_start();
        let Some(name) = function_name(bare) else {
            continue;
        };
        let depth = line.len() - bare.len();
        let close = format!("{}}}", " ".repeat(depth));
        let end = lines[number..].iter().position(|line| **line == close);
        if let Some(end) = end.filter(|_| !bare.ends_with(';')) {
            let inside = &lines[number + 1..number + end.max(1)];
            let counts = |line: &&&str| !line.trim().is_empty() && !line.trim().starts_with("//");
            found.push((
                name.to_owned(),
                number + 1,
                inside.iter().filter(counts).count(),
            ));
        }
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let mut rest = line;
    for word in [
        "pub ",
        "pub(crate) ",
        "pub(super) ",
        "const ",
        "async ",
        "unsafe ",
    ] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    let rest = rest.strip_prefix("fn ")?;
    rest.split(['(', '<']).next()
}
