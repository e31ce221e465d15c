//! The way to the leader, for what it does on behalf of the others.

use super::Refused;
use crate::{
    api::status::ApiError,
    member::{Change, Member},
};
use parking_lot::Mutex;
use std::time::Duration;
use sternpost_proto::internal::{
    self as pb, change_members_request::Change as Asked, duties_client::DutiesClient,
};
use sternpost_raft::{
    Identity,
    peer::{Caller, GrpcTransport},
};
use tokio::{
    runtime::Handle,
    time::{Instant, timeout_at},
};
use tonic::{Request, Response, Status, transport::Channel};

/// The rest after a leader could not be reached, as in etcd.
const RETRY_EVERY: Duration = Duration::from_millis(50);

/// A connection to whoever leads, kept until another does.
pub struct LeaderLink {
    identity: Identity,
    transport: GrpcTransport,
    /// Where connections live.
    runtime: Handle,
    last: Mutex<Option<Link>>,
}

#[derive(Clone)]
struct Link {
    leader: u64,
    urls: Vec<String>,
    client: DutiesClient<Channel>,
}

impl LeaderLink {
    /// No connection yet. Connections live on the runtime this is called from.
    pub fn new(identity: Identity, transport: GrpcTransport) -> Self {
        Self {
            identity,
            transport,
            runtime: Handle::current(),
            last: Mutex::new(None),
        }
    }

    /// A connection to the member that listens at `urls`.
    pub fn connection(&self, urls: &[String]) -> Channel {
        let _on = self.runtime.enter();
        self.transport.connection(urls)
    }

    fn to(&self, leader: u64, urls: &[String]) -> DutiesClient<Channel> {
        let mut last = self.last.lock();
        if let Some(link) = &*last
            && link.leader == leader
            && link.urls == urls
        {
            return link.client.clone();
        }
        let client = DutiesClient::new(self.connection(urls));
        *last = Some(Link {
            leader,
            urls: urls.to_vec(),
            client: client.clone(),
        });
        client
    }

    /// A call of this member to another.
    pub fn request<T>(&self, to: u64, message: T) -> Request<T> {
        let Identity {
            member_id,
            cluster_id,
        } = self.identity;
        let mut request = Request::new(message);
        Caller::new(cluster_id, member_id, to).write(request.metadata_mut());
        request
    }
}

/// Whom to turn to.
pub enum Leads {
    /// This member.
    Own,
    /// A member at these peer URLs.
    Other(u64, Vec<String>),
}

impl Member {
    /// Waits for a leader; etcd's refusal if there is none until `deadline`.
    pub async fn who_leads(&self, deadline: Instant) -> Result<Leads, ApiError> {
        loop {
            let waited = self.leadership.wait_for_leader(deadline).await;
            waited.map_err(|_| ApiError::NoLeader)?;
            let Some(leader) = self.leadership.now().leader else {
                continue;
            };
            if leader == self.identity.member_id {
                return Ok(Leads::Own);
            }
            let view = self.node.reads().view();
            let known = view.members().iter().find(|(id, _)| id.0 == leader);
            if let Some((_, record)) = known {
                return Ok(Leads::Other(leader, record.peer_urls.clone()));
            }
            // It was added by entries that are still to be applied here.
            drop(view);
            self.rest(deadline).await?;
        }
    }

    /// The rest between two attempts.
    pub async fn rest(&self, deadline: Instant) -> Result<(), ApiError> {
        let until = (Instant::now() + RETRY_EVERY).min(deadline);
        tokio::time::sleep_until(until).await;
        if until < deadline {
            Ok(())
        } else {
            Err(ApiError::Timeout)
        }
    }

    async fn call<Q, A, F>(
        &self,
        leader: &(u64, Vec<String>),
        message: Q,
        deadline: Instant,
        call: impl FnOnce(DutiesClient<Channel>, Request<Q>) -> F,
    ) -> Result<A, Refused>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let client = self.leader_link.to(leader.0, &leader.1);
        let request = self.leader_link.request(leader.0, message);
        match timeout_at(deadline, call(client, request)).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(status.into()),
            Err(_elapsed) => Err(Refused::Perhaps),
        }
    }

    /// Has the leader renew a lease; `None` if it should be tried again.
    pub async fn renew_lease_at(
        &self,
        leader: &(u64, Vec<String>),
        id: i64,
        deadline: Instant,
    ) -> Option<i64> {
        let request = pb::RenewLeaseRequest { id };
        let answer = self
            .call(
                leader,
                request,
                deadline,
                |mut client, request| async move { client.renew_lease(request).await },
            )
            .await;
        match answer {
            Ok(answer) => Some(answer.ttl_secs),
            // A renewal may be done twice.
            Err(Refused::Not | Refused::Perhaps) => None,
            Err(Refused::By(error)) => {
                tracing::debug!(error = error.text(), "the leader did not renew a lease");
                None
            }
        }
    }

    /// Asks the leader how long a lease has; `None` if it should be tried again.
    pub async fn lease_time_left_at(
        &self,
        leader: &(u64, Vec<String>),
        id: i64,
        deadline: Instant,
    ) -> Option<pb::LeaseTimeLeftResponse> {
        let request = pb::LeaseTimeLeftRequest { id };
        let answer = self
            .call(
                leader,
                request,
                deadline,
                |mut client, request| async move { client.lease_time_left(request).await },
            )
            .await;
        answer.ok()
    }

    /// Has the leader change the members.
    pub async fn change_members_at(
        &self,
        leader: &(u64, Vec<String>),
        change: &Change,
        deadline: Instant,
    ) -> Result<u64, Forwarded> {
        let asked = match change.clone() {
            Change::Add {
                id,
                peer_urls,
                is_learner,
            } => Asked::Add(pb::AddMember {
                id,
                peer_urls,
                is_learner,
            }),
            Change::Promote { id } => Asked::Promote(id),
            Change::Remove { id } => Asked::Remove(id),
            Change::Update { id, peer_urls } => Asked::Update(pb::UpdateMember { id, peer_urls }),
        };
        let request = pb::ChangeMembersRequest {
            change: Some(asked),
        };
        let answer = self
            .call(
                leader,
                request,
                deadline,
                |mut client, request| async move { client.change_members(request).await },
            )
            .await;
        match answer {
            Ok(answer) => Ok(answer.index),
            Err(Refused::Not) => Err(Forwarded::Again),
            Err(Refused::Perhaps) => Err(Forwarded::Perhaps),
            Err(Refused::By(error)) => Err(Forwarded::Refused(error)),
        }
    }
}

/// Why the leader did not say that a change is made.
pub enum Forwarded {
    /// It does not lead, or was not reached.
    Again,
    /// Nobody knows.
    Perhaps,
    /// It said no.
    Refused(ApiError),
}
