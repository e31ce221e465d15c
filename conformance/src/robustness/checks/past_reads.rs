//! A read of a past revision shows its keys; it is refused if that is compacted, or is yet to
//! come.

use super::super::operation::{Operation, Refusal};
use super::super::story::Story;
use super::super::traffic::PREFIX;
use super::acknowledged::Acknowledged;
use super::compactions::Compactions;
use super::local_reads::rows;
use std::collections::BTreeMap;

/// Reads that show what never was, and those that are answered or refused wrongly.
#[must_use]
pub fn check(
    operations: &[Operation],
    story: &Story,
    compactions: &Compactions<'_>,
    acknowledged: &Acknowledged,
) -> Vec<String> {
    let mut by_revision: BTreeMap<i64, Vec<&Operation>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for one in operations.iter().filter(|one| one.told.known) {
        let why = match (one.ask.past(), &one.told.refusal) {
            (None, None) => None,
            (None, Some(_)) | (_, Some(Refusal::Unknown(_))) => Some("no reason to refuse"),
            (Some(at), None) => {
                by_revision.entry(at).or_default().push(one);
                answered(at, one, compactions, acknowledged)
            }
            (Some(at), Some(refusal)) => refused(at, refusal, one, compactions, acknowledged),
        };
        wrong.extend(why.map(|why| format!("{why}: {one:?}")));
    }
    for (revision, keys) in story.states() {
        for one in by_revision.remove(&revision).into_iter().flatten() {
            let rows = rows(&keys, PREFIX, true);
            if rows != one.told.rows {
                wrong.push(format!("it was {rows:?}: {one:?}"));
            }
        }
    }
    let invented = by_revision.into_values().flatten();
    wrong.extend(invented.map(|one| format!("a revision that never was: {one:?}")));
    wrong
}

fn answered(
    at: i64,
    one: &Operation,
    compactions: &Compactions<'_>,
    acknowledged: &Acknowledged,
) -> Option<&'static str> {
    if one.told.revision < at {
        return Some("beyond its answer");
    }
    // A member's own state may be an old one.
    if one.local {
        return None;
    }
    if one.told.revision < acknowledged.before(one.call) {
        return Some("from an old state");
    }
    let compacted = compactions.done(at + 1, one.call);
    compacted.then_some("it was compacted before")
}

fn refused(
    at: i64,
    refusal: &Refusal,
    one: &Operation,
    compactions: &Compactions<'_>,
    acknowledged: &Acknowledged,
) -> Option<&'static str> {
    match refusal {
        // The revision of a compaction itself is left.
        Refusal::Compacted => {
            let compacted = compactions.may_be(at + 1, one.back);
            (!compacted).then_some("nobody has compacted that")
        }
        _ => {
            let known = !one.local && acknowledged.before(one.call) >= at;
            known.then_some("it was told before")
        }
    }
}
