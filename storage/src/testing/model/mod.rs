//! etcd's rules as plainly as they can be written: a list of all events, a
//! few maps, and everything else computed from them anew at each question.
//!
//! It knows nothing of rows, indexes, overlays or digests, so that it can't
//! share a mistake with the store it is compared with. Nothing here is fast.

mod hash;
mod read;
mod txn;

use crate::{
    apply::{Applied, Entry, EntryPayload, Response, StateChange},
    error::Rejection,
    event::{Change, Event, RevisionEvents},
    ids::{LeaseId, LogMark, MemberId, Revision},
    read::LeaseInfo,
};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use sternpost_proto::{
    etcdserverpb as pb,
    internal::{self, MemberRecord, command::Verb},
    mvccpb,
};

/// The reference store.
#[derive(Clone, Debug)]
pub struct Model {
    /// Every event there ever was, in order; a compaction takes none away.
    events: Vec<Event>,
    /// The place of each key's last event in that list.
    last: BTreeMap<Bytes, usize>,
    revision: i64,
    compact_revision: i64,
    leases: BTreeMap<LeaseId, LeaseInfo>,
    alarms: BTreeSet<(u64, i32)>,
    members: BTreeMap<MemberId, MemberRecord>,
    cluster_version: Option<String>,
    applied: Option<LogMark>,
}

impl Default for Model {
    fn default() -> Self {
        Self::new()
    }
}

impl Model {
    /// An empty store: revision 1, never compacted.
    pub fn new() -> Self {
        Self {
            events: Vec::new(),
            last: BTreeMap::new(),
            revision: 1,
            compact_revision: -1,
            leases: BTreeMap::new(),
            alarms: BTreeSet::new(),
            members: BTreeMap::new(),
            cluster_version: None,
            applied: None,
        }
    }

    /// Applies one entry; nothing comes of an entry at or below the mark.
    pub fn apply(&mut self, entry: &Entry) -> Option<Applied> {
        if self.applied.is_some_and(|applied| entry.mark <= applied) {
            return None;
        }
        self.applied = Some(entry.mark);
        let events_before = self.events.len();
        let mut changes = Vec::new();
        let response = match &entry.payload {
            EntryPayload::Blank => Ok(Response::Empty),
            EntryPayload::Membership(stored) => Ok(self.set_members(stored, &mut changes)),
            EntryPayload::Command(command) => {
                let verb = command
                    .verb
                    .as_ref()
                    .expect("the model is given known commands only");
                self.carry_out(verb, entry.mark.term, &mut changes)
            }
        };
        let events = self.events[events_before..].to_vec();
        self.revision = self.read_revision();
        let events = (!events.is_empty()).then(|| {
            Arc::new(RevisionEvents {
                revision: self.revision,
                events,
            })
        });
        Some(Applied {
            mark: entry.mark,
            revision: self.revision,
            response,
            events,
            changes,
        })
    }

    fn carry_out(
        &mut self,
        verb: &Verb,
        term: u64,
        changes: &mut Vec<StateChange>,
    ) -> Result<Response, Rejection> {
        match verb {
            Verb::Put(request) => {
                self.check_alarms(true)?;
                self.check_put(request)?;
                let response = self.put(request);
                Ok(Response::Put(pb::PutResponse {
                    header: None,
                    ..response
                }))
            }
            Verb::DeleteRange(request) => {
                self.check_alarms(false)?;
                let response = self.delete_range(request);
                Ok(Response::DeleteRange(pb::DeleteRangeResponse {
                    header: None,
                    ..response
                }))
            }
            Verb::Txn(request) => {
                self.check_alarms(txn::has_put(request))?;
                self.txn(request).map(Response::Txn)
            }
            Verb::Compaction(request) => {
                self.check_alarms(false)?;
                self.compact(request.revision)?;
                changes.push(StateChange::Compacted(request.revision));
                Ok(Response::Compaction)
            }
            Verb::LeaseGrant(grant) => {
                self.check_alarms(true)?;
                changes.push(StateChange::LeaseGranted(self.grant(grant)?));
                Ok(Response::LeaseGrant)
            }
            Verb::LeaseRevoke(revoke) => {
                self.check_alarms(false)?;
                if revoke.expired_in_term != 0 && revoke.expired_in_term != term {
                    return Err(Rejection::StaleExpiry);
                }
                changes.push(StateChange::LeaseRevoked(self.revoke(LeaseId(revoke.id))?));
                Ok(Response::LeaseRevoke)
            }
            Verb::LeaseCheckpoints(checkpoints) => {
                changes.extend(
                    checkpoints
                        .leases
                        .iter()
                        .filter_map(|lease| self.checkpoint(lease)),
                );
                Ok(Response::Empty)
            }
            Verb::Alarm(change) => Ok(self.change_alarm(change, changes)),
            Verb::MemberAttributes(attributes) => Ok(self.set_attributes(attributes, changes)),
            Verb::ClusterVersion(version) => {
                self.cluster_version = Some(version.version.clone());
                changes.push(StateChange::Members);
                Ok(Response::Empty)
            }
        }
    }

    /// CORRUPT refuses every write; NOSPACE those that take room.
    fn check_alarms(&self, takes_room: bool) -> Result<(), Rejection> {
        let on = |kind: pb::AlarmType| self.alarms.iter().any(|(_, alarm)| *alarm == kind as i32);
        if on(pb::AlarmType::Corrupt) {
            return Err(Rejection::Corrupt);
        }
        if takes_room && on(pb::AlarmType::Nospace) {
            return Err(Rejection::NoSpace);
        }
        Ok(())
    }

    /// The revision that reads inside the running entry see: the store's,
    /// one more once the entry has changed something.
    fn read_revision(&self) -> i64 {
        self.events.last().map_or(self.revision, |event| {
            self.revision.max(event.revision.main)
        })
    }

    fn push(&mut self, key: Bytes, change: Change) {
        let main = self.revision + 1;
        let running = self
            .events
            .iter()
            .rev()
            .take_while(|event| event.revision.main == main);
        let revision = Revision::new(main, i64::try_from(running.count()).expect("few events"));
        let previous = self.newest(&key).map(|event| event.revision);
        self.last.insert(key.clone(), self.events.len());
        self.events.push(Event {
            revision,
            key,
            change,
            previous,
        });
    }

    /// The put that a key's value comes from, if the key is alive.
    fn newest(&self, key: &[u8]) -> Option<&Event> {
        let last = &self.events[*self.last.get(key)?];
        (!last.is_delete()).then_some(last)
    }

    /// What stops a put before anything is written: the lease first.
    fn check_put(&self, request: &pb::PutRequest) -> Result<(), Rejection> {
        if request.lease != 0 && !self.leases.contains_key(&LeaseId(request.lease)) {
            return Err(Rejection::LeaseNotFound);
        }
        let needs_key = request.ignore_value || request.ignore_lease;
        if needs_key && self.newest(&request.key).is_none() {
            return Err(Rejection::KeyNotFound);
        }
        Ok(())
    }

    fn put(&mut self, request: &pb::PutRequest) -> pb::PutResponse {
        let old = self.newest(&request.key).map(Event::key_value);
        let revision = self.revision + 1;
        let mut value = request.value.clone();
        let mut lease = request.lease;
        if let Some(old) = &old {
            if request.ignore_value {
                value = old.value.clone();
            }
            if request.ignore_lease {
                lease = old.lease;
            }
        }
        let (create_revision, version) = old
            .as_ref()
            .map_or((revision, 1), |old| (old.create_revision, old.version + 1));
        self.push(
            request.key.clone(),
            Change::Put {
                value,
                create_revision,
                version,
                lease,
            },
        );
        pb::PutResponse {
            header: header(revision),
            prev_kv: old.filter(|_| request.prev_kv),
        }
    }

    fn delete_range(&mut self, request: &pb::DeleteRangeRequest) -> pb::DeleteRangeResponse {
        let victims: Vec<mvccpb::KeyValue> =
            self.in_range(&request.key, &request.range_end, self.read_revision());
        for victim in &victims {
            self.push(victim.key.clone(), Change::Delete);
        }
        pb::DeleteRangeResponse {
            header: header(self.read_revision()),
            deleted: i64::try_from(victims.len()).expect("few keys"),
            prev_kvs: if request.prev_kv { victims } else { Vec::new() },
        }
    }

    fn compact(&mut self, revision: i64) -> Result<(), Rejection> {
        if revision <= self.compact_revision {
            return Err(Rejection::Compacted);
        }
        if revision > self.revision {
            return Err(Rejection::FutureRevision);
        }
        self.compact_revision = revision;
        Ok(())
    }

    fn grant(&mut self, grant: &internal::LeaseGrant) -> Result<LeaseInfo, Rejection> {
        let id = LeaseId(grant.id);
        if self.leases.contains_key(&id) {
            return Err(Rejection::LeaseExists);
        }
        let lease = LeaseInfo {
            id,
            ttl_secs: grant.ttl_secs,
            remaining_secs: 0,
        };
        self.leases.insert(id, lease);
        Ok(lease)
    }

    fn revoke(&mut self, id: LeaseId) -> Result<LeaseId, Rejection> {
        self.leases.remove(&id).ok_or(Rejection::LeaseNotFound)?;
        for key in self.lease_keys(id) {
            self.push(key, Change::Delete);
        }
        Ok(id)
    }

    fn checkpoint(&mut self, checkpoint: &internal::LeaseRemaining) -> Option<StateChange> {
        let lease = self.leases.get_mut(&LeaseId(checkpoint.id))?;
        lease.remaining_secs = checkpoint.remaining_secs;
        Some(StateChange::LeaseCheckpointed(*lease))
    }

    /// Answers the alarm that is on now, or was until now.
    fn change_alarm(
        &mut self,
        change: &internal::AlarmChange,
        changes: &mut Vec<StateChange>,
    ) -> Response {
        let alarm = (change.member_id, change.alarm);
        let known = self.alarms.contains(&alarm);
        if change.alarm == pb::AlarmType::None as i32 || (change.clear && !known) {
            return Response::Alarm(Vec::new());
        }
        if change.clear {
            self.alarms.remove(&alarm);
            changes.push(StateChange::Alarms);
        } else if self.alarms.insert(alarm) {
            changes.push(StateChange::Alarms);
        }
        Response::Alarm(vec![pb::AlarmMember {
            member_id: change.member_id,
            alarm: change.alarm,
        }])
    }

    fn set_attributes(
        &mut self,
        attributes: &internal::MemberAttributes,
        changes: &mut Vec<StateChange>,
    ) -> Response {
        if let Some(member) = self.members.get_mut(&MemberId(attributes.member_id)) {
            member.name.clone_from(&attributes.name);
            member.client_urls.clone_from(&attributes.client_urls);
            changes.push(StateChange::Members);
        }
        Response::Empty
    }

    /// The members are those of the entry; one that has said who it is keeps
    /// its name and client URLs.
    fn set_members(&mut self, stored: &Bytes, changes: &mut Vec<StateChange>) -> Response {
        let stored: internal::StoredMembership = prost::Message::decode(stored.clone())
            .expect("the model is given whole memberships only");
        let membership = stored.membership.unwrap_or_default();
        let voters: BTreeSet<u64> = membership
            .configs
            .iter()
            .flat_map(|config| config.ids.iter().copied())
            .collect();
        let old = std::mem::take(&mut self.members);
        for node in membership.nodes {
            let id = MemberId(node.id);
            let said = old.get(&id).filter(|member| !member.name.is_empty());
            let votes = voters.contains(&node.id);
            let record = MemberRecord {
                name: said.map_or(node.name, |member| member.name.clone()),
                peer_urls: node.peer_urls,
                client_urls: said.map_or(node.client_urls, |member| member.client_urls.clone()),
                is_learner: !votes && !node.joining,
                is_joining: !votes && node.joining,
            };
            self.members.insert(id, record);
        }
        changes.push(StateChange::Members);
        Response::Empty
    }
}

/// The header of an answer inside a transaction: the revision alone.
fn header(revision: i64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader {
        revision,
        ..Default::default()
    })
}
