//! The short way of hot unary calls: read the message, call the handler,
//! answer with one frame. The general way through router and codec costs
//! about as much as all of a point read. What is not a single plain message
//! takes the general way still, so that there is one place for odd cases.

use super::body::Outbound;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Response, header::CONTENT_TYPE};
use http_body::Body;
use http_body_util::BodyExt as _;
use prost::Message;
use tonic::{Request, Status};

/// The flag and the length before each message.
pub const PREFIX_LEN: usize = 5;

/// From a message to the frame of its answer.
pub type Handler =
    Box<dyn Fn(Request<Bytes>) -> BoxFuture<'static, Result<Bytes, Status>> + Send + Sync>;

/// The methods that are answered this way.
#[derive(Default)]
pub struct Direct(Vec<(&'static str, Handler)>);

impl Direct {
    /// Adds a method by its path.
    pub fn with<Q, A, F>(
        mut self,
        path: &'static str,
        call: impl Fn(Request<Q>) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        Q: Message + Default + 'static,
        A: Message,
        F: Future<Output = Result<tonic::Response<A>, Status>> + Send,
    {
        let handler: Handler = Box::new(move |request| {
            let call = call.clone();
            Box::pin(async move {
                let (metadata, extensions, bytes) = request.into_parts();
                let message =
                    Q::decode(bytes).map_err(|error| Status::internal(error.to_string()))?;
                let request = Request::from_parts(metadata, extensions, message);
                frame(call(request).await?.get_ref())
            })
        });
        self.0.push((path, handler));
        self
    }

    /// The handler of a request, if it can be answered this way.
    pub fn handler(&self, path: &str, headers: &HeaderMap) -> Option<&Handler> {
        let (_, handler) = self.0.iter().find(|(direct, _)| *direct == path)?;
        let plain = headers
            .get("grpc-encoding")
            .is_none_or(|encoding| encoding == "identity");
        plain.then_some(handler)
    }
}

/// What a client sent.
pub enum Sent {
    /// One message, not compressed.
    Message(Bytes),
    /// Anything else.
    Odd(Bytes),
}

/// Reads to the end of `body`. It must refuse messages that are too large.
pub async fn read<B>(body: &mut B, bytes_max: usize) -> Result<Sent, Status>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<axum::BoxError>,
{
    let mut whole = Bytes::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Status::from_error(error.into()))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if whole.is_empty() {
            whole = data;
            continue;
        }
        // More than one message; the first is the only one that counts.
        if whole.len() > bytes_max {
            break;
        }
        let mut joined = BytesMut::with_capacity(whole.len() + data.len());
        joined.extend_from_slice(&whole);
        joined.extend_from_slice(&data);
        whole = joined.freeze();
    }
    let single = whole
        .first_chunk()
        .is_some_and(|&[flag, length @ ..]: &[u8; PREFIX_LEN]| {
            flag == 0 && u32::from_be_bytes(length) as usize == whole.len() - PREFIX_LEN
        });
    Ok(match single {
        true => Sent::Message(whole.slice(PREFIX_LEN..)),
        false => Sent::Odd(whole),
    })
}

fn frame(message: &impl Message) -> Result<Bytes, Status> {
    let length = message.encoded_len();
    let prefix = u32::try_from(length)
        .map_err(|_| Status::resource_exhausted("the answer takes more than 4 GiB"))?;
    let mut bytes = BytesMut::with_capacity(PREFIX_LEN + length);
    bytes.put_u8(0);
    bytes.put_u32(prefix);
    message
        .encode(&mut bytes)
        .expect("a buffer grows as much as needed");
    Ok(bytes.freeze())
}

/// An answer of one frame; its status is OK.
pub fn response(frame: Bytes) -> Response<Outbound> {
    let mut response = Response::new(Outbound::Frame(Some(frame)));
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
