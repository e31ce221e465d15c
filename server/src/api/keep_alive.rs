//! The stream of renewals, answered one by one in their order.
//!
//! Many clients open a stream for a single renewal, so opening one must cost
//! little: no buffers beside what is sent, no future unless there is
//! something to wait for.

use super::status::ApiError;
use crate::{
    layers::{next_message, put_frame},
    member::Member,
};
use axum::BoxError;
use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame};
use prost::Message as _;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use sternpost_proto::etcdserverpb as pb;
use tonic::Status;

/// Answers sent in one piece.
const TOGETHER_BYTES: usize = 16 << 10;

type Answer = Result<pb::LeaseKeepAliveResponse, ApiError>;

/// Answers the renewals in `requests`.
pub fn answers(member: Arc<Member>, requests: axum::body::Body) -> axum::body::Body {
    axum::body::Body::new(KeepAlive {
        member,
        requests,
        received: BytesMut::new(),
        waiting: None,
        answers: BytesMut::new(),
        end: None,
        over: false,
    })
}

/// Renews one lease. The header is made first, so that its revision is never
/// newer than the renewal.
pub async fn keep_alive(member: &Member, id: i64) -> Answer {
    let header = Some(member.current_header());
    let ttl = member.renew_lease(id).await?;
    Ok(pb::LeaseKeepAliveResponse { header, id, ttl })
}

struct KeepAlive {
    member: Arc<Member>,
    requests: axum::body::Body,
    received: BytesMut,
    /// A renewal that takes time.
    waiting: Option<BoxFuture<'static, Answer>>,
    answers: BytesMut,
    /// What it ends with once the answers are sent.
    end: Option<Status>,
    over: bool,
}

impl KeepAlive {
    /// Goes on as far as possible without more requests; ready once it ends.
    fn poll_renew(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                let answer = ready!(waiting.as_mut().poll(cx));
                self.waiting = None;
                if let Err(status) = self.put(answer) {
                    return Poll::Ready(status);
                }
            }
            if self.answers.len() >= TOGETHER_BYTES {
                return Poll::Pending;
            }
            match next_message(&mut self.received) {
                Ok(Some(message)) => {
                    if let Err(status) = self.renew(message) {
                        return Poll::Ready(status);
                    }
                }
                Ok(None) => return Poll::Pending,
                Err(status) => return Poll::Ready(self.failed(status)),
            }
        }
    }

    fn renew(&mut self, message: Bytes) -> Result<(), Status> {
        let request = pb::LeaseKeepAliveRequest::decode(message)
            .map_err(|error| self.failed(Status::internal(error.to_string())))?;
        let (id, header) = (request.id, Some(self.member.current_header()));
        match self.member.renew_lease_now(id) {
            Some(ttl) => self.put(Ok(pb::LeaseKeepAliveResponse { header, id, ttl })),
            None => {
                let member = self.member.clone();
                self.waiting = Some(Box::pin(async move { keep_alive(&member, id).await }));
                Ok(())
            }
        }
    }

    fn put(&mut self, answer: Answer) -> Result<(), Status> {
        put_frame(&answer?, &mut self.answers)
    }

    /// Reads more; ready with the status if there is none.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        match ready!(Pin::new(&mut self.requests).poll_frame(cx)) {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    self.received.extend_from_slice(&data);
                }
                Poll::Ready(Ok(()))
            }
            None if self.received.is_empty() => Poll::Ready(Err(Status::ok(""))),
            None => Poll::Ready(Err(self.failed(Status::internal("unexpected EOF")))),
            Some(Err(error)) => {
                let status = Status::from_error(BoxError::from(error));
                Poll::Ready(Err(self.failed(status)))
            }
        }
    }

    /// Counts a stream that can't be read on.
    fn failed(&self, status: Status) -> Status {
        let failures = &self.member.metrics.network.stream_failures;
        failures
            .with_label_values(&["receive", "lease-keepalive"])
            .inc();
        status
    }

    fn trailers(status: &Status) -> HeaderMap {
        let mut trailers = HeaderMap::with_capacity(2);
        if status.code() == tonic::Code::Ok {
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
        } else {
            // Fails only for texts that no header can hold.
            let _ = status.add_header(&mut trailers);
        }
        trailers
    }
}

impl Body for KeepAlive {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        while !this.over && this.end.is_none() {
            if let Poll::Ready(status) = this.poll_renew(cx) {
                this.end = Some(status);
            } else if !this.answers.is_empty() {
                break;
            } else if this.waiting.is_some() {
                return Poll::Pending;
            } else if let Err(status) = ready!(this.poll_read(cx)) {
                this.end = Some(status);
            }
        }
        if !this.answers.is_empty() {
            let answers = this.answers.split().freeze();
            return Poll::Ready(Some(Ok(Frame::data(answers))));
        }
        this.over = true;
        let end = this.end.take();
        Poll::Ready(end.map(|status| Ok(Frame::trailers(Self::trailers(&status)))))
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }
}
