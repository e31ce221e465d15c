//! Leases: grant, revoke, checkpoints. When a lease expires is the leader's
//! clock to know; here it is only another revoke.

use super::{Response, StateChange};
use crate::{
    error::{ReadError, Rejection},
    failpoint,
    ids::LeaseId,
    mvcc::write_txn::WriteTxn,
    read::LeaseInfo,
    schema::{Family, corrupt, meta},
};
use sternpost_proto::internal::{LeaseCheckpoints, LeaseGrant, LeaseRevoke};

/// A new lease; ID and TTL are final.
pub(super) fn grant(txn: &mut WriteTxn<'_>, grant: &LeaseGrant) -> Result<Response, ReadError> {
    let id = LeaseId(grant.id);
    if grant.id == 0 {
        // 0 means no lease everywhere else.
        return Err(Rejection::LeaseNotFound.into());
    }
    if txn.lease(id)?.is_some() {
        return Err(Rejection::LeaseExists.into());
    }
    let lease = LeaseInfo {
        id,
        ttl_secs: grant.ttl_secs,
        remaining_secs: 0,
    };
    txn.put_lease(lease);
    txn.changed(StateChange::LeaseGranted(lease));
    Ok(Response::LeaseGrant)
}

/// The end of a lease: all its keys go in one revision, in key order. An
/// expiry counts only in the term that decided it: a later leader may have
/// answered a renewal since.
pub(super) fn revoke(
    txn: &mut WriteTxn<'_>,
    revoke: &LeaseRevoke,
    term: u64,
) -> Result<Response, ReadError> {
    if revoke.expired_in_term != 0 && revoke.expired_in_term != term {
        return Err(Rejection::StaleExpiry.into());
    }
    failpoint!("beforeRevokeLease");
    let id = LeaseId(revoke.id);
    if txn.lease(id)?.is_none() {
        return Err(Rejection::LeaseNotFound.into());
    }
    for key in txn.lease_keys(id)? {
        let Some(header) = txn.header(&key)? else {
            let row = meta::lease_key(id, &key);
            return Err(corrupt(Family::Meta, &row, "attaches a key that does not exist").into());
        };
        txn.delete(&key, &header)?;
    }
    txn.remove_lease(id);
    Ok(Response::LeaseRevoke)
}

/// Remaining times, for the next leader. Leases that are gone are passed over.
pub(super) fn checkpoint(
    txn: &mut WriteTxn<'_>,
    checkpoints: &LeaseCheckpoints,
) -> Result<Response, ReadError> {
    for checkpoint in &checkpoints.leases {
        let Some(lease) = txn.lease(LeaseId(checkpoint.id))? else {
            continue;
        };
        let lease = LeaseInfo {
            remaining_secs: checkpoint.remaining_secs,
            ..lease
        };
        txn.put_lease(lease);
        txn.changed(StateChange::LeaseCheckpointed(lease));
    }
    Ok(Response::Empty)
}
