//! Cluster: who the members are, and changes of that.

use super::status::ApiError;
use crate::{
    bootstrap::added_member_id,
    config::Url,
    member::{Change, Member},
};
use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
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
        request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        let answer = self.add(request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        let id = request.into_inner().id;
        self.0.change_members(&Change::Remove { id }).await?;
        Ok(Response::new(pb::MemberRemoveResponse {
            header: Some(self.0.header(0)),
            members: self.members(),
        }))
    }

    async fn member_update(
        &self,
        request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        let pb::MemberUpdateRequest { id, peer_ur_ls } = request.into_inner();
        let peer_urls = peer_ur_ls;
        let update = Change::Update { id, peer_urls };
        self.0.change_members(&update).await?;
        Ok(Response::new(pb::MemberUpdateResponse {
            header: Some(self.0.header(0)),
            members: self.members(),
        }))
    }

    async fn member_promote(
        &self,
        request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        let id = request.into_inner().id;
        self.0.change_members(&Change::Promote { id }).await?;
        Ok(Response::new(pb::MemberPromoteResponse {
            header: Some(self.0.header(0)),
            members: self.members(),
        }))
    }
}

impl ClusterService {
    /// All members, by ID. The header has no revision, as in etcd.
    async fn list(&self, linearizable: bool) -> Result<pb::MemberListResponse, ApiError> {
        if linearizable {
            self.0.read_index().await?;
        }
        Ok(pb::MemberListResponse {
            header: Some(self.0.header(0)),
            members: self.members(),
        })
    }

    /// The new member has no name until it says it itself.
    async fn add(&self, request: pb::MemberAddRequest) -> Result<pb::MemberAddResponse, ApiError> {
        let peer_urls = peer_urls(&request.peer_ur_ls)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let id = added_member_id(&peer_urls, now.unwrap_or_default().as_secs());
        let add = Change::Add {
            id,
            peer_urls: peer_urls.clone(),
            is_learner: request.is_learner,
        };
        self.0.change_members(&add).await?;
        Ok(pb::MemberAddResponse {
            header: Some(self.0.header(0)),
            member: Some(pb::Member {
                id,
                peer_ur_ls: peer_urls,
                is_learner: request.is_learner,
                ..Default::default()
            }),
            members: self.members(),
        })
    }

    fn members(&self) -> Vec<pb::Member> {
        let view = self.0.node.reads().view();
        let members = view.members().iter().map(|(id, record)| pb::Member {
            id: id.0,
            name: record.name.clone(),
            peer_ur_ls: record.peer_urls.clone(),
            client_ur_ls: record.client_urls.clone(),
            is_learner: record.is_learner,
        });
        members.collect()
    }
}

/// The URLs of a new member, checked and sorted.
fn peer_urls(given: &[String]) -> Result<Vec<String>, ApiError> {
    let parsed = given.iter().map(|url| Url::parse(url.trim()));
    let mut urls = parsed
        .map(|url| url.map(|url| url.to_string()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| ApiError::MemberBadURLs)?;
    if urls.is_empty() {
        return Err(ApiError::MemberBadURLs);
    }
    urls.sort_unstable();
    Ok(urls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_a_new_member_are_checked_and_sorted() {
        let given =
            |urls: &[&str]| peer_urls(&urls.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(
            given(&[" http://b:2 ", "http://:2380"]).unwrap(),
            ["http://:2380", "http://b:2"]
        );
        for bad in [
            &[][..],
            &["http://10.0.0.1"],
            &["ftp://a:1"],
            &["http://a:1/x"],
            &[""],
        ] {
            assert_eq!(given(bad), Err(ApiError::MemberBadURLs), "{bad:?}");
        }
    }
}
