//! Looks at the rows themselves: all families must tell the same story.

use crate::{
    ids::Revision,
    read::ReadView,
    schema::{
        Family, meta,
        rows::{self, LogChange, VerRow},
    },
};
use std::collections::{BTreeMap, BTreeSet};

/// A row of `log`, without what it replaced.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    key: Vec<u8>,
    /// Create revision, version, lease and value of a put.
    put: Option<(i64, i64, i64, Vec<u8>)>,
}

/// Panics unless the rows of this view fit together. Holds at any time, in
/// the middle of a scrub too.
pub(super) fn audit(view: &ReadView) {
    let log = log(view);
    let mut listed = BTreeSet::new();
    let mut attached = 0;
    let current = scan(view, Family::Cur);
    for (key, row) in &current {
        let (header, value) = rows::decode_current(key, row).expect("a row of cur");
        let put = (
            header.create_revision,
            header.version,
            header.lease,
            value.to_vec(),
        );
        let expected = Row {
            key: key.clone(),
            put: Some(put),
        };
        assert_eq!(
            log.get(&header.modified),
            Some(&expected),
            "cur and log at {}",
            header.modified
        );
        assert!(
            listed.insert(header.modified),
            "{} listed twice",
            header.modified
        );
        attached += usize::from(header.lease != 0);
    }
    for (key, row) in scan(view, Family::Ver) {
        let (prefix, revision) = rows::split_ver_key(&key).expect("a key of ver");
        let mut user_key = Vec::new();
        rows::unescape_ver_prefix(prefix, &mut user_key).expect("an escaped key");
        let Some(event) = log.get(&revision) else {
            panic!("ver lists {revision}, which log lacks")
        };
        assert_eq!(event.key, user_key, "ver and log at {revision}");
        let version = match rows::decode_ver(&key, &row).expect("a row of ver") {
            VerRow::Live {
                create_revision,
                version,
            } => Some((create_revision, version)),
            VerRow::Tombstone => None,
        };
        let expected = event.put.as_ref().map(|put| (put.0, put.1));
        assert_eq!(version, expected, "ver and log at {revision}");
        assert!(listed.insert(revision), "{revision} listed twice");
    }
    assert_eq!(
        listed.len(),
        log.len(),
        "each row of log is the newest of its key or in ver"
    );
    assert_eq!(
        view.keys_total(),
        i64::try_from(current.len()).expect("few keys"),
        "keys counted"
    );
    let lease_keys = scan(view, Family::Meta)
        .into_iter()
        .filter(|(key, _)| key[0] == meta::LEASE_KEY);
    assert_eq!(lease_keys.count(), attached, "keys attached to leases");
    if view.scrubbed() {
        check_scrubbed(&log, view.compact_revision());
    }
}

/// What a finished scrub leaves at or below its revision: the newest row of
/// each key, unless that is a tombstone from before it.
fn check_scrubbed(log: &BTreeMap<Revision, Row>, compact_revision: i64) {
    let mut seen = BTreeSet::new();
    for (revision, row) in log
        .iter()
        .filter(|(revision, _)| revision.main <= compact_revision)
    {
        assert!(
            seen.insert(&row.key),
            "an older row than {revision} of its key is left"
        );
        assert!(
            row.put.is_some() || revision.main == compact_revision,
            "a dead tombstone at {revision}"
        );
    }
}

fn log(view: &ReadView) -> BTreeMap<Revision, Row> {
    let rows = scan(view, Family::Log).into_iter().map(|(key, row)| {
        let revision = rows::decode_log_key(&key).expect("a key of log");
        let event = rows::decode_log(revision, &row).expect("a row of log");
        let put = match event.change {
            LogChange::Put {
                create_revision,
                version,
                lease,
                value,
            } => Some((create_revision, version, lease, value.to_vec())),
            LogChange::Delete => None,
        };
        (
            revision,
            Row {
                key: event.key.to_vec(),
                put,
            },
        )
    });
    rows.collect()
}

fn scan(view: &ReadView, family: Family) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut scan = view.snapshot().scan(family, b"", None).expect("a scan");
    let mut rows = Vec::new();
    while let Some((key, row)) = scan.item() {
        rows.push((key.to_vec(), row.to_vec()));
        scan.advance().expect("the next row");
    }
    rows
}
