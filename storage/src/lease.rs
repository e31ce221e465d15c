//! Leases as they are stored: granted seconds, a checkpoint, the keys attached.
//! No clock: the countdown is the leader's.

use crate::{
    backend::{Read, get_owned, prefix_end},
    error::Fault,
    ids::LeaseId,
    read::LeaseInfo,
    schema::{Family, corrupt, meta},
};
use bytes::Bytes;
use prost::Message as _;
use sternpost_proto::internal::LeaseRecord;

/// A lease, if it exists.
pub(crate) fn get(read: &dyn Read, id: LeaseId) -> Result<Option<LeaseInfo>, Fault> {
    let key = meta::lease(id);
    match get_owned(read, Family::Meta, &key)? {
        Some(row) => decode_lease(&key, &row).map(Some),
        None => Ok(None),
    }
}

/// All leases, by ID.
pub(crate) fn all(read: &dyn Read) -> Result<Vec<LeaseInfo>, Fault> {
    let prefix = [meta::LEASE];
    let mut scan = read.scan(Family::Meta, &prefix, prefix_end(&prefix).as_deref())?;
    let mut all = Vec::new();
    while let Some((key, row)) = scan.item() {
        all.push(decode_lease(key, row)?);
        scan.advance()?;
    }
    Ok(all)
}

/// The keys attached to a lease, in order.
pub(crate) fn keys(read: &dyn Read, id: LeaseId) -> Result<Vec<Bytes>, Fault> {
    let prefix = meta::lease_keys(id);
    let mut scan = read.scan(Family::Meta, &prefix, prefix_end(&prefix).as_deref())?;
    let mut keys = Vec::new();
    while let Some((key, _)) = scan.item() {
        keys.push(Bytes::copy_from_slice(&key[prefix.len()..]));
        scan.advance()?;
    }
    Ok(keys)
}

fn decode_lease(key: &[u8], row: &[u8]) -> Result<LeaseInfo, Fault> {
    let record =
        LeaseRecord::decode(row).map_err(|error| corrupt(Family::Meta, key, &error.to_string()))?;
    Ok(LeaseInfo {
        id: meta::decode_lease(key)?,
        ttl_secs: record.ttl_secs,
        remaining_secs: record.remaining_secs,
    })
}
