//! A server under test: our binary, the reference etcd, or an endpoint that is
//! already there, behind one interface.

use crate::client::Client;
use crate::process::Process;
use crate::{binaries, http, wait};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// From the start to the first answer, on a machine that is very busy.
const START_LIMIT: Duration = Duration::from_secs(30);
/// Somebody else may take a port between our look and the server's bind.
const START_TRIES: usize = 5;

/// Which program answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ours.
    Sternpost,
    /// The reference.
    Etcd,
}

impl Kind {
    /// The word used in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sternpost => "sternpost",
            Self::Etcd => "etcd",
        }
    }

    /// The program.
    ///
    /// # Panics
    /// When it is not built.
    #[must_use]
    pub fn program(self) -> PathBuf {
        match self {
            Self::Sternpost => binaries::sternpost(),
            Self::Etcd => binaries::etcd(),
        }
    }
}

/// How to start a server.
pub struct Plan {
    kind: Kind,
    program: Option<PathBuf>,
    wrapper: Vec<String>,
    flags: Vec<String>,
    environment: Vec<(String, PathBuf)>,
    data_dir: Option<PathBuf>,
}

impl Plan {
    /// A single member with default flags, on free loopback ports, with a data directory of its own.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            program: None,
            wrapper: Vec::new(),
            flags: Vec::new(),
            environment: Vec::new(),
            data_dir: None,
        }
    }

    /// One more flag, as on the command line.
    #[must_use]
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// Runs another build of the server.
    #[must_use]
    pub fn program(mut self, program: PathBuf) -> Self {
        self.program = Some(program);
        self
    }

    /// Runs it inside another program, such as valgrind: these words come before its name.
    #[must_use]
    pub fn under(mut self, words: &[String]) -> Self {
        self.wrapper = words.to_vec();
        self
    }

    /// Both servers spell it so; for tests that compare answers and never crash.
    #[must_use]
    pub fn without_fsync(self) -> Self {
        self.flag("--unsafe-no-fsync=true")
    }

    /// With these variables in its environment, at every start.
    #[must_use]
    pub fn environment(mut self, variables: Vec<(String, PathBuf)>) -> Self {
        self.environment = variables;
        self
    }

    /// Keeps the data where the caller wants it; the log stays in our own directory.
    #[must_use]
    pub fn data_dir(mut self, dir: &Path) -> Self {
        self.data_dir = Some(dir.to_owned());
        self
    }

    /// Starts it and waits until it answers.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(self) -> Target {
        let name = self.kind.name();
        match self.try_start() {
            Ok(target) => target,
            Err(log) => panic!("{name} ended at its start:\n{log}"),
        }
    }

    /// The same where a refusal to start is an answer; its log is returned.
    ///
    /// # Errors
    /// When it does not get ready.
    ///
    /// # Panics
    /// When there is no room for its log.
    pub fn try_start(self) -> Result<Target, String> {
        let dir = tempfile::Builder::new()
            .prefix("conformance-")
            .tempdir()
            .expect("the temporary directory is writable");
        let data_dir = self.data_dir.unwrap_or_else(|| dir.path().join("data"));
        let mut server = Server {
            kind: self.kind,
            program: self.program.unwrap_or_else(|| self.kind.program()),
            wrapper: self.wrapper,
            flags: self.flags,
            environment: self.environment,
            dir,
            data_dir,
            ports: free_ports(),
            process: None,
        };
        for attempt in 1.. {
            if server.launch() {
                break;
            }
            let log = server.log_text();
            if attempt == START_TRIES || !log.contains("address already in use") {
                return Err(log);
            }
            server.ports = free_ports();
        }
        let target = Target {
            server: Some(server),
            endpoint: String::new(),
        };
        Ok(target.with_own_endpoint())
    }
}

struct Server {
    kind: Kind,
    program: PathBuf,
    wrapper: Vec<String>,
    flags: Vec<String>,
    environment: Vec<(String, PathBuf)>,
    dir: TempDir,
    data_dir: PathBuf,
    ports: (u16, u16),
    process: Option<Process>,
}

impl Server {
    /// Starts the process; false when it did not get ready.
    fn launch(&mut self) -> bool {
        self.process = None;
        let process = self.spawn();
        let ready = process.wait_ready(START_LIMIT);
        if ready {
            let address = format!("127.0.0.1:{}", self.ports.0);
            wait::until("healthy after the ready line", START_LIMIT, || {
                http::get(&address, "/health")
                    .ok()
                    .filter(|answer| answer.status == 200 || answer.body.contains("ALARM"))
            });
        }
        self.process = Some(process);
        ready
    }

    fn spawn(&self) -> Process {
        let program = &self.program;
        let arguments = self.arguments();
        let Some((outer, words)) = self.wrapper.split_first() else {
            return Process::start(program, &arguments, &self.environment, &self.log_path());
        };
        let mut all = words.to_vec();
        all.push(program.display().to_string());
        all.extend(arguments);
        Process::start(Path::new(outer), &all, &self.environment, &self.log_path())
    }

    fn arguments(&self) -> Vec<String> {
        let (client, peer) = self.ports;
        let client = format!("http://127.0.0.1:{client}");
        let peer = format!("http://127.0.0.1:{peer}");
        let mut arguments = vec![
            "--name=default".to_owned(),
            format!("--data-dir={}", self.data_dir.display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
        ];
        arguments.extend(self.flags.iter().cloned());
        arguments
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn log_text(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }
}

/// A server that answers.
pub struct Target {
    server: Option<Server>,
    endpoint: String,
}

impl Target {
    /// A server somebody else runs, such as `127.0.0.1:2379`; it cannot be stopped or killed.
    #[must_use]
    pub fn given(endpoint: &str) -> Self {
        Self {
            server: None,
            endpoint: endpoint.to_owned(),
        }
    }

    /// A fresh server of this kind with default flags.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn fresh(kind: Kind) -> Self {
        Plan::new(kind).start()
    }

    /// `host:port` of the client URL.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The word used in reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.server
            .as_ref()
            .map_or("endpoint", |server| server.kind.name())
    }

    /// Which server it is.
    ///
    /// # Panics
    /// When it is not ours.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.own().kind
    }

    /// The process id of the server.
    ///
    /// # Panics
    /// When it is not running, or not ours.
    #[must_use]
    pub fn pid(&self) -> u32 {
        let process = self.own().process.as_ref();
        process.expect("the server is running").pid()
    }

    /// Where it keeps its data.
    ///
    /// # Panics
    /// When it is not ours.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.own().data_dir
    }

    /// From its next start on it has these variables in its environment, and no others of ours.
    ///
    /// # Panics
    /// When it is not ours.
    pub fn set_environment(&mut self, variables: Vec<(String, PathBuf)>) {
        self.own_mut().environment = variables;
    }

    /// The last lines it has logged.
    ///
    /// # Panics
    /// When it is not ours, or was stopped.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let process = self.own().process.as_ref();
        process.expect("the server was not stopped").tail()
    }

    /// Everything it has logged so far.
    ///
    /// # Panics
    /// When it is not ours.
    #[must_use]
    pub fn log_text(&self) -> String {
        self.own().log_text()
    }

    /// A gRPC client with a connection of its own.
    pub async fn client(&self) -> Client {
        Client::connect(&self.endpoint).await
    }

    /// GET of a path on the client URL.
    ///
    /// # Panics
    /// When there is no HTTP answer at all.
    #[must_use]
    pub fn get(&self, path: &str) -> http::Answer {
        http::get(&self.endpoint, path)
            .unwrap_or_else(|error| panic!("GET {path} on {}: {error}", self.name()))
    }

    /// kill -9.
    ///
    /// # Panics
    /// When it is not ours.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.own_mut().process.take() {
            process.kill();
        }
    }

    /// SIGTERM, and how it ended.
    ///
    /// # Panics
    /// When it is not running, not ours, or does not end.
    pub fn stop(&mut self) -> ExitStatus {
        let process = self.own_mut().process.take();
        process.expect("the server is running").stop()
    }

    /// Waits until it ends by itself; how it did, and its last log line. What is left can be restarted.
    ///
    /// # Panics
    /// When it goes on, or is not ours.
    pub fn wait_end(&mut self) -> (ExitStatus, String) {
        let process = self.own_mut().process.as_mut();
        let process = process.expect("the server is running");
        (process.wait_end(START_LIMIT), process.last_line())
    }

    /// Whether it has ended by itself.
    ///
    /// # Panics
    /// When it was stopped, or is not ours.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let process = self.own().process.as_ref();
        process.expect("the server was not stopped").has_ended()
    }

    /// Starts it again on the same data and ports, after a stop or a kill.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn restart(&mut self) {
        if let Err(log) = self.try_restart() {
            panic!("{} does not restart:\n{log}", self.name());
        }
    }

    /// The same where a refusal to start is an answer; its last log lines are returned.
    /// Otherwise the time from exec to the first `/health` that is good.
    ///
    /// # Errors
    /// When it does not get ready.
    ///
    /// # Panics
    /// When it is not ours.
    pub fn try_restart(&mut self) -> Result<Duration, String> {
        let begun = Instant::now();
        if self.own_mut().launch() {
            return Ok(begun.elapsed());
        }
        Err(self.log_tail())
    }

    /// Starts it again and kills it so long after it has said a first word.
    ///
    /// # Panics
    /// When it is not ours.
    pub fn kill_while_starting(&mut self, after: Duration) {
        let server = self.own_mut();
        server.process = None;
        let mut process = server.spawn();
        process.wait_first_line(START_LIMIT);
        // A random moment: there is nothing to wait for.
        std::thread::sleep(after);
        process.kill();
    }

    fn with_own_endpoint(mut self) -> Self {
        self.endpoint = format!("127.0.0.1:{}", self.own().ports.0);
        self
    }

    fn own(&self) -> &Server {
        self.server.as_ref().expect("a server started by us")
    }

    fn own_mut(&mut self) -> &mut Server {
        self.server.as_mut().expect("a server started by us")
    }
}

/// Two different ports that are free now: held together, then let go.
fn free_ports() -> (u16, u16) {
    let port = |listener: &TcpListener| {
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        address.port()
    };
    let one = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let two = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    (port(&one), port(&two))
}
