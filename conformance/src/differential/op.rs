//! One operation of a run, and the answer to it.

use sternpost_proto::etcdserverpb as pb;
use sternpost_proto::mvccpb::Event;

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
    /// KV.Range with a `client-api-version` that is not UTF-8.
    BadClientVersion(pb::RangeRequest),
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
    /// Maintenance.Status.
    Status,
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
            Self::BadClientVersion(_) => "bad client version",
            Self::Grant(_) => "lease grant",
            Self::GrantAny(_) => "lease grant, any id",
            Self::Revoke(_) => "lease revoke",
            Self::TimeToLive(_) => "lease time to live",
            Self::Leases => "lease leases",
            Self::KeepAlive(_) => "lease keep alive",
            Self::HashKv(_) => "hash kv",
            Self::Alarm(_) => "alarm",
            Self::Status => "status",
            Self::Defragment => "defragment",
            Self::Members(_) => "member list",
            Self::WatchCreate(..) => "watch create",
            Self::WatchCancel(..) => "watch cancel",
            Self::WatchProgress(_) => "watch progress",
            Self::WatchOnce(_) => "watch once",
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
    /// A refusal.
    Error(tonic::Code, String),
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
