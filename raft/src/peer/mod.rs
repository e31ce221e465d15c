//! What members say to each other, and how.
//!
//! [`Transport`] reaches a member and [`PeerChannel`] is the way there;
//! [`Endpoint`] answers. All of them speak in the messages of
//! `proto/internal/peer.proto`, so a transport may as well be a simulated
//! network. The real one is [`GrpcTransport`], served by [`PeerService`].

mod client;
mod codec;
mod dial;
mod endpoint;
mod held;
mod metadata;
mod propose;
mod service;

pub use client::GrpcTransport;
pub(crate) use codec::{Convert, transfer_from_message};
pub use dial::{Connection, Dial, PlainTcp};
pub use endpoint::Endpoint;
pub(crate) use endpoint::EndpointParts;
pub use metadata::{Caller, PROTOCOL_MAX, PROTOCOL_MIN};
pub use service::PeerService;

use futures_util::{future::BoxFuture, stream::BoxStream};
use std::sync::Arc;
use sternpost_proto::internal as pb;
use thiserror::Error;

/// Bytes in one message on the peer port. Entries are bounded by the log
/// store to 1 MiB or one longer entry, and the longest request that can be
/// allowed is far below this.
pub const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// What a connection is for. Each purpose has one of its own, so that no large
/// message can delay a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Log entries.
    Replication,
    /// Heartbeats, votes, read indexes: small, and soon.
    Control,
    /// Whole states.
    Snapshot,
    /// Commands of a follower.
    Proposals,
}

/// A member to reach, by whom, and what for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Who calls.
    pub caller: Caller,
    /// The member's peer URLs, tried in turn.
    pub urls: Vec<String>,
    /// What for.
    pub purpose: Purpose,
}

/// How to reach other members.
pub trait Transport: Send + Sync + 'static {
    /// A way to a member; connects when it is first used, and again whenever
    /// that is needed. Called on the raft thread's runtime.
    fn channel(&self, route: Route) -> Arc<dyn PeerChannel>;
}

/// Messages that come in.
pub type Incoming<'a, T> = BoxStream<'a, Result<T, PeerError>>;
/// What a call returns.
pub type Call<'a, T> = BoxFuture<'a, Result<T, PeerError>>;

/// The way to one member. Each method is a call of the service `Peer`; the
/// caller sets the deadlines. A call that is dropped is cancelled.
pub trait PeerChannel: Send + Sync + 'static {
    /// Replicates: answers in the order of the requests.
    fn append(
        &self,
        requests: BoxStream<'static, pb::AppendRequest>,
    ) -> Call<'_, Incoming<'static, pb::AppendResponse>>;

    /// One heartbeat.
    fn append_one(&self, request: pb::AppendRequest) -> Call<'_, pb::AppendResponse>;

    /// Asks for a vote, or whether there would be one.
    fn vote(&self, request: pb::VoteRequest) -> Call<'_, pb::VoteResponse>;

    /// Asks the member to lead.
    fn transfer_leader(
        &self,
        request: pb::TransferLeaderRequest,
    ) -> Call<'_, pb::TransferLeaderResponse>;

    /// Sends a state.
    fn snapshot(
        &self,
        upload: BoxStream<'static, pb::SnapshotUpload>,
    ) -> Call<'_, Incoming<'static, pb::SnapshotProgress>>;

    /// Hands commands to the leader.
    fn propose(
        &self,
        proposals: BoxStream<'static, pb::ForwardedProposals>,
    ) -> Call<'_, Incoming<'static, pb::ForwardedRefusals>>;

    /// Asks the leader how far to apply before a read.
    fn read_index(&self, request: pb::ReadIndexRequest) -> Call<'_, pb::ReadIndexResponse>;

    /// Asks who belongs to the cluster.
    fn members(&self, request: pb::MembersRequest) -> Call<'_, pb::MembersResponse>;
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PeerError {
    /// No connection: the member has not heard of the call.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The connection broke, or the member failed: it may have heard of the call.
    #[error("{0}")]
    Broken(String),
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// The member does not talk to us: another cluster, another member, another protocol.
    #[error("refused: {0}")]
    Refused(String),
    /// The cluster has removed us for good.
    #[error("the member has been permanently removed from the cluster")]
    Removed,
}

/// A transport for a member that has no peers: none can be reached.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTransport;

impl Transport for NoTransport {
    fn channel(&self, _route: Route) -> Arc<dyn PeerChannel> {
        Arc::new(Self)
    }
}

fn nobody<T>() -> Call<'static, T>
where
    T: Send + 'static,
{
    let error = PeerError::Unreachable("no peer transport".into());
    Box::pin(std::future::ready(Err(error)))
}

impl PeerChannel for NoTransport {
    fn append(
        &self,
        _: BoxStream<'static, pb::AppendRequest>,
    ) -> Call<'_, Incoming<'static, pb::AppendResponse>> {
        nobody()
    }

    fn append_one(&self, _: pb::AppendRequest) -> Call<'_, pb::AppendResponse> {
        nobody()
    }

    fn vote(&self, _: pb::VoteRequest) -> Call<'_, pb::VoteResponse> {
        nobody()
    }

    fn transfer_leader(
        &self,
        _: pb::TransferLeaderRequest,
    ) -> Call<'_, pb::TransferLeaderResponse> {
        nobody()
    }

    fn snapshot(
        &self,
        _: BoxStream<'static, pb::SnapshotUpload>,
    ) -> Call<'_, Incoming<'static, pb::SnapshotProgress>> {
        nobody()
    }

    fn propose(
        &self,
        _: BoxStream<'static, pb::ForwardedProposals>,
    ) -> Call<'_, Incoming<'static, pb::ForwardedRefusals>> {
        nobody()
    }

    fn read_index(&self, _: pb::ReadIndexRequest) -> Call<'_, pb::ReadIndexResponse> {
        nobody()
    }

    fn members(&self, _: pb::MembersRequest) -> Call<'_, pb::MembersResponse> {
        nobody()
    }
}
