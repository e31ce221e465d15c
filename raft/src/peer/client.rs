//! The calling side of the peer port over gRPC: one HTTP/2 connection for each
//! member and purpose.

use crate::peer::{
    Call, Dial, Incoming, MESSAGE_BYTES_MAX, PeerChannel, PeerError, PlainTcp, Route, Transport,
    service::incoming,
};
use futures_util::{Stream, stream::BoxStream};
use hyper_util::rt::TokioIo;
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use sternpost_proto::internal::{self as pb, peer_client::PeerClient};
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Channel, Endpoint},
};

/// Bytes of one stream that may be under way.
const STREAM_WINDOW: u32 = 4 << 20;
/// Bytes of one connection that may be under way.
const CONNECTION_WINDOW: u32 = 8 << 20;

/// Members over gRPC. Cheap to clone.
#[derive(Clone)]
pub struct GrpcTransport {
    dial: Arc<dyn Dial>,
    silence_max: Duration,
}

impl GrpcTransport {
    /// Over plain TCP. A connection on which nothing is heard for about the
    /// election timeout is given up, and made anew when it is needed.
    pub fn plain(election_timeout: Duration) -> Self {
        Self::new(Arc::new(PlainTcp), election_timeout)
    }

    /// Over connections that `dial` makes.
    pub fn new(dial: Arc<dyn Dial>, election_timeout: Duration) -> Self {
        Self {
            dial,
            silence_max: election_timeout,
        }
    }
}

impl GrpcTransport {
    /// A connection to the member that listens at `urls`, for any service. It
    /// lives on the runtime that this is called from.
    pub fn connection(&self, urls: &[String]) -> Channel {
        // The name is not resolved: `dial` knows where to connect.
        let endpoint = Endpoint::from_static("http://member.sternpost")
            .connect_timeout(self.silence_max)
            .http2_keep_alive_interval(self.silence_max / 2)
            .keep_alive_timeout(self.silence_max / 2)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        let (dial, urls) = (self.dial.clone(), Arc::new(urls.to_vec()));
        let attempts = Arc::new(AtomicUsize::new(0));
        endpoint.connect_with_connector_lazy(tower::service_fn(move |_| {
            let (dial, urls, attempts) = (dial.clone(), urls.clone(), attempts.clone());
            async move {
                if urls.is_empty() {
                    return Err(std::io::Error::other("the member has no peer URL"));
                }
                let attempt = attempts.fetch_add(1, Ordering::Relaxed);
                let connection = dial.dial(&urls[attempt % urls.len()]).await?;
                Ok(TokioIo::new(connection))
            }
        }))
    }
}

impl Transport for GrpcTransport {
    fn channel(&self, route: Route) -> Arc<dyn PeerChannel> {
        let client = PeerClient::new(self.connection(&route.urls))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Arc::new(GrpcChannel { client, route })
    }
}

/// The way to one member.
struct GrpcChannel {
    client: PeerClient<Channel>,
    route: Route,
}

impl GrpcChannel {
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        self.route.caller.write(request.metadata_mut());
        request
    }
}

/// What is sent in a stream: a type with a name, which the compiler can follow
/// through the generated client.
struct Requests<T>(BoxStream<'static, T>);

impl<T> Stream for Requests<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.as_mut().poll_next(cx)
    }
}

/// A call with one answer.
fn unary<'a, T, F>(call: F) -> Call<'a, T>
where
    F: Future<Output = Result<Response<T>, Status>> + Send + 'a,
{
    Box::pin(async move {
        let answer = call.await.map_err(PeerError::from)?;
        Ok(answer.into_inner())
    })
}

/// A call with a stream of answers.
fn streaming<'a, T, F>(call: F) -> Call<'a, Incoming<'static, T>>
where
    T: Send + 'static,
    F: Future<Output = Result<Response<Streaming<T>>, Status>> + Send + 'a,
{
    Box::pin(async move {
        let answers = call.await.map_err(PeerError::from)?;
        Ok(incoming(answers.into_inner()))
    })
}

impl PeerChannel for GrpcChannel {
    fn append(
        &self,
        requests: BoxStream<'static, pb::AppendRequest>,
    ) -> Call<'_, Incoming<'static, pb::AppendResponse>> {
        let mut client = self.client.clone();
        let request = self.request(Requests(requests));
        streaming(async move { client.append(request).await })
    }

    fn append_one(&self, request: pb::AppendRequest) -> Call<'_, pb::AppendResponse> {
        let mut client = self.client.clone();
        let request = self.request(request);
        unary(async move { client.append_one(request).await })
    }

    fn vote(&self, request: pb::VoteRequest) -> Call<'_, pb::VoteResponse> {
        let mut client = self.client.clone();
        let request = self.request(request);
        unary(async move { client.vote(request).await })
    }

    fn transfer_leader(
        &self,
        request: pb::TransferLeaderRequest,
    ) -> Call<'_, pb::TransferLeaderResponse> {
        let mut client = self.client.clone();
        let request = self.request(request);
        unary(async move { client.transfer_leader(request).await })
    }

    fn snapshot(
        &self,
        upload: BoxStream<'static, pb::SnapshotUpload>,
    ) -> Call<'_, Incoming<'static, pb::SnapshotProgress>> {
        let mut client = self.client.clone();
        let request = self.request(Requests(upload));
        streaming(async move { client.snapshot(request).await })
    }

    fn propose(
        &self,
        proposals: BoxStream<'static, pb::ForwardedProposals>,
    ) -> Call<'_, Incoming<'static, pb::ForwardedRefusals>> {
        let mut client = self.client.clone();
        let request = self.request(Requests(proposals));
        streaming(async move { client.propose(request).await })
    }

    fn read_index(&self, request: pb::ReadIndexRequest) -> Call<'_, pb::ReadIndexResponse> {
        let mut client = self.client.clone();
        let request = self.request(request);
        unary(async move { client.read_index(request).await })
    }

    fn members(&self, request: pb::MembersRequest) -> Call<'_, pb::MembersResponse> {
        let mut client = self.client.clone();
        let request = self.request(request);
        unary(async move { client.members(request).await })
    }
}
