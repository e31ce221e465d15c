//! A watch stream that holds the server to its promise: every revision once, in order.

use std::time::Duration;
use sternpost_proto::etcdserverpb as pb;
use sternpost_proto::etcdserverpb::watch_client::WatchClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

/// HTTP/2's smallest window: this client's side holds no more of what it does not read.
const WINDOW_BYTES: u32 = 65_535;

/// A stream whose events must be those of all revisions, in order.
pub struct Reader {
    answers: Streaming<pb::WatchResponse>,
    _requests: mpsc::Sender<pb::WatchRequest>,
    next_revision: i64,
    /// How many there were.
    pub events: u64,
}

impl Reader {
    /// Watches a range from now on. Nobody else may write to the server but to this range.
    ///
    /// # Panics
    /// When the watch is not created.
    pub async fn open(mut watch: WatchClient<Channel>, key: &[u8], range_end: &[u8]) -> Self {
        let create = pb::WatchCreateRequest {
            key: key.to_vec().into(),
            range_end: range_end.to_vec().into(),
            ..Default::default()
        };
        let (requests, queue) = mpsc::channel(1);
        let request = pb::WatchRequest {
            request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)),
        };
        requests.send(request).await.expect("there is room for one");
        let answer = watch.watch(ReceiverStream::new(queue)).await;
        let mut answers = answer.expect("a stream is opened").into_inner();
        let created = answers.message().await.expect("the stream lives");
        let created = created.expect("a create is answered");
        assert!(created.created);
        let header = created.header.expect("an answer has a header");
        Self {
            answers,
            _requests: requests,
            next_revision: header.revision + 1,
            events: 0,
        }
    }

    /// The next answer; its events must go on where the last ones ended.
    ///
    /// # Panics
    /// When they do not, or the stream ends.
    pub async fn next(&mut self) -> pb::WatchResponse {
        let answer = self.answers.message().await.expect("the stream lives");
        let answer = answer.expect("the stream goes on");
        assert!(!answer.canceled, "{}", answer.cancel_reason);
        for event in &answer.events {
            let kv = event.kv.as_ref().expect("an event has a key");
            assert_eq!(kv.mod_revision, self.next_revision, "each once, in order");
            self.next_revision += 1;
            self.events += 1;
        }
        answer
    }

    /// Reads what comes in this time.
    pub async fn read_for(&mut self, time: Duration) {
        let end = tokio::time::Instant::now() + time;
        // A message that is not complete stays with the stream.
        while tokio::time::timeout_at(end, self.next()).await.is_ok() {}
    }
}

/// A connection with the smallest windows, for a watcher that does not always read.
///
/// # Panics
/// When nobody listens there.
pub async fn narrow(endpoint: &str) -> WatchClient<Channel> {
    let address = Endpoint::from_shared(format!("http://{endpoint}"))
        .expect("host:port makes a URL")
        .initial_connection_window_size(WINDOW_BYTES)
        .initial_stream_window_size(WINDOW_BYTES);
    let channel = address.connect().await.expect("the server listens");
    // What was missed may come in answers of any size.
    WatchClient::new(channel).max_decoding_message_size(1 << 30)
}
