//! One write per poll of a connection.
//!
//! HTTP/2 asks to write and flush for every small frame; each would be a
//! system call. Here frames gather in a buffer, `poll_flush` does nothing,
//! and whoever owns the connection calls [`DeferredIo::push`] after each
//! poll of it. Payloads from `DIRECT_MIN` on are not copied: they go out in
//! one vectored write behind what has gathered.

use parking_lot::Mutex;
use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// From this size on a payload is written from where it lies.
const DIRECT_MIN: usize = 16 << 10;
/// Above this much unsent data, writers wait for the socket.
const GATHERED_MAX: usize = 256 << 10;
/// A buffer that has grown beyond this gives its memory back once it is empty.
const KEPT_MAX: usize = 64 << 10;
/// What it keeps then.
const KEPT: usize = 16 << 10;
/// Slices handed to the system at once.
const SLICES_MAX: usize = 64;
/// What one poll of a connection may send without being copied. A client on a
/// fast network takes hundreds of megabytes as quickly as they are written,
/// and the thread's other connections would wait for the last of them.
const DIRECT_PER_POLL_MAX: usize = 128 << 10;

/// A socket that is written to in large pieces. Clones share the socket.
pub struct DeferredIo<S>(Arc<Mutex<Gathered<S>>>);

impl<S> Clone for DeferredIo<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct Gathered<S> {
    socket: S,
    bytes: Vec<u8>,
    /// How much of `bytes` is sent already.
    sent: usize,
    /// What was sent directly since the last push.
    direct: usize,
}

impl<S: AsyncWrite + Unpin> Gathered<S> {
    fn unsent(&self) -> usize {
        self.bytes.len() - self.sent
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.unsent() > 0 {
            let unsent = &self.bytes[self.sent..];
            match ready!(Pin::new(&mut self.socket).poll_write(cx, unsent))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.sent += written,
            }
        }
        self.emptied();
        Poll::Ready(Ok(()))
    }

    fn emptied(&mut self) {
        self.bytes.clear();
        self.sent = 0;
        if self.bytes.capacity() > KEPT_MAX {
            self.bytes.shrink_to(KEPT);
        }
    }

    /// Takes `slices` into the buffer, or sends them at once if they are large.
    fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        if total >= DIRECT_MIN {
            return self.poll_send_direct(cx, slices);
        }
        if self.unsent() > GATHERED_MAX {
            if let Poll::Ready(sent) = self.poll_send(cx) {
                sent?;
            }
            if self.unsent() > GATHERED_MAX {
                return Poll::Pending;
            }
        }
        for slice in slices {
            self.bytes.extend_from_slice(slice);
        }
        Poll::Ready(Ok(total))
    }

    fn poll_send_direct(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.direct >= DIRECT_PER_POLL_MAX {
            // Goes on after the others.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            let unsent = self.unsent();
            let mut all = Vec::with_capacity(SLICES_MAX.min(slices.len() + 1));
            all.extend((unsent > 0).then(|| IoSlice::new(&self.bytes[self.sent..])));
            all.extend(
                slices
                    .iter()
                    .take(SLICES_MAX - 1)
                    .map(|slice| IoSlice::new(slice)),
            );
            let written = ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, &all))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            if written < unsent {
                self.sent += written;
                continue;
            }
            self.emptied();
            if written > unsent {
                self.direct += written - unsent;
                return Poll::Ready(Ok(written - unsent));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> DeferredIo<S> {
    /// Wraps a socket.
    pub fn new(socket: S) -> Self {
        Self(Arc::new(Mutex::new(Gathered {
            socket,
            bytes: Vec::new(),
            sent: 0,
            direct: 0,
        })))
    }

    /// Sends what has gathered, as far as the socket takes it; wakes `cx`
    /// once it takes more.
    pub fn push(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathered = self.0.lock();
        gathered.direct = 0;
        gathered.poll_send(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for DeferredIo<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().socket).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for DeferredIo<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().poll_take(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().poll_take(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathered = self.0.lock();
        ready!(gathered.poll_send(cx))?;
        Pin::new(&mut gathered.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    async fn pair() -> (DeferredIo<TcpStream>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (far, _) = listener.accept().await.unwrap();
        (DeferredIo::new(near), far)
    }

    fn unsent(io: &DeferredIo<TcpStream>) -> usize {
        io.0.lock().unsent()
    }

    #[tokio::test]
    async fn small_writes_wait_for_the_flush() {
        let (mut near, mut far) = pair().await;
        near.write_all(b"one ").await.unwrap();
        near.flush().await.unwrap();
        near.write_all(b"two").await.unwrap();
        assert_eq!(unsent(&near), 7);
        poll_fn(|cx| near.push(cx)).await.unwrap();
        let mut got = [0; 7];
        far.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"one two");
    }

    #[tokio::test]
    async fn large_writes_keep_their_order_and_are_not_gathered() {
        let (mut near, mut far) = pair().await;
        let large: Vec<u8> = (0..3_000_000_u32).map(|n| n as u8).collect();
        let reader = tokio::spawn(async move {
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.unwrap();
            all
        });
        near.write_all(b"head").await.unwrap();
        near.write_all(&large).await.unwrap();
        assert!(unsent(&near) < DIRECT_MIN);
        near.write_all(b"tail").await.unwrap();
        near.shutdown().await.unwrap();
        let all = reader.await.unwrap();
        assert_eq!(
            (&all[..4], &all[4..all.len() - 4], &all[all.len() - 4..]),
            (&b"head"[..], &large[..], &b"tail"[..])
        );
    }

    #[tokio::test]
    async fn one_poll_sends_only_so_much() {
        let (mut near, mut far) = pair().await;
        let reader = tokio::spawn(async move {
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.unwrap();
            all.len()
        });
        let piece = vec![7; 64 << 10];
        let (mut polls, mut total) = (0, 0);
        while total < 8 * DIRECT_PER_POLL_MAX {
            // As a connection is served: written to until it is pending, then pushed.
            let written = poll_fn(|cx| {
                let mut written = 0;
                while let Poll::Ready(result) = Pin::new(&mut near).poll_write(cx, &piece) {
                    written += result.unwrap();
                }
                near.push(cx).map(|pushed| pushed.map(|()| written))
            })
            .await
            .unwrap();
            assert!(written < DIRECT_PER_POLL_MAX + piece.len(), "{written}");
            (polls, total) = (polls + 1, total + written);
            // The reader has to run as well, once the socket is full.
            tokio::task::yield_now().await;
        }
        assert!(polls >= 8);
        near.shutdown().await.unwrap();
        drop(near);
        assert_eq!(reader.await.unwrap(), total);
    }

    #[tokio::test]
    async fn a_slow_reader_stops_the_writer() {
        let (mut near, mut far) = pair().await;
        let piece = vec![7; 8 << 10];
        // Nobody reads: the socket fills up, then the buffer.
        let written = poll_fn(|cx| {
            let mut written = 0;
            while let Poll::Ready(result) = Pin::new(&mut near).poll_write(cx, &piece) {
                written += result.unwrap();
            }
            Poll::Ready(written)
        })
        .await;
        let gathered = unsent(&near);
        assert!(
            gathered > GATHERED_MAX && gathered <= GATHERED_MAX + piece.len(),
            "{gathered}"
        );
        let reader = tokio::spawn(async move {
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.unwrap();
            all.len()
        });
        near.shutdown().await.unwrap();
        assert!(near.0.lock().bytes.capacity() <= KEPT_MAX);
        drop(near);
        assert_eq!(reader.await.unwrap(), written);
    }
}
