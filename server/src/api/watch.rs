//! The Watch service on the wire.
//!
//! Written by hand rather than generated: responses hold events that are
//! encoded already and shared between watchers, and a stream's buffers start
//! small, because most streams are idle.

use super::status::ApiError;
use crate::{
    member::Member,
    watch::{
        hub::{HubOptions, Hubs},
        session::End,
        stream::{Ended, Framed, WatchStream},
    },
};
use bytes::BufMut;
use futures_util::{Stream, StreamExt, future};
use prost::Message;
use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use sternpost_proto::etcdserverpb as pb;
use tonic::{
    Code, Request, Response, Status, Streaming,
    body::Body,
    codec::{BufferSettings, Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::MetadataMap,
    server::{Grpc, NamedService, StreamingService},
};

/// The only method.
const METHOD: &str = "/etcdserverpb.Watch/Watch";

/// What a stream's buffers start with. Ten thousand idle streams cost this
/// twice each.
const IDLE_BUFFER_BYTES: usize = 256;

/// So many bytes of ready responses go out in one piece.
const SEND_TOGETHER_BYTES: usize = 32 << 10;

/// The Watch service of a member.
pub fn service(member: &Arc<Member>) -> WatchService {
    let options = HubOptions {
        fragment_bytes: member.config.grpc_receive_max(),
        election_timeout: member.config.election_timeout,
    };
    let hubs = Hubs::new(member.node.clone(), member.metrics.clone(), options);
    WatchService(Arc::new(Shared {
        member: member.clone(),
        hubs,
    }))
}

/// Serves `etcdserverpb.Watch`. Cheap to clone.
#[derive(Clone)]
pub struct WatchService(Arc<Shared>);

struct Shared {
    member: Arc<Member>,
    hubs: Hubs,
}

impl NamedService for WatchService {
    const NAME: &'static str = "etcdserverpb.Watch";
}

impl tower::Service<http::Request<Body>> for WatchService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            if request.uri().path() != METHOD {
                let method = request.uri().path().rsplit('/').next().unwrap_or_default();
                let text = format!("unknown method {method} for service {}", Self::NAME);
                return Ok(Status::unimplemented(text).into_http());
            }
            let limit = service.0.member.config.grpc_receive_max();
            let mut grpc = Grpc::new(WatchCodec)
                .accept_compressed(CompressionEncoding::Gzip)
                .max_decoding_message_size(limit);
            Ok(grpc.streaming(service, request).await)
        })
    }
}

impl StreamingService<pb::WatchRequest> for WatchService {
    type Response = Framed;
    type ResponseStream = Pin<Box<dyn Stream<Item = Result<Framed, Status>> + Send>>;
    type Future = future::Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<pb::WatchRequest>>) -> Self::Future {
        future::ready(self.open(request))
    }
}

impl WatchService {
    fn open(
        &self,
        request: Request<Streaming<pb::WatchRequest>>,
    ) -> Result<Response<<Self as StreamingService<pb::WatchRequest>>::ResponseStream>, Status>
    {
        let Shared { member, hubs } = &*self.0;
        let require_leader = requires_leader(request.metadata());
        if require_leader && member.node.leadership().borrow().leader.is_none() {
            return Err(ApiError::NoLeader.into());
        }
        let interval = with_jitter(member.config.progress_notify_interval());
        let stream = WatchStream::open(
            hubs.current(),
            request.into_inner(),
            require_leader,
            interval,
        );
        let metrics = member.metrics.clone();
        let stream = stream.map(move |item| {
            item.map_err(|ended| {
                if let Ended::Requests(status) = &ended
                    && status.code() != Code::Cancelled
                {
                    metrics
                        .network
                        .stream_failures
                        .with_label_values(&["receive", "watch"])
                        .inc();
                }
                status_of(ended)
            })
        });
        Ok(Response::new(Box::pin(stream)))
    }
}

/// Whether the client wants its stream to end when there is no leader.
fn requires_leader(metadata: &MetadataMap) -> bool {
    metadata
        .get("hasleader")
        .is_some_and(|value| value.as_bytes() == b"true")
}

/// The interval of one stream's ticks: up to a tenth longer, so that streams
/// opened together don't tick together.
fn with_jitter(interval: Duration) -> Duration {
    interval + interval.mul_f64(rand::random_range(0.0..0.1))
}

fn status_of(ended: Ended<Status>) -> Status {
    match ended {
        Ended::Server(End::NoLeader) => ApiError::NoLeader.into(),
        Ended::Server(End::Stopped) => ApiError::Stopped.into(),
        Ended::Server(End::Fault) => ApiError::StorageFault.into(),
        Ended::Requests(status) if status.code() == Code::Cancelled => {
            ApiError::WatchCanceled.into()
        }
        Ended::Requests(status) => status,
    }
}

/// Requests as prost decodes them, responses as [`Framed`].
struct WatchCodec;

impl Codec for WatchCodec {
    type Encode = Framed;
    type Decode = pb::WatchRequest;
    type Encoder = ResponseEncoder;
    type Decoder = RequestDecoder;

    fn encoder(&mut self) -> ResponseEncoder {
        ResponseEncoder::default()
    }

    fn decoder(&mut self) -> RequestDecoder {
        RequestDecoder
    }
}

/// What stands between header and events is shorter than this, unless it
/// gives a reason.
const FIELDS_BYTES_MAX: usize = 64;

/// Number of the field `header` in a `WatchResponse`.
const HEADER_FIELD: u32 = 1;

/// Hundreds of watchers of one key make this a hot loop, and all of them get
/// the same header.
#[derive(Default)]
struct ResponseEncoder {
    header: pb::ResponseHeader,
    /// It, encoded as the first field of a response.
    encoded: Vec<u8>,
}

impl ResponseEncoder {
    fn put_header(&mut self, header: pb::ResponseHeader, target: &mut impl BufMut) {
        if self.encoded.is_empty() || self.header != header {
            self.encoded.clear();
            prost::encoding::message::encode(HEADER_FIELD, &header, &mut self.encoded);
            self.header = header;
        }
        target.put_slice(&self.encoded);
    }
}

impl Encoder for ResponseEncoder {
    type Item = Framed;
    type Error = Status;

    fn encode(&mut self, item: Framed, target: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let (header, fields, events) = item.response.into_parts(item.head);
        target.reserve(2 * FIELDS_BYTES_MAX + events.len());
        self.put_header(header, target);
        put_fields(&fields, target);
        target.put_slice(&events);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(IDLE_BUFFER_BYTES, SEND_TOGETHER_BYTES)
    }
}

/// Writes byte by byte into an array, then in one piece into the body.
fn put_fields(fields: &pb::WatchResponse, target: &mut impl BufMut) {
    let mut front = [0; FIELDS_BYTES_MAX];
    let mut rest = &mut front[..];
    if fields.encode(&mut rest).is_ok() {
        let used = FIELDS_BYTES_MAX - rest.len();
        target.put_slice(&front[..used]);
    } else {
        fields.encode_raw(target);
    }
}

struct RequestDecoder;

impl Decoder for RequestDecoder {
    type Item = pb::WatchRequest;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<pb::WatchRequest>, Status> {
        let request = pb::WatchRequest::decode(source);
        request.map(Some).map_err(|error| {
            Status::internal(format!(
                "grpc: failed to unmarshal the received message: {error}"
            ))
        })
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(IDLE_BUFFER_BYTES, SEND_TOGETHER_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_and_fields_are_written_whole() {
        let mut encoder = ResponseEncoder::default();
        for reason_bytes in 0..2 * FIELDS_BYTES_MAX {
            // Two in a row with each header.
            let header = pb::ResponseHeader {
                cluster_id: u64::MAX,
                member_id: 1,
                revision: reason_bytes as i64 / 2,
                raft_term: 2,
            };
            let fields = pb::WatchResponse {
                watch_id: -1,
                cancel_reason: "x".repeat(reason_bytes),
                ..Default::default()
            };
            let mut bytes = Vec::new();
            encoder.put_header(header, &mut bytes);
            put_fields(&fields, &mut bytes);
            let expected = pb::WatchResponse {
                header: Some(header),
                ..fields
            };
            assert_eq!(pb::WatchResponse::decode(bytes.as_slice()), Ok(expected));
        }
    }
}
