//! What the kernel knows of a process.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A server that takes more is ended: others live on this machine too.
const MEMORY_MAX_MIB: f64 = 10.0 * 1024.0;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// CPU seconds, user and system, since its start.
///
/// # Panics
/// When there is no such process.
#[must_use]
pub fn cpu_secs(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is alive");
    // The name, in parentheses, may hold anything; fields are counted behind it.
    let (_, fields) = stat.rsplit_once(')').expect("the name is in parentheses");
    let field = |number: usize| -> f64 {
        let text = fields.split_whitespace().nth(number - 3);
        text.and_then(|text| text.parse().ok())
            .expect("utime and stime are numbers")
    };
    // SAFETY: sysconf only reads a constant of the system.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    #[allow(clippy::cast_precision_loss)]
    let ticks = ticks as f64;
    (field(14) + field(15)) / ticks
}

/// Resident memory in MiB.
///
/// # Panics
/// When there is no such process.
#[must_use]
pub fn rss_mib(pid: u32) -> f64 {
    memory(pid, "VmRSS:").expect("a running process has VmRSS")
}

/// Resident memory in MiB that is no file's, such as the program's.
///
/// # Panics
/// When there is no such process.
#[must_use]
pub fn rss_own_mib(pid: u32) -> f64 {
    memory(pid, "RssAnon:").expect("a running process has RssAnon")
}

/// The most it ever had, in MiB.
///
/// # Panics
/// When there is no such process.
#[must_use]
pub fn rss_peak_mib(pid: u32) -> f64 {
    memory(pid, "VmHWM:").expect("a running process has VmHWM")
}

fn memory(pid: u32, name: &str) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024.0)
}

/// What a directory takes on the disk, in MiB: blocks that are allocated, logs that are
/// preallocated included.
#[must_use]
pub fn disk_mib(dir: &Path) -> f64 {
    fn blocks(path: &Path) -> u64 {
        // A server removes files while we look.
        let Ok(meta) = path.symlink_metadata() else {
            return 0;
        };
        if !meta.is_dir() {
            return meta.blocks();
        }
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| blocks(&entry.path())).sum()
    }
    #[allow(clippy::cast_precision_loss)]
    let blocks = blocks(dir) as f64;
    blocks * 512.0 / f64::from(1 << 20)
}

/// Looks at a process's memory again and again, and ends the process before it takes the
/// machine's.
pub struct Sampler {
    stop: Arc<AtomicBool>,
    peak_kib: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Sampler {
    /// Looks from now on.
    #[must_use]
    pub fn start(pid: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let peak_kib = Arc::new(AtomicU64::new(0));
        let (stopped, peak) = (Arc::clone(&stop), Arc::clone(&peak_kib));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let Some(mib) = memory(pid, "VmRSS:") else {
                    return;
                };
                if mib > MEMORY_MAX_MIB {
                    eprintln!("the server took {mib:.0} MiB and was ended");
                    // SAFETY: it is our child, not reaped before its owner says so.
                    unsafe { libc::kill(libc::pid_t::try_from(pid).unwrap_or(0), libc::SIGKILL) };
                    return;
                }
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                peak.fetch_max((mib * 1024.0) as u64, Ordering::Relaxed);
                std::thread::park_timeout(LOOK_EVERY);
            }
        });
        Self {
            stop,
            peak_kib,
            thread: Some(thread),
        }
    }

    /// The most that was seen since the last call, in MiB.
    #[must_use]
    pub fn take_peak_mib(&self) -> f64 {
        #[allow(clippy::cast_precision_loss)]
        let kib = self.peak_kib.swap(0, Ordering::Relaxed) as f64;
        kib / 1024.0
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}
