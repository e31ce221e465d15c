//! Sockets: TCP and socket files behind one type, listening and connected.

use crate::config::{Config, Scheme, Url};
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};
use std::{
    io::{self, IoSlice},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::fs::FileTypeExt as _,
    path::PathBuf,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};

/// Connections the system queues until they are accepted.
const BACKLOG: i32 = 4096;

/// A client that vanished is noticed by the system after a few of these.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(30))
    .with_interval(Duration::from_secs(30));

/// A socket that listens on one URL.
pub struct Listener {
    /// The URL as it was given.
    pub url: Url,
    /// The address in use: the port is known even if 0 was asked for.
    pub address: String,
    pub(super) socket: Socket,
    file: Option<PathBuf>,
}

impl Listener {
    /// Binds and listens. The error is worded as etcd's.
    pub fn bind(url: &Url, config: &Config) -> Result<Self, String> {
        let bound = match url.scheme {
            Scheme::Http | Scheme::Https => bind_tcp(url, config).map(|socket| (socket, None)),
            Scheme::Unix | Scheme::Unixs => {
                let path = PathBuf::from(url.socket_path());
                bind_file(&path).map(|socket| (socket, Some(path)))
            }
        };
        let (socket, file) = bound.map_err(|error| {
            let (network, at) = if url.host().is_empty() && url.port() == 0 {
                ("unix", url.socket_path())
            } else {
                ("tcp", url.authority.clone())
            };
            format!("listen {network} {at}: bind: {}", go_text(&error))
        })?;
        let address = match &file {
            Some(path) => path.display().to_string(),
            None => socket
                .local_addr()
                .ok()
                .and_then(|address| address.as_socket())
                .map_or_else(String::new, |at| at.to_string()),
        };
        Ok(Self {
            url: url.clone(),
            address,
            socket,
            file,
        })
    }

    /// Makes `accept` fail from now on.
    pub(super) fn close(&self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        if let Some(path) = &self.file {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The system's message as Go words it: lower case, no number behind.
fn go_text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(letters).collect()
    })
}

fn bind_tcp(url: &Url, config: &Config) -> io::Result<Socket> {
    let host = match url.host() {
        // One port for both families, as Go listens on an empty host; a
        // machine without IPv6 has only the other one.
        "" => {
            let both = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), url.port());
            return bind_address(both, config).or_else(|error| match error.raw_os_error() {
                Some(libc::EAFNOSUPPORT) => bind_address(
                    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), url.port()),
                    config,
                ),
                _ => Err(error),
            });
        }
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        host => host
            .parse()
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
    };
    bind_address(SocketAddr::new(host, url.port()), config)
}

fn bind_address(address: SocketAddr, config: &Config) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // A port in TIME_WAIT must not hinder a restart; Go sets this always.
    socket.set_reuse_address(true)?;
    if config.socket_reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn bind_file(path: &PathBuf) -> io::Result<Socket> {
    // A socket left by a crash: nobody listens on it if connecting fails.
    if std::fs::metadata(path).is_ok_and(|data| data.file_type().is_socket())
        && std::os::unix::net::UnixStream::connect(path).is_err()
    {
        std::fs::remove_file(path)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// A connected socket.
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A socket file.
    Unix(UnixStream),
}

impl Stream {
    /// Takes over an accepted socket; must run on the runtime that will serve it.
    pub fn new(socket: Socket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        if socket.domain()? == Domain::UNIX {
            return UnixStream::from_std(socket.into()).map(Self::Unix);
        }
        // Without this, an answer waits for the client's delayed ACK.
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_keepalive(&KEEPALIVE)?;
        TcpStream::from_std(socket.into()).map(Self::Tcp)
    }
}

macro_rules! either {
    ($self:ident, $method:ident($($argument:expr),*)) => {
        match $self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).$method($($argument),*),
            Self::Unix(stream) => Pin::new(stream).$method($($argument),*),
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, poll_read(cx, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named() {
        let config = Config::default();
        let first = Listener::bind(&Url::parse("http://127.0.0.1:0").unwrap(), &config).unwrap();
        let again = Url::parse(&format!("http://{}", first.address)).unwrap();
        let error = Listener::bind(&again, &config).err().unwrap();
        assert_eq!(
            error,
            format!("listen tcp {}: bind: address already in use", first.address)
        );
    }

    #[test]
    fn a_socket_file_left_behind_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let url = Url::parse(&format!("unix://{}/s", dir.path().display())).unwrap();
        let first = Listener::bind(&url, &Config::default()).unwrap();
        assert!(Listener::bind(&url, &Config::default()).is_err());
        drop(first);
        let second = Listener::bind(&url, &Config::default()).unwrap();
        second.close();
        assert!(!dir.path().join("s").exists());
    }
}
