//! Connections and bodies that count their bytes.

use crate::metrics::{End, PeerBytes, Traffic};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body::{Body, Frame, SizeHint};
use std::{
    io,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, ready},
};
use sternpost_raft::peer::{Connection, Dial, PlainTcp};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Connects without encryption, and counts by URL.
pub struct CountedDial(pub Arc<Traffic>);

impl Dial for CountedDial {
    fn dial<'a>(&'a self, url: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Connection>>> {
        Box::pin(async move {
            let inner = PlainTcp.dial(url).await?;
            let bytes = self.0.of(End::Called(url.to_owned()));
            Ok(Box::new(Counted { inner, bytes }) as Box<dyn Connection>)
        })
    }
}

struct Counted {
    inner: Box<dyn Connection>,
    bytes: Arc<PeerBytes>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        let read = buffer.filled().len() - before;
        self.bytes.received.fetch_add(read as u64, Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, data))?;
        self.bytes.sent.fetch_add(written as u64, Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, slices))?;
        self.bytes.sent.fetch_add(written as u64, Relaxed);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

/// What a member sends in a call, or is sent in answer.
pub struct CountedBody<B> {
    body: B,
    bytes: Arc<PeerBytes>,
    is_answer: bool,
}

impl<B> CountedBody<B> {
    /// A call's messages.
    pub fn call(body: B, bytes: Arc<PeerBytes>) -> Self {
        Self {
            body,
            bytes,
            is_answer: false,
        }
    }

    /// A call's answers.
    pub fn answer(body: B, bytes: Arc<PeerBytes>) -> Self {
        Self {
            body,
            bytes,
            is_answer: true,
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for CountedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            let count = match self.is_answer {
                true => &self.bytes.sent,
                false => &self.bytes.received,
            };
            count.fetch_add(data.len() as u64, Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
