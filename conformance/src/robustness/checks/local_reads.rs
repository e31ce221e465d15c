//! A local read shows the keys of the revision it names, and no revision to come.

use super::super::operation::{Ask, Operation, Row};
use super::super::story::{Keys, Story};
use std::collections::BTreeMap;

/// Local reads that show what never was.
#[must_use]
pub fn check(operations: &[Operation], story: &Story) -> Vec<String> {
    let mut by_revision: BTreeMap<i64, Vec<&Operation>> = BTreeMap::new();
    let of_now = |one: &&Operation| one.local && one.told.known && one.ask.past().is_none();
    for one in operations.iter().filter(of_now) {
        by_revision.entry(one.told.revision).or_default().push(one);
    }
    let mut wrong = Vec::new();
    for (revision, keys) in story.states() {
        for one in by_revision.remove(&revision).into_iter().flatten() {
            let Ask::Read { key, prefix } = &one.ask else {
                continue;
            };
            let rows = rows(&keys, key, *prefix);
            if rows != one.told.rows {
                wrong.push(format!("it was {rows:?}: {one:?}"));
            }
        }
    }
    let invented = by_revision.into_values().flatten();
    wrong.extend(invented.map(|one| format!("a revision that never was: {one:?}")));
    wrong
}

/// What a read of these keys shows.
pub(super) fn rows(keys: &Keys, key: &str, prefix: bool) -> Vec<Row> {
    let meant = keys.values().filter(|kv| match prefix {
        true => kv.key.starts_with(key.as_bytes()),
        false => kv.key == key.as_bytes(),
    });
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    meant
        .map(|kv| Row {
            key: text(&kv.key),
            value: text(&kv.value),
            modified: kv.mod_revision,
        })
        .collect()
}
