//! Runs etcdctl.

use crate::binaries;
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// A command that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(120);

/// What a run has shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// How it ended: a code, or a word when we ended it.
    pub end: String,
    /// What it printed.
    pub stdout: String,
    /// What it complained about; logs of the client library are left out.
    pub errors: String,
}

impl fmt::Display for Output {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}{}[{}]", self.stdout, self.errors, self.end)
    }
}

/// Runs it, to its end or until it has printed `until_lines`.
///
/// # Panics
/// When etcdctl cannot be started.
#[must_use]
pub fn etcdctl(
    endpoint: &str,
    words: &[String],
    stdin: &str,
    until_lines: Option<usize>,
) -> Output {
    let mut child = Command::new(binaries::etcdctl())
        .args(words)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("ETCDCTL_ENDPOINTS", endpoint)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("etcdctl starts");
    let mut input = child.stdin.take().expect("stdin is piped");
    // A command that does not read leaves a broken pipe behind; that is its answer.
    let _ = input.write_all(stdin.as_bytes());
    drop(input);
    let (stdout, finished) = read_lines(&mut child, until_lines);
    let end = if finished {
        let status = child.wait().expect("the child is ours");
        status
            .code()
            .map_or("signal".to_owned(), |code| code.to_string())
    } else {
        let _ = child.kill();
        let _ = child.wait();
        "ended by us".to_owned()
    };
    let mut errors = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        let _ = stderr.read_to_string(&mut errors);
    }
    let errors = errors.lines().filter(|line| line.starts_with("Error"));
    Output {
        end,
        stdout,
        errors: errors.map(|line| format!("{line}\n")).collect(),
    }
}

/// False when the wanted lines were there before the end, or nothing came any more.
fn read_lines(child: &mut Child, until_lines: Option<usize>) -> (String, bool) {
    let stdout = child.stdout.take().expect("stdout is piped");
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let deadline = Instant::now() + LIMIT;
    let mut text = String::new();
    let mut count = 0;
    loop {
        if until_lines == Some(count) {
            return (text, false);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            Ok(line) => {
                text.push_str(&line);
                text.push('\n');
                count += 1;
            }
            Err(RecvTimeoutError::Disconnected) => return (text, true),
            Err(RecvTimeoutError::Timeout) => {
                text.push_str("[nothing more within the limit]\n");
                return (text, false);
            }
        }
    }
}
