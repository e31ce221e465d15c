//! The answering side of the peer port, without a wire: checks who calls, and
//! hands over to openraft.

use crate::{
    error::ReadIndexError,
    flow::Flow,
    heard::Heard,
    membership::is_removed,
    node::Leadership,
    options::Identity,
    peer::{
        Caller, Incoming, PROTOCOL_MAX, PROTOCOL_MIN, PeerError,
        codec::{Convert, transfer_to_message},
        held::{self, MayWait},
        propose::Proposals,
    },
    read_index::read_position,
    snapshot::{Snapshots, receive::Receiver},
    state_machine::Raft,
    types::TypeConfig,
};
use futures_util::StreamExt as _;
use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest, VoteRequest};
use std::{io, sync::Arc};
use sternpost_proto::internal as pb;
use sternpost_storage::{ReadHandle, failpoint};
use tokio::sync::{Notify, watch};

/// A member, as the others call it. Cheap to clone.
#[derive(Clone)]
pub struct Endpoint {
    parts: Arc<EndpointParts>,
    /// Answers that were held back go.
    heartbeat: Arc<Notify>,
}

/// What an endpoint answers from.
pub(crate) struct EndpointParts {
    pub(crate) identity: Identity,
    pub(crate) raft: Raft,
    pub(crate) reads: ReadHandle,
    pub(crate) flow: Arc<Flow>,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) heard: Arc<Heard>,
}

fn invalid(error: io::Error) -> PeerError {
    PeerError::Refused(format!("not a valid message: {error}"))
}

fn fatal(error: impl std::fmt::Display) -> PeerError {
    PeerError::Broken(format!("this member is stopping: {error}"))
}

/// Whoever leads or campaigns says so itself.
fn own_vote(vote: Option<&pb::Vote>, caller: &Caller) -> Result<(), PeerError> {
    match vote {
        Some(vote) if vote.node_id == caller.from => Ok(()),
        _ => Err(PeerError::Refused("a vote of somebody else".into())),
    }
}

impl Endpoint {
    pub(crate) fn new(parts: EndpointParts) -> Self {
        Self {
            parts: Arc::new(parts),
            heartbeat: Arc::default(),
        }
    }

    /// Whether `caller` may talk to this member.
    pub fn admit(&self, caller: &Caller) -> Result<(), PeerError> {
        let Identity {
            member_id,
            cluster_id,
        } = self.parts.identity;
        let refused = |text: String| Err(PeerError::Refused(text));
        if !(PROTOCOL_MIN..=PROTOCOL_MAX).contains(&caller.protocol) {
            return refused(format!(
                "protocol {} is not spoken here: {PROTOCOL_MIN} to {PROTOCOL_MAX} are",
                caller.protocol
            ));
        }
        if caller.cluster_id != cluster_id {
            return refused(format!(
                "cluster ID mismatch: {:x} called, this is {cluster_id:x}",
                caller.cluster_id
            ));
        }
        if caller.to != member_id {
            return refused(format!(
                "meant for member {:x}, this is {member_id:x}",
                caller.to
            ));
        }
        if caller.from == member_id {
            return refused(format!("called by this member, {member_id:x}, itself"));
        }
        if is_removed(&self.parts.reads, caller.from) {
            return Err(PeerError::Removed);
        }
        Ok(())
    }

    /// Replicates. The stream ends with the first answer that is not a match,
    /// or with the first request that is none.
    pub fn append(
        &self,
        caller: &Caller,
        requests: Incoming<'static, pb::AppendRequest>,
    ) -> Result<Incoming<'static, pb::AppendResponse>, PeerError> {
        self.admit(caller)?;
        let caller = *caller;
        let may_wait = MayWait::default();
        let asked = may_wait.clone();
        let requests = requests.scan((), move |(), request| {
            let request = request.and_then(|request| {
                own_vote(request.vote.as_ref(), &caller)?;
                asked.push(request.answer_may_wait);
                AppendEntriesRequest::<TypeConfig>::from_message(request).map_err(invalid)
            });
            std::future::ready(
                request
                    .inspect_err(|error| tracing::debug!(?caller, %error, "replication ends"))
                    .ok(),
            )
        });
        let answers = self.parts.raft.stream_append(requests);
        let parts = self.parts.clone();
        let answers = answers.map(move |answer| match answer {
            Ok(result) => {
                parts.heard.note(&result);
                failpoint!("raftBeforeFollowerSend");
                Ok(result.to_message())
            }
            Err(error) => Err(fatal(error)),
        });
        Ok(held::with_the_next(
            answers,
            may_wait,
            self.heartbeat.clone(),
        ))
    }

    /// One heartbeat.
    pub async fn append_one(
        &self,
        caller: &Caller,
        request: pb::AppendRequest,
    ) -> Result<pb::AppendResponse, PeerError> {
        self.admit(caller)?;
        own_vote(request.vote.as_ref(), caller)?;
        self.heartbeat.notify_waiters();
        let request = AppendEntriesRequest::<TypeConfig>::from_message(request).map_err(invalid)?;
        let first = request.prev_log_id;
        let last = request.entries.last().map(|entry| entry.log_id).or(first);
        let answer = self.parts.raft.append_entries(request).await;
        let answer = answer.map_err(fatal)?;
        let result = answer.into_stream_result(first, last);
        self.parts.heard.note(&result);
        failpoint!("raftBeforeFollowerSend");
        Ok(result.to_message())
    }

    /// A vote, or what it would be.
    pub async fn vote(
        &self,
        caller: &Caller,
        request: pb::VoteRequest,
    ) -> Result<pb::VoteResponse, PeerError> {
        self.admit(caller)?;
        own_vote(request.vote.as_ref(), caller)?;
        let pre_vote = request.pre_vote;
        let request = VoteRequest::<TypeConfig>::from_message(request).map_err(invalid)?;
        let answer = if pre_vote {
            self.parts.raft.pre_vote(request).await
        } else {
            self.parts.raft.vote(request).await
        };
        Ok(answer.map_err(fatal)?.to_message())
    }

    /// The leader asks this member to lead.
    pub async fn transfer_leader(
        &self,
        caller: &Caller,
        request: pb::TransferLeaderRequest,
    ) -> Result<pb::TransferLeaderResponse, PeerError> {
        self.admit(caller)?;
        own_vote(request.from.as_ref(), caller)?;
        if request.to != self.parts.identity.member_id {
            return Err(PeerError::Refused("leadership for somebody else".into()));
        }
        let request =
            TransferLeaderRequest::<TypeConfig>::from_message(request).map_err(invalid)?;
        let answer = self.parts.raft.handle_transfer_leader(request).await;
        Ok(transfer_to_message(&answer.map_err(fatal)?))
    }

    /// A whole state.
    pub fn snapshot(
        &self,
        caller: &Caller,
        upload: Incoming<'static, pb::SnapshotUpload>,
    ) -> Result<Incoming<'static, pb::SnapshotProgress>, PeerError> {
        self.admit(caller)?;
        let receiver = Receiver {
            raft: self.parts.raft.clone(),
            snapshots: self.parts.snapshots.clone(),
            from: caller.from,
        };
        let steps = receiver.receive(upload);
        Ok(Box::pin(steps.map(|step| step.map_err(PeerError::Refused))))
    }

    /// Commands of a follower.
    pub fn propose(
        &self,
        caller: &Caller,
        proposals: Incoming<'static, pb::ForwardedProposals>,
    ) -> Result<Incoming<'static, pb::ForwardedRefusals>, PeerError> {
        self.admit(caller)?;
        Ok(Proposals::new(self.parts.clone(), proposals).answers())
    }

    /// A linearizable read of a follower.
    pub async fn read_index(
        &self,
        caller: &Caller,
        _request: pb::ReadIndexRequest,
    ) -> Result<pb::ReadIndexResponse, PeerError> {
        self.admit(caller)?;
        let (read, refusal) = match read_position(&self.parts.raft).await {
            Ok(read) => (
                read.as_ref().map(crate::codec::log_id_to_message),
                pb::ReadIndexRefusal::None,
            ),
            Err(ReadIndexError::NoLeader | ReadIndexError::LeaderChanged) => {
                (None, pb::ReadIndexRefusal::NotLeader)
            }
            Err(ReadIndexError::TimedOut) => (None, pb::ReadIndexRefusal::TimedOut),
            Err(ReadIndexError::Stopped) => (None, pb::ReadIndexRefusal::Stopped),
        };
        Ok(pb::ReadIndexResponse {
            read,
            refusal: refusal.into(),
        })
    }

    /// Who belongs to the cluster, as far as it is applied here. Anybody may
    /// ask who speaks the protocol and does not think of another cluster.
    pub fn members(
        &self,
        caller: &Caller,
        _request: pb::MembersRequest,
    ) -> Result<pb::MembersResponse, PeerError> {
        let Identity {
            member_id,
            cluster_id,
        } = self.parts.identity;
        let own = |given, own| if given == 0 { own } else { given };
        self.admit(&Caller {
            cluster_id: own(caller.cluster_id, cluster_id),
            to: own(caller.to, member_id),
            from: 0,
            ..*caller
        })?;
        let leadership = *self.parts.leadership.borrow();
        let view = self.parts.reads.view();
        let members = view.members().iter().map(|(id, record)| pb::ClusterMember {
            node: Some(pb::Node {
                id: id.0,
                name: record.name.clone(),
                peer_urls: record.peer_urls.clone(),
                client_urls: record.client_urls.clone(),
                joining: record.is_joining,
            }),
            is_learner: record.is_learner,
        });
        Ok(pb::MembersResponse {
            cluster_id,
            members: members.collect(),
            leader: leadership.leader.unwrap_or(0),
            term: leadership.term,
        })
    }
}
