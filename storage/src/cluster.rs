//! Alarms, members and the cluster version: few, so they are kept at hand and
//! every view carries them.

use crate::{
    backend::{Read, get_owned, prefix_end},
    error::Fault,
    ids::MemberId,
    schema::{Family, corrupt, meta},
};
use bytes::Bytes;
use prost::Message as _;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use sternpost_proto::{
    etcdserverpb as pb,
    internal::{MemberRecord, StoredMembership},
};

/// What is replicated beside keys and leases. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClusterState {
    /// Active alarms, by member and kind.
    pub alarms: Arc<Vec<pb::AlarmMember>>,
    /// Members, by ID.
    pub members: Arc<Vec<(MemberId, MemberRecord)>>,
    /// What members said of themselves, by ID.
    pub attributes: Arc<BTreeMap<MemberId, MemberRecord>>,
    /// Members that were removed, for good.
    pub removed: Arc<BTreeSet<MemberId>>,
    pub version: Option<Arc<str>>,
    /// `internal::StoredMembership` as the log brought it.
    pub membership: Option<Bytes>,
}

impl ClusterState {
    /// Reads it from `meta`.
    pub(crate) fn load(read: &dyn Read) -> Result<Self, Fault> {
        let mut state = Self {
            alarms: Arc::new(load_alarms(read)?),
            attributes: Arc::new(load_attributes(read)?),
            removed: Arc::new(load_removed(read)?),
            membership: get_owned(read, Family::Meta, meta::MEMBERSHIP)?.map(Bytes::from),
            ..Self::default()
        };
        if let Some(version) = get_owned(read, Family::Meta, meta::CLUSTER_VERSION)? {
            let text = String::from_utf8(version)
                .map_err(|_| corrupt(Family::Meta, meta::CLUSTER_VERSION, "version is not text"))?;
            state.version = Some(text.into());
        }
        if let Some(bytes) = &state.membership {
            let stored = StoredMembership::decode(bytes.clone())
                .map_err(|error| corrupt(Family::Meta, meta::MEMBERSHIP, &error.to_string()))?;
            state.members = Arc::new(members(&stored, &state.attributes));
        }
        Ok(state)
    }

    /// Whether any member has raised this alarm.
    pub(crate) fn has_alarm(&self, kind: pb::AlarmType) -> bool {
        self.alarms.iter().any(|alarm| alarm.alarm == kind as i32)
    }
}

/// The members of a membership. What a member said of itself later than it
/// joined wins over what the membership says.
pub(crate) fn members(
    stored: &StoredMembership,
    attributes: &BTreeMap<MemberId, MemberRecord>,
) -> Vec<(MemberId, MemberRecord)> {
    let Some(membership) = &stored.membership else {
        return Vec::new();
    };
    let votes = |id: u64| {
        membership
            .configs
            .iter()
            .any(|config| config.ids.contains(&id))
    };
    let mut all: Vec<_> = membership
        .nodes
        .iter()
        .map(|node| {
            let own = attributes.get(&MemberId(node.id));
            let votes = votes(node.id);
            let record = MemberRecord {
                name: own.map_or(&node.name, |own| &own.name).clone(),
                peer_urls: node.peer_urls.clone(),
                client_urls: own
                    .map_or(&node.client_urls, |own| &own.client_urls)
                    .clone(),
                is_learner: !votes && !node.joining,
                is_joining: !votes && node.joining,
            };
            (MemberId(node.id), record)
        })
        .collect();
    all.sort_by_key(|(id, _)| *id);
    all
}

fn load_alarms(read: &dyn Read) -> Result<Vec<pb::AlarmMember>, Fault> {
    let mut alarms = Vec::new();
    each(read, meta::ALARM, &mut |key, _| {
        let (member_id, alarm) = meta::decode_alarm(key)?;
        alarms.push(pb::AlarmMember { member_id, alarm });
        Ok(())
    })?;
    Ok(alarms)
}

fn load_attributes(read: &dyn Read) -> Result<BTreeMap<MemberId, MemberRecord>, Fault> {
    let mut all = BTreeMap::new();
    each(read, meta::ATTRIBUTES, &mut |key, row| {
        let record = MemberRecord::decode(row)
            .map_err(|error| corrupt(Family::Meta, key, &error.to_string()))?;
        all.insert(meta::decode_member(key)?, record);
        Ok(())
    })?;
    Ok(all)
}

fn load_removed(read: &dyn Read) -> Result<BTreeSet<MemberId>, Fault> {
    let mut all = BTreeSet::new();
    each(read, meta::REMOVED, &mut |key, _| {
        all.insert(meta::decode_member(key)?);
        Ok(())
    })?;
    Ok(all)
}

type VisitRow<'v> = dyn FnMut(&[u8], &[u8]) -> Result<(), Fault> + 'v;

fn each(read: &dyn Read, letter: u8, visit: &mut VisitRow<'_>) -> Result<(), Fault> {
    let mut scan = read.scan(Family::Meta, &[letter], prefix_end(&[letter]).as_deref())?;
    while let Some((key, row)) = scan.item() {
        visit(key, row)?;
        scan.advance()?;
    }
    Ok(())
}
