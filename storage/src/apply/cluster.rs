//! Members, what they say of themselves, and the cluster version.

use super::{Response, StateChange};
use crate::{
    cluster,
    error::Fault,
    failpoint,
    ids::{LogMark, MemberId},
    mvcc::{digest::Part, write_txn::WriteTxn},
    schema::meta,
};
use bytes::Bytes;
use prost::Message as _;
use std::sync::Arc;
use sternpost_proto::internal::{ClusterVersion, MemberAttributes, MemberRecord, StoredMembership};

/// A new membership. Its bytes are kept as they came. Of members that are gone
/// the attributes go too, and the ID stays: no other member may ever get it.
pub(super) fn membership(
    txn: &mut WriteTxn<'_>,
    mark: LogMark,
    bytes: &Bytes,
) -> Result<Response, Fault> {
    failpoint!("beforeApplyOneConfChange");
    let stored = StoredMembership::decode(bytes.clone()).map_err(|error| Fault::Entry {
        index: mark.index,
        detail: format!("membership: {error}"),
    })?;
    let writer = txn.writer();
    writer.overlay.put_meta(meta::MEMBERSHIP, bytes);
    let known = cluster::members(&stored, &writer.cluster.attributes);
    let is_member = |id: &MemberId| known.iter().any(|(known, _)| known == id);
    let gone: Vec<MemberId> = writer
        .cluster
        .members
        .iter()
        .map(|(id, _)| *id)
        .filter(|id| !is_member(id))
        .collect();
    for id in gone {
        if writer.cluster.attributes.contains_key(&id) {
            Arc::make_mut(&mut writer.cluster.attributes).remove(&id);
            writer.overlay.delete_meta(&meta::attributes(id));
        }
        Arc::make_mut(&mut writer.cluster.removed).insert(id);
        writer.overlay.put_meta(&meta::removed(id), &[]);
    }
    writer.cluster.members = Arc::new(known);
    // A copy: the entry's bytes may be a slice of something larger.
    writer.cluster.membership = Some(Bytes::copy_from_slice(bytes));
    txn.digest(Part::Membership(bytes));
    txn.changed(StateChange::Members);
    failpoint!("afterApplyOneConfChange");
    Ok(Response::Empty)
}

/// What a member says of itself; of no interest if it is none (any more).
pub(super) fn attributes(txn: &mut WriteTxn<'_>, said: &MemberAttributes) -> Response {
    let id = MemberId(said.member_id);
    let writer = txn.writer();
    let Some(at) = writer
        .cluster
        .members
        .iter()
        .position(|(member, _)| *member == id)
    else {
        return Response::Empty;
    };
    let own = MemberRecord {
        name: said.name.clone(),
        client_urls: said.client_urls.clone(),
        ..MemberRecord::default()
    };
    let row = own.encode_to_vec();
    writer.overlay.put_meta(&meta::attributes(id), &row);
    let record = &mut Arc::make_mut(&mut writer.cluster.members)[at].1;
    record.name.clone_from(&own.name);
    record.client_urls.clone_from(&own.client_urls);
    Arc::make_mut(&mut writer.cluster.attributes).insert(id, own);
    txn.digest(Part::Attributes {
        member: id,
        record: &row,
    });
    txn.changed(StateChange::Members);
    Response::Empty
}

/// The version all members can speak.
pub(super) fn version(txn: &mut WriteTxn<'_>, decided: &ClusterVersion) -> Response {
    let writer = txn.writer();
    writer
        .overlay
        .put_meta(meta::CLUSTER_VERSION, decided.version.as_bytes());
    writer.cluster.version = Some(decided.version.as_str().into());
    txn.digest(Part::ClusterVersion(&decided.version));
    txn.changed(StateChange::Members);
    Response::Empty
}
