//! The leader's side of `Duties`.

use crate::{
    api::status::ApiError,
    member::{Change, Member},
};
use std::sync::Arc;
use sternpost_proto::internal::{
    self as pb, change_members_request::Change as Asked, duties_server::Duties,
};
use sternpost_raft::peer::Caller;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

/// The service.
pub struct DutiesService(pub Arc<Member>);

impl DutiesService {
    /// Lets in who may talk to this member at all.
    fn open<T>(&self, request: Request<T>) -> Result<T, Status> {
        let caller = Caller::read(request.metadata())?;
        self.0.node.endpoint().admit(&caller)?;
        Ok(request.into_inner())
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.0.config.request_timeout()
    }
}

#[tonic::async_trait]
impl Duties for DutiesService {
    async fn renew_lease(
        &self,
        request: Request<pb::RenewLeaseRequest>,
    ) -> Result<Response<pb::RenewLeaseResponse>, Status> {
        let id = self.open(request)?.id;
        let ttl_secs = self.0.renew_lease_here(id, self.deadline()).await?;
        Ok(Response::new(pb::RenewLeaseResponse { ttl_secs }))
    }

    async fn lease_time_left(
        &self,
        request: Request<pb::LeaseTimeLeftRequest>,
    ) -> Result<Response<pb::LeaseTimeLeftResponse>, Status> {
        let id = self.open(request)?.id;
        let left = self.0.lease_remaining_here(id, self.deadline()).await?;
        let applied = self.0.node.reads().view().applied();
        Ok(Response::new(pb::LeaseTimeLeftResponse {
            lease: left.map(|(left_us, ttl_secs)| pb::LeaseTimeLeft { left_us, ttl_secs }),
            applied_index: applied.map_or(0, |mark| mark.index),
        }))
    }

    async fn probe(
        &self,
        request: Request<pb::ProbeRequest>,
    ) -> Result<Response<pb::ProbeResponse>, Status> {
        self.open(request)?;
        Ok(Response::new(pb::ProbeResponse {}))
    }

    async fn change_members(
        &self,
        request: Request<pb::ChangeMembersRequest>,
    ) -> Result<Response<pb::ChangeMembersResponse>, Status> {
        let change = match self.open(request)?.change {
            Some(Asked::Add(add)) => Change::Add {
                id: add.id,
                peer_urls: add.peer_urls,
                is_learner: add.is_learner,
            },
            Some(Asked::Promote(id)) => Change::Promote { id },
            Some(Asked::Remove(id)) => Change::Remove { id },
            Some(Asked::Update(update)) => Change::Update {
                id: update.id,
                peer_urls: update.peer_urls,
            },
            None => return Err(ApiError::UnexpectedAnswer.into()),
        };
        let index = self.0.change_members_here(&change).await?;
        Ok(Response::new(pb::ChangeMembersResponse { index }))
    }
}
