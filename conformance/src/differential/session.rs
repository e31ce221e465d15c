//! Sends operations to one server.

use super::large;
use super::op::{Guarded, Op, Reply};
use super::watch::Watches;
use crate::client::Client;
use bytes::Bytes;
use std::error::Error as _;
use std::fmt::Write as _;
use std::future::Future;
use std::time::Duration;
use sternpost_proto::etcdserverpb as pb;
use tokio_stream::StreamExt;
use tonic::metadata::AsciiMetadataValue;
use tonic::{Request, Response, Status};

/// Longer than the server's own limit, so that its answer is the one compared.
const LIMIT: Duration = Duration::from_secs(30);

/// A connection to one server, with its watches.
pub struct Session {
    client: Client,
    watches: Watches,
    /// The newest revision answered.
    revision: i64,
}

impl Session {
    /// Connects.
    ///
    /// # Errors
    /// When the server refuses a watch stream.
    pub async fn open(client: Client) -> Result<Self, Status> {
        let watches = Watches::open(&client).await?;
        Ok(Self {
            client,
            watches,
            revision: 1,
        })
    }

    /// One operation, and its answer.
    pub async fn run(&mut self, op: &Op) -> Reply {
        let reply = match tokio::time::timeout(LIMIT, self.call(op)).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(status)) => refusal(&status),
            Err(_) => refusal(&Status::deadline_exceeded(format!(
                "nothing within {LIMIT:?}"
            ))),
        };
        self.revision = self.revision.max(reply.revision().unwrap_or(0));
        reply
    }

    async fn call(&mut self, op: &Op) -> Result<Reply, Status> {
        match op {
            Op::Put(request) => plain(self.client.kv.put(request.clone()), Reply::Put).await,
            Op::Range(request) => plain(self.client.kv.range(request.clone()), Reply::Range).await,
            Op::RangeStream(request) => self.range_stream(request).await,
            Op::Delete(request) => {
                plain(self.client.kv.delete_range(request.clone()), Reply::Delete).await
            }
            Op::Txn(request) => plain(self.client.kv.txn(request.clone()), Reply::Txn).await,
            Op::Compact(request) => {
                let reply = plain(self.client.kv.compact(*request), Reply::Compact).await?;
                self.watches.compacted(request.revision);
                Ok(reply)
            }
            Op::BadClientVersion(call, request) => self.bad_client_version(*call, request).await,
            Op::RequireLeader(request) => {
                let mut request = Request::new(request.clone());
                let value = AsciiMetadataValue::from_static("true");
                request.metadata_mut().insert("hasleader", value);
                plain(self.client.kv.range(request), Reply::Range).await
            }
            Op::LargeRevision {
                keys,
                bytes,
                fragment,
            } => {
                let replies = large::revision(&mut self.client, *keys, *bytes, *fragment).await?;
                Ok(Reply::Watch(replies))
            }
            Op::WatchCreate(..)
            | Op::WatchCancel(..)
            | Op::WatchProgress(_)
            | Op::WatchOnce(_)
            | Op::Settle => self.call_watch(op).await,
            Op::Grant(_)
            | Op::GrantAny(_)
            | Op::Revoke(_)
            | Op::TimeToLive(_)
            | Op::Leases
            | Op::KeepAlive(_) => self.call_lease(op).await,
            Op::AuthStatus => {
                plain(
                    self.client.auth.auth_status(pb::AuthStatusRequest {}),
                    Reply::AuthStatus,
                )
                .await
            }
            Op::Authenticate(request) => {
                plain(
                    self.client.auth.authenticate(request.clone()),
                    Reply::Authenticate,
                )
                .await
            }
            Op::Members(linearizable) => {
                let request = pb::MemberListRequest {
                    linearizable: *linearizable,
                };
                plain(self.client.cluster.member_list(request), Reply::Members).await
            }
            Op::HashKv(_)
            | Op::Alarm(_)
            | Op::Hash
            | Op::Status
            | Op::MoveLeader(_)
            | Op::Downgrade(_)
            | Op::Defragment => self.call_maintenance(op).await,
        }
    }

    async fn call_watch(&mut self, op: &Op) -> Result<Reply, Status> {
        let watches = &mut self.watches;
        Ok(match op {
            Op::WatchCreate(stream, request) => {
                Reply::Watch(vec![watches.create(*stream, request).await?])
            }
            Op::WatchCancel(stream, id) => Reply::Watch(watches.cancel(*stream, *id).await?),
            Op::WatchProgress(stream) => {
                Reply::Watch(watches.progress(*stream, self.revision).await?)
            }
            Op::WatchOnce(requests) => Reply::Watch(watches.once(requests).await?),
            _ => {
                let (deliveries, broken) = watches.settle(self.revision).await;
                Reply::Settled(deliveries, broken)
            }
        })
    }

    async fn call_lease(&mut self, op: &Op) -> Result<Reply, Status> {
        let lease = &mut self.client.lease;
        match op {
            Op::Grant(request) => plain(lease.lease_grant(*request), Reply::Grant).await,
            Op::GrantAny(ttl) => {
                let request = pb::LeaseGrantRequest { ttl: *ttl, id: 0 };
                let granted = lease.lease_grant(request).await?.into_inner();
                let revoke = pb::LeaseRevokeRequest { id: granted.id };
                lease.lease_revoke(revoke).await?;
                Ok(Reply::Grant(granted))
            }
            Op::Revoke(request) => plain(lease.lease_revoke(*request), Reply::Revoke).await,
            Op::TimeToLive(request) => {
                plain(lease.lease_time_to_live(*request), Reply::TimeToLive).await
            }
            Op::KeepAlive(ids) => {
                let requests: Vec<_> = ids
                    .iter()
                    .map(|&id| pb::LeaseKeepAliveRequest { id })
                    .collect();
                let replies = lease.lease_keep_alive(tokio_stream::iter(requests)).await?;
                let replies: Result<_, _> = replies.into_inner().collect().await;
                Ok(Reply::KeepAlive(replies?))
            }
            _ => plain(lease.lease_leases(pb::LeaseLeasesRequest {}), Reply::Leases).await,
        }
    }

    async fn call_maintenance(&mut self, op: &Op) -> Result<Reply, Status> {
        let maintenance = &mut self.client.maintenance;
        match op {
            Op::HashKv(revision) => {
                let request = pb::HashKvRequest {
                    revision: *revision,
                };
                plain(maintenance.hash_kv(request), Reply::HashKv).await
            }
            Op::Alarm(request) => plain(maintenance.alarm(*request), Reply::Alarm).await,
            Op::Defragment => {
                plain(
                    maintenance.defragment(pb::DefragmentRequest {}),
                    Reply::Defragment,
                )
                .await
            }
            Op::Hash => plain(maintenance.hash(pb::HashRequest {}), Reply::Hash).await,
            Op::MoveLeader(target) => {
                let target_id = match target {
                    Some(target) => *target,
                    None => {
                        maintenance
                            .status(pb::StatusRequest {})
                            .await?
                            .into_inner()
                            .leader
                    }
                };
                let request = pb::MoveLeaderRequest { target_id };
                plain(maintenance.move_leader(request), Reply::MoveLeader).await
            }
            Op::Downgrade(request) => {
                plain(maintenance.downgrade(request.clone()), Reply::Downgrade).await
            }
            _ => {
                let status = maintenance.status(pb::StatusRequest {}).await?;
                Ok(Reply::Status(Box::new(status.into_inner())))
            }
        }
    }

    /// Only the last chunk may have a header.
    async fn range_stream(&mut self, request: &pb::RangeRequest) -> Result<Reply, Status> {
        let chunks = self.client.kv.range_stream(request.clone()).await?;
        let chunks: Result<Vec<pb::RangeStreamResponse>, _> = chunks.into_inner().collect().await;
        let chunks = chunks?;
        let headers = chunks.iter().map(|chunk| {
            let reply = chunk.range_response.as_ref();
            reply.is_some_and(|reply| reply.header.is_some())
        });
        let headers: Vec<bool> = headers.collect();
        if headers.iter().rev().skip(1).any(|header| *header) || headers.last() != Some(&true) {
            return Err(Status::internal(format!(
                "chunks with a header: {headers:?}"
            )));
        }
        Ok(Reply::RangeStream(chunks))
    }

    async fn bad_client_version(
        &mut self,
        call: Guarded,
        request: &pb::RangeRequest,
    ) -> Result<Reply, Status> {
        let client = &mut self.client;
        match call {
            Guarded::Range => {
                let request = with_bad_version(request.clone())?;
                plain(client.kv.range(request), Reply::Range).await
            }
            Guarded::RangeStream => {
                let request = with_bad_version(request.clone())?;
                let mut replies = client.kv.range_stream(request).await?.into_inner();
                let first = replies.message().await?;
                Ok(Reply::RangeStream(first.into_iter().collect()))
            }
            Guarded::Watch => {
                let request = with_bad_version(tokio_stream::pending())?;
                let mut replies = client.watch.watch(request).await?.into_inner();
                Ok(Reply::Watch(replies.message().await?.into_iter().collect()))
            }
            Guarded::KeepAlive => {
                let request = with_bad_version(tokio_stream::pending())?;
                let mut replies = client.lease.lease_keep_alive(request).await?.into_inner();
                Ok(Reply::KeepAlive(
                    replies.message().await?.into_iter().collect(),
                ))
            }
        }
    }
}

fn with_bad_version<T>(message: T) -> Result<Request<T>, Status> {
    let mut request = Request::new(message);
    let value = AsciiMetadataValue::try_from(&[0xff_u8, 0xfe][..])
        .map_err(|_| Status::internal("a header value may hold any byte above 31"))?;
    request.metadata_mut().insert("client-api-version", value);
    Ok(request)
}

/// A status that the client made of a broken connection tells why; a server's has no source.
fn refusal(status: &Status) -> Reply {
    let mut text = status.message().to_owned();
    let mut source = status.source();
    while let Some(error) = source {
        let _ = write!(text, ": {error}");
        source = error.source();
    }
    let details = Bytes::copy_from_slice(status.details());
    Reply::Error(status.code(), text, details)
}

async fn plain<T>(
    call: impl Future<Output = Result<Response<T>, Status>>,
    wrap: impl FnOnce(T) -> Reply,
) -> Result<Reply, Status> {
    Ok(wrap(call.await?.into_inner()))
}
