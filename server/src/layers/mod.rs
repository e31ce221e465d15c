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
use futures_util::{FutureExt as _, future::Map};
use http::{
    HeaderMap, Request, Response, StatusCode, Version, header::CONTENT_TYPE, request::Parts,
};
use http_body::Body;
use hyper::service::Service;
use std::{
    convert::Infallible,
    future::ready,
    mem::take,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Status, metadata::MetadataMap};
use tower::Service as _;

/// What answers on a listener. Cheap to clone.
#[derive(Clone)]
pub struct Front(Arc<Shared>);

struct Shared {
    calls: Option<Arc<Calls>>,
    peers: Option<Arc<PeerCalls>>,
    pages: Option<Pages>,
}

/// An answer that is being made. Boxed, and so each kind takes the room that
/// it needs: of a hot call all of it is copied and touched.
type Answering = Pin<Box<dyn Future<Output = Response<Outbound>> + Send>>;

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
            calls: calls.map(Arc::new),
            peers: None,
            pages,
        }))
    }

    /// Answers other members' calls, and pages.
    pub fn peer(peers: PeerCalls, pages: Pages) -> Self {
        Self(Arc::new(Shared {
            calls: None,
            peers: Some(Arc::new(peers)),
            pages: Some(pages),
        }))
    }

    fn answer<B>(&self, request: Request<B>) -> Answering
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<axum::BoxError>,
    {
        if request.version() == Version::HTTP_2 {
            if let Some(calls) = self.0.calls.clone() {
                return match refused_type(&request) {
                    None => calls.answer(request),
                    Some(refusal) => at_once(refusal),
                };
            }
            if let Some(peers) = self.0.peers.clone() {
                return Box::pin(async move { peers.answer(request).await.map(Outbound::Page) });
            }
        }
        let Some(pages) = self.0.pages.clone() else {
            return at_once(not_found());
        };
        Box::pin(async move {
            let request = request.map(axum::body::Body::new);
            pages.answer(request).await.map(Outbound::Page)
        })
    }
}

fn at_once(response: Response<Outbound>) -> Answering {
    Box::pin(ready(response))
}

fn not_found() -> Response<Outbound> {
    let body = axum::body::Body::from("404 page not found\n");
    let mut response = Response::new(Outbound::Page(body));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
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

/// A call that was let in.
struct Admitted {
    ticket: Ticket,
    deadline: Option<Instant>,
    absence: Option<CancellationToken>,
}

impl Calls {
    fn answer<B>(self: Arc<Self>, request: Request<B>) -> Answering
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let call = match self.admit(&request) {
            Ok(call) => call,
            Err(refusal) => return at_once(refusal.into_http().map(Outbound::Page)),
        };
        let (mut parts, body) = request.into_parts();
        let mut body = Inbound::new(body, call.ticket.method().clone(), self.receive_max);
        let deadline = call.deadline;
        match self.direct.way(parts.uri.path(), &parts.headers) {
            Way::Unary(handler) => Box::pin(async move {
                let answer = pin!(self.answer_directly(&handler, &mut parts, &mut body));
                let answered = in_time(deadline, answer).await;
                self.finish(call, answered)
            }),
            Way::Dialogue(dialogue) => {
                let answers = dialogue(axum::body::Body::new(body));
                at_once(self.finish(call, Ok(Answered::Routed(direct::opened(answers)))))
            }
            Way::General => Box::pin(async move {
                let answer = pin!(self.route(Request::from_parts(parts, body)));
                let answered = in_time(deadline, answer).await;
                self.finish(call, answered)
            }),
        }
    }

    fn finish(&self, call: Admitted, answered: Result<Answered, Status>) -> Response<Outbound> {
        let Admitted {
            mut ticket,
            deadline,
            absence,
        } = call;
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
    async fn route<B>(&self, request: Request<B>) -> Result<Answered, Status>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let Ok(response) = self.router.clone().call(request).await;
        Ok(Answered::Routed(response))
    }

    async fn answer_directly<B>(
        &self,
        handler: &direct::Handler,
        parts: &mut Parts,
        body: &mut Inbound<B>,
    ) -> Result<Answered, Status>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<axum::BoxError>,
    {
        match direct::read(body, self.receive_max).await? {
            Sent::Message(message) => {
                let metadata = MetadataMap::from_headers(take(&mut parts.headers));
                let extensions = take(&mut parts.extensions);
                let request = tonic::Request::from_parts(metadata, extensions, message);
                handler(request).await.map(Answered::Framed)
            }
            Sent::Odd(bytes) => {
                let body = axum::body::Body::from(bytes);
                let request = Request::from_parts(parts.clone(), body);
                Box::pin(self.route(request)).await
            }
        }
    }

    fn admit<B>(&self, request: &Request<B>) -> Result<Admitted, Status> {
        let headers = request.headers();
        let method = call::find(&self.metrics, request.uri().path())?;
        let mut ticket = Ticket::new(method.clone(), self.slow_after);
        let deadline = call::timeout(headers).map(|time| Instant::now() + time);
        if let Err(status) = self.check(method, headers, deadline) {
            ticket.finish(status.code());
            return Err(status);
        }
        let absence = (method.streams && call::wants_leader(headers)).then(|| self.gate.absence());
        Ok(Admitted {
            ticket,
            deadline,
            absence,
        })
    }

    fn check(
        &self,
        method: &Method,
        headers: &HeaderMap,
        deadline: Option<Instant>,
    ) -> Result<(), Status> {
        if self.gate.is_learner() && !call::is_for_learners(&method.path) {
            return Err(ApiError::NotSupportedForLearner.into());
        }
        call::count_client(&self.metrics, method, headers)?;
        if call::wants_leader(headers) && !self.gate.has_leader() {
            return Err(ApiError::NoLeader.into());
        }
        // One that has passed is not left to the timer: that counts in whole
        // milliseconds, and the client has gone already.
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(ApiError::ContextDeadlineExceeded.into());
        }
        Ok(())
    }
}

/// What `answer` comes to, unless `deadline` is first.
async fn in_time<F>(deadline: Option<Instant>, answer: Pin<&mut F>) -> Result<Answered, Status>
where
    F: Future<Output = Result<Answered, Status>>,
{
    match deadline {
        None => answer.await,
        Some(deadline) => tokio::time::timeout_at(deadline, answer)
            .await
            .unwrap_or_else(|_elapsed| Err(ApiError::ContextDeadlineExceeded.into())),
    }
}

impl<B> Service<Request<B>> for Front
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<axum::BoxError>,
{
    type Response = Response<Outbound>;
    type Error = Infallible;
    type Future = Map<Answering, fn(Response<Outbound>) -> Result<Response<Outbound>, Infallible>>;

    fn call(&self, request: Request<B>) -> Self::Future {
        self.answer(request).map(Ok)
    }
}

#[cfg(test)]
mod tests;
