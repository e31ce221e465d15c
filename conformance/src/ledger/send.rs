//! Sends an action, and reads the answer.

use super::action::{self, Op, Shape, Write};
use super::{Ack, Action, Outcome};
use crate::client::Client;
use sternpost_proto::etcdserverpb as pb;
use tonic::{Code, Status};

/// Sends it and waits for the answer.
pub async fn send(client: &mut Client, action: &Action) -> Result<Ack, Status> {
    match action {
        Action::Write(write) => send_write(client, write).await,
        Action::Grant(id, ttl) => {
            let request = pb::LeaseGrantRequest { ttl: *ttl, id: *id };
            let reply = client.lease.lease_grant(request).await?.into_inner();
            Ok(ack(reply.header, false, true))
        }
        Action::Revoke(id) => {
            let request = pb::LeaseRevokeRequest { id: *id };
            let reply = client.lease.lease_revoke(request).await?.into_inner();
            Ok(ack(reply.header, false, true))
        }
        Action::KeepAlive(id) => keep_alive(client, *id).await,
        Action::Compact(revision) => {
            // With every other revision the answer waits for the scrub.
            let request = pb::CompactionRequest {
                revision: *revision,
                physical: revision % 2 == 0,
            };
            let reply = client.kv.compact(request).await?.into_inner();
            Ok(ack(reply.header, false, true))
        }
    }
}

async fn send_write(client: &mut Client, write: &Write) -> Result<Ack, Status> {
    let kv = &mut client.kv;
    match (write.shape, write.then.as_slice()) {
        (Shape::Single, [op @ Op::Put(..)]) => {
            let reply = kv.put(action::put(op)).await?.into_inner();
            Ok(ack(reply.header, true, true))
        }
        (Shape::Single, [op @ Op::Delete(..)]) => {
            let reply = kv.delete_range(action::delete(op)).await?.into_inner();
            Ok(ack(reply.header, reply.deleted > 0, true))
        }
        _ => {
            let reply = kv.txn(write.transaction()).await?.into_inner();
            let made = action::changed(&reply);
            Ok(ack(reply.header, made, reply.succeeded))
        }
    }
}

/// One renewal on a stream of its own.
async fn keep_alive(client: &mut Client, id: i64) -> Result<Ack, Status> {
    let request = tokio_stream::iter([pb::LeaseKeepAliveRequest { id }]);
    let mut replies = client.lease.lease_keep_alive(request).await?.into_inner();
    let reply = replies.message().await?;
    let reply = reply.ok_or_else(|| Status::unavailable("the stream ended without an answer"))?;
    if reply.ttl <= 0 {
        return Err(Status::not_found("the lease is gone"));
    }
    Ok(ack(reply.header, false, true))
}

fn ack(header: Option<pb::ResponseHeader>, made: bool, succeeded: bool) -> Ack {
    Ack {
        revision: header.map_or(0, |header| header.revision),
        made,
        succeeded,
    }
}

/// A refusal by etcd's own words says that nothing happened; all else leaves it open.
pub fn outcome(answer: &Result<Ack, Status>) -> Outcome {
    match answer {
        Ok(ack) => Outcome::Acked(*ack),
        Err(status) => {
            let refused = matches!(
                status.code(),
                Code::InvalidArgument
                    | Code::NotFound
                    | Code::OutOfRange
                    | Code::FailedPrecondition
            );
            if refused {
                Outcome::Refused(status.message().to_owned())
            } else {
                Outcome::Unknown
            }
        }
    }
}
