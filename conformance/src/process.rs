//! One server process: started, watched through its log, killed, never left behind.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What both servers log once clients may come.
const READY: &str = "ready to serve client requests";
/// Log lines kept to be shown when a test fails.
const TAIL: usize = 15;
/// Characters of a line shown; a request can be in it.
const LINE: usize = 400;
/// A clean stop takes milliseconds; this is for a machine that is very busy.
const STOP_LIMIT: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Log {
    ready: bool,
    ended: bool,
    tail: VecDeque<String>,
}

/// A running server. Dropping it kills it.
pub struct Process {
    child: Child,
    log: Arc<(Mutex<Log>, Condvar)>,
    reader: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts `program`, its log appended to `log_file`.
    ///
    /// # Panics
    /// When the program cannot be started at all.
    #[must_use]
    pub fn start(
        program: &Path,
        flags: &[String],
        environment: &[(String, PathBuf)],
        log_file: &Path,
    ) -> Self {
        Self::start_in(None, program, flags, environment, log_file)
    }

    /// The same in a network namespace that this descriptor stands for.
    ///
    /// # Panics
    /// When the program cannot be started at all.
    #[must_use]
    pub fn start_in(
        namespace: Option<RawFd>,
        program: &Path,
        flags: &[String],
        environment: &[(String, PathBuf)],
        log_file: &Path,
    ) -> Self {
        let mut command = Command::new(program);
        command
            .args(flags)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        // SAFETY: prctl and setns are system calls and nothing more, and touch nothing of the
        // parent.
        unsafe {
            command.pre_exec(move || {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                match namespace.map(|descriptor| libc::setns(descriptor, libc::CLONE_NEWNET)) {
                    None | Some(0) => Ok(()),
                    Some(_) => Err(std::io::Error::last_os_error()),
                }
            });
        }
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        let stderr = child.stderr.take().expect("stderr is piped");
        let log = Arc::new((Mutex::new(Log::default()), Condvar::new()));
        let file = File::options()
            .create(true)
            .append(true)
            .open(log_file)
            .expect("the log directory is writable");
        let sink = Arc::clone(&log);
        let reader = std::thread::spawn(move || follow(BufReader::new(stderr), file, &sink));
        Self {
            child,
            log,
            reader: Some(reader),
        }
    }

    /// Waits for the ready line. False when the process ends first, or is not ready in time.
    #[must_use]
    pub fn wait_ready(&self, limit: Duration) -> bool {
        let (log, changed) = &*self.log;
        let guard = log.lock().expect("the log reader never panics");
        let waits = |log: &mut Log| !log.ready && !log.ended;
        let waited = changed.wait_timeout_while(guard, limit, waits);
        waited.expect("the log reader never panics").0.ready
    }

    /// Waits until it has logged anything, or has ended.
    pub fn wait_first_line(&self, limit: Duration) {
        let (log, changed) = &*self.log;
        let guard = log.lock().expect("the log reader never panics");
        let silent = |log: &mut Log| log.tail.is_empty() && !log.ended;
        let _said = changed.wait_timeout_while(guard, limit, silent);
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// kill -9, and gone when this returns.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.join_reader();
    }

    /// The signal of kill -9 alone; its end is not waited for.
    pub fn send_kill(&self) {
        self.signal(libc::SIGKILL);
    }

    /// SIGSTOP: it does nothing more, and its connections stay.
    pub fn pause(&self) {
        self.signal(libc::SIGSTOP);
    }

    /// SIGCONT: it goes on where it was.
    pub fn resume(&self) {
        self.signal(libc::SIGCONT);
    }

    /// SIGTERM, and the exit status.
    ///
    /// # Panics
    /// When the process does not end in time.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(libc::SIGTERM);
        let deadline = Instant::now() + STOP_LIMIT;
        let (log, changed) = &*self.log;
        let mut guard = log.lock().expect("the log reader never panics");
        while !guard.ended {
            assert!(Instant::now() < deadline, "no exit after SIGTERM");
            guard = changed
                .wait_timeout(guard, Duration::from_millis(100))
                .expect("the log reader never panics")
                .0;
        }
        drop(guard);
        let status = self.child.wait().expect("the child is not reaped yet");
        self.join_reader();
        status
    }

    /// Waits until it has ended by itself; the exit status.
    ///
    /// # Panics
    /// When it does not within `limit`.
    pub fn wait_end(&mut self, limit: Duration) -> ExitStatus {
        let (log, changed) = &*self.log;
        let guard = log.lock().expect("the log reader never panics");
        let waited = changed.wait_timeout_while(guard, limit, |log| !log.ended);
        let ended = waited.expect("the log reader never panics").0.ended;
        assert!(ended, "still running after {limit:?}");
        let status = self.child.wait().expect("the child is not reaped yet");
        self.join_reader();
        status
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.log
            .0
            .lock()
            .expect("the log reader never panics")
            .ended
    }

    /// The last line of its log, whole.
    #[must_use]
    pub fn last_line(&self) -> String {
        let log = self.log.0.lock().expect("the log reader never panics");
        log.tail.back().cloned().unwrap_or_default()
    }

    /// The last lines of its log.
    #[must_use]
    pub fn tail(&self) -> String {
        joined(&self.log.0.lock().expect("the log reader never panics").tail)
    }

    fn signal(&self, signal: libc::c_int) {
        let pid = i32::try_from(self.child.id()).expect("a pid is positive and small");
        // SAFETY: the child is ours and not reaped yet, so the pid is its own.
        unsafe { libc::kill(pid, signal) };
    }

    fn join_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- last log lines of pid {}:\n{}", self.pid(), self.tail());
        }
        self.kill();
    }
}

fn follow(lines: impl BufRead, mut file: File, log: &(Mutex<Log>, Condvar)) {
    for line in lines.lines() {
        let Ok(line) = line else { break };
        let _ = writeln!(file, "{line}");
        let mut log_now = log.0.lock().expect("no holder panics");
        let news = log_now.tail.is_empty() || line.contains(READY);
        log_now.ready |= line.contains(READY);
        if log_now.tail.len() == TAIL {
            log_now.tail.pop_front();
        }
        log_now.tail.push_back(line);
        if news {
            log.1.notify_all();
        }
    }
    log.0.lock().expect("no holder panics").ended = true;
    log.1.notify_all();
}

fn joined(lines: &VecDeque<String>) -> String {
    let mut text = String::new();
    for line in lines {
        text.extend(line.chars().take(LINE));
        text.push('\n');
    }
    text
}
