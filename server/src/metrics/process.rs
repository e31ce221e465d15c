//! What the system says of this process, beyond what the collector of the
//! prometheus crate reads.

use super::build::Builder;
use prometheus::{IntCounter, IntGauge, process_collector::ProcessCollector};
use std::fs;

/// `process_*` and `os_fd_*`.
pub struct Process {
    received: IntCounter,
    sent: IntCounter,
    memory_max: IntGauge,
    fd_used: IntGauge,
    fd_limit: IntGauge,
}

impl Process {
    pub(super) fn new(add: &Builder<'_>) -> Self {
        add.0
            .register(Box::new(ProcessCollector::for_self()))
            .expect("the process is registered once");
        Self {
            received: add.counter(
                "process_network_receive_bytes_total",
                "Bytes received by the network namespace.",
            ),
            sent: add.counter(
                "process_network_transmit_bytes_total",
                "Bytes sent by the network namespace.",
            ),
            memory_max: add.gauge(
                "process_virtual_memory_max_bytes",
                "The limit of virtual memory, in bytes.",
            ),
            fd_used: add.gauge("os_fd_used", "Open file descriptors."),
            fd_limit: add.gauge("os_fd_limit", "The limit of open file descriptors."),
        }
    }

    /// Reads everything anew.
    pub fn read(&self) {
        if let Ok(table) = fs::read_to_string("/proc/self/net/dev") {
            let (received, sent) = network_bytes(&table);
            self.received
                .inc_by(received.saturating_sub(self.received.get()));
            self.sent.inc_by(sent.saturating_sub(self.sent.get()));
        }
        if let Ok(table) = fs::read_to_string("/proc/self/limits") {
            // Unlimited is the greatest number Prometheus' gauges can show here.
            self.memory_max
                .set(limit(&table, "Max address space").unwrap_or(i64::MAX));
            self.fd_limit
                .set(limit(&table, "Max open files").unwrap_or(i64::MAX));
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            self.fd_used
                .set(i64::try_from(open.count()).unwrap_or(i64::MAX));
        }
    }
}

fn network_bytes(table: &str) -> (u64, u64) {
    let interfaces = table.lines().filter_map(|line| line.split_once(':'));
    interfaces.fold((0, 0), |(received, sent), (_, columns)| {
        let mut columns = columns
            .split_whitespace()
            .map(|column| column.parse().unwrap_or(0));
        (
            received + columns.next().unwrap_or(0),
            sent + columns.nth(7).unwrap_or(0),
        )
    })
}

/// The soft limit of this name; `None` if there is none.
fn limit(table: &str, name: &str) -> Option<i64> {
    table
        .lines()
        .find_map(|line| line.strip_prefix(name))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_tables_are_read() {
        let dev = "Inter-| Receive | Transmit\n face |bytes packets\n  lo: 10 1 0 0 0 0 0 0 20 1 0 0 0 0 0 0\neth0:5 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0\n";
        assert_eq!(network_bytes(dev), (15, 27));
        let limits = "Limit  Soft Limit  Hard Limit\nMax open files   20000   30000   files\nMax address space   unlimited   unlimited   bytes\n";
        assert_eq!(
            (
                limit(limits, "Max open files"),
                limit(limits, "Max address space")
            ),
            (Some(20000), None)
        );
    }
}
