//! One member: its disks, which outlive it, and the process, which has a
//! runtime with a clock of its own and ends with it, whatever it was doing.

use crate::{
    chance::Chance,
    forgetful::Forgetful,
    net::{Net, Wire},
    plan::{self, Plan},
};
use futures_util::FutureExt as _;
use openraft::RaftLogReader as _;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use sternpost_proto::internal::Node;
use sternpost_raft::{
    Bootstrap, Identity, LogStore, NodeOptions, Observer, RaftNode, Recovered,
    testing::turns::{self, ApplyTurns, Ground, HouseTurns, LogTurns, Stop},
    types::Entry,
};
use sternpost_storage::{StorageOptions, testing::MemoryDisk};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    time::{Instant, sleep, sleep_until},
};

const CLUSTER: u64 = 7;
const SEGMENT_BYTES: u64 = 64 << 10;
const HOUSE_EVERY: Duration = Duration::from_millis(50);
const PURGE_ENTRIES_MIN: u64 = 8;

/// What a member has said of itself, and must not.
#[derive(Default)]
struct Faults {
    texts: Mutex<Vec<String>>,
    removed: AtomicBool,
}

impl Observer for Faults {
    fn fatal(&self, text: &str) {
        self.texts.lock().push(text.to_owned());
    }

    fn removed(&self) {
        self.removed.store(true, Ordering::Relaxed);
    }
}

pub struct Member {
    pub id: u64,
    /// Which start this is.
    pub life: u64,
    files: Forgetful,
    store: MemoryDisk,
    faults: Arc<Faults>,
    pub process: Option<Process>,
    /// The log as it was when the process ended: the terms from the first index on.
    pub left: (u64, Vec<u64>),
    pub paused_until: u64,
    /// The speed of its clock, in thousandths of the world's.
    rate: u64,
    bootstrap: Bootstrap,
}

pub struct Process {
    pub log: LogTurns,
    pub recovered: Recovered,
    /// What the store held when it was opened.
    pub found: Option<u64>,
    slot: Arc<Mutex<Option<Result<RaftNode, String>>>>,
    pub node: Option<RaftNode>,
    pub stop: Option<Stop>,
    epoch: Instant,
    local_us: u64,
    runtime: Runtime,
}

/// A founding member, or one to be.
pub fn node_of(id: u64) -> Node {
    Node {
        id,
        name: format!("member-{id}"),
        peer_urls: vec![format!("http://member-{id}:2380")],
        ..Node::default()
    }
}

impl Member {
    pub fn new(id: u64, founders: &[u64], rate: u64) -> Self {
        let identity = Identity {
            member_id: id,
            cluster_id: CLUSTER,
        };
        let bootstrap = match founders.contains(&id) {
            true => Bootstrap::New {
                identity,
                members: founders.iter().copied().map(node_of).collect(),
            },
            false => Bootstrap::Join { identity },
        };
        Self {
            id,
            life: 0,
            files: Forgetful::default(),
            store: MemoryDisk::default(),
            faults: Arc::default(),
            process: None,
            left: (0, Vec::new()),
            paused_until: 0,
            rate,
            bootstrap,
        }
    }

    fn options(&self, plan: &Plan, net: &Net) -> NodeOptions {
        NodeOptions {
            wal_dir: "memory/wal".into(),
            storage: StorageOptions::at("memory/state"),
            bootstrap: self.bootstrap.clone(),
            force_new_cluster: false,
            heartbeat_interval: Duration::from_millis(plan.heartbeat_ms),
            election_timeout: Duration::from_millis(plan.election_ms),
            snapshot_entries: plan.snapshot_entries,
            catchup_entries: plan.catchup_entries,
            unsafe_no_fsync: false,
            compaction_batch: 1000,
            compaction_sleep: Duration::from_millis(10),
            transport: Arc::new(Wire {
                net: net.clone(),
                life: self.life,
            }),
            observer: self.faults.clone(),
        }
    }

    /// Starts the process. An error is a violation: these disks are sound.
    pub fn start(&mut self, plan: &Plan, net: &Net, mut chance: Chance) -> Result<(), String> {
        self.life += 1;
        net.begin(self.id, self.life);
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .map_err(|error| error.to_string())?;
        let options = self.options(plan, net);
        let machine = self.store.open().map_err(|error| error.to_string())?;
        let found = machine.applied().map(|mark| mark.index);
        let ground = Ground {
            files: Arc::new(self.files.clone()),
            segment_bytes: SEGMENT_BYTES,
            machine,
            purge_entries_min: PURGE_ENTRIES_MIN,
        };
        let entered = runtime.enter();
        let parts = turns::open(options, ground).map_err(|error| error.to_string())?;
        let disk = plan.disk.clone();
        tokio::spawn(write(parts.log.clone(), disk.clone(), chance.fork()));
        tokio::spawn(apply(parts.apply, self.store.clone(), disk, chance.fork()));
        tokio::spawn(keep(parts.house, self.faults.clone()));
        let slot: Arc<Mutex<_>> = Arc::default();
        let (filled, opening) = (slot.clone(), parts.opening);
        tokio::spawn(async move {
            let opened = opening.opened().await;
            *filled.lock() = Some(opened.map_err(|error| error.to_string()));
        });
        let epoch = Instant::now();
        drop(entered);
        self.process = Some(Process {
            log: parts.log,
            recovered: parts.recovered,
            found,
            slot,
            node: None,
            stop: Some(parts.stop),
            epoch,
            local_us: 0,
            runtime,
        });
        Ok(())
    }

    /// Lets the process run for so long, by the world's clock.
    pub fn step(&mut self, micros: u64) {
        let rate = self.rate;
        let Some(process) = &mut self.process else {
            return;
        };
        process.local_us += micros * rate / 1000;
        let until = process.epoch + Duration::from_millis(process.local_us / 1000);
        process
            .runtime
            .block_on(async move { sleep_until(until).await });
    }

    /// The node that has just been opened, once.
    pub fn opened(&mut self) -> Result<Option<RaftNode>, String> {
        let Some(process) = &mut self.process else {
            return Ok(None);
        };
        if process.node.is_some() {
            return Ok(None);
        }
        let Some(opened) = process.slot.lock().take() else {
            return Ok(None);
        };
        let node = opened?;
        process.node = Some(node.clone());
        Ok(Some(node))
    }

    /// The power goes. `arrived` thousandths of the sectors that were not
    /// synced are on the disk all the same, and the state up to the last
    /// flush or, if `all`, as it is.
    pub fn crash(&mut self, net: &Net, chance: &mut Chance, arrived: u64, all: bool) {
        let Some(process) = self.process.take() else {
            return;
        };
        self.left = terms(process.log.log());
        self.files = self.files.power_cut(|| chance.permille(arrived));
        self.store = self.store.power_cut(all);
        net.lose(self.id);
        let Process {
            node,
            runtime,
            slot,
            stop,
            log,
            ..
        } = process;
        drop((node, slot, stop, log));
        drop(runtime);
    }

    pub fn node(&self) -> Option<&RaftNode> {
        self.process.as_ref()?.node.as_ref()
    }

    pub fn runtime(&self) -> Option<Handle> {
        Some(self.process.as_ref()?.runtime.handle().clone())
    }

    /// What it has reported as fatal.
    pub fn faults(&self) -> Vec<String> {
        self.faults.texts.lock().clone()
    }

    /// Whether another member has said that it is removed.
    pub fn was_told_of_removal(&self) -> bool {
        self.faults.removed.load(Ordering::Relaxed)
    }

    /// Whether its disk holds this entry for good, as far as can be told.
    pub fn holds(&self, index: u64, term: u64) -> bool {
        let Some(process) = &self.process else {
            let (first, terms) = &self.left;
            return index < *first || terms.get((index - first) as usize) == Some(&term);
        };
        let log = process.log.log();
        index < log.range().start
            || (log
                .durable()
                .index()
                .is_some_and(|durable| durable >= index)
                && entries(log, index..index + 1)
                    .first()
                    .is_some_and(|entry| entry.log_id.leader_id.term == term))
    }
}

/// What the log holds of these indexes.
pub fn entries(log: &LogStore, range: std::ops::Range<u64>) -> Vec<Entry> {
    let mut log = log.clone();
    let read = log.try_get_log_entries(range).now_or_never();
    read.expect("a read of the log does not wait").unwrap()
}

fn terms(log: &LogStore) -> (u64, Vec<u64>) {
    let range = log.range();
    let durable = log.durable().index().map_or(0, |last| last + 1);
    let entries = entries(log, range.start..durable.max(range.start));
    (
        range.start,
        entries
            .iter()
            .map(|entry| entry.log_id.leader_id.term)
            .collect(),
    )
}

/// How long something takes on a disk.
fn latency(chance: &mut Chance, max: u64, disk: &plan::Disk) -> Duration {
    let usual = chance.between(0, max + 1);
    let stalls = chance.permille(disk.stalls) && !disk.calm.load(Ordering::Relaxed);
    let stall = if stalls { chance.between(100, 2000) } else { 0 };
    Duration::from_millis(usual + stall + 1)
}

async fn write(log: LogTurns, disk: plan::Disk, mut chance: Chance) {
    loop {
        log.log().set_quick(!chance.permille(disk.busy));
        sleep(latency(&mut chance, disk.write_max, &disk)).await;
        if !log.turn() {
            return;
        }
    }
}

async fn apply(mut turns: ApplyTurns, store: MemoryDisk, disk: plan::Disk, mut chance: Chance) {
    loop {
        store.set_busy(chance.permille(disk.busy));
        sleep(latency(&mut chance, disk.apply_max, &disk)).await;
        if !turns.turn() {
            return;
        }
    }
}

async fn keep(mut turns: HouseTurns, faults: Arc<Faults>) {
    loop {
        sleep(HOUSE_EVERY).await;
        if let Err(fault) = turns.turn() {
            faults.fatal(&fault.to_string());
            return;
        }
    }
}

/// Members by their ID.
pub type Members = BTreeMap<u64, Member>;
