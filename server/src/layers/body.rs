//! Bodies on their way in and out of a call: counted, limited, and ended at
//! the deadline.

use super::{call::Ticket, direct::Framed, frames::Frames};
use crate::{
    api::status::{ApiError, message_too_large},
    metrics::Method,
};
use axum::BoxError;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Code, Status};

/// What the client sends.
pub struct Inbound<B> {
    body: B,
    frames: Frames,
    method: Arc<Method>,
    message_max: usize,
    failed: bool,
}

impl<B> Inbound<B> {
    /// Counts for `method`; refuses messages above `message_max` bytes.
    pub fn new(body: B, method: Arc<Method>, message_max: usize) -> Self {
        Self {
            body,
            frames: Frames::default(),
            method,
            message_max,
            failed: false,
        }
    }
}

impl<B> Body for Inbound<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.failed {
            return Poll::Ready(None);
        }
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            other => return Poll::Ready(other.map(|frame| frame.map_err(Into::into))),
        };
        if let Some(data) = frame.data_ref() {
            let seen = self.frames.read(data);
            self.method.received.inc_by(seen.messages);
            self.method.received_bytes.inc_by(seen.bytes);
            if seen.largest > self.message_max {
                self.failed = true;
                let refusal = message_too_large(seen.largest, self.message_max);
                return Poll::Ready(Some(Err(refusal.into())));
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.failed || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What the client gets.
pub enum Outbound {
    /// An HTTP answer, as it is.
    Page(axum::body::Body),
    /// The answer of a call.
    Call(CallBody),
    /// One message to send, then the status: it went well.
    Framed(Framed),
    /// All is said.
    Nothing,
}

impl Outbound {
    fn next(&mut self) -> Option<Frame<Bytes>> {
        let Self::Framed(answer) = self else {
            return None;
        };
        Some(match answer.next() {
            Some(piece) => Frame::data(piece),
            None => {
                *self = Self::Nothing;
                let ok = HeaderValue::from_static("0");
                Frame::trailers(HeaderMap::from_iter([(GRPC_STATUS, ok)]))
            }
        })
    }
}

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The body of a gRPC answer; ends the call's ticket with its status.
pub struct CallBody {
    body: axum::body::Body,
    frames: Frames,
    ticket: Ticket,
    deadline: Option<Pin<Box<Sleep>>>,
    stopping: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    absence: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    ended: bool,
}

/// What ends a stream from outside.
pub struct Ends<'a> {
    /// The client's deadline.
    pub deadline: Option<Instant>,
    /// The server goes: streams that would never end by themselves do now.
    pub stopping: &'a CancellationToken,
    /// There is no leader, and the client wants one.
    pub absence: Option<CancellationToken>,
}

impl CallBody {
    /// The body of an answer with these headers.
    pub fn new(
        body: axum::body::Body,
        headers: &HeaderMap,
        mut ticket: Ticket,
        ends: Ends<'_>,
    ) -> Self {
        // Refused before the first message: the status stands in the headers.
        let ended = body.is_end_stream();
        if ended {
            ticket.finish(status_in(headers));
        }
        let method = ticket.method();
        let deadline = ends
            .deadline
            .filter(|_| !ended && method.streams)
            .map(|at| Box::pin(sleep_until(at)));
        let stopping = (!ended && method.is_dialogue)
            .then(|| Box::pin(ends.stopping.clone().cancelled_owned()));
        let absence = ends
            .absence
            .filter(|_| !ended)
            .map(|absence| Box::pin(absence.cancelled_owned()));
        Self {
            body,
            frames: Frames::default(),
            ticket,
            deadline,
            stopping,
            absence,
            ended,
        }
    }

    fn end(&mut self, code: Code) {
        self.ended = true;
        self.ticket.finish(code);
    }

    /// Whether the stream has to end although it has not said its last word.
    fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        if self
            .deadline
            .as_mut()
            .is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready())
        {
            return Poll::Ready(ApiError::ContextDeadlineExceeded.into());
        }
        if self
            .stopping
            .as_mut()
            .is_some_and(|stopping| stopping.as_mut().poll(cx).is_ready())
        {
            return Poll::Ready(ApiError::Stopped.into());
        }
        if self
            .absence
            .as_mut()
            .is_some_and(|absence| absence.as_mut().poll(cx).is_ready())
        {
            return Poll::Ready(ApiError::NoLeader.into());
        }
        Poll::Pending
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if polled.is_pending() {
            let status = ready!(self.poll_cut(cx));
            self.end(status.code());
            let mut trailers = HeaderMap::new();
            // Fails only for texts that no header can hold.
            let _ = status.add_header(&mut trailers);
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        let frame = ready!(polled);
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    let seen = self.frames.read(data);
                    self.ticket.method().sent.inc_by(seen.messages);
                    self.ticket.method().sent_bytes.inc_by(seen.bytes);
                } else if let Some(trailers) = frame.trailers_ref() {
                    self.end(status_in(trailers));
                }
            }
            Some(Err(_)) => self.end(Code::Unknown),
            None => self.end(Code::Ok),
        }
        Poll::Ready(frame)
    }
}

fn status_in(headers: &HeaderMap) -> Code {
    headers
        .get(GRPC_STATUS)
        .map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()))
}

impl Body for Outbound {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match &mut *self {
            Self::Page(body) => Pin::new(body).poll_frame(cx),
            Self::Call(call) => call.poll(cx),
            Self::Framed(_) | Self::Nothing => Poll::Ready(self.next().map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Page(body) => body.is_end_stream(),
            Self::Call(call) => call.ended,
            Self::Framed(_) => false,
            Self::Nothing => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Page(body) => body.size_hint(),
            Self::Call(call) => call.body.size_hint(),
            Self::Framed(answer) => SizeHint::with_exact(answer.len() as u64),
            Self::Nothing => SizeHint::with_exact(0),
        }
    }
}
