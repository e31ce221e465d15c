//! What tests of a node have in common.
#![allow(clippy::unwrap_used, dead_code)]

use parking_lot::Mutex;
use std::{
    future::Future,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use sternpost_proto::{
    etcdserverpb as pb,
    internal::{Command, CommandHeader, Node, command::Verb},
};
use sternpost_raft::{
    Bootstrap, Identity, NodeOptions, Observer, Published, RaftNode, peer::NoTransport,
};
use sternpost_storage::StorageOptions;

/// Keeps what was reported as fatal.
#[derive(Default)]
pub struct Faults(Mutex<Vec<String>>);

impl Faults {
    pub fn texts(&self) -> Vec<String> {
        self.0.lock().clone()
    }
}

impl Observer for Faults {
    fn fatal(&self, text: &str) {
        self.0.lock().push(text.to_owned());
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

pub fn identity() -> Identity {
    Identity {
        member_id: 1,
        cluster_id: 7,
    }
}

pub fn member(id: u64) -> Node {
    Node {
        id,
        name: format!("member-{id}"),
        peer_urls: vec![format!("http://127.0.0.1:{}", 2380 + id)],
        ..Node::default()
    }
}

/// A single member under `dir`, with etcd's defaults.
pub fn options(dir: &Path) -> NodeOptions {
    NodeOptions {
        wal_dir: dir.join("wal"),
        storage: StorageOptions::at(dir.join("db")),
        force_new_cluster: false,
        bootstrap: Bootstrap::New {
            identity: identity(),
            members: vec![member(1)],
        },
        heartbeat_interval: Duration::from_millis(100),
        election_timeout: Duration::from_millis(1000),
        snapshot_entries: 10_000,
        catchup_entries: 5_000,
        unsafe_no_fsync: false,
        compaction_batch: 1000,
        compaction_sleep: Duration::from_millis(10),
        transport: Arc::new(NoTransport),
        observer: Arc::new(NoFaults),
    }
}

/// A node that leads.
pub async fn leading(options: NodeOptions) -> RaftNode {
    let node = RaftNode::open(options).unwrap();
    node.leadership()
        .wait_for(|leadership| leadership.leads)
        .await
        .unwrap();
    node
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Waits for all, polled in order.
pub async fn join<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    futures_util::future::join_all(futures).await
}

/// Waits for something that has no way to tell when it has happened.
pub async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

fn command(verb: Verb) -> Command {
    static COMMANDS_EVER: AtomicU64 = AtomicU64::new(1);
    Command {
        header: Some(CommandHeader {
            // A member that does not lead tells commands apart by it.
            id: COMMANDS_EVER.fetch_add(1, Ordering::Relaxed),
            feature_level: 1,
            ..Default::default()
        }),
        verb: Some(verb),
    }
}

pub fn put(key: &str, value: &str) -> Command {
    let request = pb::PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..Default::default()
    };
    command(Verb::Put(request))
}

/// A value that does not compress, different for each seed.
pub fn put_random(key: &str, bytes: usize, seed: u64) -> Command {
    let mut state = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let value: Vec<u8> = (0..bytes)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect();
    let request = pb::PutRequest {
        key: key.to_owned().into(),
        value: value.into(),
        ..Default::default()
    };
    command(Verb::Put(request))
}

pub fn delete(key: &str) -> Command {
    command(Verb::DeleteRange(pb::DeleteRangeRequest {
        key: key.to_owned().into(),
        ..Default::default()
    }))
}

pub fn compact(revision: i64) -> Command {
    command(Verb::Compaction(pb::CompactionRequest {
        revision,
        physical: false,
    }))
}

pub fn value_of(node: &RaftNode, key: &str) -> Option<String> {
    let request = pb::RangeRequest {
        key: key.to_owned().into(),
        ..Default::default()
    };
    let response = node.reads().view().range(&request).unwrap();
    response
        .kvs
        .first()
        .map(|kv| String::from_utf8(kv.value.to_vec()).unwrap())
}

pub fn revisions_of(chunk: &Published) -> Vec<i64> {
    chunk
        .revisions
        .iter()
        .map(|revision| revision.revision)
        .collect()
}

/// The number of the log's oldest segment; each one that is purged raises it.
pub fn first_segment(wal_dir: &Path) -> u64 {
    let files = std::fs::read_dir(wal_dir).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let numbers = names.filter_map(|name| u64::from_str_radix(name.strip_suffix(".log")?, 16).ok());
    numbers.min().unwrap()
}
