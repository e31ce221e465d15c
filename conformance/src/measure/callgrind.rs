//! Instructions that a server executes for one operation, counted by callgrind.
//!
//! Time on a shared machine says little; the number of instructions that a
//! server executes for 500 puts, one after another, repeats to a few in a
//! thousand, however busy the machine is. What is counted is the whole process:
//! HTTP/2, gRPC, consensus, log, RocksDB, watches. Its timers count too, so
//! that is measured apart and taken off.

use crate::target::{Kind, Plan, Target};
use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long to look at a server that is left alone.
const IDLE: Duration = Duration::from_secs(2);

/// Our server under callgrind.
pub struct Counter {
    target: Target,
    dir: TempDir,
    dumps: u32,
    /// What timers execute in a second.
    idle_per_sec: f64,
}

/// Whether valgrind can be run here.
#[must_use]
pub fn available() -> bool {
    let mut command = Command::new("valgrind");
    command.arg("--version").stdout(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

impl Counter {
    /// Starts a fresh server; its start is not counted. Also the home of what the server does
    /// between requests: call [`Self::settle`] once it is warm.
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
        let target = Plan::new(Kind::Sternpost).under(&words).start();
        let counter = Self {
            target,
            dir,
            dumps: 0,
            idle_per_sec: 0.0,
        };
        counter.control(&["--instr=on"]);
        counter
    }

    /// The server that is counted.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Learns what the server executes when nobody asks anything.
    pub async fn settle(&mut self) {
        let (total, secs) = self.total(tokio::time::sleep(IDLE)).await;
        self.idle_per_sec = total / secs;
    }

    /// Instructions executed while `work` runs, less what timers take in that time.
    pub async fn count(&mut self, work: impl Future<Output = ()>) -> f64 {
        let (total, secs) = self.total(work).await;
        total - secs * self.idle_per_sec
    }

    async fn total(&mut self, work: impl Future<Output = ()>) -> (f64, f64) {
        self.control(&["--zero"]);
        let start = Instant::now();
        work.await;
        self.control(&["--dump=counted"]);
        let secs = start.elapsed().as_secs_f64();
        self.dumps += 1;
        let file = self.dir.path().join(format!("out.{}", self.dumps));
        (total_of(&file), secs)
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

fn total_of(file: &PathBuf) -> f64 {
    let text = fs::read_to_string(file)
        .unwrap_or_else(|error| panic!("a dump is written to {}: {error}", file.display()));
    let line = text.lines().find_map(|line| line.strip_prefix("totals:"));
    let total = line.and_then(|line| line.trim().parse().ok());
    total.expect("a dump ends with its total")
}
