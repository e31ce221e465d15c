//! Instructions that a server executes for one operation, counted by callgrind.
//!
//! Time on a shared machine says little; the number of instructions that a
//! server executes for 500 puts, one after another, repeats to a few in a
//! thousand, however busy the machine is. What is counted is the whole process:
//! HTTP/2, gRPC, consensus, log, RocksDB, watches. Timers count too, and on a
//! busy machine there is more time for them: the server is told to beat rarely.

use crate::target::{Kind, Plan, Target};
use std::fs;
use std::future::Future;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// The rarest that may be asked for: what is left of idleness is 30,000 instructions a second.
const RARE_BEATS: [&str; 2] = ["--heartbeat-interval=9000", "--election-timeout=50000"];

/// Our server under callgrind.
pub struct Counter {
    target: Target,
    dir: TempDir,
    dumps: u32,
}

/// Whether valgrind can be run here.
#[must_use]
pub fn available() -> bool {
    let mut command = Command::new("valgrind");
    command.arg("--version").stdout(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

impl Counter {
    /// Starts a fresh server; its start is not counted.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("callgrind-")
            .tempdir()
            .expect("the temporary directory is writable");
        let words = [
            "valgrind".to_owned(),
            "--quiet".to_owned(),
            "--tool=callgrind".to_owned(),
            "--instr-atstart=no".to_owned(),
            format!("--vgdb-prefix={}", pipe(dir.path())),
            format!("--callgrind-out-file={}", dir.path().join("out").display()),
        ];
        let plan = Plan::new(Kind::Sternpost).under(&words);
        let target = RARE_BEATS.into_iter().fold(plan, Plan::flag).start();
        let counter = Self {
            target,
            dir,
            dumps: 0,
        };
        counter.control(&["--instr=on"]);
        counter
    }

    /// The server that is counted.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Instructions executed while `work` runs.
    pub async fn count(&mut self, work: impl Future<Output = ()>) -> f64 {
        self.control(&["--zero"]);
        work.await;
        self.control(&["--dump=counted"]);
        self.dumps += 1;
        total_of(&self.dir.path().join(format!("out.{}", self.dumps)))
    }

    fn control(&self, words: &[&str]) {
        let output = Command::new("callgrind_control")
            .arg(format!("--vgdb-prefix={}", pipe(self.dir.path())))
            .args(words)
            .arg(self.target.pid().to_string())
            .output()
            .expect("callgrind_control comes with valgrind");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("OK"),
            "callgrind_control {words:?}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// Where valgrind and its control program meet.
fn pipe(dir: &Path) -> String {
    dir.join("vgdb").display().to_string()
}

fn total_of(file: &Path) -> f64 {
    let text = fs::read_to_string(file)
        .unwrap_or_else(|error| panic!("a dump is written to {}: {error}", file.display()));
    let line = text.lines().find_map(|line| line.strip_prefix("totals:"));
    let total = line.and_then(|line| line.trim().parse().ok());
    total.expect("a dump ends with its total")
}
