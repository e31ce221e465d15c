//! One run: members, disks, clients and faults, and what is checked.

use crate::{
    clients, faults,
    forgetful::Forgetful,
    history::{self, Operation, Told},
    invariants::{self, OneLeader, SameState},
    network::Network,
};
use parking_lot::Mutex;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use sternpost_proto::internal::Node;
use sternpost_raft::{
    Bootstrap, Identity, NodeOptions, Observer, RaftNode,
    testing::simulated::{Disk, Simulated},
};
use sternpost_storage::StorageOptions;
use tokio::time::{sleep, timeout};

const CLIENTS: u64 = 4;
const FAULTS: u32 = 25;

/// How long the cluster may take to serve again once nothing is wrong any more.
const HEALED_WITHIN: Duration = Duration::from_secs(30);

/// The cluster.
pub struct World {
    pub network: Network,
    size: u64,
    members: Mutex<HashMap<u64, Member>>,
    disks: Mutex<HashMap<u64, Forgetful>>,
    rng: Mutex<StdRng>,
    lives: AtomicU64,
    operations: Mutex<Vec<Operation>>,
    violations: Arc<Mutex<Vec<String>>>,
    over: AtomicBool,
}

/// A member that runs.
struct Member {
    simulated: Simulated,
    power: Arc<AtomicBool>,
}

/// Whatever ends a member that has power is a violation.
struct Witness {
    member: u64,
    power: Arc<AtomicBool>,
    violations: Arc<Mutex<Vec<String>>>,
}

impl Observer for Witness {
    fn fatal(&self, text: &str) {
        if self.power.load(Ordering::Acquire) {
            let text = format!("member {}: {text}", self.member);
            self.violations.lock().push(text);
        }
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        Self {
            network: Network::new(rng.random()),
            size: if rng.random_bool(0.7) { 3 } else { 5 },
            members: Mutex::default(),
            disks: Mutex::default(),
            rng: Mutex::new(rng),
            lives: AtomicU64::new(0),
            operations: Mutex::default(),
            violations: Arc::default(),
            over: AtomicBool::new(false),
        }
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    pub fn note(&self, operation: Operation) {
        self.operations.lock().push(operation);
    }

    pub fn node(&self, member: u64) -> Option<RaftNode> {
        let members = self.members.lock();
        members
            .get(&member)
            .map(|member| member.simulated.node().clone())
    }

    fn options(&self, member: u64, life: u64, observer: Witness) -> NodeOptions {
        let members = (1..=self.size).map(|id| Node {
            id,
            name: id.to_string(),
            peer_urls: vec![format!("http://{id}")],
            client_urls: Vec::new(),
        });
        NodeOptions {
            wal_dir: PathBuf::from("memory"),
            storage: StorageOptions::at("/nonexistent/memory"),
            bootstrap: Bootstrap::New {
                identity: Identity {
                    member_id: member,
                    cluster_id: 7,
                },
                members: members.collect(),
            },
            heartbeat_interval: Duration::from_millis(100),
            election_timeout: Duration::from_millis(1000),
            snapshot_entries: 10_000,
            catchup_entries: 5_000,
            unsafe_no_fsync: false,
            compaction_batch: 1000,
            compaction_sleep: Duration::ZERO,
            force_new_cluster: false,
            transport: Arc::new(self.network.transport(life)),
            observer: Arc::new(observer),
        }
    }

    /// Starts a member from what is on its disk.
    pub async fn start(self: &Arc<Self>, member: u64) {
        let life = self.lives.fetch_add(1, Ordering::Relaxed);
        let power = Arc::new(AtomicBool::new(true));
        let witness = Witness {
            member,
            power: power.clone(),
            violations: self.violations.clone(),
        };
        let files = self.disks.lock().entry(member).or_default().clone();
        let (world, lit) = (Arc::downgrade(self), power.clone());
        let disk = Disk {
            files: Arc::new(files),
            delay: Arc::new(move || {
                let world = world.upgrade().filter(|_| lit.load(Ordering::Acquire))?;
                let micros = world.rng.lock().random_range(50..6000);
                Some(Duration::from_micros(micros))
            }),
        };
        let options = self.options(member, life, witness);
        match Simulated::open(options, disk).await {
            Ok(simulated) => {
                let endpoint = simulated.node().endpoint().clone();
                self.network.come_up(member, life, endpoint);
                self.members
                    .lock()
                    .insert(member, Member { simulated, power });
            }
            Err(error) => {
                let text = format!("member {member} does not start: {error}");
                self.violations.lock().push(text);
            }
        }
    }

    /// The power of a member goes: nothing more is written or heard.
    pub fn crash(&self, member: u64, rng: &mut StdRng) {
        let Some(Member { simulated, power }) = self.members.lock().remove(&member) else {
            return;
        };
        power.store(false, Ordering::Release);
        self.network.go_down(member);
        let mut disks = self.disks.lock();
        if let Some(disk) = disks.get_mut(&member) {
            *disk = disk.power_cut(|| rng.random_bool(0.5));
        }
        drop(disks);
        tokio::spawn(simulated.end());
    }

    /// Looks at all members again and again.
    async fn watch(self: Arc<Self>) {
        let (mut leaders, mut states) = (OneLeader::default(), SameState::default());
        while !self.is_over() {
            for member in 1..=self.size {
                let Some(node) = self.node(member) else {
                    continue;
                };
                let leadership = *node.leadership().borrow();
                let led = match leadership.leads {
                    true => leaders.see(leadership.term, member),
                    false => Ok(()),
                };
                let seen = led.and_then(|()| states.see(member, &node.reads().view()));
                if let Err(violation) = seen {
                    self.violations.lock().push(violation);
                }
            }
            sleep(Duration::from_millis(7)).await;
        }
    }

    /// With nothing wrong any more, every member serves, and all agree.
    async fn settle(&self) -> Result<history::Writes, String> {
        for member in 1..=self.size {
            let node = self.node(member).ok_or("a member is down")?;
            let mut number = 0;
            let served = async {
                loop {
                    number += 1;
                    let value = format!("end/{member}/{number}");
                    let id = (1 << 60) | (member << 32) | number;
                    let told = clients::put(&node, member, id, "end", &value).await;
                    self.note_end(member, &value, told);
                    if matches!(told, Told::Done(_)) {
                        break;
                    }
                    sleep(Duration::from_millis(50)).await;
                }
            };
            let served = timeout(HEALED_WITHIN, served).await;
            served.map_err(|_| format!("member {member} does not serve again"))?;
        }
        let mut last = None;
        for member in 1..=self.size {
            let node = self.node(member).ok_or("a member is down")?;
            let read = timeout(HEALED_WITHIN, node.read_index()).await;
            read.map_err(|_| "no read in time".to_owned())?
                .map_err(|error| format!("no read: {error}"))?;
            let view = node.reads().view();
            let state = (view.revision(), view.state_digest());
            if last.is_some_and(|last| last != state) {
                return Err(format!("states differ at the end: {last:?}, {state:?}"));
            }
            last = Some(state);
        }
        let node = self.node(1).ok_or("a member is down")?;
        Ok(history::writes(&node.reads().view()))
    }

    fn note_end(&self, member: u64, value: &str, told: Told) {
        let now = tokio::time::Instant::now();
        self.note(Operation {
            member,
            invoked: now,
            returned: None,
            asked: history::Asked::Put {
                key: "end".into(),
                value: value.into(),
                told,
            },
        });
    }

    fn verdict(&self) -> Result<(), String> {
        match self.violations.lock().first() {
            Some(violation) => Err(violation.clone()),
            None => Ok(()),
        }
    }
}

/// Runs a seed: a summary, or what was violated.
pub async fn run(seed: u64) -> Result<String, String> {
    let world = Arc::new(World::new(seed));
    let mut seeds = StdRng::seed_from_u64(seed ^ 0x5eed);
    for member in 1..=world.size {
        world.start(member).await;
    }
    let watching = tokio::spawn(world.clone().watch());
    let clients: Vec<_> = (1..=CLIENTS)
        .map(|client| tokio::spawn(clients::run(world.clone(), client, seeds.random())))
        .collect();
    faults::run(world.clone(), seeds.random(), FAULTS).await;
    sleep(Duration::from_secs(2)).await;
    world.over.store(true, Ordering::Release);
    for client in clients {
        client.await.map_err(|error| error.to_string())?;
    }
    watching.await.map_err(|error| error.to_string())?;
    world.verdict()?;
    let writes = world.settle().await?;
    world.verdict()?;
    let operations = world.operations.lock().clone();
    invariants::check(&operations, &writes)?;
    let done = operations
        .iter()
        .filter(|operation| operation.revision().is_some());
    Ok(format!(
        "{} members, {} of {} operations done, {} lives",
        world.size,
        done.count(),
        operations.len(),
        world.lives.load(Ordering::Relaxed)
    ))
}
