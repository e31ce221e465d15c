//! Cluster: who the members are. Changing that is for the cluster to come.

use super::status::{ApiError, not_built};
use crate::member::Member;
use std::sync::Arc;
use sternpost_proto::etcdserverpb::{self as pb, cluster_server::Cluster};
use tonic::{Request, Response, Status};

/// The service.
pub struct ClusterService(pub Arc<Member>);

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        let answer = self.list(request.into_inner().linearizable).await?;
        Ok(Response::new(answer))
    }

    async fn member_add(
        &self,
        _: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        Err(not_built("Cluster.MemberAdd"))
    }

    async fn member_remove(
        &self,
        _: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        Err(not_built("Cluster.MemberRemove"))
    }

    async fn member_update(
        &self,
        _: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        Err(not_built("Cluster.MemberUpdate"))
    }

    async fn member_promote(
        &self,
        _: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        Err(not_built("Cluster.MemberPromote"))
    }
}

impl ClusterService {
    /// All members, by ID. The header has no revision, as in etcd.
    async fn list(&self, linearizable: bool) -> Result<pb::MemberListResponse, ApiError> {
        if linearizable {
            self.0.read_index().await?;
        }
        let view = self.0.node.reads().view();
        let members = view.members().iter().map(|(id, record)| pb::Member {
            id: id.0,
            name: record.name.clone(),
            peer_ur_ls: record.peer_urls.clone(),
            client_ur_ls: record.client_urls.clone(),
            is_learner: record.is_learner,
        });
        Ok(pb::MemberListResponse {
            header: Some(self.0.header(0)),
            members: members.collect(),
        })
    }
}
