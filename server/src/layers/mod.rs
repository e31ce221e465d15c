//! The one layer of the client port: it tells calls from pages, and does for
//! every call what no service should have to think of (counts, deadlines,
//! sizes, names that do not exist).

mod body;
mod call;
mod direct;
mod frames;
mod health;

pub use direct::{Direct, Framed, PREFIX_LEN, next_message, prefix, put_frame};
pub use health::service as health_service;

use crate::{
    api::status::ApiError,
    http::Pages,
    metrics::{Method, Metrics},
    peer::PeerCalls,
};
use axum::Router;
use body::{CallBody, Ends, Inbound, Outbound};
use bytes::Bytes;
use call::Ticket;
use direct::{Sent, Way};
use http::{Request, Response, StatusCode, Version, header::CONTENT_TYPE};
use http_body::Body;
use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Status, metadata::MetadataMap};
use tower::Service;

/// What answers on a listener. Cheap to clone.
#[derive(Clone)]
pub struct Front(Arc<Shared>);

struct Shared {
    calls: Option<Calls>,
    peers: Option<PeerCalls>,
    pages: Option<Pages>,
}

/// The member, as those see it that let calls in.
pub trait Gate: Send + Sync {
    /// It does not vote, and so serves little.
    fn is_learner(&self) -> bool;
    /// Whether a leader is known.
    fn has_leader(&self) -> bool;
    /// Cancelled once there was no leader for long.
    fn absence(&self) -> CancellationToken;
}

/// The gRPC half of a listener.
#[derive(Clone)]
pub struct Calls {
    /// All services.
    pub router: Router,
    /// Those of their methods that are answered without going through it.
    pub direct: Arc<Direct>,
    /// Where calls are counted.
    pub metrics: Metrics,
    /// The largest message taken in.
    pub receive_max: usize,
    /// What is asked about the member before a call may start.
    pub gate: Arc<dyn Gate>,
    /// A unary call that takes longer is logged; zero for none.
    pub slow_after: Duration,
    /// Cancelled when the server goes.
    pub stopping: CancellationToken,
}

impl Front {
    /// Answers calls, pages, or both.
    pub fn new(calls: Option<Calls>, pages: Option<Pages>) -> Self {
        Self(Arc::new(Shared {
            calls,
            peers: None,
            pages,
        }))
    }

    /// Answers other members' calls, and pages.
    pub fn peer(peers: PeerCalls, pages: Pages) -> Self {
        Self(Arc::new(Shared {
            calls: None,
            peers: Some(peers),
            pages: Some(pages),
        }))
    }

    async fn answer<B>(self, request: Request<B>) -> Response<Outbound>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<axum::BoxError>,
    {
        if request.version() == Version::HTTP_2
            && let Some(calls) = &self.0.calls
        {
            return match refused_type(&request) {
                None => calls.answer(request).await,
                Some(refusal) => refusal,
            };
        }
        if request.version() == Version::HTTP_2
            && let Some(peers) = &self.0.peers
        {
            return peers.answer(request).await.map(Outbound::Page);
        }
        match &self.0.pages {
            Some(pages) => pages
                .answer(request.map(axum::body::Body::new))
                .await
                .map(Outbound::Page),
            None => Response::builder()
                .status(StatusCode::NOT_FOUND)
                .body(Outbound::Page(axum::body::Body::from(
                    "404 page not found\n",
                )))
                .expect("the answer is well-formed"),
        }
    }
}

/// What a call came to.
enum Answered {
    /// One message, and it went well.
    Framed(Framed),
    /// Whatever the services said.
    Routed(Response<axum::body::Body>),
}

/// HTTP/2 without TLS is gRPC and nothing else, as in etcd.
fn refused_type<B>(request: &Request<B>) -> Option<Response<Outbound>> {
    let given = request
        .headers()
        .get(CONTENT_TYPE)
        .map_or(&b""[..], |value| value.as_bytes());
    let rest = given.strip_prefix(b"application/grpc");
    if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+") || rest.starts_with(b";"))
    {
        return None;
    }
    let text = format!(
        "invalid gRPC request content-type {:?}",
        String::from_utf8_lossy(given)
    );
    let mut response = Status::invalid_argument(text)
        .into_http::<axum::body::Body>()
        .map(Outbound::Page);
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    Some(response)
}

impl Calls {
    async fn answer<B>(&self, request: Request<B>) -> Response<Outbound>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let method = match call::find(&self.metrics, request.uri().path()) {
            Ok(method) => method.clone(),
            Err(status) => return status.into_http().map(Outbound::Page),
        };
        let mut ticket = Ticket::new(method.clone(), self.slow_after);
        if let Err(status) = self.admit(&method, request.headers()) {
            ticket.finish(status.code());
            return status.into_http().map(Outbound::Page);
        }
        let absence =
            (method.streams && call::wants_leader(request.headers())).then(|| self.gate.absence());
        let deadline = call::timeout(request.headers()).map(|time| Instant::now() + time);
        let way = self.direct.way(&method.path, request.headers());
        let request = request.map(|body| Inbound::new(body, method, self.receive_max));
        let answer = async {
            match way {
                Way::Unary(handler) => self.answer_directly(handler, request).await,
                Way::Dialogue(dialogue) => {
                    let answers = dialogue(axum::body::Body::new(request.into_body()));
                    Ok(Answered::Routed(direct::opened(answers)))
                }
                Way::General => Ok(self.route(request).await),
            }
        };
        let answered = match deadline {
            None => answer.await,
            Some(deadline) => before(deadline, answer)
                .await
                .unwrap_or_else(|| Err(ApiError::ContextDeadlineExceeded.into())),
        };
        match answered {
            Ok(Answered::Framed(answer)) => {
                ticket.answered(answer.len());
                direct::response(answer)
            }
            Ok(Answered::Routed(response)) => {
                let (parts, body) = response.into_parts();
                let ends = Ends {
                    deadline,
                    stopping: &self.stopping,
                    absence,
                };
                let body = CallBody::new(body, &parts.headers, ticket, ends);
                Response::from_parts(parts, Outbound::Call(body))
            }
            Err(status) => {
                ticket.finish(status.code());
                status.into_http().map(Outbound::Page)
            }
        }
    }

    /// The general way.
    async fn route<B>(&self, request: Request<B>) -> Answered
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let Ok(response) = self.router.clone().call(request).await;
        Answered::Routed(response)
    }

    async fn answer_directly<B>(
        &self,
        handler: &direct::Handler,
        request: Request<Inbound<B>>,
    ) -> Result<Answered, Status>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let (parts, mut body) = request.into_parts();
        match direct::read(&mut body, self.receive_max).await? {
            Sent::Message(message) => {
                let metadata = MetadataMap::from_headers(parts.headers);
                let request = tonic::Request::from_parts(metadata, parts.extensions, message);
                handler(request).await.map(Answered::Framed)
            }
            Sent::Odd(bytes) => {
                let body = axum::body::Body::from(bytes);
                Ok(self.route(Request::from_parts(parts, body)).await)
            }
        }
    }

    fn admit(&self, method: &Method, headers: &http::HeaderMap) -> Result<(), Status> {
        if self.gate.is_learner() && !call::is_for_learners(&method.path) {
            return Err(ApiError::NotSupportedForLearner.into());
        }
        call::count_client(&self.metrics, method, headers)?;
        if call::wants_leader(headers) && !self.gate.has_leader() {
            return Err(ApiError::NoLeader.into());
        }
        Ok(())
    }
}

/// What `answer` comes to, unless `deadline` is first. One that has passed is
/// not left to the timer: that counts in whole milliseconds, and the client
/// has gone already.
async fn before<F: Future>(deadline: Instant, answer: F) -> Option<F::Output> {
    if deadline <= Instant::now() {
        return None;
    }
    tokio::time::timeout_at(deadline, answer).await.ok()
}

impl<B> Service<Request<B>> for Front
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<axum::BoxError>,
{
    type Response = Response<Outbound>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let front = self.clone();
        Box::pin(async move { Ok(front.answer(request).await) })
    }
}

#[cfg(test)]
mod tests;
