//! What answers calls on the peer port.

use super::{DutiesService, counted::CountedBody};
use crate::{
    member::Member,
    metrics::{End, Metrics},
};
use axum::{BoxError, Router, body::Body};
use bytes::Bytes;
use http::{Request, Response};
use std::sync::Arc;
use sternpost_proto::internal::duties_server::DutiesServer;
use tower::Service as _;

/// Who calls says so in each call.
const FROM: &str = "sternpost-from";

/// The services for the other members. Cheap to clone.
#[derive(Clone)]
pub struct PeerCalls {
    router: Router,
    metrics: Metrics,
}

impl PeerCalls {
    /// Consensus, and what the leader does beside it.
    pub fn new(member: &Arc<Member>) -> Self {
        let services = tonic::service::Routes::new(member.node.peer_service())
            .add_service(DutiesServer::new(DutiesService(member.clone())));
        Self {
            router: services.into_axum_router(),
            metrics: member.metrics.clone(),
        }
    }

    /// Answers a call.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let caller = request.headers().get(FROM).and_then(|id| id.to_str().ok());
        let caller = caller.and_then(|id| u64::from_str_radix(id, 16).ok());
        let bytes = self.metrics.traffic.of(End::Caller(caller.unwrap_or(0)));
        let request = request.map(|body| CountedBody::call(body, bytes.clone()));
        let Ok(answer) = self.router.clone().call(request).await;
        answer.map(|body| Body::new(CountedBody::answer(body, bytes)))
    }
}
