//! The openraft type config: one leader per term, members by etcd's IDs,
//! proposals shared by reference.
//!
//! openraft's own types are never encoded as they are: `codec` maps them to
//! the messages of `proto/internal`, on disk and on the wire.

use crate::reply::Reply;
use bytes::Bytes;
use parking_lot::Mutex;
use prost::{DecodeError, Message as _};
use std::{
    fmt,
    ops::Deref,
    sync::{Arc, OnceLock},
};
use sternpost_proto::internal::{self, Command, command::Verb};

openraft::declare_raft_types!(
    /// What openraft is made of here.
    pub TypeConfig:
        D = Data,
        R = (),
        NodeId = u64,
        Node = Node,
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>,
        AsyncRuntime = openraft::impls::TokioRuntime,
);

/// A position in the log, as openraft wants it.
pub type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
/// The leader of a term, without its name.
pub type CommittedLeaderId = openraft::type_config::alias::CommittedLeaderIdOf<TypeConfig>;
/// A vote.
pub type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
/// A log entry. Cheap to clone, unless it holds a membership.
pub type Entry = openraft::type_config::alias::EntryOf<TypeConfig>;
/// What a log entry holds.
pub type EntryPayload = openraft::EntryPayload<Data, u64, Node>;
/// Voters and learners.
pub type Membership = openraft::Membership<u64, Node>;
/// Voters and learners, with the entry that brought them.
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;

/// The position `index` in `term`.
pub fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term), index)
}

/// What a member is to the others; its ID is the key it is stored under.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// The member's name; empty until it has said it.
    pub name: String,
    /// Where the other members reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
    /// Where it has no vote yet: it gets one as soon as it holds the log. It
    /// stays marked so, which means nothing once it votes.
    pub joining: bool,
}

impl Node {
    /// The message for the member `id`.
    pub fn to_message(&self, id: u64) -> internal::Node {
        internal::Node {
            id,
            name: self.name.clone(),
            peer_urls: self.peer_urls.clone(),
            client_urls: self.client_urls.clone(),
            joining: self.joining,
        }
    }
}

impl From<internal::Node> for Node {
    fn from(message: internal::Node) -> Self {
        Self {
            name: message.name,
            peer_urls: message.peer_urls,
            client_urls: message.client_urls,
            joining: message.joining,
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.peer_urls.join(","))
    }
}

/// What a normal entry holds: a shared [`Proposal`].
#[derive(Clone, Debug)]
pub struct Data(pub Arc<Proposal>);

impl Data {
    /// A proposal of this member. The command is encoded into an allocation of
    /// its own and decoded from that, so that nothing here keeps the buffers
    /// alive that the request came in. It fails if the command is nested more
    /// deeply than decoding allows: in the log, no member could read it back.
    pub fn propose(command: &Command, reply: Option<Reply>) -> Result<Self, DecodeError> {
        let encoded = Bytes::from(command.encode_to_vec());
        let own = Command::decode(encoded.clone())?;
        Ok(Self(Arc::new(Proposal {
            encoded,
            command: OnceLock::from(Arc::new(own)),
            reply: Mutex::new(reply),
        })))
    }

    /// A follower's proposal to the leader of `term`: `None` unless it is a
    /// command, and meant for that term.
    pub(crate) fn forwarded(encoded: Bytes, term: u64) -> Option<Self> {
        let data = Self::from_encoded(encoded);
        let header = data.command().ok()?.header.as_ref()?;
        (header.proposed_in_term == term && term != 0).then_some(())?;
        data.command().ok()?.verb.as_ref()?;
        Some(data)
    }

    /// A proposal read from the log or from a peer; decoded when first asked for.
    pub fn from_encoded(encoded: Bytes) -> Self {
        Self(Arc::new(Proposal {
            encoded,
            command: OnceLock::new(),
            reply: Mutex::new(None),
        }))
    }
}

impl Data {
    /// It was proposed here, and nobody waits any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        let reply = self.reply.lock();
        reply.as_ref().is_some_and(|reply| reply.sender.is_closed())
    }
}

impl Deref for Data {
    type Target = Proposal;

    fn deref(&self) -> &Proposal {
        &self.0
    }
}

impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&*self.0, f)
    }
}

/// A command on its way through the log.
#[derive(Debug)]
pub struct Proposal {
    encoded: Bytes,
    command: OnceLock<Arc<Command>>,
    reply: Mutex<Option<Reply>>,
}

impl Proposal {
    /// The bytes in the log.
    pub fn encoded(&self) -> &Bytes {
        &self.encoded
    }

    /// The command; its bytes fields are slices of `encoded`.
    pub fn command(&self) -> Result<&Arc<Command>, DecodeError> {
        if let Some(command) = self.command.get() {
            return Ok(command);
        }
        let command = Arc::new(Command::decode(self.encoded.clone())?);
        Ok(self.command.get_or_init(|| command))
    }

    /// Somebody here still waits for its answer.
    pub(crate) fn is_awaited(&self) -> bool {
        self.reply.lock().is_some()
    }

    /// Takes the reply slot: whoever has it answers, so nobody answers twice.
    pub fn take_reply(&self) -> Option<Reply> {
        self.reply.lock().take()
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.command.get() {
            Some(command) => verb_name(command),
            None => "command",
        };
        write!(f, "{verb}({} bytes)", self.encoded.len())
    }
}

fn verb_name(command: &Command) -> &'static str {
    match command.verb {
        None => "nothing",
        Some(Verb::Put(_)) => "put",
        Some(Verb::DeleteRange(_)) => "delete_range",
        Some(Verb::Txn(_)) => "txn",
        Some(Verb::Compaction(_)) => "compaction",
        Some(Verb::LeaseGrant(_)) => "lease_grant",
        Some(Verb::LeaseRevoke(_)) => "lease_revoke",
        Some(Verb::LeaseCheckpoints(_)) => "lease_checkpoints",
        Some(Verb::Alarm(_)) => "alarm",
        Some(Verb::MemberAttributes(_)) => "member_attributes",
        Some(Verb::ClusterVersion(_)) => "cluster_version",
    }
}
