//! One operation of a run, and the answer to it.

use super::watch::revision_of;
use bytes::Bytes;
use sternpost_proto::etcdserverpb as pb;
use sternpost_proto::mvccpb::Event;

/// Calls of every kind that a check before the handler must guard.
#[derive(Clone, Copy, Debug)]
pub enum Guarded {
    /// One request, one answer.
    Range,
    /// One request, a stream of answers.
    RangeStream,
    /// Streams both ways.
    Watch,
    /// Streams both ways, an answer per request.
    KeepAlive,
}

/// An operation that goes to both servers.
#[derive(Clone, Debug)]
pub enum Op {
    /// KV.Put.
    Put(pb::PutRequest),
    /// KV.Range.
    Range(pb::RangeRequest),
    /// KV.RangeStream.
    RangeStream(pb::RangeRequest),
    /// KV.DeleteRange.
    Delete(pb::DeleteRangeRequest),
    /// KV.Txn.
    Txn(pb::TxnRequest),
    /// KV.Compact.
    Compact(pb::CompactionRequest),
    /// A call with a `client-api-version` that is not UTF-8.
    BadClientVersion(Guarded, pb::RangeRequest),
    /// KV.Range that is to fail without a leader.
    RequireLeader(pb::RangeRequest),
    /// Lease.LeaseGrant with an id of our choice.
    Grant(pb::LeaseGrantRequest),
    /// Lease.LeaseGrant with a lifetime, the id left to the server; revoked at once.
    GrantAny(i64),
    /// Lease.LeaseRevoke.
    Revoke(pb::LeaseRevokeRequest),
    /// Lease.LeaseTimeToLive.
    TimeToLive(pb::LeaseTimeToLiveRequest),
    /// Lease.LeaseLeases.
    Leases,
    /// Lease.LeaseKeepAlive, one renewal per id on one stream.
    KeepAlive(Vec<i64>),
    /// Maintenance.HashKV.
    HashKv(i64),
    /// Maintenance.Alarm.
    Alarm(pb::AlarmRequest),
    /// Maintenance.Hash.
    Hash,
    /// Maintenance.Status.
    Status,
    /// Maintenance.MoveLeader to a member, or to the leader itself.
    MoveLeader(Option<u64>),
    /// Maintenance.Downgrade.
    Downgrade(pb::DowngradeRequest),
    /// Auth.AuthStatus.
    AuthStatus,
    /// Auth.Authenticate.
    Authenticate(pb::AuthenticateRequest),
    /// Maintenance.Defragment.
    Defragment,
    /// Cluster.MemberList.
    Members(bool),
    /// A watch on one of the lasting streams.
    WatchCreate(usize, pb::WatchCreateRequest),
    /// The end of a watch on one of the lasting streams.
    WatchCancel(usize, i64),
    /// A progress request on one of the lasting streams.
    WatchProgress(usize),
    /// Watches on a stream of their own, each with the number of answers that are not events.
    WatchOnce(Vec<(pb::WatchCreateRequest, usize)>),
    /// Puts so many keys of such a size and deletes them at once, before a watcher on a
    /// stream of its own: the one revision is larger than a message may be.
    LargeRevision {
        /// Keys.
        keys: usize,
        /// Bytes of each value.
        bytes: usize,
        /// Whether the response may be split.
        fragment: bool,
    },
    /// Waits until every watcher has what it must have by now, and compares what it got.
    Settle,
}

impl Op {
    /// The word that coverage is counted under.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Put(_) => "put",
            Self::Range(_) => "range",
            Self::RangeStream(_) => "range stream",
            Self::Delete(_) => "delete range",
            Self::Txn(_) => "txn",
            Self::Compact(_) => "compact",
            Self::BadClientVersion(..) => "bad client version",
            Self::RequireLeader(_) => "range, leader required",
            Self::Grant(_) => "lease grant",
            Self::GrantAny(_) => "lease grant, any id",
            Self::Revoke(_) => "lease revoke",
            Self::TimeToLive(_) => "lease time to live",
            Self::Leases => "lease leases",
            Self::KeepAlive(_) => "lease keep alive",
            Self::HashKv(_) => "hash kv",
            Self::Alarm(_) => "alarm",
            Self::Hash => "hash",
            Self::Status => "status",
            Self::MoveLeader(_) => "move leader",
            Self::Downgrade(_) => "downgrade",
            Self::AuthStatus => "auth status",
            Self::Authenticate(_) => "authenticate",
            Self::Defragment => "defragment",
            Self::Members(_) => "member list",
            Self::WatchCreate(..) => "watch create",
            Self::WatchCancel(..) => "watch cancel",
            Self::WatchProgress(_) => "watch progress",
            Self::WatchOnce(_) => "watch once",
            Self::LargeRevision { .. } => "large revision",
            Self::Settle => "settle watches",
        }
    }
}

/// What one watcher got since it was last looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// Which lasting stream.
    pub stream: usize,
    /// Which watch of it.
    pub watch_id: i64,
    /// The events in the order they came.
    pub events: Vec<Event>,
}

/// The answer of one server.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// To Put.
    Put(pb::PutResponse),
    /// To Range.
    Range(pb::RangeResponse),
    /// To RangeStream: all chunks.
    RangeStream(Vec<pb::RangeStreamResponse>),
    /// To DeleteRange.
    Delete(pb::DeleteRangeResponse),
    /// To Txn.
    Txn(pb::TxnResponse),
    /// To Compact.
    Compact(pb::CompactionResponse),
    /// To LeaseGrant.
    Grant(pb::LeaseGrantResponse),
    /// To LeaseRevoke.
    Revoke(pb::LeaseRevokeResponse),
    /// To LeaseTimeToLive.
    TimeToLive(pb::LeaseTimeToLiveResponse),
    /// To LeaseLeases.
    Leases(pb::LeaseLeasesResponse),
    /// To LeaseKeepAlive, one per renewal.
    KeepAlive(Vec<pb::LeaseKeepAliveResponse>),
    /// To HashKV.
    HashKv(pb::HashKvResponse),
    /// To Alarm.
    Alarm(pb::AlarmResponse),
    /// To Hash.
    Hash(pb::HashResponse),
    /// To MoveLeader.
    MoveLeader(pb::MoveLeaderResponse),
    /// To Downgrade.
    Downgrade(pb::DowngradeResponse),
    /// To AuthStatus.
    AuthStatus(pb::AuthStatusResponse),
    /// To Authenticate.
    Authenticate(pb::AuthenticateResponse),
    /// To Status.
    Status(Box<pb::StatusResponse>),
    /// To Defragment.
    Defragment(pb::DefragmentResponse),
    /// To MemberList.
    Members(pb::MemberListResponse),
    /// To a watch request: everything but events.
    Watch(Vec<pb::WatchResponse>),
    /// What the watchers got, and which promise was broken.
    Settled(Vec<Delivery>, Vec<String>),
    /// A refusal: code, text, and the bytes of `grpc-status-details-bin`.
    Error(tonic::Code, String, Bytes),
}

impl Reply {
    /// The header's revision, where there is one.
    #[must_use]
    pub fn revision(&self) -> Option<i64> {
        let header = match self {
            Self::Put(reply) => reply.header.as_ref(),
            Self::Range(reply) => reply.header.as_ref(),
            Self::Delete(reply) => reply.header.as_ref(),
            Self::Txn(reply) => reply.header.as_ref(),
            Self::Compact(reply) => reply.header.as_ref(),
            Self::Grant(reply) => reply.header.as_ref(),
            Self::Revoke(reply) => reply.header.as_ref(),
            // A large revision is known by its events only.
            Self::Watch(replies) => {
                return replies
                    .iter()
                    .flat_map(|reply| &reply.events)
                    .map(revision_of)
                    .max();
            }
            _ => None,
        };
        header.map(|header| header.revision)
    }

    /// Whether it is a refusal.
    #[must_use]
    pub fn is_error(&self) -> bool {
        matches!(self, Self::Error(..))
    }
}
