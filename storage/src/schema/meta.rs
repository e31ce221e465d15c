//! The rows of `meta`. The first byte of a key says what it is.

use super::{Family, corrupt, varint};
use crate::{
    error::Fault,
    ids::{LeaseId, LogMark, MemberId, Revision},
};

/// The format number, four bytes big-endian; written before anything else.
pub(crate) const FORMAT: &[u8] = b"F";
/// [`StateRow`].
pub(crate) const STATE: &[u8] = b"S";
/// `internal::StoredMembership`, as the log brought it.
pub(crate) const MEMBERSHIP: &[u8] = b"M";
/// The cluster version as text.
pub(crate) const CLUSTER_VERSION: &[u8] = b"V";

/// The last entry of the state that was installed from another member
/// ([`installed`]); set once the copy has been checked.
pub(crate) const INSTALLED: &[u8] = b"I";

/// Alarms: member, kind.
pub(crate) const ALARM: u8 = b'a';
/// Count blocks: first key.
pub(crate) const COUNT: u8 = b'b';
/// Keys of leases: lease, key.
pub(crate) const LEASE_KEY: u8 = b'k';
/// Leases: lease.
pub(crate) const LEASE: u8 = b'l';
/// Members that were removed: member.
pub(crate) const REMOVED: u8 = b'r';
/// What members say of themselves (`internal::MemberRecord`): member.
pub(crate) const ATTRIBUTES: u8 = b't';

/// Numbers that move with every batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StateRow {
    pub applied: Option<LogMark>,
    pub revision: i64,
    pub compact_revision: i64,
    /// The first event the scrub has not looked at.
    pub scrub_next: Revision,
    /// The compact revision the scrub has finished, -1 for none.
    pub scrubbed_to: i64,
    pub digest: u32,
}

impl Default for StateRow {
    fn default() -> Self {
        Self {
            applied: None,
            revision: 1,
            compact_revision: -1,
            scrub_next: Revision::default(),
            scrubbed_to: -1,
            digest: 0,
        }
    }
}

impl StateRow {
    /// Appends the row's value.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.applied.is_some()));
        let applied = self.applied.unwrap_or_default();
        varint::put(out, applied.term);
        varint::put(out, applied.index);
        varint::put_signed(out, self.revision);
        varint::put_signed(out, self.compact_revision);
        varint::put_signed(out, self.scrub_next.main);
        varint::put_signed(out, self.scrub_next.sub);
        varint::put_signed(out, self.scrubbed_to);
        varint::put(out, u64::from(self.digest));
    }

    /// Reads the row's value.
    pub(crate) fn decode(row: &[u8]) -> Result<Self, Fault> {
        Self::split(row)
            .ok_or_else(|| corrupt(Family::Meta, STATE, "state cut short or impossible"))
    }

    fn split(mut row: &[u8]) -> Option<Self> {
        let (&any, rest) = row.split_first()?;
        row = rest;
        let applied = LogMark {
            term: varint::take(&mut row)?,
            index: varint::take(&mut row)?,
        };
        let state = Self {
            applied: (any == 1).then_some(applied),
            revision: varint::take_signed(&mut row)?,
            compact_revision: varint::take_signed(&mut row)?,
            scrub_next: Revision::new(
                varint::take_signed(&mut row)?,
                varint::take_signed(&mut row)?,
            ),
            scrubbed_to: varint::take_signed(&mut row)?,
            digest: u32::try_from(varint::take(&mut row)?).ok()?,
        };
        let sound = state.revision >= 1
            && (-1..=state.revision).contains(&state.compact_revision)
            && (-1..=state.compact_revision).contains(&state.scrubbed_to)
            && state.scrub_next >= Revision::default();
        (any <= 1 && row.is_empty() && sound).then_some(state)
    }
}

/// The value of [`INSTALLED`].
pub(crate) fn installed(mark: LogMark) -> Vec<u8> {
    let mut out = Vec::new();
    varint::put(&mut out, mark.term);
    varint::put(&mut out, mark.index);
    out
}

/// Reads the value of [`INSTALLED`].
pub(crate) fn decode_installed(mut row: &[u8]) -> Result<LogMark, Fault> {
    let mut take = || varint::take(&mut row);
    match (take(), take()) {
        (Some(term), Some(index)) if row.is_empty() => Ok(LogMark { term, index }),
        _ => Err(corrupt(Family::Meta, INSTALLED, "not a position")),
    }
}

/// The key of a lease. The sign bit is flipped, so that order is by ID.
pub(crate) fn lease(id: LeaseId) -> [u8; 9] {
    numbered(LEASE, ordered(id.0))
}

/// The prefix of the keys attached to a lease.
pub(crate) fn lease_keys(id: LeaseId) -> [u8; 9] {
    numbered(LEASE_KEY, ordered(id.0))
}

/// The row that attaches `key` to a lease.
pub(crate) fn lease_key(id: LeaseId, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(9 + key.len());
    out.extend_from_slice(&lease_keys(id));
    out.extend_from_slice(key);
    out
}

/// The lease of a [`lease`] key.
pub(crate) fn decode_lease(key: &[u8]) -> Result<LeaseId, Fault> {
    Ok(LeaseId((number(key)? ^ SIGN) as i64))
}

/// The key of a member's attributes.
pub(crate) fn attributes(id: MemberId) -> [u8; 9] {
    numbered(ATTRIBUTES, id.0)
}

/// The key that keeps a removed member's ID from coming back.
pub(crate) fn removed(id: MemberId) -> [u8; 9] {
    numbered(REMOVED, id.0)
}

/// The member of an [`attributes`] or [`removed`] key.
pub(crate) fn decode_member(key: &[u8]) -> Result<MemberId, Fault> {
    Ok(MemberId(number(key)?))
}

/// The key of an alarm.
pub(crate) fn alarm(member: u64, kind: i32) -> [u8; 13] {
    let mut out = [0; 13];
    out[..9].copy_from_slice(&numbered(ALARM, member));
    out[9..].copy_from_slice(&kind.to_be_bytes());
    out
}

/// Member and kind of an [`alarm`] key.
pub(crate) fn decode_alarm(key: &[u8]) -> Result<(u64, i32), Fault> {
    let parts = key
        .split_at_checked(9)
        .and_then(|(head, kind)| Some((number(head).ok()?, kind.try_into().ok()?)));
    match parts {
        Some((member, kind)) => Ok((member, i32::from_be_bytes(kind))),
        None => Err(corrupt(Family::Meta, key, "not an alarm")),
    }
}

/// The key of a count block.
pub(crate) fn count(first: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + first.len());
    out.push(COUNT);
    out.extend_from_slice(first);
    out
}

const SIGN: u64 = 1 << 63;

fn ordered(id: i64) -> u64 {
    id as u64 ^ SIGN
}

fn numbered(letter: u8, number: u64) -> [u8; 9] {
    let mut out = [letter; 9];
    out[1..].copy_from_slice(&number.to_be_bytes());
    out
}

fn number(key: &[u8]) -> Result<u64, Fault> {
    match key.get(1..).and_then(|rest| <[u8; 8]>::try_from(rest).ok()) {
        Some(rest) => Ok(u64::from_be_bytes(rest)),
        None => Err(corrupt(Family::Meta, key, "key without number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_round_trips() {
        let moved = StateRow {
            applied: Some(LogMark { term: 3, index: 0 }),
            revision: 900,
            compact_revision: 800,
            scrub_next: Revision::new(700, 2),
            scrubbed_to: 600,
            digest: u32::MAX,
        };
        for state in [StateRow::default(), moved] {
            let mut out = Vec::new();
            state.encode(&mut out);
            assert_eq!(StateRow::decode(&out).unwrap(), state);
            assert!(StateRow::decode(&out[..out.len() - 1]).is_err());
            out.push(0);
            assert!(StateRow::decode(&out).is_err());
        }
        assert!(StateRow::decode(&[]).is_err());
        let ahead = StateRow {
            compact_revision: 2,
            ..StateRow::default()
        };
        let mut out = Vec::new();
        ahead.encode(&mut out);
        assert!(
            StateRow::decode(&out).is_err(),
            "compacted beyond the newest revision"
        );
    }

    #[test]
    fn numbered_keys_round_trip_in_order() {
        let ids = [i64::MIN, -1, 0, 1, i64::MAX].map(LeaseId);
        assert!(ids.map(lease).is_sorted());
        for id in ids {
            assert_eq!(decode_lease(&lease(id)).unwrap(), id);
            assert!(lease_key(id, b"x").starts_with(&lease_keys(id)));
        }
        assert_eq!(decode_alarm(&alarm(u64::MAX, 2)).unwrap(), (u64::MAX, 2));
        for key in [attributes(MemberId(9)), removed(MemberId(9))] {
            assert_eq!(decode_member(&key).unwrap(), MemberId(9));
        }
        assert!(decode_alarm(b"a").is_err());
        assert!(decode_lease(b"l").is_err());
    }
}
