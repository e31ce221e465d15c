//! openraft's types to our messages and back: on disk, and between members.
//!
//! A bump of openraft may change its types, never these messages.

use crate::types::{
    CommittedLeaderId, Data, Entry, EntryPayload, LogId, Membership, Node, StoredMembership, Vote,
    log_id,
};
use bytes::Bytes;
use openraft::vote::RaftLeaderId as _;
use prost::Message as _;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};
use sternpost_proto::internal::{self, log_entry::Payload};

/// A position, as a message.
pub fn log_id_to_message(id: &LogId) -> internal::LogId {
    internal::LogId {
        term: id.leader_id.term,
        index: id.index,
    }
}

/// A position, from a message.
pub fn log_id_from_message(message: &internal::LogId) -> LogId {
    LogId::new(CommittedLeaderId::new(message.term), message.index)
}

/// A vote, as a message.
pub fn vote_to_message(vote: &Vote) -> internal::Vote {
    internal::Vote {
        term: vote.leader_id().term(),
        node_id: *vote.leader_id().node_id(),
        committed: vote.is_committed(),
    }
}

/// A vote, from a message.
pub fn vote_from_message(message: &internal::Vote) -> Vote {
    if message.committed {
        Vote::new_committed(message.term, message.node_id)
    } else {
        Vote::new(message.term, message.node_id)
    }
}

/// A membership, as a message: voters and nodes sorted by ID.
pub fn membership_to_message(membership: &Membership) -> internal::Membership {
    let configs = membership.get_joint_config().iter();
    let nodes = membership.nodes();
    internal::Membership {
        configs: configs
            .map(|ids| internal::VoterSet {
                ids: ids.iter().copied().collect(),
            })
            .collect(),
        nodes: nodes.map(|(id, node)| node.to_message(*id)).collect(),
    }
}

/// A membership, from a message; fails if a voter has no node or a set of
/// voters is empty.
pub fn membership_from_message(message: internal::Membership) -> io::Result<Membership> {
    let configs: Vec<BTreeSet<u64>> = message
        .configs
        .into_iter()
        .map(|set| set.ids.into_iter().collect())
        .collect();
    let nodes: BTreeMap<u64, Node> = message
        .nodes
        .into_iter()
        .map(|node| (node.id, Node::from(node)))
        .collect();
    if configs.is_empty() && nodes.is_empty() {
        return Ok(Membership::default());
    }
    Membership::new(configs, nodes).map_err(|error| invalid(format!("membership: {error}")))
}

/// A membership and the entry that brought it, as a message.
pub fn stored_membership_to_message(stored: &StoredMembership) -> internal::StoredMembership {
    internal::StoredMembership {
        log_id: stored.log_id().as_ref().map(log_id_to_message),
        membership: Some(membership_to_message(stored.membership())),
    }
}

/// A membership and the entry that brought it, from a message.
pub fn stored_membership_from_message(
    message: internal::StoredMembership,
) -> io::Result<StoredMembership> {
    let membership = membership_from_message(message.membership.unwrap_or_default())?;
    let id = message.log_id.as_ref().map(log_id_from_message);
    Ok(StoredMembership::new(id, membership))
}

/// An entry, as a message. The command is shared, not copied.
pub fn entry_to_message(entry: &Entry) -> internal::LogEntry {
    let payload = match &entry.payload {
        EntryPayload::Blank => Payload::Blank(internal::Blank {}),
        EntryPayload::Normal(data) => Payload::Command(data.encoded().clone()),
        EntryPayload::Membership(membership) => {
            Payload::Membership(membership_to_message(membership))
        }
    };
    internal::LogEntry {
        log_id: Some(log_id_to_message(&entry.log_id)),
        payload: Some(payload),
    }
}

/// An entry, from a message.
pub fn entry_from_message(message: internal::LogEntry) -> io::Result<Entry> {
    let id = message
        .log_id
        .ok_or_else(|| invalid("log entry without a position".into()))?;
    let payload = match message.payload {
        Some(Payload::Blank(_)) => EntryPayload::Blank,
        Some(Payload::Command(encoded)) => EntryPayload::Normal(Data::from_encoded(encoded)),
        Some(Payload::Membership(membership)) => {
            EntryPayload::Membership(membership_from_message(membership)?)
        }
        None => {
            return Err(invalid(format!(
                "log entry {} of an unknown kind",
                id.index
            )));
        }
    };
    Ok(Entry {
        log_id: log_id(id.term, id.index),
        payload,
    })
}

/// An entry, from an encoded message; its command is a slice of `encoded`.
pub fn decode_entry(encoded: Bytes) -> io::Result<Entry> {
    let message =
        internal::LogEntry::decode(encoded).map_err(|error| invalid(error.to_string()))?;
    entry_from_message(message)
}

fn invalid(detail: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn membership() -> Membership {
        let node = |name: &str| Node {
            name: name.into(),
            peer_urls: vec![format!("http://{name}:2380")],
            client_urls: vec![format!("http://{name}:2379")],
            joining: name == "c",
        };
        let nodes = BTreeMap::from([(1, node("a")), (u64::MAX, node("b")), (3, node("c"))]);
        let configs = vec![BTreeSet::from([1]), BTreeSet::from([1, u64::MAX])];
        Membership::new(configs, nodes).unwrap()
    }

    #[test]
    fn votes_and_positions_come_back() {
        for vote in [
            Vote::new(0, 0),
            Vote::new(7, 9),
            Vote::new_committed(u64::MAX, u64::MAX),
        ] {
            assert_eq!(vote_from_message(&vote_to_message(&vote)), vote);
        }
        let id = log_id(3, u64::MAX);
        assert_eq!(log_id_from_message(&log_id_to_message(&id)), id);
    }

    #[test]
    fn memberships_come_back() {
        for membership in [Membership::default(), membership()] {
            let message = membership_to_message(&membership);
            assert_eq!(membership_from_message(message).unwrap(), membership);
        }
        let stored = StoredMembership::new(Some(log_id(2, 5)), membership());
        let message = stored_membership_to_message(&stored);
        assert_eq!(stored_membership_from_message(message).unwrap(), stored);
    }

    #[test]
    fn a_voter_without_a_node_is_refused() {
        let mut message = membership_to_message(&membership());
        message.nodes.remove(0);
        assert!(membership_from_message(message).is_err());
    }

    #[test]
    fn entries_come_back() {
        let payloads = [
            EntryPayload::Blank,
            EntryPayload::Normal(Data::from_encoded(Bytes::from_static(b"command"))),
            EntryPayload::Normal(Data::from_encoded(Bytes::new())),
            EntryPayload::Membership(membership()),
        ];
        for (index, payload) in (0..).zip(payloads) {
            let entry = Entry {
                log_id: log_id(4, index),
                payload,
            };
            let encoded = Bytes::from(entry_to_message(&entry).encode_to_vec());
            let back = decode_entry(encoded).unwrap();
            assert_eq!(back.log_id, entry.log_id);
            assert_eq!(entry_to_message(&back), entry_to_message(&entry));
        }
    }

    #[test]
    fn an_entry_of_an_unknown_kind_is_refused() {
        let message = internal::LogEntry {
            log_id: Some(internal::LogId { term: 1, index: 2 }),
            payload: None,
        };
        let encoded = Bytes::from(message.encode_to_vec());
        assert_eq!(
            decode_entry(encoded).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }
}
