//! The service `Peer` as tonic serves it: metadata in, endpoint, status out.

use crate::peer::{Caller, Endpoint, Incoming, MESSAGE_BYTES_MAX, PeerError};
use futures_util::StreamExt as _;
use sternpost_proto::internal::{
    self as pb,
    peer_server::{Peer, PeerServer},
};
use tonic::{Code, Request, Response, Status, Streaming};

/// A member's answers on its peer port.
#[derive(Clone)]
pub struct PeerService {
    endpoint: Endpoint,
}

impl PeerService {
    /// The service to mount, with its limits set.
    pub fn new(endpoint: Endpoint) -> PeerServer<Self> {
        PeerServer::new(Self { endpoint })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }
}

impl From<PeerError> for Status {
    fn from(error: PeerError) -> Self {
        let code = match &error {
            PeerError::Refused(_) => Code::FailedPrecondition,
            PeerError::Removed => Code::PermissionDenied,
            PeerError::TimedOut => Code::DeadlineExceeded,
            PeerError::Unreachable(_) | PeerError::Broken(_) => Code::Unavailable,
        };
        let text = match error {
            PeerError::Refused(text) | PeerError::Unreachable(text) | PeerError::Broken(text) => {
                text
            }
            PeerError::Removed | PeerError::TimedOut => error.to_string(),
        };
        Self::new(code, text)
    }
}

impl From<Status> for PeerError {
    fn from(status: Status) -> Self {
        let text = status.message().to_owned();
        match status.code() {
            Code::PermissionDenied => Self::Removed,
            Code::FailedPrecondition | Code::InvalidArgument => Self::Refused(text),
            Code::DeadlineExceeded => Self::TimedOut,
            Code::Unavailable => Self::Unreachable(text),
            _ => Self::Broken(format!("{:?}: {text}", status.code())),
        }
    }
}

/// What a peer sends, with its errors in our words.
pub(super) fn incoming<T: Send + 'static>(streaming: Streaming<T>) -> Incoming<'static, T> {
    Box::pin(streaming.map(|message| message.map_err(PeerError::from)))
}

/// What is sent to a peer.
type Outgoing<T> = futures_util::stream::BoxStream<'static, Result<T, Status>>;

fn outgoing<T: Send + 'static>(
    messages: Result<Incoming<'static, T>, PeerError>,
) -> Result<Response<Outgoing<T>>, Status> {
    let messages = messages?.map(|message| message.map_err(Status::from));
    Ok(Response::new(Box::pin(messages)))
}

fn open<T>(request: Request<T>) -> Result<(Caller, T), Status> {
    let caller = Caller::read(request.metadata())?;
    Ok((caller, request.into_inner()))
}

#[tonic::async_trait]
impl Peer for PeerService {
    type AppendStream = Outgoing<pb::AppendResponse>;
    type SnapshotStream = Outgoing<pb::SnapshotProgress>;
    type ProposeStream = Outgoing<pb::ForwardedRefusals>;

    async fn append(
        &self,
        request: Request<Streaming<pb::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let (caller, requests) = open(request)?;
        outgoing(self.endpoint.append(&caller, incoming(requests)))
    }

    async fn append_one(
        &self,
        request: Request<pb::AppendRequest>,
    ) -> Result<Response<pb::AppendResponse>, Status> {
        let (caller, request) = open(request)?;
        let answer = self.endpoint.append_one(&caller, request).await?;
        Ok(Response::new(answer))
    }

    async fn vote(
        &self,
        request: Request<pb::VoteRequest>,
    ) -> Result<Response<pb::VoteResponse>, Status> {
        let (caller, request) = open(request)?;
        let answer = self.endpoint.vote(&caller, request).await?;
        Ok(Response::new(answer))
    }

    async fn transfer_leader(
        &self,
        request: Request<pb::TransferLeaderRequest>,
    ) -> Result<Response<pb::TransferLeaderResponse>, Status> {
        let (caller, request) = open(request)?;
        let answer = self.endpoint.transfer_leader(&caller, request).await?;
        Ok(Response::new(answer))
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<pb::SnapshotUpload>>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        let (caller, upload) = open(request)?;
        outgoing(self.endpoint.snapshot(&caller, incoming(upload)))
    }

    async fn propose(
        &self,
        request: Request<Streaming<pb::ForwardedProposals>>,
    ) -> Result<Response<Self::ProposeStream>, Status> {
        let (caller, proposals) = open(request)?;
        outgoing(self.endpoint.propose(&caller, incoming(proposals)))
    }

    async fn read_index(
        &self,
        request: Request<pb::ReadIndexRequest>,
    ) -> Result<Response<pb::ReadIndexResponse>, Status> {
        let (caller, request) = open(request)?;
        let answer = self.endpoint.read_index(&caller, request).await?;
        Ok(Response::new(answer))
    }

    async fn members(
        &self,
        request: Request<pb::MembersRequest>,
    ) -> Result<Response<pb::MembersResponse>, Status> {
        let (caller, request) = open(request)?;
        let answer = self.endpoint.members(&caller, request)?;
        Ok(Response::new(answer))
    }
}
