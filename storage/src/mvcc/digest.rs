//! The rolling state digest: a CRC-32C over what each entry changed.
//!
//! It covers the history rows and the changes of leases, alarms and members,
//! in the order they were made, and nothing that members may differ in (how
//! counts are cut into blocks, how far a scrub has come).

use crate::ids::{LeaseId, MemberId};

/// Parts of the state beside the history.
#[derive(Clone, Copy)]
pub(crate) enum Part<'a> {
    Lease {
        id: LeaseId,
        ttl_secs: i64,
        remaining_secs: i64,
    },
    LeaseGone {
        id: LeaseId,
    },
    Alarm {
        member: u64,
        kind: i32,
        raised: bool,
    },
    Compaction {
        revision: i64,
    },
    Membership(&'a [u8]),
    Attributes {
        member: MemberId,
        record: &'a [u8],
    },
    ClusterVersion(&'a str),
}

/// The digest after a history row.
pub(crate) fn event(digest: u32, row: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(digest, b"e"), row)
}

/// The digest after another change.
pub(crate) fn part(digest: u32, part: Part<'_>) -> u32 {
    let mut out = Vec::with_capacity(32);
    match part {
        Part::Lease {
            id,
            ttl_secs,
            remaining_secs,
        } => {
            out.push(b'l');
            numbers(&mut out, [id.0, ttl_secs, remaining_secs]);
        }
        Part::LeaseGone { id } => {
            out.push(b'r');
            numbers(&mut out, [id.0]);
        }
        Part::Alarm {
            member,
            kind,
            raised,
        } => {
            out.push(b'a');
            numbers(
                &mut out,
                [member as i64, i64::from(kind), i64::from(raised)],
            );
        }
        Part::Compaction { revision } => {
            out.push(b'c');
            numbers(&mut out, [revision]);
        }
        Part::Membership(bytes) => {
            out.push(b'm');
            out.extend_from_slice(bytes);
        }
        Part::Attributes { member, record } => {
            out.push(b't');
            numbers(&mut out, [member.0 as i64]);
            out.extend_from_slice(record);
        }
        Part::ClusterVersion(version) => {
            out.push(b'v');
            out.extend_from_slice(version.as_bytes());
        }
    }
    crc32c::crc32c_append(digest, &out)
}

fn numbers<const N: usize>(out: &mut Vec<u8>, numbers: [i64; N]) {
    for number in numbers {
        out.extend_from_slice(&number.to_be_bytes());
    }
}
