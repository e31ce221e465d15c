//! How a connection to a member is made. Plain TCP now; what is encrypted
//! comes from another implementation of [`Dial`].

use futures_util::future::BoxFuture;
use std::io;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// A connection.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Connection for T {}

/// Makes connections.
pub trait Dial: Send + Sync + 'static {
    /// Connects to the member that listens at this peer URL.
    fn dial<'a>(&'a self, url: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Connection>>>;
}

/// Connections without encryption.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainTcp;

impl Dial for PlainTcp {
    fn dial<'a>(&'a self, url: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Connection>>> {
        Box::pin(async move {
            let refused = |detail| io::Error::new(io::ErrorKind::InvalidInput, detail);
            let address = url
                .strip_prefix("http://")
                .ok_or_else(|| refused(format!("{url}: only http:// can be dialled")))?;
            let stream = TcpStream::connect(address.trim_end_matches('/')).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Connection>)
        })
    }
}
