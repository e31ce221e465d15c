//! etcd's flags, `ETCD_*` variables and config file, parsed once at the edge.
//!
//! `flags` is the one table; everything else derives from it. Nothing here
//! opens a file of the data directory or a socket.

mod check;
mod cluster;
mod features;
mod flags;
mod help;
mod relics;
mod sources;
mod urls;
mod values;

pub use cluster::{Founder, names, urls_of};
pub use features::Stage;
pub use flags::Config;
pub use help::USAGE;
pub use sources::{Notice, Stop, load};
pub use urls::{Scheme, Url, join as join_urls};
pub use values::{AutoCompactionMode, ClusterState, LogFormat, LogLevel, MetricsLevel, Retention};

use std::time::Duration;

/// etcd's quota when the flag is 0.
const QUOTA_DEFAULT_BYTES: u64 = 2 << 30;
/// What gRPC may add to `max-request-bytes`.
pub const GRPC_OVERHEAD_BYTES: usize = 512 << 10;
/// Progress notifications never come closer than this.
const PROGRESS_NOTIFY_MIN: Duration = Duration::from_millis(100);

/// What auto compaction keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoCompaction {
    /// The history of this time.
    Periodic(Duration),
    /// So many revisions.
    Revision(i64),
}

impl Default for Config {
    fn default() -> Self {
        let mut config = Self::bare();
        config.derive();
        config
    }
}

impl Config {
    /// Fills in the defaults that depend on other flags.
    fn derive(&mut self) {
        if self.data_dir.as_os_str().is_empty() {
            self.data_dir = format!("{}.etcd", self.name).into();
        }
        if self.initial_cluster.is_empty() {
            let name = &self.name;
            self.initial_cluster = self
                .initial_advertise_peer_urls
                .iter()
                .map(|url| Founder {
                    name: name.clone(),
                    url: url.clone(),
                })
                .collect();
        }
    }

    /// The founding members that a text names, for tests.
    #[cfg(test)]
    pub fn parse_cluster(text: &str) -> Result<Vec<Founder>, String> {
        <cluster::Cluster as values::Format>::parse(text)
    }

    /// Switches the gates that flags of old stand for.
    fn set_gates(&mut self, gates: &[String]) -> Result<(), Notice> {
        for gate in gates {
            self.feature_gates = self.feature_gates.with(gate).map_err(sources::unverified)?;
        }
        Ok(())
    }

    /// The quota in bytes; `None` for no limit.
    pub fn effective_quota_bytes(&self) -> Option<u64> {
        match self.quota_backend_bytes {
            0 => Some(QUOTA_DEFAULT_BYTES),
            bytes => u64::try_from(bytes).ok(),
        }
    }

    /// What auto compaction keeps; `None` if it is off.
    pub fn auto_compaction(&self) -> Option<AutoCompaction> {
        use AutoCompactionMode::{Periodic, Revision};
        match (self.auto_compaction_mode, self.auto_compaction_retention) {
            (_, Retention::Count(0) | Retention::Time(Duration::ZERO)) => None,
            (Periodic, Retention::Count(hours)) => Some(AutoCompaction::Periodic(
                Duration::from_secs(hours.saturating_mul(3600)),
            )),
            (Periodic, Retention::Time(time)) => Some(AutoCompaction::Periodic(time)),
            (Revision, Retention::Count(count)) => Some(AutoCompaction::Revision(
                i64::try_from(count).unwrap_or(i64::MAX),
            )),
            // As etcd, which reads the duration's nanoseconds as a count.
            (Revision, Retention::Time(time)) => Some(AutoCompaction::Revision(
                i64::try_from(time.as_nanos()).unwrap_or(i64::MAX),
            )),
        }
    }

    /// The period of progress notifications.
    pub fn progress_notify_interval(&self) -> Duration {
        match self.watch_progress_notify_interval {
            Duration::ZERO => Duration::from_secs(600),
            interval => interval.max(PROGRESS_NOTIFY_MIN),
        }
    }

    /// Rows a scrub step removes at most.
    pub fn compaction_batch(&self) -> usize {
        match self.compaction_batch_limit {
            0 => 1000,
            limit => limit,
        }
    }

    /// The rest between scrub steps.
    pub fn compaction_sleep(&self) -> Duration {
        match self.compaction_sleep_interval {
            Duration::ZERO => Duration::from_millis(10),
            interval => interval,
        }
    }

    /// How long a request may wait for its commit, whatever the client's
    /// deadline: etcd's 5 s and two elections.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_secs(5) + 2 * self.election_timeout
    }

    /// The most bytes of a message that gRPC takes in.
    pub fn grpc_receive_max(&self) -> usize {
        self.max_request_bytes.saturating_add(GRPC_OVERHEAD_BYTES)
    }
}

#[cfg(test)]
mod tests;
