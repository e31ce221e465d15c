//! Reads at an old revision: `cur` where it has not changed since, else the
//! versions that `ver` lists, with their values from `log`.

use super::{
    current::{self, Version},
    history,
    range::{Values, Visit},
    span::KeySpan,
};
use crate::{
    backend::{Read, Scan},
    error::Fault,
    ids::Revision,
    schema::{
        Family, corrupt,
        rows::{self, Header, LogChange, VerRow},
    },
};
use std::{cmp::Ordering, ops::ControlFlow};

/// Rows of one key that are stepped over one by one before a seek is cheaper.
const STEPS_MAX: usize = 8;

/// Visits the keys of a span as they were at `revision`, in order.
pub(crate) fn walk(
    read: &dyn Read,
    span: KeySpan<'_>,
    revision: i64,
    values: Values,
    visit: &mut Visit<'_>,
) -> Result<(), Fault> {
    let end;
    let (from, until) = match span {
        _ if span.is_empty() => return Ok(()),
        KeySpan::One(key) => {
            end = [key, &[0]].concat();
            (key, Some(end.as_slice()))
        }
        KeySpan::Range { from, until } => (from, until),
    };
    let mut currents = read.scan(Family::Cur, from, until)?;
    let mut versions = VersionScan::new(read, from, until)?;
    loop {
        let order = match (currents.item(), versions.key()) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((key, _)), Some(versioned)) => key.cmp(versioned),
        };
        if let (Ordering::Less | Ordering::Equal, Some((key, row))) = (order, currents.item()) {
            let (header, value) = rows::decode_current(key, row)?;
            if current::visible(header.modified, revision) {
                if visit(Version { key, header, value })?.is_break() {
                    return Ok(());
                }
                if order == Ordering::Equal {
                    versions.next_key()?;
                }
                currents.advance()?;
                continue;
            }
            currents.advance()?;
        }
        if order != Ordering::Less {
            if let Some((modified, row)) = versions.find(revision)?
                && visit_old(read, versions.user_key(), modified, row, values, visit)?.is_break()
            {
                return Ok(());
            }
            versions.next_key()?;
        }
    }
}

fn visit_old(
    read: &dyn Read,
    key: &[u8],
    modified: Revision,
    row: VerRow,
    values: Values,
    visit: &mut Visit<'_>,
) -> Result<ControlFlow<()>, Fault> {
    let VerRow::Live {
        create_revision,
        version,
    } = row
    else {
        return Ok(ControlFlow::Continue(()));
    };
    let mut header = Header {
        create_revision,
        modified,
        version,
        lease: 0,
    };
    if values == Values::Skip {
        return visit(Version {
            key,
            header,
            value: &[],
        });
    }
    let found = history::get(read, modified, |event| match event.change {
        LogChange::Put { lease, value, .. } => {
            header.lease = lease;
            Some(visit(Version { key, header, value }))
        }
        LogChange::Delete => None,
    })?;
    match found.flatten() {
        Some(flow) => flow,
        None => Err(corrupt(
            Family::Log,
            &rows::log_key(modified),
            "`ver` lists a version that `log` lacks",
        )),
    }
}

/// Walks `ver` key by key.
struct VersionScan<'a> {
    scan: Box<dyn Scan + 'a>,
    /// The user's key it stands on.
    user_key: Vec<u8>,
    /// The same, escaped.
    prefix: Vec<u8>,
    at_end: bool,
    seek: Vec<u8>,
}

impl<'a> VersionScan<'a> {
    fn new(read: &'a dyn Read, from: &[u8], until: Option<&[u8]>) -> Result<Self, Fault> {
        let mut lower = Vec::with_capacity(from.len() + 8);
        rows::put_ver_prefix(&mut lower, from);
        let upper = until.map(|until| {
            let mut upper = Vec::with_capacity(until.len() + 8);
            rows::put_ver_prefix(&mut upper, until);
            upper
        });
        let scan = read.scan(Family::Ver, &lower, upper.as_deref())?;
        let mut versions = Self {
            scan,
            user_key: Vec::new(),
            prefix: Vec::new(),
            at_end: false,
            seek: Vec::new(),
        };
        versions.load()?;
        Ok(versions)
    }

    fn load(&mut self) -> Result<(), Fault> {
        match self.scan.item() {
            Some((key, _)) => {
                let (prefix, _) = rows::split_ver_key(key)?;
                self.prefix.clear();
                self.prefix.extend_from_slice(prefix);
                rows::unescape_ver_prefix(prefix, &mut self.user_key)
            }
            None => {
                self.at_end = true;
                Ok(())
            }
        }
    }

    fn key(&self) -> Option<&[u8]> {
        (!self.at_end).then_some(self.user_key.as_slice())
    }

    fn user_key(&self) -> &[u8] {
        &self.user_key
    }

    /// The row it stands on, if it still is one of this key.
    fn row(&self) -> Result<Option<(Revision, VerRow)>, Fault> {
        let Some((key, value)) = self.scan.item() else {
            return Ok(None);
        };
        let (prefix, revision) = rows::split_ver_key(key)?;
        if prefix != self.prefix.as_slice() {
            return Ok(None);
        }
        Ok(Some((revision, rows::decode_ver(key, value)?)))
    }

    /// The version of this key that was the newest at `revision`.
    fn find(&mut self, revision: i64) -> Result<Option<(Revision, VerRow)>, Fault> {
        for _ in 0..STEPS_MAX {
            match self.row()? {
                Some((modified, _)) if modified.main > revision => self.scan.advance()?,
                found => return Ok(found),
            }
        }
        self.seek.clear();
        rows::put_ver_seek(&mut self.seek, &self.user_key, revision);
        self.scan.seek(&self.seek)?;
        self.row()
    }

    /// Goes to the first version of the next key.
    fn next_key(&mut self) -> Result<(), Fault> {
        for _ in 0..STEPS_MAX {
            if self.row()?.is_none() {
                return self.load();
            }
            self.scan.advance()?;
        }
        // Behind the oldest version a key can have.
        self.seek.clear();
        rows::put_ver_key(&mut self.seek, &self.user_key, Revision::new(0, 0));
        self.scan.seek(&self.seek)?;
        self.load()
    }
}
