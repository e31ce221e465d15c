//! One write per poll of a connection.
//!
//! HTTP/2 asks to write and flush for every frame, and a frame is 16 KiB at
//! most; each would be a system call. Here frames gather in a buffer,
//! `poll_flush` does nothing, and whoever owns the connection calls
//! [`DeferredIo::push`] after each poll of it. A full buffer ends the poll:
//! a client on a fast network takes hundreds of megabytes as quickly as they
//! are written, and the thread's other connections would wait for the last of
//! them.

use parking_lot::Mutex;
use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// From so much unsent data on, writers wait until it is pushed.
const GATHERED_MAX: usize = 128 << 10;
/// A buffer that has grown beyond this gives its memory back once it is empty.
const KEPT_MAX: usize = 64 << 10;
/// What it keeps then.
const KEPT: usize = 16 << 10;

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
    /// A writer waits for room.
    is_wanted: bool,
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
        self.bytes.clear();
        self.sent = 0;
        if self.bytes.capacity() > KEPT_MAX {
            self.bytes.shrink_to(KEPT);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_take(&mut self, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.unsent() >= GATHERED_MAX {
            self.is_wanted = true;
            return Poll::Pending;
        }
        // A reader who is slow but never stands still may leave some unsent for ever.
        if self.sent >= GATHERED_MAX {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        let total = slices.iter().map(|slice| slice.len()).sum();
        let needed = self.bytes.len() + total;
        if needed > KEPT_MAX && needed > self.bytes.capacity() {
            // Of a long answer there is more to come.
            self.bytes.reserve(total + GATHERED_MAX);
        }
        for slice in slices {
            self.bytes.extend_from_slice(slice);
        }
        Poll::Ready(Ok(total))
    }
}

impl<S: AsyncWrite + Unpin> DeferredIo<S> {
    /// Wraps a socket.
    pub fn new(socket: S) -> Self {
        Self(Arc::new(Mutex::new(Gathered {
            socket,
            bytes: Vec::new(),
            sent: 0,
            is_wanted: false,
        })))
    }

    /// Sends what has gathered, as far as the socket takes it; wakes `cx`
    /// once it takes more, or if a writer was told to wait.
    pub fn push(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathered = self.0.lock();
        ready!(gathered.poll_send(cx))?;
        if std::mem::take(&mut gathered.is_wanted) {
            // It goes on after the others.
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
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
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().poll_take(&[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().poll_take(slices)
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
    async fn one_poll_sends_only_so_much() {
        let (mut near, mut far) = pair().await;
        let reader = tokio::spawn(async move {
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.unwrap();
            all
        });
        let pieces: Vec<u8> = (0..8 * GATHERED_MAX).map(|n| (n / 7) as u8).collect();
        let (mut polls, mut total) = (0, 0);
        while total < pieces.len() {
            // As a connection is served: written to until it is pending, then pushed.
            let written = poll_fn(|cx| {
                let mut written = 0;
                while let Some(piece) = pieces[total + written..].chunks(10_000).next()
                    && let Poll::Ready(result) = Pin::new(&mut near).poll_write(cx, piece)
                {
                    written += result.unwrap();
                }
                near.push(cx).map(|pushed| pushed.map(|()| written))
            })
            .await
            .unwrap();
            assert!(written < GATHERED_MAX + 10_000, "{written}");
            (polls, total) = (polls + 1, total + written);
            // The reader has to run as well, once the socket is full.
            tokio::task::yield_now().await;
        }
        assert!(polls >= 8);
        near.shutdown().await.unwrap();
        drop(near);
        assert!(reader.await.unwrap() == pieces, "in order, and all of it");
    }

    #[tokio::test]
    async fn a_slow_reader_stops_the_writer() {
        let (mut near, mut far) = pair().await;
        let piece = vec![7; 8 << 10];
        // Nobody reads: the socket fills up, then the buffer.
        let written = poll_fn(|cx| {
            let mut written = 0;
            loop {
                let before = written;
                while let Poll::Ready(result) = Pin::new(&mut near).poll_write(cx, &piece) {
                    written += result.unwrap();
                }
                if near.push(cx).is_pending() && written == before {
                    return Poll::Ready(written);
                }
            }
        })
        .await;
        let gathered = unsent(&near);
        assert!(
            gathered >= GATHERED_MAX && gathered < GATHERED_MAX + piece.len(),
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

    /// A socket that takes a little at every other attempt.
    struct Slow(bool);

    impl AsyncWrite for Slow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.0 = !self.0;
            match self.0 {
                true => Poll::Ready(Ok(bytes.len().min(4000))),
                false => Poll::Pending,
            }
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn a_reader_who_never_catches_up_costs_no_more() {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut near = DeferredIo::new(Slow(false));
        let mut written = 0;
        while written < 100 * GATHERED_MAX {
            while let Poll::Ready(result) = Pin::new(&mut near).poll_write(&mut cx, &[7; 1000]) {
                written += result.unwrap();
            }
            assert!(near.push(&mut cx).is_pending());
            assert!(near.0.lock().bytes.capacity() <= 4 * GATHERED_MAX);
        }
    }
}
