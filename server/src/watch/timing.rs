//! How long responses take to go out, for etcd's send-loop histograms.
//!
//! Clocks are read once per burst, not per response: hundreds of watchers of
//! one key get theirs in one go. The time that a client makes us wait counts,
//! as it does in etcd.

use super::encode::Response;
use crate::metrics::Watch;
use std::time::{Duration, Instant};

/// Responses that one stream sent without a pause.
#[derive(Debug, Default)]
pub struct Burst {
    started: Option<Instant>,
    controls: u32,
    progress: u32,
    responses: u32,
    events: u64,
}

impl Burst {
    /// One more response, with so many events.
    pub fn add(&mut self, response: &Response, events: u64) {
        self.started.get_or_insert_with(Instant::now);
        match response {
            Response::Notice(notice) if notice.created || notice.canceled => self.controls += 1,
            Response::Notice(_) => self.progress += 1,
            Response::Events { .. } => {
                self.responses += 1;
                self.events += events;
            }
        }
    }

    /// Ends the burst and counts it; nothing if nothing was sent.
    pub fn finish(&mut self, watch: &Watch) {
        if let Some(started) = std::mem::take(&mut self.started) {
            std::mem::take(self).observe(watch, started.elapsed());
        }
    }

    fn observe(self, watch: &Watch, took: Duration) {
        let all = self.controls + self.progress + self.responses;
        let each = took.as_secs_f64() / f64::from(all.max(1));
        let kinds = [
            (&watch.send_control, self.controls),
            (&watch.send_progress, self.progress),
            (&watch.send_events, self.responses),
        ];
        for (histogram, count) in kinds.into_iter().filter(|(_, count)| *count > 0) {
            let local = histogram.local();
            (0..count).for_each(|_| local.observe(each));
        }
        if self.events > 0 {
            let per_event = each * f64::from(self.responses) / self.events as f64;
            let local = watch.send_per_event.local();
            (0..self.responses).for_each(|_| local.observe(per_event));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{metrics::Metrics, watch::encode::Notice};
    use bytes::Bytes;

    #[test]
    fn a_burst_counts_each_response_once() {
        let metrics = Metrics::default();
        let events = Response::Events {
            revision: 2,
            watch_id: 0,
            fragment: false,
            events: Bytes::new(),
        };
        let notice = |created| {
            Response::Notice(Notice {
                created,
                ..Notice::default()
            })
        };
        let mut burst = Burst::default();
        burst.finish(&metrics.watch);
        burst.add(&notice(true), 0);
        burst.add(&notice(false), 0);
        burst.add(&events, 3);
        burst.add(&events, 1);
        burst.finish(&metrics.watch);
        burst.finish(&metrics.watch);
        let watch = &metrics.watch;
        let counts = [
            &watch.send_control,
            &watch.send_progress,
            &watch.send_events,
            &watch.send_per_event,
        ]
        .map(|histogram| histogram.get_sample_count());
        assert_eq!(counts, [1, 1, 2, 2]);
    }
}
