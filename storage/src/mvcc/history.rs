//! `log`: every event by revision. Watchers catch up from here, old values
//! are found here.

use super::current::key_value;
use crate::{
    backend::Read,
    error::Fault,
    event::{Change, Event, RevisionEvents},
    ids::Revision,
    schema::{
        Family, corrupt,
        rows::{self, Header, LogChange, LogRow},
    },
};
use bytes::Bytes;
use std::ops::ControlFlow;
use sternpost_proto::mvccpb;

/// What a walk calls for each event; `Break` ends it.
pub(crate) type VisitEvent<'v> =
    dyn FnMut(Revision, LogRow<'_>) -> Result<ControlFlow<()>, Fault> + 'v;

/// Looks one event up, and copies nothing.
pub(crate) fn get<T>(
    read: &dyn Read,
    revision: Revision,
    take: impl FnOnce(LogRow<'_>) -> T,
) -> Result<Option<T>, Fault> {
    let mut take = Some(take);
    let mut result = Ok(None);
    read.get(Family::Log, &rows::log_key(revision), &mut |row| {
        result = rows::decode_log(revision, row).map(|row| take.take().map(|take| take(row)));
    })?;
    result
}

/// The version that a put of `revision` made. It must be there: only
/// compacted versions go.
pub(crate) fn version_at(read: &dyn Read, revision: Revision) -> Result<mvccpb::KeyValue, Fault> {
    let missing = || {
        corrupt(
            Family::Log,
            &rows::log_key(revision),
            "a version that is still needed is gone",
        )
    };
    let kv = get(read, revision, |row| match row.change {
        LogChange::Put {
            create_revision,
            version,
            lease,
            value,
        } => {
            let header = Header {
                create_revision,
                modified: revision,
                version,
                lease,
            };
            Some(key_value(
                Bytes::copy_from_slice(row.key),
                &header,
                Bytes::copy_from_slice(value),
            ))
        }
        LogChange::Delete => None,
    })?;
    kv.flatten().ok_or_else(missing)
}

/// Visits all events from `from` (inclusive) to main revision `to`
/// (inclusive), in order.
pub(crate) fn walk(
    read: &dyn Read,
    from: Revision,
    to: i64,
    visit: &mut VisitEvent<'_>,
) -> Result<(), Fault> {
    if to < from.main {
        return Ok(());
    }
    let until = to
        .checked_add(1)
        .map(|end| rows::log_key(Revision::new(end, 0)));
    let mut scan = read.scan(
        Family::Log,
        &rows::log_key(from),
        until.as_ref().map(|key| key.as_slice()),
    )?;
    while let Some((key, row)) = scan.item() {
        let revision = rows::decode_log_key(key)?;
        if visit(revision, rows::decode_log(revision, row)?)?.is_break() {
            break;
        }
        scan.advance()?;
    }
    Ok(())
}

/// Whole revisions from `from` on, until one of the bounds is passed.
pub(crate) fn revisions(
    read: &dyn Read,
    from: i64,
    newest: i64,
    revisions_max: usize,
    bytes_max: usize,
) -> Result<Vec<RevisionEvents>, Fault> {
    let mut all: Vec<RevisionEvents> = Vec::new();
    let mut bytes = 0;
    walk(
        read,
        Revision::new(from.max(0), 0),
        newest,
        &mut |revision, row| {
            if all.last().is_none_or(|last| last.revision != revision.main) {
                if all.len() >= revisions_max || bytes >= bytes_max {
                    return Ok(ControlFlow::Break(()));
                }
                all.push(RevisionEvents {
                    revision: revision.main,
                    events: Vec::new(),
                });
            }
            let event = to_event(revision, &row);
            bytes += row.key.len() + value_bytes(&row);
            if let Some(last) = all.last_mut() {
                last.events.push(event);
            }
            Ok(ControlFlow::Continue(()))
        },
    )?;
    Ok(all)
}

fn value_bytes(row: &LogRow<'_>) -> usize {
    match row.change {
        LogChange::Put { value, .. } => value.len(),
        LogChange::Delete => 0,
    }
}

fn to_event(revision: Revision, row: &LogRow<'_>) -> Event {
    let change = match row.change {
        LogChange::Put {
            create_revision,
            version,
            lease,
            value,
        } => Change::Put {
            value: Bytes::copy_from_slice(value),
            create_revision,
            version,
            lease,
        },
        LogChange::Delete => Change::Delete,
    };
    Event {
        revision,
        key: Bytes::copy_from_slice(row.key),
        change,
        previous: row.previous,
    }
}
