//! Every byte the state machine stores, in one place: the column families,
//! their keys and their values. `docs/formats.md` describes the same in prose.
//!
//! | family | key | value |
//! |---|---|---|
//! | `cur` | the user's key | header and value of its newest version; deleted keys have no row |
//! | `log` | revision | one event of the history |
//! | `ver` | escaped user key, inverted revision | a version that `cur` no longer holds |
//! | `meta` | one letter, then a name | everything else, see [`meta`] |
//!
//! Integers in keys are big-endian, so that bytewise order is their order.
//! Decoders never panic: bytes that can't have been written are a
//! [`Fault::Corrupt`].

pub(crate) mod meta;
pub(crate) mod rows;
pub(crate) mod varint;

use crate::error::Fault;
use std::fmt::Write as _;

/// The newest format this version reads and the one it writes.
pub(crate) const FORMAT: u32 = 1;

/// A column family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    /// The newest version of each live key. Rebuildable from the others.
    Cur,
    /// The history: one row per event, by revision.
    Log,
    /// Which versions a key had before its newest one.
    Ver,
    /// Small records: state, leases, alarms, members, counts.
    Meta,
}

impl Family {
    /// All families, in the order of their discriminants.
    pub(crate) const ALL: [Family; 4] = [Family::Cur, Family::Log, Family::Ver, Family::Meta];

    /// Its name in RocksDB.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Family::Cur => "cur",
            Family::Log => "log",
            Family::Ver => "ver",
            Family::Meta => "meta",
        }
    }
}

/// The fault for a row that can't be what was written.
pub(crate) fn corrupt(family: Family, key: &[u8], detail: &str) -> Fault {
    let mut place = String::with_capacity(family.name().len() + 1 + key.len() * 2);
    place.push_str(family.name());
    place.push(' ');
    for byte in key {
        // Writing to a string can't fail.
        let _ = write!(place, "{byte:02x}");
    }
    Fault::Corrupt {
        place,
        detail: detail.to_owned(),
    }
}
