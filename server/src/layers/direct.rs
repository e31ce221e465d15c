//! The short way of hot calls: read the message, call the handler, answer
//! with one frame. The general way through router and codec costs
//! about as much as all of a point read. What is not a single plain message
//! takes the general way still, so that there is one place for odd cases.

use super::body::Outbound;
use axum::body::Body;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures_util::{FutureExt as _, future::BoxFuture};
use http::{HeaderMap, HeaderValue, Response, header::CONTENT_TYPE};
use http_body_util::BodyExt as _;
use prost::Message;
use std::{collections::VecDeque, future::ready, sync::Arc};
use tonic::{Request, Status};

/// The flag and the length before each message.
pub const PREFIX_LEN: usize = 5;

/// An answer as it goes on the wire: prefix and message, in pieces.
#[derive(Default)]
pub struct Framed {
    pieces: VecDeque<Bytes>,
    /// Kept until the last piece is sent, or nobody wants it any more.
    held: Option<Box<dyn Send + Sync>>,
}

impl Framed {
    /// Of pieces that were encoded already; `held` goes when they have gone.
    pub fn new(pieces: VecDeque<Bytes>, held: Option<Box<dyn Send + Sync>>) -> Self {
        Self { pieces, held }
    }

    /// Of a small message.
    pub fn of(message: &impl Message) -> Result<Self, Status> {
        let mut bytes = BytesMut::new();
        put_frame(message, &mut bytes)?;
        Ok(Self::new([bytes.freeze()].into(), None))
    }

    /// What is still to be sent.
    pub fn len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// Takes the next piece.
    pub fn next(&mut self) -> Option<Bytes> {
        let piece = self.pieces.pop_front();
        if piece.is_none() {
            self.held = None;
        }
        piece
    }
}

/// From a message to its answer.
pub type Handler =
    Arc<dyn Fn(Request<Bytes>) -> BoxFuture<'static, Result<Framed, Status>> + Send + Sync>;
/// From a stream of messages to that of their answers.
pub type Dialogue = Arc<dyn Fn(Body) -> Body + Send + Sync>;

/// How a call is answered.
pub enum Way {
    /// One message for one.
    Unary(Handler),
    /// Many for many.
    Dialogue(Dialogue),
    /// By router and codec.
    General,
}

/// The methods that are answered this way, by their paths.
#[derive(Default)]
pub struct Direct {
    unary: Vec<(&'static str, Handler)>,
    dialogues: Vec<(&'static str, Dialogue)>,
}

impl Direct {
    /// Adds a unary method.
    pub fn with<Q, A, F>(
        self,
        path: &'static str,
        call: impl Fn(Request<Q>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        Q: Message + Default + 'static,
        A: Message,
        F: Future<Output = Result<A, Status>> + Send + 'static,
    {
        self.with_framed(path, move |request| {
            call(request).map(|answer| Framed::of(&answer?))
        })
    }

    /// Adds a unary method that encodes its answer itself.
    pub fn with_framed<Q, F>(
        mut self,
        path: &'static str,
        call: impl Fn(Request<Q>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        Q: Message + Default + 'static,
        F: Future<Output = Result<Framed, Status>> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |request| {
            let (metadata, extensions, bytes) = request.into_parts();
            match Q::decode(bytes) {
                Ok(message) => Box::pin(call(Request::from_parts(metadata, extensions, message))),
                Err(error) => Box::pin(ready(Err(Status::internal(error.to_string())))),
            }
        });
        self.unary.push((path, handler));
        self
    }

    /// Adds a method with a stream each way.
    pub fn with_dialogue(mut self, path: &'static str, dialogue: Dialogue) -> Self {
        self.dialogues.push((path, dialogue));
        self
    }

    /// How to answer a request.
    pub fn way(&self, path: &str, headers: &HeaderMap) -> Way {
        let compressed = headers
            .get("grpc-encoding")
            .is_some_and(|encoding| encoding != "identity");
        if compressed {
            return Way::General;
        }
        if let Some((_, handler)) = self.unary.iter().find(|(direct, _)| *direct == path) {
            return Way::Unary(handler.clone());
        }
        match self.dialogues.iter().find(|(direct, _)| *direct == path) {
            Some((_, dialogue)) => Way::Dialogue(dialogue.clone()),
            None => Way::General,
        }
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
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<axum::BoxError>,
{
    let mut whole = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Status::from_error(error.into()))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if whole.is_empty() {
            whole = data;
            continue;
        }
        if joined.is_empty() {
            joined.reserve(announced(&whole).map_or(0, |(_, length)| PREFIX_LEN + length));
            joined.extend_from_slice(&whole);
        }
        // More than one message; the first is the only one that counts.
        if joined.len() > bytes_max {
            break;
        }
        joined.extend_from_slice(&data);
    }
    if !joined.is_empty() {
        whole = joined.freeze();
    }
    Ok(match announced(&whole) {
        Some((0, length)) if length == whole.len() - PREFIX_LEN => {
            Sent::Message(whole.slice(PREFIX_LEN..))
        }
        _ => Sent::Odd(whole),
    })
}

/// The flag and the length of the message that `bytes` begin with.
fn announced(bytes: &[u8]) -> Option<(u8, usize)> {
    let [flag, length @ ..] = *bytes.first_chunk::<PREFIX_LEN>()?;
    Some((flag, u32::from_be_bytes(length) as usize))
}

/// Takes the next message off what has been received of a stream; `None`
/// until it is whole.
pub fn next_message(received: &mut BytesMut) -> Result<Option<Bytes>, Status> {
    let Some((flag, length)) = announced(received) else {
        return Ok(None);
    };
    if flag != 0 {
        return Err(Status::internal(
            "grpc: compressed flag set with identity or empty encoding",
        ));
    }
    if received.len() < PREFIX_LEN + length {
        return Ok(None);
    }
    let mut message = received.split_to(PREFIX_LEN + length);
    message.advance(PREFIX_LEN);
    Ok(Some(message.freeze()))
}

/// Appends a message, framed.
pub fn put_frame(message: &impl Message, target: &mut BytesMut) -> Result<(), Status> {
    let length = message.encoded_len();
    target.reserve(PREFIX_LEN + length);
    target.put_slice(&prefix(length)?);
    message
        .encode(target)
        .expect("a buffer grows as much as needed");
    Ok(())
}

/// Appends what stands before a message of this length.
pub fn prefix(length: usize) -> Result<[u8; PREFIX_LEN], Status> {
    let length = u32::try_from(length)
        .map_err(|_| Status::resource_exhausted("the answer takes more than 4 GiB"))?;
    let mut prefix = [0; PREFIX_LEN];
    prefix[1..].copy_from_slice(&length.to_be_bytes());
    Ok(prefix)
}

/// The head of a dialogue's answers.
pub fn opened(answers: Body) -> Response<Body> {
    let mut response = Response::new(answers);
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// An answer; its status is OK.
pub fn response(answer: Framed) -> Response<Outbound> {
    let mut response = Response::new(Outbound::Framed(answer));
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use std::convert::Infallible;

    fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
        let mut bytes = vec![flag];
        bytes.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        bytes.extend(message);
        bytes
    }

    async fn read_in_pieces(bytes: &[u8], piece: usize) -> Sent {
        let frames: Vec<_> = bytes
            .chunks(piece)
            .map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::copy_from_slice(piece))))
            .collect();
        let mut body = StreamBody::new(stream::iter(frames));
        read(&mut body, 1000).await.unwrap()
    }

    #[tokio::test]
    async fn one_plain_message_is_found_however_it_is_cut() {
        let bytes = framed(0, b"a message");
        for piece in 1..=bytes.len() {
            match read_in_pieces(&bytes, piece).await {
                Sent::Message(message) => assert_eq!(&message[..], b"a message"),
                Sent::Odd(_) => panic!("pieces of {piece}"),
            }
        }
    }

    #[tokio::test]
    async fn anything_else_is_left_to_the_general_way() {
        let two = [framed(0, b"one"), framed(0, b"two")].concat();
        let cut = &framed(0, b"cut off")[..9];
        for bytes in [&two[..], cut, &framed(1, b"compressed"), &[0, 0], &[]] {
            match read_in_pieces(bytes, 4).await {
                Sent::Message(_) => panic!("{bytes:?}"),
                Sent::Odd(kept) => assert_eq!(kept, bytes),
            }
        }
    }

    #[test]
    fn a_stream_of_messages_is_taken_apart_however_it_comes() {
        let messages: [&[u8]; 3] = [b"first", b"", b"third"];
        let bytes: Vec<u8> = messages.iter().flat_map(|m| framed(0, m)).collect();
        let (mut received, mut taken) = (BytesMut::new(), Vec::new());
        for byte in bytes {
            received.put_u8(byte);
            taken.extend(next_message(&mut received).unwrap());
        }
        assert_eq!(taken, messages);
        received.extend_from_slice(&framed(1, b"compressed"));
        assert!(next_message(&mut received).is_err());
    }

    #[test]
    fn compressed_calls_and_others_take_the_general_way() {
        let direct = Direct::default()
            .with("/unary", async |request: Request<String>| {
                Ok(request.into_inner())
            })
            .with_dialogue("/dialogue", Arc::new(|requests| requests));
        let mut headers = HeaderMap::new();
        assert!(matches!(direct.way("/unary", &headers), Way::Unary(_)));
        assert!(matches!(
            direct.way("/dialogue", &headers),
            Way::Dialogue(_)
        ));
        assert!(matches!(direct.way("/other", &headers), Way::General));
        headers.insert("grpc-encoding", HeaderValue::from_static("gzip"));
        assert!(matches!(direct.way("/unary", &headers), Way::General));
    }
}
