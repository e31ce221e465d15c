//! The rows of `cur`, `log` and `ver`.

use super::{Family, corrupt, varint};
use crate::{error::Fault, ids::Revision};

/// What `cur` knows of a key beside its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Header {
    pub create_revision: i64,
    pub modified: Revision,
    pub version: i64,
    pub lease: i64,
}

/// Appends a `cur` value.
pub(crate) fn encode_current(out: &mut Vec<u8>, header: &Header, value: &[u8]) {
    varint::put_signed(out, header.create_revision);
    varint::put_signed(out, header.modified.main);
    varint::put_signed(out, header.modified.sub);
    varint::put_signed(out, header.version);
    varint::put_signed(out, header.lease);
    out.extend_from_slice(value);
}

/// Splits a `cur` value into header and the user's value.
pub(crate) fn decode_current<'a>(key: &[u8], row: &'a [u8]) -> Result<(Header, &'a [u8]), Fault> {
    split_current(row).ok_or_else(|| corrupt(Family::Cur, key, "header cut short or impossible"))
}

fn split_current(mut row: &[u8]) -> Option<(Header, &[u8])> {
    let header = Header {
        create_revision: varint::take_signed(&mut row)?,
        modified: Revision::new(
            varint::take_signed(&mut row)?,
            varint::take_signed(&mut row)?,
        ),
        version: varint::take_signed(&mut row)?,
        lease: varint::take_signed(&mut row)?,
    };
    let sound = header.create_revision > 0
        && header.modified.main >= header.create_revision
        && header.modified.sub >= 0
        && header.version > 0;
    sound.then_some((header, row))
}

/// Bytes of a `log` key.
pub(crate) const LOG_KEY_BYTES: usize = 16;

/// The `log` key of a revision. Revisions are never negative.
pub(crate) fn log_key(revision: Revision) -> [u8; LOG_KEY_BYTES] {
    let mut key = [0; LOG_KEY_BYTES];
    key[..8].copy_from_slice(&revision.main.to_be_bytes());
    key[8..].copy_from_slice(&revision.sub.to_be_bytes());
    key
}

/// The revision of a `log` key.
pub(crate) fn decode_log_key(key: &[u8]) -> Result<Revision, Fault> {
    let (Some(main), Some(sub), LOG_KEY_BYTES) = (be_i64(key, 0), be_i64(key, 8), key.len()) else {
        return Err(corrupt(Family::Log, key, "key is not a revision"));
    };
    Ok(Revision::new(main, sub))
}

fn be_i64(bytes: &[u8], at: usize) -> Option<i64> {
    let part = bytes.get(at..at + 8)?;
    Some(i64::from_be_bytes(part.try_into().ok()?))
}

/// One event of the history, borrowed from its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogRow<'a> {
    pub key: &'a [u8],
    /// The version it replaced or deleted.
    pub previous: Option<Revision>,
    pub change: LogChange<'a>,
}

/// What an event did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogChange<'a> {
    Put {
        create_revision: i64,
        version: i64,
        lease: i64,
        value: &'a [u8],
    },
    Delete,
}

const LOG_PUT: u8 = 0;
const LOG_DELETE: u8 = 1;

/// Appends a `log` value.
pub(crate) fn encode_log(out: &mut Vec<u8>, row: &LogRow<'_>) {
    let delete = matches!(row.change, LogChange::Delete);
    out.push(if delete { LOG_DELETE } else { LOG_PUT });
    // Revision 0 is before every write, so it can stand for "none".
    let previous = row.previous.unwrap_or_default();
    varint::put_signed(out, previous.main);
    varint::put_signed(out, previous.sub);
    match row.change {
        LogChange::Put {
            create_revision,
            version,
            lease,
            value,
        } => {
            varint::put_signed(out, create_revision);
            varint::put_signed(out, version);
            varint::put_signed(out, lease);
            varint::put(out, row.key.len() as u64);
            out.extend_from_slice(row.key);
            out.extend_from_slice(value);
        }
        LogChange::Delete => out.extend_from_slice(row.key),
    }
}

/// Reads a `log` value.
pub(crate) fn decode_log(revision: Revision, row: &[u8]) -> Result<LogRow<'_>, Fault> {
    split_log(row).ok_or_else(|| {
        corrupt(
            Family::Log,
            &log_key(revision),
            "event cut short or of unknown kind",
        )
    })
}

fn split_log(row: &[u8]) -> Option<LogRow<'_>> {
    let (&kind, mut rest) = row.split_first()?;
    let previous = Revision::new(
        varint::take_signed(&mut rest)?,
        varint::take_signed(&mut rest)?,
    );
    if previous.main < 0 || previous.sub < 0 {
        return None;
    }
    let previous = (previous.main != 0).then_some(previous);
    match kind {
        LOG_DELETE => Some(LogRow {
            key: rest,
            previous,
            change: LogChange::Delete,
        }),
        LOG_PUT => {
            let create_revision = varint::take_signed(&mut rest)?;
            let version = varint::take_signed(&mut rest)?;
            let lease = varint::take_signed(&mut rest)?;
            if create_revision <= 0 || version <= 0 {
                return None;
            }
            let key_bytes = usize::try_from(varint::take(&mut rest)?).ok()?;
            let (key, value) = rest.split_at_checked(key_bytes)?;
            Some(LogRow {
                key,
                previous,
                change: LogChange::Put {
                    create_revision,
                    version,
                    lease,
                    value,
                },
            })
        }
        _ => None,
    }
}

/// Bytes of the revision at the end of a `ver` key.
const VER_REVISION_BYTES: usize = 16;

/// Appends the user's key so that bytewise order of the result, whatever
/// follows it, is the order of the keys: 0x00 becomes 0x00 0xff, and
/// 0x00 0x01 ends the key.
pub(crate) fn put_ver_prefix(out: &mut Vec<u8>, key: &[u8]) {
    for part in key.split_inclusive(|&byte| byte == 0) {
        out.extend_from_slice(part);
        if part.last() == Some(&0) {
            out.push(0xff);
        }
    }
    out.extend_from_slice(&[0x00, 0x01]);
}

/// Appends a `ver` key. Revisions are inverted: the newest version of a key
/// comes first.
pub(crate) fn put_ver_key(out: &mut Vec<u8>, key: &[u8], revision: Revision) {
    put_ver_prefix(out, key);
    out.extend_from_slice(&(!revision.main as u64).to_be_bytes());
    out.extend_from_slice(&(!revision.sub as u64).to_be_bytes());
}

/// Appends the first `ver` key of `key` that can hold a version of `main` or
/// older.
pub(crate) fn put_ver_seek(out: &mut Vec<u8>, key: &[u8], main: i64) {
    put_ver_prefix(out, key);
    out.extend_from_slice(&(!main as u64).to_be_bytes());
}

/// Splits a `ver` key into its escaped prefix and its revision.
pub(crate) fn split_ver_key(key: &[u8]) -> Result<(&[u8], Revision), Fault> {
    let Some(at) = key.len().checked_sub(VER_REVISION_BYTES) else {
        return Err(corrupt(Family::Ver, key, "key too short"));
    };
    let (prefix, revision) = key.split_at(at);
    match (be_i64(revision, 0), be_i64(revision, 8)) {
        (Some(main), Some(sub)) => Ok((prefix, Revision::new(!main, !sub))),
        _ => Err(corrupt(Family::Ver, key, "key without revision")),
    }
}

/// Undoes [`put_ver_prefix`] into `out`, which is cleared first.
pub(crate) fn unescape_ver_prefix(prefix: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    out.clear();
    let mut rest = prefix;
    while let Some(at) = rest.iter().position(|&byte| byte == 0) {
        out.extend_from_slice(&rest[..at]);
        match rest.get(at + 1) {
            Some(0xff) => out.push(0),
            Some(0x01) if at + 2 == rest.len() => return Ok(()),
            _ => break,
        }
        rest = &rest[at + 2..];
    }
    Err(corrupt(
        Family::Ver,
        prefix,
        "key is not escaped as it should be",
    ))
}

/// What `ver` tells of a version; its value and lease are in `log`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VerRow {
    Live { create_revision: i64, version: i64 },
    Tombstone,
}

/// Appends a `ver` value: empty for a tombstone.
pub(crate) fn encode_ver(out: &mut Vec<u8>, row: VerRow) {
    if let VerRow::Live {
        create_revision,
        version,
    } = row
    {
        varint::put_signed(out, create_revision);
        varint::put_signed(out, version);
    }
}

/// Reads a `ver` value.
pub(crate) fn decode_ver(key: &[u8], mut row: &[u8]) -> Result<VerRow, Fault> {
    if row.is_empty() {
        return Ok(VerRow::Tombstone);
    }
    match (
        varint::take_signed(&mut row),
        varint::take_signed(&mut row),
        row.is_empty(),
    ) {
        (Some(create_revision), Some(version), true) => Ok(VerRow::Live {
            create_revision,
            version,
        }),
        _ => Err(corrupt(Family::Ver, key, "version cut short")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_rows_are_refused() {
        let sound = Header {
            create_revision: 5,
            modified: Revision::new(9, 0),
            version: 2,
            lease: 0,
        };
        let refused = |header: Header| {
            let mut out = Vec::new();
            encode_current(&mut out, &header, b"");
            decode_current(b"k", &out).is_err()
        };
        assert!(!refused(sound));
        assert!(refused(Header {
            version: 0,
            ..sound
        }));
        assert!(refused(Header {
            create_revision: 0,
            ..sound
        }));
        assert!(refused(Header {
            modified: Revision::new(4, 0),
            ..sound
        }));
        let change = LogChange::Put {
            create_revision: 1,
            version: 0,
            lease: 0,
            value: b"",
        };
        let mut out = Vec::new();
        encode_log(
            &mut out,
            &LogRow {
                key: b"k",
                previous: None,
                change,
            },
        );
        assert!(decode_log(Revision::new(1, 0), &out).is_err());
    }

    #[test]
    fn current_rows_round_trip() {
        let header = Header {
            create_revision: 5,
            modified: Revision::new(900, 3),
            version: 2,
            lease: -7,
        };
        let mut out = Vec::new();
        encode_current(&mut out, &header, b"value");
        assert_eq!(
            decode_current(b"k", &out).unwrap(),
            (header, b"value".as_slice())
        );
        assert!(decode_current(b"k", &out[..3]).is_err());
    }

    #[test]
    fn log_rows_round_trip() {
        let revision = Revision::new(8, 1);
        let change = LogChange::Put {
            create_revision: 3,
            version: 4,
            lease: 7,
            value: b"v\0v",
        };
        for row in [
            LogRow {
                key: b"k\0",
                previous: Some(Revision::new(7, 2)),
                change,
            },
            LogRow {
                key: b"k",
                previous: None,
                change,
            },
            LogRow {
                key: b"k",
                previous: Some(Revision::new(7, 0)),
                change: LogChange::Delete,
            },
        ] {
            let mut out = Vec::new();
            encode_log(&mut out, &row);
            assert_eq!(decode_log(revision, &out).unwrap(), row);
        }
        assert!(decode_log(revision, &[]).is_err());
        assert!(decode_log(revision, &[9, 0, 0]).is_err());
        assert!(decode_log(revision, &[0, 0, 0, 1, 1, 0, 200, 1]).is_err());
        assert_eq!(decode_log_key(&log_key(revision)).unwrap(), revision);
        assert!(decode_log_key(b"short").is_err());
    }

    fn ver(key: &[u8], main: i64, sub: i64) -> Vec<u8> {
        let mut out = Vec::new();
        put_ver_key(&mut out, key, Revision::new(main, sub));
        out
    }

    #[test]
    fn ver_keys_sort_by_key_then_newest_first() {
        let keys: [&[u8]; 9] = [
            b"\0", b"\0\0", b"\0\x01", b"\0\xff", b"a", b"a\0", b"a\0\x01", b"a\x01", b"\xff",
        ];
        let mut last: Option<Vec<u8>> = None;
        for key in keys {
            for (main, sub) in [(i64::MAX, 0), (9, 1), (9, 0), (2, 0)] {
                let next = ver(key, main, sub);
                assert!(
                    last.as_ref().is_none_or(|last| *last < next),
                    "{key:?} {main}.{sub}"
                );
                let (prefix, revision) = split_ver_key(&next).unwrap();
                assert_eq!(revision, Revision::new(main, sub));
                let mut user = Vec::new();
                unescape_ver_prefix(prefix, &mut user).unwrap();
                assert_eq!(user, key);
                last = Some(next);
            }
        }
    }

    #[test]
    fn ver_seek_finds_the_newest_not_beyond() {
        let mut seek = Vec::new();
        put_ver_seek(&mut seek, b"a", 9);
        assert!(ver(b"a", 10, 0) < seek);
        assert!(ver(b"a", 9, 5) > seek);
        assert!(ver(b"a", 3, 0) > seek);
    }

    #[test]
    fn ver_rows_round_trip() {
        for row in [
            VerRow::Tombstone,
            VerRow::Live {
                create_revision: 2,
                version: 300,
            },
        ] {
            let mut out = Vec::new();
            encode_ver(&mut out, row);
            assert_eq!(decode_ver(b"k", &out).unwrap(), row);
        }
        assert!(decode_ver(b"k", &[1]).is_err());
        assert!(split_ver_key(b"short").is_err());
        let mut user = Vec::new();
        assert!(unescape_ver_prefix(b"no end", &mut user).is_err());
        assert!(unescape_ver_prefix(b"a\0\x02", &mut user).is_err());
    }
}
