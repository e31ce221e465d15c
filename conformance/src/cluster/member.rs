//! One member: its flags, its directory, its process.

use crate::http;
use crate::process::Process;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

/// Not the usual port, which somebody may serve on all addresses.
pub const CLIENT_PORT: u16 = 12379;
/// As [`CLIENT_PORT`].
pub const PEER_PORT: u16 = 12380;

/// More than any test has.
pub const MOST: usize = 9;

/// How a member without data begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the others, as a new cluster.
    New,
    /// Into a cluster that is there.
    Existing,
}

/// A member.
pub struct Member {
    name: String,
    host: String,
    endpoint: String,
    dir: PathBuf,
    start: Start,
    initial_cluster: String,
    token: &'static str,
    flags: Vec<String>,
    environment: Vec<(String, PathBuf)>,
    process: Option<Process>,
    paused: bool,
}

/// The name of the `nth` member.
#[must_use]
pub fn name(nth: usize) -> String {
    format!("m{}", nth + 1)
}

impl Member {
    pub(super) fn new(name: String, host: String, parent: &Path, start: Start) -> Self {
        Self {
            dir: parent.join(&name),
            endpoint: super::client_address(&host),
            name,
            host,
            start,
            initial_cluster: String::new(),
            token: "",
            flags: Vec::new(),
            environment: Vec::new(),
            process: None,
            paused: false,
        }
    }

    pub(super) fn with(
        mut self,
        initial_cluster: String,
        token: &'static str,
        flags: &[String],
        environment: Vec<(String, PathBuf)>,
    ) -> Self {
        self.initial_cluster = initial_cluster;
        self.token = token;
        self.flags = flags.to_vec();
        self.environment = environment;
        self
    }

    /// `--name`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `host:port` of its client URL.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Its peer URL.
    #[must_use]
    pub fn peer_url(&self) -> String {
        format!("http://{}:{PEER_PORT}", self.host)
    }

    /// Its client URL.
    #[must_use]
    pub fn client_url(&self) -> String {
        format!("http://{}", self.endpoint)
    }

    /// Where it keeps its data.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The process id.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        let process = self.process.as_ref();
        process.expect("the member is running").pid()
    }

    /// Whether it runs and is not paused.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.process.is_some() && !self.paused
    }

    /// Whether its process has ended by itself.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.process.as_ref().is_some_and(Process::has_ended)
    }

    /// Whether `/health` is good; an alarm does not count.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        http::get(&self.endpoint, "/health")
            .is_ok_and(|answer| answer.status == 200 || answer.body.contains("ALARM"))
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.process
            .as_ref()
            .map_or_else(String::new, Process::tail)
    }

    /// Everything it has logged since the cluster was made.
    #[must_use]
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    pub(super) fn set_environment(&mut self, variables: Vec<(String, PathBuf)>) {
        self.environment = variables;
    }

    pub(super) fn spawn(&mut self, program: &Path, namespace: Option<RawFd>) {
        self.process = None;
        self.paused = false;
        std::fs::create_dir_all(&self.dir).expect("the temporary directory is writable");
        self.process = Some(Process::start_in(
            namespace,
            program,
            &self.arguments(),
            &self.environment,
            &self.dir.join("log"),
        ));
    }

    pub(super) fn kill(&mut self) {
        self.paused = false;
        self.process = None;
    }

    /// The signal alone; [`Self::kill`] waits for the end.
    pub(super) fn send_kill(&self) {
        if let Some(process) = &self.process {
            process.send_kill();
        }
    }

    pub(super) fn stop(&mut self) -> ExitStatus {
        let process = self.process.take();
        process.expect("the member is running").stop()
    }

    pub(super) fn pause(&mut self) {
        if let Some(process) = &self.process {
            process.pause();
            self.paused = true;
        }
    }

    pub(super) fn resume(&mut self) {
        if let Some(process) = &self.process {
            process.resume();
            self.paused = false;
        }
    }

    pub(super) fn wait_end(&mut self, limit: Duration) -> (ExitStatus, String) {
        let mut process = self.process.take().expect("the member is running");
        (process.wait_end(limit), process.last_line())
    }

    pub(super) fn empty(&mut self) {
        let removed = std::fs::remove_dir_all(self.data_dir());
        removed.expect("a member's directory can be removed");
    }

    pub(super) fn rejoins(&mut self, initial_cluster: String) {
        self.start = Start::Existing;
        self.initial_cluster = initial_cluster;
    }

    fn arguments(&self) -> Vec<String> {
        let (client, peer) = (self.client_url(), self.peer_url());
        let state = match self.start {
            Start::New => "new",
            Start::Existing => "existing",
        };
        let mut arguments = vec![
            format!("--name={}", self.name),
            format!("--data-dir={}", self.data_dir().display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster={}", self.initial_cluster),
            format!("--initial-cluster-token={}", self.token),
            format!("--initial-cluster-state={state}"),
        ];
        arguments.extend(self.flags.iter().cloned());
        arguments
    }
}
