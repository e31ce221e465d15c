//! `cur`: the newest version of each live key.

use super::{range::Visit, span::KeySpan};
use crate::{
    backend::Read,
    error::Fault,
    ids::Revision,
    schema::{
        Family,
        rows::{self, Header},
    },
};
use bytes::Bytes;
use sternpost_proto::mvccpb;

/// A version of a key, borrowed from where it lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Version<'a> {
    pub key: &'a [u8],
    pub header: Header,
    /// Empty if the walk was not asked for values.
    pub value: &'a [u8],
}

impl<'a> Version<'a> {
    /// What a message says.
    pub(crate) fn of(kv: &'a mvccpb::KeyValue) -> Self {
        Self {
            key: &kv.key,
            header: Header {
                create_revision: kv.create_revision,
                modified: Revision::new(kv.mod_revision, 0),
                version: kv.version,
                lease: kv.lease,
            },
            value: &kv.value,
        }
    }

    /// A copy of its own for a caller that has the key already.
    pub(crate) fn to_kv(self, key: Bytes) -> mvccpb::KeyValue {
        key_value(key, &self.header, Bytes::copy_from_slice(self.value))
    }
}

/// etcd's message for a version.
pub(crate) fn key_value(key: Bytes, header: &Header, value: Bytes) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key,
        create_revision: header.create_revision,
        mod_revision: header.modified.main,
        version: header.version,
        value,
        lease: header.lease,
    }
}

/// Looks one key up, and copies nothing.
pub(crate) fn get<T>(
    read: &dyn Read,
    key: &[u8],
    take: impl FnOnce(Version<'_>) -> T,
) -> Result<Option<T>, Fault> {
    let mut take = Some(take);
    let mut result = Ok(None);
    read.get(Family::Cur, key, &mut |row| {
        result = rows::decode_current(key, row).map(|(header, value)| {
            let take = take.take();
            take.map(|take| take(Version { key, header, value }))
        });
    })?;
    result
}

/// The header of one key.
pub(crate) fn header(read: &dyn Read, key: &[u8]) -> Result<Option<Header>, Fault> {
    get(read, key, |version| version.header)
}

/// Visits the keys of a span in order.
pub(crate) fn walk(read: &dyn Read, span: KeySpan<'_>, visit: &mut Visit<'_>) -> Result<(), Fault> {
    let (from, until) = match span {
        KeySpan::One(key) => {
            get(read, key, &mut *visit)?.transpose()?;
            return Ok(());
        }
        _ if span.is_empty() => return Ok(()),
        KeySpan::Range { from, until } => (from, until),
    };
    let mut scan = read.scan(Family::Cur, from, until)?;
    while let Some((key, row)) = scan.item() {
        let (header, value) = rows::decode_current(key, row)?;
        if visit(Version { key, header, value })?.is_break() {
            break;
        }
        scan.advance()?;
    }
    Ok(())
}

/// Whether a version that `header` describes is visible at `revision`.
pub(crate) fn visible(modified: Revision, revision: i64) -> bool {
    modified.main <= revision
}
