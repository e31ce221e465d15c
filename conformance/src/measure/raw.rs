//! gRPC by hand where the client must not do what a client does: hold a whole answer.

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use prost::Message;
use sternpost_proto::etcdserverpb as pb;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::transport::{Channel, Endpoint};

/// A connection that lets large answers pass by.
pub struct Raw {
    channel: Channel,
    endpoint: String,
}

impl Raw {
    /// Connects to `host:port`.
    ///
    /// # Panics
    /// When nobody listens there.
    pub async fn connect(endpoint: &str) -> Self {
        let address = Endpoint::from_shared(format!("http://{endpoint}"))
            .expect("host:port makes a URL")
            .initial_connection_window_size(4 << 20)
            .initial_stream_window_size(2 << 20)
            .tcp_nodelay(true);
        Self {
            channel: address.connect().await.expect("the server listens"),
            endpoint: endpoint.to_owned(),
        }
    }

    /// A range whose answer is received and forgotten as it comes; tells its bytes.
    ///
    /// # Errors
    /// With what the server or the connection says.
    pub async fn range(&mut self, request: &pb::RangeRequest) -> Result<u64, String> {
        let request =
            http::Request::post(format!("http://{}/etcdserverpb.KV/Range", self.endpoint))
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(Body::new(Full::new(framed(request))))
                .expect("all its parts are valid");
        std::future::poll_fn(|context| self.channel.poll_ready(context))
            .await
            .map_err(|error| error.to_string())?;
        let answer = self.channel.call(request).await;
        let answer = answer.map_err(|error| error.to_string())?;
        let mut status = grpc_status(answer.headers());
        let mut body = answer.into_body();
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| error.to_string())?;
            if let Some(data) = frame.data_ref() {
                bytes += data.len() as u64;
            }
            if let Some(trailers) = frame.trailers_ref() {
                status = grpc_status(trailers);
            }
        }
        match status {
            Some(status) if status == "0" => Ok(bytes),
            other => Err(format!("the range ended with status {other:?}")),
        }
    }
}

fn grpc_status(headers: &http::HeaderMap) -> Option<String> {
    let value = headers.get("grpc-status")?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// A byte that says "not compressed", the length, the message.
fn framed(message: &impl Message) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.encoded_len()).expect("requests are short"));
    message.encode(&mut frame).expect("the buffer grows");
    frame.freeze()
}
