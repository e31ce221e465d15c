//! What the kernel knows of a process.

use std::fs;

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
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is alive");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.expect("a running process has VmRSS") / 1024.0
}
