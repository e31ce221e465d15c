//! Three real members in one process: RocksDB, logs on disk, gRPC over
//! loopback, with connections that can be cut.

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use std::{
    collections::HashSet,
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use sternpost_proto::{
    etcdserverpb as pb,
    internal::{Command, CommandHeader, Node, command::Verb},
};
use sternpost_raft::{
    Bootstrap, Identity, NodeOptions, Observer, RaftNode,
    peer::{Caller, Connection, Dial, GrpcTransport, PlainTcp, Purpose, Route},
};
use sternpost_storage::StorageOptions;
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpSocket},
};
use tokio_stream::wrappers::TcpListenerStream;

pub const HEARTBEAT: Duration = Duration::from_millis(100);
pub const ELECTION: Duration = Duration::from_millis(1000);
pub const CLUSTER: u64 = 7;

/// Which member can't reach which: nothing passes, and nobody is told.
#[derive(Clone, Default)]
pub struct Links(Arc<Mutex<HashSet<(u64, u64)>>>);

impl Links {
    fn is_cut(&self, link: (u64, u64)) -> bool {
        self.0.lock().contains(&link)
    }

    /// Cuts a member off from all others, both ways.
    pub fn isolate(&self, member: u64) {
        let others = (1..=5).filter(|other| *other != member);
        let mut cut = self.0.lock();
        for other in others {
            cut.extend([(member, other), (other, member)]);
        }
    }

    pub fn heal(&self) {
        self.0.lock().clear();
    }
}

/// Connections of one member.
struct Switched {
    from: u64,
    links: Links,
    ports: Vec<u16>,
}

impl Dial for Switched {
    fn dial<'a>(&'a self, url: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Connection>>> {
        Box::pin(async move {
            let port = url.rsplit(':').next().and_then(|port| port.parse().ok());
            let index = self.ports.iter().position(|known| Some(*known) == port);
            let link = (self.from, index.unwrap() as u64 + 1);
            if self.links.is_cut(link) {
                return std::future::pending().await;
            }
            let inner = PlainTcp.dial(url).await?;
            let links = self.links.clone();
            Ok(Box::new(Cable { inner, link, links }) as Box<dyn Connection>)
        })
    }
}

/// One connection: while its link is cut, nothing comes or goes.
struct Cable {
    inner: Box<dyn Connection>,
    link: (u64, u64),
    links: Links,
}

impl Cable {
    fn is_cut(&self) -> bool {
        let (from, to) = self.link;
        self.links.is_cut((from, to)) || self.links.is_cut((to, from))
    }
}

impl AsyncRead for Cable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_cut() {
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Cable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_cut() {
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_cut() {
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// A fault that no test expects.
struct NoFaults;

impl Observer for NoFaults {
    fn fatal(&self, text: &str) {
        eprintln!("fatal: {text}");
        std::process::abort();
    }
}

/// Members 1 to n.
pub struct Cluster {
    pub links: Links,
    dirs: Vec<TempDir>,
    ports: Vec<u16>,
    nodes: Vec<Option<RaftNode>>,
}

impl Cluster {
    /// Founds a cluster, and waits for its leader.
    pub async fn start(members: usize) -> Self {
        let listeners: Vec<_> = (0..members).map(|_| listener(0)).collect();
        let ports = listeners
            .iter()
            .map(|listener| listener.local_addr().unwrap().port())
            .collect();
        let mut cluster = Self {
            links: Links::default(),
            dirs: (0..members).map(|_| tempfile::tempdir().unwrap()).collect(),
            ports,
            nodes: vec![None; members],
        };
        for (index, listener) in listeners.into_iter().enumerate() {
            cluster.open(index as u64 + 1, listener);
        }
        cluster.leader().await;
        cluster
    }

    pub fn ids(&self) -> impl Iterator<Item = u64> + use<> {
        1..=self.ports.len() as u64
    }

    /// A member that runs.
    pub fn node(&self, member: u64) -> &RaftNode {
        self.nodes[member as usize - 1].as_ref().unwrap()
    }

    /// The way to a member, for somebody.
    pub fn route(&self, member: u64, caller: Caller) -> Route {
        Route {
            caller,
            urls: vec![self.url(member)],
            purpose: Purpose::Control,
        }
    }

    fn url(&self, member: u64) -> String {
        format!("http://127.0.0.1:{}", self.ports[member as usize - 1])
    }

    fn options(&self, member: u64) -> NodeOptions {
        let dir = self.dirs[member as usize - 1].path();
        let members = self.ids().map(|id| Node {
            id,
            name: format!("member-{id}"),
            peer_urls: vec![self.url(id)],
            ..Node::default()
        });
        let dial = Switched {
            from: member,
            links: self.links.clone(),
            ports: self.ports.clone(),
        };
        NodeOptions {
            wal_dir: dir.join("wal"),
            storage: StorageOptions::at(dir.join("state")),
            force_new_cluster: false,
            bootstrap: Bootstrap::New {
                identity: Identity {
                    member_id: member,
                    cluster_id: CLUSTER,
                },
                members: members.collect(),
            },
            heartbeat_interval: HEARTBEAT,
            election_timeout: ELECTION,
            snapshot_entries: 10_000,
            catchup_entries: 5_000,
            unsafe_no_fsync: false,
            compaction_batch: 1000,
            compaction_sleep: Duration::from_millis(10),
            transport: Arc::new(GrpcTransport::new(Arc::new(dial), ELECTION)),
            observer: Arc::new(NoFaults),
        }
    }

    fn open(&mut self, member: u64, listener: std::net::TcpListener) {
        let node = RaftNode::open(self.options(member)).unwrap();
        let service = node.peer_service();
        node.peer_runtime().spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let served = tonic::transport::Server::builder()
                .tcp_nodelay(true)
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener));
            served.await.unwrap();
        });
        self.nodes[member as usize - 1] = Some(node);
    }

    /// Stops a member in good order.
    pub async fn stop(&mut self, member: u64) {
        let node = self.nodes[member as usize - 1].take().unwrap();
        node.shutdown().await;
    }

    /// Stops a member so that the others are not told.
    pub async fn kill(&mut self, member: u64) {
        self.links.isolate(member);
        let node = self.nodes[member as usize - 1].take().unwrap();
        node.shutdown().await;
    }

    /// Starts a member that was stopped.
    pub async fn start_again(&mut self, member: u64) {
        let port = self.ports[member as usize - 1];
        self.open(member, listener(port));
    }

    pub async fn stop_all(&mut self) {
        let running = self.nodes.iter_mut().filter_map(Option::take);
        futures_util::future::join_all(running.map(|node| async move {
            node.shutdown().await;
        }))
        .await;
    }

    /// Waits for a leader that is ready, on one of the members that run, and
    /// that a majority of all members knows.
    pub async fn leader(&self) -> u64 {
        self.leader_other_than(0).await
    }

    pub async fn leader_other_than(&self, not: u64) -> u64 {
        loop {
            let running = self.nodes.iter().flatten();
            let known: Vec<_> = running.map(|node| *node.leadership().borrow()).collect();
            for leadership in &known {
                let Some(leader) = leadership.leader.filter(|leader| *leader != not) else {
                    continue;
                };
                let same = |other: &&sternpost_raft::Leadership| {
                    (other.term, other.leader) == (leadership.term, leadership.leader)
                };
                if leadership.leads && known.iter().filter(same).count() * 2 > self.ports.len() {
                    return leader;
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub fn follower(&self, leader: u64) -> u64 {
        let mut running = self
            .ids()
            .filter(|id| self.nodes[*id as usize - 1].is_some());
        running.find(|id| *id != leader).unwrap()
    }

    /// Waits until all running members have applied the same, and compares them.
    pub async fn agree(&self) {
        loop {
            let nodes = self.nodes.iter().flatten();
            let views: Vec<_> = nodes.map(|node| node.reads().view()).collect();
            let applied: HashSet<_> = views.iter().map(|view| view.applied()).collect();
            if applied.len() == 1 {
                let digests: HashSet<_> = views.iter().map(|view| view.state_digest()).collect();
                assert_eq!(digests.len(), 1, "states differ at {applied:?}");
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn listener(port: u16) -> std::net::TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    // The port of a member that has just ended may be busy for a moment.
    while let Err(error) = socket.bind(address) {
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        std::thread::yield_now();
    }
    let listener = socket.listen(128).unwrap();
    listener.into_std().unwrap()
}

/// A put of `member`'s own.
pub fn put(member: u64, key: &str, value: &str) -> Command {
    static IDS: AtomicU64 = AtomicU64::new(1);
    let request = pb::PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..Default::default()
    };
    Command {
        header: Some(CommandHeader {
            id: IDS.fetch_add(1, Ordering::Relaxed),
            member_id: member,
            feature_level: 1,
            ..Default::default()
        }),
        verb: Some(Verb::Put(request)),
    }
}

/// Value and version of a key in a member's newest view.
pub fn value_of(node: &RaftNode, key: &str) -> Option<(String, i64)> {
    let request = pb::RangeRequest {
        key: key.to_owned().into(),
        ..Default::default()
    };
    let response = node.reads().view().range(&request).unwrap();
    response.kvs.first().map(|kv| {
        let value = String::from_utf8(kv.value.to_vec()).unwrap();
        (value, kv.version)
    })
}
