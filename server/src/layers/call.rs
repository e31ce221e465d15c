//! What stands before every call: is there such a method, may it start, by
//! when must it end, and how did it.

use super::direct::PREFIX_LEN;
use crate::{
    api::status::ApiError,
    metrics::{Method, Metrics},
};
use http::HeaderMap;
use std::{
    str,
    sync::Arc,
    time::{Duration, Instant},
};
use tonic::{Code, Status};

/// A call under way. However it ends, it is counted once: dropped without an
/// answer it was cancelled.
pub struct Ticket {
    method: Arc<Method>,
    started: Instant,
    slow_after: Duration,
    finished: bool,
}

impl Ticket {
    /// Starts a call. A unary one that takes longer than `slow_after` is
    /// worth a line in the log; zero for none.
    pub fn new(method: Arc<Method>, slow_after: Duration) -> Self {
        method.started.inc();
        Self {
            method,
            started: Instant::now(),
            slow_after,
            finished: false,
        }
    }

    /// Where it is counted.
    pub fn method(&self) -> &Arc<Method> {
        &self.method
    }

    /// Ends it well, with one frame of so many bytes.
    pub fn answered(&mut self, frame_bytes: usize) {
        self.method.sent.inc();
        self.method
            .sent_bytes
            .inc_by(frame_bytes.saturating_sub(PREFIX_LEN) as u64);
        self.finish(Code::Ok);
    }

    /// Ends it; only the first time counts.
    pub fn finish(&mut self, code: Code) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        self.method.handled[code as usize].inc();
        let took = self.started.elapsed();
        if let Some(handling) = &self.method.handling {
            handling.observe(took.as_secs_f64());
        }
        if took > self.slow_after && !self.slow_after.is_zero() && !self.method.streams {
            tracing::warn!(
                "time spent" = ?took,
                "response type" = self.method.path,
                code = ?code,
                "expected-duration" = ?self.slow_after,
                "request stats"
            );
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.finish(Code::Cancelled);
    }
}

/// The method of a path, or grpc-go's refusal.
pub fn find<'a>(metrics: &'a Metrics, path: &str) -> Result<&'a Arc<Method>, Status> {
    if let Some(method) = metrics.grpc.method(path) {
        return Ok(method);
    }
    let Some((service, method)) = path.strip_prefix('/').unwrap_or(path).rsplit_once('/') else {
        return Err(Status::unimplemented(format!(
            "malformed method name: {path:?}"
        )));
    };
    Err(Status::unimplemented(
        if metrics.grpc.has_service(service) {
            format!("unknown method {method} for service {service}")
        } else {
            format!("unknown service {service}")
        },
    ))
}

/// Counts a call by its client's version; refuses a version that is no text.
pub fn count_client(metrics: &Metrics, method: &Method, headers: &HeaderMap) -> Result<(), Status> {
    let version = match headers
        .get("client-api-version")
        .map(|value| str::from_utf8(value.as_bytes()))
    {
        None => None,
        Some(Ok(version)) => Some(version),
        Some(Err(_)) => return Err(ApiError::InvalidClientAPIVersion.into()),
    };
    metrics
        .server
        .client_requests
        .count(method.streams, version);
    Ok(())
}

/// Whether a learner answers this method: a read is looked at once more where
/// it is read, since only a serializable one is for learners.
pub fn is_for_learners(path: &str) -> bool {
    matches!(
        path,
        "/etcdserverpb.Maintenance/Status"
            | "/etcdserverpb.Maintenance/Snapshot"
            | "/etcdserverpb.KV/Range"
    )
}

/// Whether the client asks to be refused while there is no leader.
pub fn wants_leader(headers: &HeaderMap) -> bool {
    headers
        .get("hasleader")
        .is_some_and(|value| value == "true")
}

/// The time a client gives its call: up to eight digits and a unit.
pub fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &[u8]) -> HeaderMap {
        HeaderMap::from_iter([(
            http::HeaderName::from_static(name),
            http::HeaderValue::from_bytes(value).unwrap(),
        )])
    }

    #[test]
    fn timeouts_have_units() {
        let of = |text: &str| timeout(&headers("grpc-timeout", text.as_bytes()));
        assert_eq!(of("5S"), Some(Duration::from_secs(5)));
        assert_eq!(of("4999989u"), Some(Duration::from_micros(4_999_989)));
        assert_eq!(
            of("99999999H"),
            Some(Duration::from_secs(99_999_999 * 3600))
        );
        for bad in ["", "S", "5", "5s", "-1S", "999999999S", "1é"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn unknown_names_get_grpc_go_s_words() {
        let metrics = Metrics::default();
        let text = |path| {
            find(&metrics, path)
                .err()
                .map(|status| status.message().to_owned())
        };
        assert_eq!(text("/etcdserverpb.KV/Put"), None);
        assert_eq!(
            text("/etcdserverpb.KV/Nope").unwrap(),
            "unknown method Nope for service etcdserverpb.KV"
        );
        assert_eq!(text("/a.B/C").unwrap(), "unknown service a.B");
        assert_eq!(text("/nope").unwrap(), "malformed method name: \"/nope\"");
    }

    #[test]
    fn a_dropped_call_was_cancelled() {
        let metrics = Metrics::default();
        let method = metrics.grpc.method("/etcdserverpb.KV/Put").unwrap();
        drop(Ticket::new(method.clone(), Duration::ZERO));
        let mut done = Ticket::new(method.clone(), Duration::ZERO);
        done.finish(Code::Ok);
        drop(done);
        let counts = [Code::Ok, Code::Cancelled].map(|code| method.handled[code as usize].get());
        assert_eq!((method.started.get(), counts), (2, [1, 1]));
    }

    #[test]
    fn versions_must_be_text() {
        let metrics = Metrics::default();
        let method = metrics.grpc.method("/etcdserverpb.KV/Put").unwrap();
        assert!(count_client(&metrics, method, &headers("client-api-version", b"3.7")).is_ok());
        assert!(count_client(&metrics, method, &headers("client-api-version", b"3.\xff")).is_err());
    }
}
