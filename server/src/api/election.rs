//! Election: not built yet.

use super::status::not_built;
use futures_util::stream;
use sternpost_proto::v3electionpb::{
    CampaignRequest, CampaignResponse, LeaderRequest, LeaderResponse, ProclaimRequest,
    ProclaimResponse, ResignRequest, ResignResponse, election_server::Election,
};
use tonic::{Request, Response, Status};

/// The service.
pub struct ElectionService;

#[tonic::async_trait]
impl Election for ElectionService {
    type ObserveStream = stream::Empty<Result<LeaderResponse, Status>>;

    async fn campaign(
        &self,
        _: Request<CampaignRequest>,
    ) -> Result<Response<CampaignResponse>, Status> {
        Err(not_built("Election.Campaign"))
    }

    async fn proclaim(
        &self,
        _: Request<ProclaimRequest>,
    ) -> Result<Response<ProclaimResponse>, Status> {
        Err(not_built("Election.Proclaim"))
    }

    async fn leader(&self, _: Request<LeaderRequest>) -> Result<Response<LeaderResponse>, Status> {
        Err(not_built("Election.Leader"))
    }

    async fn observe(
        &self,
        _: Request<LeaderRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        Err(not_built("Election.Observe"))
    }

    async fn resign(&self, _: Request<ResignRequest>) -> Result<Response<ResignResponse>, Status> {
        Err(not_built("Election.Resign"))
    }
}
