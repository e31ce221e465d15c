//! Several members of one cluster, of either server, started with the same flags.
//!
//! Members have loopback addresses that no other cluster has, always the same
//! ports, so that two clusters on the same [`Addresses`], one after the other,
//! have the same member ids. On a [`Network`] each member is on a host of its own.

pub mod failover;
pub mod look;
pub mod member;

use crate::client::Client;
use crate::network::Network;
use crate::target::Kind;
use crate::wait;
use member::{CLIENT_PORT, Member, PEER_PORT, Start};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// From the start to the first answer, on a machine that is very busy.
pub const START_LIMIT: Duration = Duration::from_secs(60);
/// What makes these clusters differ from others with the same addresses.
const TOKEN: &str = "conformance";

/// Where members listen.
#[derive(Clone)]
pub enum Addresses {
    /// The first three numbers of loopback addresses.
    Loopback(String),
    /// Hosts 1, 2, ... of a network.
    Network(Arc<Network>),
}

impl Addresses {
    /// Loopback addresses that nobody else on this machine uses now.
    #[must_use]
    pub fn loopback() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = std::process::id() * 8 + NEXT.fetch_add(1, Ordering::Relaxed);
        Self::Loopback(format!("127.{}.{}", 1 + (number >> 8) % 254, number & 0xff))
    }

    /// The address of the `nth` member, from 0.
    #[must_use]
    pub fn host(&self, nth: usize) -> String {
        let number = u8::try_from(nth + 1).expect("members are few");
        match self {
            Self::Loopback(prefix) => format!("{prefix}.{number}"),
            Self::Network(_) => Network::address(number),
        }
    }
}

/// How to start a cluster.
pub struct Plan {
    kind: Kind,
    program: Option<PathBuf>,
    size: usize,
    flags: Vec<String>,
    environment: Vec<(String, PathBuf)>,
    addresses: Addresses,
    parent: PathBuf,
}

impl Plan {
    /// So many members with default flags on loopback.
    #[must_use]
    pub fn new(kind: Kind, size: usize) -> Self {
        Self {
            kind,
            program: None,
            size,
            flags: Vec::new(),
            environment: Vec::new(),
            addresses: Addresses::loopback(),
            parent: std::env::temp_dir(),
        }
    }

    /// One more flag for every member.
    #[must_use]
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// Both servers spell it so; for tests that compare answers and never crash the machine.
    #[must_use]
    pub fn without_fsync(self) -> Self {
        self.flag("--unsafe-no-fsync=true")
    }

    /// Runs another build of the server.
    #[must_use]
    pub fn program(mut self, program: PathBuf) -> Self {
        self.program = Some(program);
        self
    }

    /// On these addresses.
    #[must_use]
    pub fn on(mut self, addresses: &Addresses) -> Self {
        self.addresses = addresses.clone();
        self
    }

    /// With these variables in the environment of every member.
    #[must_use]
    pub fn environment(mut self, variables: Vec<(String, PathBuf)>) -> Self {
        self.environment = variables;
        self
    }

    /// Data directories are made below this one.
    #[must_use]
    pub fn below(mut self, parent: PathBuf) -> Self {
        self.parent = parent;
        self
    }

    /// Starts all members and waits until each is healthy.
    ///
    /// # Panics
    /// When one does not come up.
    #[must_use]
    pub fn start(self) -> Cluster {
        let mut cluster = self.prepare();
        for nth in 0..cluster.size() {
            cluster.spawn(nth);
        }
        cluster.wait_healthy_all();
        cluster
    }

    /// Members that are not started yet.
    ///
    /// # Panics
    /// When there is no room for their directories.
    #[must_use]
    pub fn prepare(self) -> Cluster {
        let dir = tempfile::Builder::new()
            .prefix("cluster-")
            .tempdir_in(&self.parent)
            .expect("the temporary directory is writable");
        let mut cluster = Cluster {
            kind: self.kind,
            program: self.program.unwrap_or_else(|| self.kind.program()),
            flags: self.flags,
            environment: self.environment,
            addresses: self.addresses,
            members: Vec::new(),
            dir,
        };
        let initial = cluster.initial_cluster(self.size);
        for _ in 0..self.size {
            cluster.add(Start::New, initial.clone());
        }
        cluster
    }
}

/// A cluster. Dropping it kills every member.
pub struct Cluster {
    kind: Kind,
    program: PathBuf,
    flags: Vec<String>,
    environment: Vec<(String, PathBuf)>,
    addresses: Addresses,
    members: Vec<Member>,
    dir: TempDir,
}

impl Cluster {
    /// The word used in reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// Which program its members run.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The network it is on, if not on loopback.
    #[must_use]
    pub fn network(&self) -> Option<Arc<Network>> {
        match &self.addresses {
            Addresses::Loopback(_) => None,
            Addresses::Network(network) => Some(Arc::clone(network)),
        }
    }

    /// How many members it knows of, running or not.
    #[must_use]
    pub fn size(&self) -> usize {
        self.members.len()
    }

    /// The `nth` member, from 0 in the order of their names.
    #[must_use]
    pub fn member(&self, nth: usize) -> &Member {
        &self.members[nth]
    }

    /// The number of a member of this name, be it there or not; 0 for other names.
    #[must_use]
    pub fn position(&self, name: &str) -> usize {
        let all = 0..member::MOST;
        let mut named = all.filter(|nth| member::name(*nth) == name);
        named.next().unwrap_or(0)
    }

    /// Peer URL and client URL of the `nth` member, be it there or not.
    #[must_use]
    pub fn urls(&self, nth: usize) -> (String, String) {
        let host = self.addresses.host(nth);
        let client = client_address(&host);
        (
            format!("http://{host}:{PEER_PORT}"),
            format!("http://{client}"),
        )
    }

    /// Members that run and are not paused.
    #[must_use]
    pub fn running(&self) -> Vec<usize> {
        let all = 0..self.size();
        all.filter(|nth| self.members[*nth].is_running()).collect()
    }

    /// `host:port` of a member's client URL.
    #[must_use]
    pub fn endpoint(&self, nth: usize) -> &str {
        self.members[nth].endpoint()
    }

    /// All client addresses, as etcdctl takes them.
    #[must_use]
    pub fn endpoints(&self) -> String {
        let all: Vec<&str> = self.members.iter().map(Member::endpoint).collect();
        all.join(",")
    }

    /// A gRPC client of one member, with a connection of its own that is made when it is used.
    #[must_use]
    pub fn client(&self, nth: usize) -> Client {
        Client::lazy(self.endpoint(nth))
    }

    /// From its next start on a member has these variables in its environment, and no others of
    /// ours.
    pub fn set_environment(&mut self, nth: usize, variables: Vec<(String, PathBuf)>) {
        self.members[nth].set_environment(variables);
    }

    /// Starts a member, on the data it has.
    pub fn spawn(&mut self, nth: usize) {
        let namespace = match &self.addresses {
            Addresses::Loopback(_) => None,
            Addresses::Network(network) => {
                let number = u8::try_from(nth + 1).expect("members are few");
                Some(network.namespace(number))
            }
        };
        self.members[nth].spawn(&self.program, namespace);
    }

    /// Starts a member and waits until it is healthy.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start(&mut self, nth: usize) {
        self.spawn(nth);
        self.wait_healthy(nth);
    }

    /// Waits until a member is ready and healthy.
    ///
    /// # Panics
    /// When it is not in time.
    pub fn wait_healthy(&self, nth: usize) {
        let member = &self.members[nth];
        wait::until(
            &format!("{} of {} is healthy", member.name(), self.name()),
            START_LIMIT,
            || {
                assert!(!member.has_ended(), "it ended:\n{}", member.log_tail());
                member.is_healthy().then_some(())
            },
        );
    }

    /// Waits for all that run.
    ///
    /// # Panics
    /// When one is not healthy in time.
    pub fn wait_healthy_all(&self) {
        for nth in self.running() {
            self.wait_healthy(nth);
        }
    }

    /// kill -9 of a member, if it runs.
    pub fn kill(&mut self, nth: usize) {
        self.members[nth].kill();
    }

    /// kill -9 of all, as near to at once as one thread can.
    pub fn kill_all(&mut self) {
        for member in &self.members {
            member.send_kill();
        }
        for member in &mut self.members {
            member.kill();
        }
    }

    /// SIGTERM, and how it ended.
    ///
    /// # Panics
    /// When it is not running or does not end.
    pub fn stop(&mut self, nth: usize) -> ExitStatus {
        self.members[nth].stop()
    }

    /// SIGSTOP.
    pub fn pause(&mut self, nth: usize) {
        self.members[nth].pause();
    }

    /// SIGCONT.
    pub fn resume(&mut self, nth: usize) {
        self.members[nth].resume();
    }

    /// Waits until a member ends by itself; how it did, and its last log line.
    ///
    /// # Panics
    /// When it goes on.
    pub fn wait_end(&mut self, nth: usize) -> (ExitStatus, String) {
        self.members[nth].wait_end(START_LIMIT)
    }

    /// A further member that joins: it must be added to the cluster (URL in [`Self::urls`])
    /// before, and is not started yet.
    ///
    /// # Panics
    /// When nobody tells who is in the cluster.
    pub async fn join(&mut self) -> usize {
        let nth = self.size();
        let initial = self.known_cluster(nth, false).await;
        self.add(Start::Existing, initial);
        nth
    }

    /// Removes what a member has kept.
    ///
    /// # Panics
    /// When the directory can't be removed.
    pub fn empty(&mut self, nth: usize) {
        self.members[nth].empty();
    }

    /// The next start of a member without data joins the cluster as it is now.
    ///
    /// # Panics
    /// When nobody tells who is in the cluster.
    pub async fn rejoins(&mut self, nth: usize) {
        let initial = self.known_cluster(nth, true).await;
        self.members[nth].rejoins(initial);
    }

    fn add(&mut self, start: Start, initial_cluster: String) {
        let nth = self.size();
        let member = Member::new(
            member::name(nth),
            self.addresses.host(nth),
            self.dir.path(),
            start,
        );
        self.members.push(member.with(
            initial_cluster,
            TOKEN,
            &self.flags,
            self.environment.clone(),
        ));
    }

    fn initial_cluster(&self, size: usize) -> String {
        let mut text = String::new();
        for nth in 0..size {
            let comma = if nth == 0 { "" } else { "," };
            let host = self.addresses.host(nth);
            let _ = write!(
                text,
                "{comma}{}=http://{host}:{PEER_PORT}",
                member::name(nth)
            );
        }
        text
    }
}

/// The client address of a host.
fn client_address(host: &str) -> String {
    format!("{host}:{CLIENT_PORT}")
}
