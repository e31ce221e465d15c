//! Auto compaction, periodic and by revision; only the leader runs it.

use crate::{api::status::ApiError, config::AutoCompaction, member::Member};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use sternpost_proto::etcdserverpb as pb;
use tokio::time::Instant;

/// How often the compaction by revision looks.
const REVISION_EVERY: Duration = Duration::from_secs(5 * 60);
/// A long period is still compacted this often.
const PERIODIC_EVERY_MAX: Duration = Duration::from_secs(60 * 60);
/// Samples within that time.
const SAMPLES: u32 = 10;

/// Compacts as the flags say, as long as the member runs.
pub async fn run(member: Arc<Member>) {
    let mut plan = match member.config.auto_compaction() {
        None => return,
        Some(AutoCompaction::Periodic(period)) => {
            Plan::Periodic(Periodic::new(period, Instant::now()))
        }
        Some(AutoCompaction::Revision(retention)) => Plan::Revision { retention, last: 0 },
    };
    loop {
        plan.sample(member.node.reads().view().revision());
        tokio::time::sleep(plan.rest()).await;
        if member.leadership.leading_term().is_none() {
            continue;
        }
        let current = member.node.reads().view().revision();
        if let Some(revision) = plan.due(current, Instant::now()) {
            compact(&member, &mut plan, revision).await;
        }
    }
}

async fn compact(member: &Member, plan: &mut Plan, revision: i64) {
    match member
        .compact(pb::CompactionRequest {
            revision,
            physical: false,
        })
        .await
    {
        Ok(_) | Err(ApiError::Compacted) => {
            tracing::info!(revision, "completed auto compaction");
            plan.done(revision, Instant::now());
        }
        Err(error) => tracing::warn!(revision, error = error.text(), "failed auto compaction"),
    }
}

/// What to compact, and when.
enum Plan {
    Periodic(Periodic),
    Revision { retention: i64, last: i64 },
}

impl Plan {
    fn rest(&self) -> Duration {
        match self {
            Self::Periodic(periodic) => periodic.sample_every,
            Self::Revision { .. } => REVISION_EVERY,
        }
    }

    fn sample(&mut self, revision: i64) {
        if let Self::Periodic(periodic) = self {
            periodic.sample(revision);
        }
    }

    fn due(&self, current: i64, now: Instant) -> Option<i64> {
        match self {
            Self::Periodic(periodic) => periodic.due(now),
            Self::Revision { retention, last } => {
                let revision = current.saturating_sub(*retention);
                (revision > 0 && revision != *last).then_some(revision)
            }
        }
    }

    fn done(&mut self, revision: i64, now: Instant) {
        match self {
            Self::Periodic(periodic) => periodic.done(revision, now),
            Self::Revision { last, .. } => *last = revision,
        }
    }
}

/// Keeps the history of a period: revisions are sampled, and the sample that
/// is one period old is compacted.
struct Periodic {
    sample_every: Duration,
    compact_every: Duration,
    /// How long to wait since `last_at`: one period at first, then less.
    wait: Duration,
    samples_max: usize,
    samples: VecDeque<i64>,
    last: i64,
    last_at: Instant,
}

impl Periodic {
    fn new(period: Duration, now: Instant) -> Self {
        let compact_every = period.min(PERIODIC_EVERY_MAX);
        // A period of nanoseconds must not become a busy loop.
        let sample_every = (compact_every / SAMPLES).max(Duration::from_millis(1));
        let samples_max = period.as_nanos() / sample_every.as_nanos() + 1;
        Self {
            sample_every,
            compact_every,
            wait: period,
            samples_max: usize::try_from(samples_max).unwrap_or(usize::MAX),
            samples: VecDeque::new(),
            last: 0,
            last_at: now,
        }
    }

    fn sample(&mut self, revision: i64) {
        self.samples.push_back(revision);
        if self.samples.len() > self.samples_max {
            self.samples.pop_front();
        }
    }

    fn due(&self, now: Instant) -> Option<i64> {
        let oldest = *self.samples.front()?;
        (now.duration_since(self.last_at) >= self.wait && oldest != self.last).then_some(oldest)
    }

    fn done(&mut self, revision: i64, now: Instant) {
        self.wait = self.compact_every;
        self.last = revision;
        self.last_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a period compacts: hour and revision, while ten revisions an hour are made.
    fn compactions(period: Duration, hours: u64) -> Vec<(f64, i64)> {
        let start = Instant::now();
        let mut periodic = Periodic::new(period, start);
        let mut now = start;
        let mut compactions = Vec::new();
        while now < start + Duration::from_secs(hours * 3600) {
            let hours = (now - start).as_secs_f64() / 3600.0;
            periodic.sample((hours * 10.0).round() as i64 + 1);
            now += periodic.sample_every;
            if let Some(revision) = periodic.due(now) {
                compactions.push(((now - start).as_secs_f64() / 3600.0, revision));
                periodic.done(revision, now);
            }
        }
        compactions
    }

    #[test]
    fn a_period_is_kept_and_compacted_each_hour() {
        let period = Duration::from_secs(5 * 3600);
        assert_eq!(
            compactions(period, 8),
            [(5.0, 1), (6.0, 10), (7.0, 20), (8.0, 30)]
        );
    }

    #[test]
    fn a_short_period_is_compacted_once_in_it() {
        let period = Duration::from_secs(1800);
        let found = compactions(period, 2);
        let times: Vec<f64> = found.iter().map(|(at, _)| *at).collect();
        assert_eq!(times, [0.5, 1.0, 1.5, 2.0]);
    }

    #[test]
    fn nothing_new_is_not_compacted_again() {
        let start = Instant::now();
        let mut periodic = Periodic::new(Duration::from_secs(10), start);
        periodic.sample(7);
        assert_eq!(periodic.due(start + Duration::from_secs(9)), None);
        assert_eq!(periodic.due(start + Duration::from_secs(10)), Some(7));
        periodic.done(7, start + Duration::from_secs(10));
        assert_eq!(periodic.due(start + Duration::from_secs(100)), None);
    }

    #[test]
    fn by_revision_keeps_the_newest() {
        let mut plan = Plan::Revision {
            retention: 100,
            last: 0,
        };
        let now = Instant::now();
        assert_eq!(plan.due(100, now), None);
        assert_eq!(plan.due(101, now), Some(1));
        plan.done(1, now);
        assert_eq!(plan.due(101, now), None);
        assert_eq!(plan.due(150, now), Some(50));
    }
}
