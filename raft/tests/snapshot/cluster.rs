//! Real members over loopback, whose state transfers can be watched and cut.

use crate::nodes;
use futures_util::{StreamExt as _, stream::BoxStream};
use parking_lot::Mutex;
use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use sternpost_proto::internal::{self as pb, Node, snapshot_upload::Part};
use sternpost_raft::{
    Bootstrap, Identity, NodeOptions, RaftNode,
    peer::{Call, GrpcTransport, Incoming, PeerChannel, Route, Transport},
};
use sternpost_storage::StorageOptions;
use tokio::sync::oneshot;
use tonic::transport::server::TcpIncoming;

/// What is in a directory, in order.
pub fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

pub const CLUSTER: u64 = 7;

/// One transfer, as it went over the wire.
#[derive(Clone, Debug, Default)]
pub struct Transfer {
    /// What was offered.
    pub files: Vec<pb::SnapshotFile>,
    pub last: u64,
    /// Bytes of files sent.
    pub sent: u64,
    /// It came to its end.
    pub ended: bool,
}

impl Transfer {
    pub fn total(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// What the wire does with transfers.
#[derive(Default)]
pub struct Wire {
    transfers: Mutex<Vec<Transfer>>,
    /// Transfers end after this many bytes, until it is 0.
    pub cut_after: AtomicU64,
}

impl Wire {
    /// The transfers that began: a member that is down gets none.
    pub fn transfers(&self) -> Vec<Transfer> {
        let transfers = self.transfers.lock();
        let begun = transfers
            .iter()
            .filter(|transfer| !transfer.files.is_empty());
        begun.cloned().collect()
    }

    /// Notes a piece; false if the transfer is cut here.
    fn passes(&self, transfer: usize, upload: &pb::SnapshotUpload) -> bool {
        let mut transfers = self.transfers.lock();
        let transfer = &mut transfers[transfer];
        match &upload.part {
            Some(Part::Offer(offer)) => {
                transfer.files = offer.files.clone();
                transfer.last = offer.last.unwrap().index;
            }
            Some(Part::Chunk(chunk)) => transfer.sent += chunk.data.len() as u64,
            Some(Part::End(_)) => transfer.ended = true,
            None => {}
        }
        let cut_after = self.cut_after.load(Ordering::Acquire);
        if cut_after > 0 && transfer.sent > cut_after {
            self.cut_after.store(0, Ordering::Release);
            return false;
        }
        true
    }
}

/// The real transport, with the wire in between.
struct Watched {
    wire: Arc<Wire>,
    transport: GrpcTransport,
}

impl Transport for Watched {
    fn channel(&self, route: Route) -> Arc<dyn PeerChannel> {
        Arc::new(WatchedChannel {
            wire: self.wire.clone(),
            channel: self.transport.channel(route),
        })
    }
}

struct WatchedChannel {
    wire: Arc<Wire>,
    channel: Arc<dyn PeerChannel>,
}

impl PeerChannel for WatchedChannel {
    fn append(
        &self,
        requests: BoxStream<'static, pb::AppendRequest>,
    ) -> Call<'_, Incoming<'static, pb::AppendResponse>> {
        self.channel.append(requests)
    }

    fn append_one(&self, request: pb::AppendRequest) -> Call<'_, pb::AppendResponse> {
        self.channel.append_one(request)
    }

    fn vote(&self, request: pb::VoteRequest) -> Call<'_, pb::VoteResponse> {
        self.channel.vote(request)
    }

    fn transfer_leader(
        &self,
        request: pb::TransferLeaderRequest,
    ) -> Call<'_, pb::TransferLeaderResponse> {
        self.channel.transfer_leader(request)
    }

    fn snapshot(
        &self,
        upload: BoxStream<'static, pb::SnapshotUpload>,
    ) -> Call<'_, Incoming<'static, pb::SnapshotProgress>> {
        let wire = self.wire.clone();
        let number = {
            let mut transfers = wire.transfers.lock();
            transfers.push(Transfer::default());
            transfers.len() - 1
        };
        let upload = upload.take_while(move |part| std::future::ready(wire.passes(number, part)));
        self.channel.snapshot(upload.boxed())
    }

    fn propose(
        &self,
        proposals: BoxStream<'static, pb::ForwardedProposals>,
    ) -> Call<'_, Incoming<'static, pb::ForwardedRefusals>> {
        self.channel.propose(proposals)
    }

    fn read_index(&self, request: pb::ReadIndexRequest) -> Call<'_, pb::ReadIndexResponse> {
        self.channel.read_index(request)
    }

    fn members(&self, request: pb::MembersRequest) -> Call<'_, pb::MembersResponse> {
        self.channel.members(request)
    }
}

/// A member that runs.
struct Running {
    node: RaftNode,
    stop: oneshot::Sender<()>,
    served: oneshot::Receiver<()>,
}

/// Members by number, from 1 on.
pub struct Cluster {
    dir: PathBuf,
    addresses: Vec<SocketAddr>,
    running: Vec<Option<Running>>,
    pub wire: Arc<Wire>,
}

impl Cluster {
    /// Starts `size` members under `dir`.
    pub fn start(dir: &Path, size: usize) -> Self {
        let mut cluster = Self::new(dir, size);
        for id in 1..=size as u64 {
            cluster.open(id);
        }
        cluster
    }

    /// `size` members, none of which runs yet.
    pub fn new(dir: &Path, size: usize) -> Self {
        // All at once, so that they differ; each is free again when its member starts.
        let listeners: Vec<TcpListener> = (0..size)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let addresses = listeners
            .iter()
            .map(|listener| listener.local_addr().unwrap());
        Self {
            dir: dir.to_path_buf(),
            addresses: addresses.collect(),
            running: (0..size).map(|_| None).collect(),
            wire: Arc::default(),
        }
    }

    pub fn dir_of(&self, id: u64) -> PathBuf {
        self.dir.join(id.to_string())
    }

    pub fn node(&self, id: u64) -> &RaftNode {
        &self.running[id as usize - 1].as_ref().unwrap().node
    }

    fn members(&self) -> Vec<Node> {
        let member = |(number, address): (usize, &SocketAddr)| Node {
            peer_urls: vec![format!("http://{address}")],
            ..nodes::member(number as u64 + 1)
        };
        self.addresses.iter().enumerate().map(member).collect()
    }

    pub fn options(&self, id: u64) -> NodeOptions {
        let dir = self.dir_of(id);
        let options = nodes::options(&dir);
        NodeOptions {
            storage: StorageOptions {
                block_cache_bytes: 8 << 20,
                write_buffer_bytes: 1 << 20,
                ..StorageOptions::at(dir.join("state"))
            },
            bootstrap: Bootstrap::New {
                identity: Identity {
                    member_id: id,
                    cluster_id: CLUSTER,
                },
                members: self.members(),
            },
            snapshot_entries: 200,
            catchup_entries: 50,
            transport: Arc::new(Watched {
                wire: self.wire.clone(),
                transport: GrpcTransport::plain(options.election_timeout),
            }),
            ..options
        }
    }

    /// Starts a member, for the first time or again.
    pub fn open(&mut self, id: u64) {
        let node = RaftNode::open(self.options(id)).unwrap();
        let address = self.addresses[id as usize - 1];
        let (stop, stopped) = oneshot::channel();
        let (ended, served) = oneshot::channel();
        let service = node.peer_service();
        node.peer_runtime().spawn(async move {
            let incoming = TcpIncoming::bind(address).unwrap().with_nodelay(Some(true));
            let server = tonic::transport::Server::builder()
                .initial_stream_window_size(4 << 20)
                .initial_connection_window_size(8 << 20)
                .add_service(service);
            tokio::select! {
                served = server.serve_with_incoming(incoming) => served.unwrap(),
                _ = stopped => {}
            }
            let _ = ended.send(());
        });
        self.running[id as usize - 1] = Some(Running { node, stop, served });
    }

    /// Stops a member.
    pub async fn stop(&mut self, id: u64) {
        let running = self.running[id as usize - 1].take().unwrap();
        let _ = running.stop.send(());
        let _ = running.served.await;
        running.node.shutdown().await;
    }

    /// Stops all.
    pub async fn stop_all(mut self) {
        for id in 1..=self.running.len() as u64 {
            if self.running[id as usize - 1].is_some() {
                self.stop(id).await;
            }
        }
    }

    /// Waits until one of those that run leads.
    pub async fn leader(&self) -> u64 {
        loop {
            let leads = |running: &&Running| running.node.leadership().borrow().leads;
            if let Some(leader) = self.running.iter().flatten().find(leads) {
                return leader.node.identity().member_id;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Makes `id` the leader.
    pub async fn lead(&self, id: u64) {
        loop {
            let leader = self.leader().await;
            if leader == id {
                return;
            }
            let _ = self.node(leader).transfer_leader(id).await;
        }
    }

    /// Waits until `id` has applied all that `other` has, and compares.
    pub async fn caught_up(&self, id: u64, other: u64) {
        let (behind, ahead) = (self.node(id), self.node(other));
        let target = ahead.reads().view().applied();
        while behind.reads().view().applied() < target {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (behind, ahead) = (behind.reads().view(), ahead.reads().view());
        if behind.applied() == ahead.applied() {
            assert_eq!(behind.state_digest(), ahead.state_digest());
            assert_eq!(behind.keys_total(), ahead.keys_total());
        }
    }
}
