//! `/health`, `/livez` and `/readyz`.

use super::{query, reply};
use crate::{api::status::ApiError, member::Member};
use axum::{body::Body, extract::State};
use http::{Method, Response, StatusCode, Uri};
use std::{fmt::Write as _, sync::Arc};
use sternpost_proto::etcdserverpb::{AlarmType, RangeRequest};

/// One check of `/livez` or `/readyz`; its name is its sub-path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
}

impl Check {
    fn name(self) -> &'static str {
        match self {
            Self::DataCorruption => "data_corruption",
            Self::SerializableRead => "serializable_read",
            Self::LinearizableRead => "linearizable_read",
            Self::NonLearner => "non_learner",
        }
    }

    async fn run(self, member: &Member) -> Result<(), String> {
        match self {
            Self::DataCorruption => match alarm(member, |kind| kind == AlarmType::Corrupt) {
                Some(_) => Err("alarm activated: CORRUPT".to_owned()),
                None => Ok(()),
            },
            Self::SerializableRead => read(member),
            Self::LinearizableRead => {
                linearizable(member).await?;
                read(member)
            }
            Self::NonLearner if member.node.status().is_learner => {
                Err("not supported for learner".to_owned())
            }
            Self::NonLearner => Ok(()),
        }
    }
}

/// A path with the checks behind it.
#[derive(Clone, Copy)]
pub struct Probe {
    /// `livez` or `readyz`.
    pub kind: &'static str,
    checks: &'static [Check],
}

/// The process is alive and can read.
pub const LIVEZ: Probe = Probe {
    kind: "livez",
    checks: &[Check::SerializableRead],
};
/// It can serve.
pub const READYZ: Probe = Probe {
    kind: "readyz",
    checks: &[
        Check::DataCorruption,
        Check::SerializableRead,
        Check::LinearizableRead,
        Check::NonLearner,
    ],
};

impl Probe {
    /// The names of its checks.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        self.checks.iter().map(|check| check.name())
    }

    /// Runs all checks but those excluded, or the one named.
    pub async fn answer(
        self,
        member: &Member,
        only: Option<&str>,
        method: &Method,
        uri_query: Option<&str>,
    ) -> Response<Body> {
        if method != Method::GET {
            return reply::method_not_allowed();
        }
        let excluded = if only.is_none() {
            query::values(uri_query, "exclude")
        } else {
            Vec::new()
        };
        let (mut lines, mut healthy) = (String::new(), true);
        for check in self
            .checks
            .iter()
            .filter(|check| only.is_none_or(|name| name == check.name()))
        {
            let name = check.name();
            if excluded.iter().any(|excluded| excluded == name) {
                let _ = writeln!(lines, "[+]{name} excluded: ok");
                continue;
            }
            let result = check.run(member).await;
            self.count(member, name, result.is_ok());
            let _ = match &result {
                Ok(()) => writeln!(lines, "[+]{name} ok"),
                Err(why) => writeln!(lines, "[-]{name} failed: {why}"),
            };
            healthy &= result.is_ok();
        }
        let unknown: Vec<&String> = excluded
            .iter()
            .filter(|name| !self.names().any(|known| known == *name))
            .collect();
        if !unknown.is_empty() {
            tracing::warn!("missing-health-checks" = ?unknown, "some health checks cannot be excluded");
        }
        if !healthy {
            tracing::warn!(
                path = self.kind,
                output = lines,
                "status-code" = 503,
                "Health check error"
            );
            return reply::text(StatusCode::SERVICE_UNAVAILABLE, format!("{lines}\n"));
        }
        let verbose = query::has(uri_query, "verbose");
        reply::text(
            StatusCode::OK,
            if verbose {
                format!("{lines}ok\n")
            } else {
                "ok\n".to_owned()
            },
        )
    }

    fn count(self, member: &Member, name: &str, healthy: bool) {
        let server = &member.metrics.server;
        server
            .healthcheck
            .with_label_values(&[self.kind, name])
            .set(i64::from(healthy));
        let status = if healthy { "success" } else { "error" };
        server
            .healthchecks
            .with_label_values(&[self.kind, name, status])
            .inc();
    }
}

/// `/health`: one line of JSON whose `health` is a string.
pub async fn health(State(member): State<Arc<Member>>, method: Method, uri: Uri) -> Response<Body> {
    if method != Method::GET {
        return reply::method_not_allowed();
    }
    let reason = sick(&member, uri.query()).await;
    let server = &member.metrics.server;
    match reason {
        None => {
            server.health_success.inc();
            reply::bare(StatusCode::OK, "{\"health\":\"true\",\"reason\":\"\"}")
        }
        Some(reason) => {
            server.health_failures.inc();
            tracing::warn!(output = reason, "status-code" = 503, "/health error");
            let body = serde_json::json!({ "health": "false", "reason": reason });
            reply::text(StatusCode::SERVICE_UNAVAILABLE, format!("{body}\n"))
        }
    }
}

/// Why `/health` says no.
async fn sick(member: &Member, uri_query: Option<&str>) -> Option<String> {
    let excluded = query::values(uri_query, "exclude");
    let serializable = query::values(uri_query, "serializable")
        .first()
        .is_some_and(|value| value == "true");
    let raised = alarm(member, |kind| {
        !excluded.iter().any(|name| name == kind.as_str_name())
    });
    if let Some(kind) = raised {
        return Some(match kind {
            AlarmType::Nospace => "ALARM NOSPACE".to_owned(),
            AlarmType::Corrupt => "ALARM CORRUPT".to_owned(),
            AlarmType::None => "ALARM UNKNOWN".to_owned(),
        });
    }
    if !serializable {
        if member.node.status().leadership.leader.is_none() {
            return Some("RAFT NO LEADER".to_owned());
        }
        if let Err(error) = linearizable(member).await {
            return Some(format!("RANGE ERROR:{error}"));
        }
    }
    read(member)
        .err()
        .map(|error| format!("RANGE ERROR:{error}"))
}

fn alarm(member: &Member, counts: impl Fn(AlarmType) -> bool) -> Option<AlarmType> {
    let view = member.node.reads().view();
    view.alarms()
        .iter()
        .map(|alarm| alarm.alarm())
        .find(|kind| counts(*kind))
}

async fn linearizable(member: &Member) -> Result<(), String> {
    match tokio::time::timeout(member.config.request_timeout(), member.node.read_index()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(ApiError::from(error).text().to_owned()),
        Err(_) => Err(ApiError::Timeout.text().to_owned()),
    }
}

/// Reads one key: the store answers.
fn read(member: &Member) -> Result<(), String> {
    let request = RangeRequest {
        key: bytes::Bytes::from_static(b"a"),
        keys_only: true,
        limit: 1,
        ..RangeRequest::default()
    };
    member
        .node
        .reads()
        .view()
        .range(&request)
        .map(drop)
        .map_err(|error| error.to_string())
}
