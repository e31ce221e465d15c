//! gRPC's own health service, for the server as a whole: the empty name.

use tonic::{Request, Response, Status, codegen::BoxStream};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus,
    health_server::{Health, HealthServer},
};

/// Answers while the server does.
pub struct Serving;

/// The service.
pub fn service() -> HealthServer<Serving> {
    HealthServer::new(Serving)
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}

#[tonic::async_trait]
impl Health for Serving {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if request.get_ref().service.is_empty() {
            return Ok(Response::new(answer(ServingStatus::Serving)));
        }
        Err(Status::not_found("unknown service"))
    }

    type WatchStream = BoxStream<HealthCheckResponse>;

    /// The status does not change while the server runs: one message, then
    /// silence until the client leaves.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let known = request.get_ref().service.is_empty();
        let status = if known {
            ServingStatus::Serving
        } else {
            ServingStatus::ServiceUnknown
        };
        let stream = async_stream::stream! {
            yield Ok(answer(status));
            std::future::pending::<()>().await;
        };
        Ok(Response::new(Box::pin(stream)))
    }
}
