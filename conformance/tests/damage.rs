//! Files that are not what was written: refused or repaired with a clear sentence, or harmless; never served.
//!
//! `STERNPOST_FLIPS` (default 6) bits are flipped in each of log, store and manifest, one at a time.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::path::{Path, PathBuf};
use sternpost_conformance::disk::answers::compare;
use sternpost_conformance::disk::dataset::Dataset;
use sternpost_conformance::disk::log::{APPEND, VOTE, records};
use sternpost_conformance::disk::verdict::{Verdict, judge};
use sternpost_conformance::ledger::restarts::number;

const SEED: u64 = 9;
/// Bits behind the end of the log, too: they must not matter.
const BEYOND_THE_END: usize = 4096;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_is_never_served() {
    let dataset = Dataset::create().await;
    let mut rng = StdRng::seed_from_u64(number("STERNPOST_SEED", SEED));
    let manifest = [
        dataset.files("state", ""),
        // The one that matters most, more often.
        vec![manifest(&dataset); 6],
    ]
    .concat();
    let is_small = |file: &PathBuf| {
        let name = file.display().to_string();
        ["MANIFEST", "CURRENT", "OPTIONS", "IDENTITY"]
            .iter()
            .any(|part| name.contains(part))
    };
    let manifest: Vec<PathBuf> = manifest.into_iter().filter(is_small).collect();
    let classes = [
        ("log", dataset.segments(), BEYOND_THE_END),
        ("store", dataset.files("state", ".sst"), 0),
        ("manifest", manifest, 0),
    ];
    let mut wrong = Vec::new();
    for (class, files, beyond) in classes {
        assert!(!files.is_empty(), "{class}");
        let mut counts = [0; 4];
        for nth in 0..number("STERNPOST_FLIPS", 6) {
            let file = &files[rng.random_range(0..files.len())];
            let mut bytes = dataset.bytes(file);
            let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
            let at = rng.random_range(0..(used + beyond).min(bytes.len()));
            let bit = rng.random_range(0..8);
            bytes[at] ^= 1 << bit;
            let copy = dataset.copy();
            copy.replace(file, Some(&bytes));
            let what = format!(
                "{class} {nth}: bit {bit} of byte {at} of {}",
                file.display()
            );
            match judge(&dataset, &copy).await {
                Ok(verdict) => {
                    println!("{what}: {verdict}");
                    if !says_where(&verdict, file) {
                        wrong.push(format!("{what}: does not name the file: {verdict}"));
                    }
                    counts[kind(&verdict)] += 1;
                }
                Err(served) => wrong.push(format!("{what}: {served}")),
            }
        }
        println!(
            "{class}: {} refused, {} stopped, {} errors, {} harmless",
            counts[0], counts[1], counts[2], counts[3]
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Judges a copy with these files replaced; the verdict, after it was printed.
async fn with(dataset: &Dataset, what: &str, files: &[(PathBuf, Option<Vec<u8>>)]) -> Verdict {
    let copy = dataset.copy();
    for (file, bytes) in files {
        copy.replace(file, bytes.as_deref());
    }
    match judge(dataset, &copy).await {
        Ok(verdict) => {
            println!("{what}: {verdict}");
            verdict
        }
        Err(served) => panic!("{what}: {served}"),
    }
}

fn assert_refused(verdict: &Verdict, words: &[&str]) {
    assert!(matches!(verdict, Verdict::Refused(_)), "{verdict}");
    for word in words {
        assert!(
            verdict.line().contains(word),
            "{verdict}: does not say {word}"
        );
    }
}

fn name(file: &Path) -> String {
    file.display().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_in_the_log_is_told_from_a_torn_tail() {
    let dataset = Dataset::create().await;
    let segments = dataset.segments();
    assert!(segments.len() > 1, "{segments:?}");
    for file in &segments {
        let bytes = dataset.bytes(file);
        let all = records(&bytes);
        let vote = all.iter().find(|record| record.kind == VOTE);
        let entries: Vec<_> = all.iter().filter(|record| record.kind == APPEND).collect();
        let middle = entries.get(entries.len() / 2).copied();
        for (what, record) in [("a vote", vote), ("an entry", middle)] {
            let Some(record) = record else { continue };
            let mut bytes = bytes.clone();
            bytes[record.offset + record.bytes - 1] ^= 4;
            let what = format!("{what} in {}", name(file));
            let verdict = with(&dataset, &what, &[(file.clone(), Some(bytes))]).await;
            let offset = format!("offset {}", record.offset);
            assert_refused(&verdict, &[&name(file), &offset, "restore this member"]);
        }
    }
    let file = segments.last().expect("there are some");
    let mut bytes = dataset.bytes(file);
    let all = records(&bytes);
    let entry = all.iter().rfind(|record| record.kind == APPEND);
    let entry = entry.expect("there are entries");
    let end = all.last().map_or(0, |record| record.offset + record.bytes);
    let half = bytes[entry.offset..entry.offset + entry.bytes / 2].to_vec();
    bytes[end..end + half.len()].copy_from_slice(&half);
    let copy = dataset.copy();
    copy.replace(file, Some(&bytes));
    let target = copy.plan().start();
    let log = target.log_text();
    let said = log.lines().find(|line| line.contains("the log ends here"));
    let said = said.expect("a cut is reported");
    assert!(said.contains(&name(file)), "{said}");
    assert!(
        said.contains(&format!("\"offset\":{end}")),
        "{said}: not {end}"
    );
    let found = dataset.read(&target).await;
    assert_eq!(compare(&found, dataset.right(), false), Ok(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_missing_swapped_or_old_are_never_served() {
    let dataset = Dataset::create().await;
    let (log, tables) = (dataset.segments(), dataset.files("state", ".sst"));
    for file in log.iter().chain(&tables) {
        let verdict = with(
            &dataset,
            &format!("without {}", name(file)),
            &[(file.clone(), None)],
        )
        .await;
        assert!(!matches!(verdict, Verdict::Harmless), "{file:?} is of use");
    }
    for part in ["CURRENT", "MANIFEST", "IDENTITY", "OPTIONS"] {
        let mut files = dataset.files("state", "");
        files.retain(|file| name(file).contains(part));
        let files: Vec<_> = files.into_iter().map(|file| (file, None)).collect();
        with(&dataset, &format!("without {part}"), &files).await;
    }
    for files in [&log, &tables] {
        for pair in files.windows(2) {
            let swapped = [
                (pair[0].clone(), Some(dataset.bytes(&pair[1]))),
                (pair[1].clone(), Some(dataset.bytes(&pair[0]))),
            ];
            let verdict = with(&dataset, &format!("swapped {pair:?}"), &swapped).await;
            assert!(!matches!(verdict, Verdict::Harmless), "{pair:?} differ");
        }
    }
    let older = dataset.older();
    for (file, bytes) in &older {
        let what = format!("{} of an earlier session", name(file));
        let verdict = with(&dataset, &what, &[(file.clone(), Some(bytes.clone()))]).await;
        if name(file).contains("wal") {
            assert_refused(&verdict, &["the log", "ends after"]);
        }
    }
    let store = older
        .into_iter()
        .filter(|(file, _)| !name(file).contains("wal"));
    let store: Vec<_> = store.map(|(file, bytes)| (file, Some(bytes))).collect();
    with(&dataset, "the store's list of an earlier session", &store).await;
}

/// The last line names the file, or the list of files that it is in.
fn says_where(verdict: &Verdict, file: &Path) -> bool {
    let line = verdict.line();
    let current = name(file).ends_with("CURRENT") && line.contains("/member/state");
    matches!(verdict, Verdict::Harmless)
        || line.contains(&name(file))
        || line.contains("or in one of the files that it lists")
        || current
}

fn manifest(dataset: &Dataset) -> PathBuf {
    let mut files = dataset.files("state", "");
    files.retain(|file| file.display().to_string().contains("MANIFEST"));
    files.pop().expect("a store has one")
}

fn kind(verdict: &Verdict) -> usize {
    match verdict {
        Verdict::Refused(_) => 0,
        Verdict::Stopped(_) => 1,
        Verdict::Errors(..) => 2,
        Verdict::Harmless => 3,
    }
}
