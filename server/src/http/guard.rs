//! Browsers: which origins may call, and under which host names plain HTTP
//! may be asked.

use crate::config::Config;
use axum::body::Body;
use http::{HeaderMap, HeaderValue, Request, header};

/// `--cors` and `--host-whitelist`.
pub struct Guard {
    origins: Vec<String>,
    hosts: Vec<String>,
}

impl Guard {
    /// As the flags say.
    pub fn new(config: &Config) -> Self {
        Self {
            origins: config.cors.clone(),
            hosts: config.host_whitelist.clone(),
        }
    }

    /// The origin to allow in the answer, or why the host is refused.
    pub fn check(&self, request: &Request<Body>) -> Result<Option<HeaderValue>, String> {
        let host = host(request);
        if !is_listed(&self.hosts, host) {
            return Err(format!(
                "The Host header of this request is not known here, which protects browsers against \
                 DNS rebinding.\nStart the server with --host-whitelist={host:?} if that name is meant \
                 to be used.\n"
            ));
        }
        if self.origins.iter().any(|origin| origin == "*") {
            return Ok(Some(HeaderValue::from_static("*")));
        }
        let origin = request.headers().get(header::ORIGIN);
        Ok(origin
            .filter(|origin| {
                origin
                    .to_str()
                    .is_ok_and(|origin| is_listed(&self.origins, origin))
            })
            .cloned())
    }
}

fn is_listed(list: &[String], name: &str) -> bool {
    list.is_empty() || list.iter().any(|listed| listed == "*" || listed == name)
}

/// The name that was asked for, without the port.
fn host(request: &Request<Body>) -> &str {
    let given = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let given = given
        .or_else(|| {
            request
                .uri()
                .authority()
                .map(|authority| authority.as_str())
        })
        .unwrap_or_default();
    if let Some((host, _)) = given
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        return host;
    }
    given.rsplit_once(':').map_or(given, |(host, _)| host)
}

/// Lets a browser use the answer.
pub fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE"),
    );
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("accept, content-type, authorization"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(host: &str, origin: &str) -> Request<Body> {
        Request::builder()
            .header("host", host)
            .header("origin", origin)
            .body(Body::empty())
            .unwrap()
    }

    fn guard(origins: &[&str], hosts: &[&str]) -> Guard {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Guard {
            origins: owned(origins),
            hosts: owned(hosts),
        }
    }

    #[test]
    fn stars_let_everybody_in() {
        let origin = guard(&["*"], &["*"])
            .check(&asked("x:1", "http://y"))
            .unwrap();
        assert_eq!(origin.unwrap(), "*");
    }

    #[test]
    fn only_listed_hosts_and_origins_pass() {
        let guard = guard(&["http://a"], &["example.com", "::1"]);
        assert_eq!(
            guard
                .check(&asked("example.com:2379", "http://a"))
                .unwrap()
                .unwrap(),
            "http://a"
        );
        assert!(
            guard
                .check(&asked("[::1]:2379", "http://b"))
                .unwrap()
                .is_none()
        );
        let refusal = guard.check(&asked("evil.com", "http://a")).err().unwrap();
        assert!(
            refusal.contains("--host-whitelist=\"evil.com\""),
            "{refusal}"
        );
    }
}
