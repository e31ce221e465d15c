//! Checks across flags, in etcd's order and etcd's words.

use super::{
    Config, Notice, Url,
    flags::{FLAGS, Status},
    sources::unverified,
    urls,
};
use std::{collections::BTreeSet, time::Duration};

/// Above this a quota is warned about.
const QUOTA_SUGGESTED_MAX: i64 = 8 << 30;
/// Above this a request limit is warned about.
const REQUEST_SUGGESTED_MAX: usize = 10 << 20;
/// Longer elections are a mistake of units.
const ELECTION_MAX: Duration = Duration::from_millis(50_000);

/// Everything that can be said without touching disk or network.
pub fn flags(
    config: &Config,
    given: &BTreeSet<String>,
    notices: &mut Vec<Notice>,
) -> Result<(), Notice> {
    logging(config).map_err(unverified)?;
    if config.discovery_fallback == "proxy" {
        return Err(unverified(
            "v2 proxy is deprecated, and --discovery-fallback can't be configured as \"proxy\"",
        ));
    }
    let is_given = |name: &str| given.contains(name);
    if is_given("listen-client-urls") && !is_given("advertise-client-urls") {
        return Err(unverified(
            "--advertise-client-urls is required when --listen-client-urls is set explicitly",
        ));
    }
    addresses(config).map_err(unverified)?;
    bootstrap(config, &is_given).map_err(unverified)?;
    times(config).map_err(unverified)?;
    tls_versions(config).map_err(unverified)?;
    unbuilt(config, given)?;
    if config.quota_backend_bytes > QUOTA_SUGGESTED_MAX {
        notices.push(Notice::new(
            "backend quota exceeds the suggested maximum of 8 GiB",
        ));
    }
    if config.max_request_bytes > REQUEST_SUGGESTED_MAX {
        notices.push(Notice::new("exceeded recommended request limit of 10 MiB"));
    }
    if config.name == "default" {
        notices.push(Notice {
            text: "it isn't recommended to use default name, please set a value for --name"
                .to_owned(),
            field: Some(("name", config.name.clone())),
        });
    }
    Ok(())
}

fn logging(config: &Config) -> Result<(), String> {
    match config.logger.as_str() {
        "zap" => {}
        "capnslog" => return Err("--logger=capnslog is removed in v3.5".to_owned()),
        other => return Err(format!("unknown logger option {other:?}")),
    }
    if config.log_outputs.len() > 1 && config.log_outputs.iter().any(|output| output == "default") {
        return Err("multi logoutput for \"default\" is not supported yet".to_owned());
    }
    let is_file = |output: &String| {
        !["default", "stderr", "stdout", "systemd/journal"].contains(&output.as_str())
    };
    if config.enable_log_rotation
        && !(config.log_outputs.len() == 1 && config.log_outputs.iter().all(is_file))
    {
        return Err(
            "--log-outputs requires a single file path when --log-rotate-config-json is defined"
                .to_owned(),
        );
    }
    Ok(())
}

fn addresses(config: &Config) -> Result<(), String> {
    let listeners = [
        &config.listen_peer_urls,
        &config.listen_client_urls,
        &config.listen_client_http_urls,
        &config.listen_metrics_urls,
    ];
    for url in listeners.into_iter().flatten() {
        if !url.is_bindable() {
            return Err(format!("expected IP in URL for binding ({url})"));
        }
    }
    Ok(())
}

fn bootstrap(config: &Config, is_given: &dyn Fn(&str) -> bool) -> Result<(), String> {
    let ways = ["initial-cluster", "discovery-endpoints", "discovery-srv"];
    if ways.iter().filter(|name| is_given(name)).count() > 1 {
        return Err(
            "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", \
                    \"discovery-endpoints\" or \"discovery-srv\""
                .to_owned(),
        );
    }
    if config.discovery_token.is_empty() != config.discovery_endpoints.is_empty() {
        return Err("both --discovery-token and --discovery-endpoints must be set".to_owned());
    }
    Ok(())
}

fn times(config: &Config) -> Result<(), String> {
    let (heartbeat, election) = (config.heartbeat_interval, config.election_timeout);
    if heartbeat.is_zero() {
        return Err("--heartbeat-interval must be >0 (set to 0ms)".to_owned());
    }
    if election.is_zero() {
        return Err("--election-timeout must be >0 (set to 0ms)".to_owned());
    }
    if 5 * heartbeat > election {
        return Err(format!(
            "--election-timeout[{}ms] should be at least as 5 times as --heartbeat-interval[{}ms]",
            election.as_millis(),
            heartbeat.as_millis()
        ));
    }
    if election > ELECTION_MAX {
        return Err(format!(
            "--election-timeout[{}ms] is too long, and should be set less than 50000ms",
            election.as_millis()
        ));
    }
    if config.compact_hash_check_time.is_zero() {
        return Err("--compact-hash-check-time must be >0 (set to 0s)".to_owned());
    }
    Ok(())
}

fn tls_versions(config: &Config) -> Result<(), String> {
    for version in [&config.tls_min_version, &config.tls_max_version] {
        if !["", "TLS1.2", "TLS1.3"].contains(&version.as_str()) {
            return Err(format!(
                "unexpected TLS version {version:?} (must be one of: TLS1.2, TLS1.3)"
            ));
        }
    }
    Ok(())
}

/// Refuses what would be unsafe to start without: a server that was asked
/// for TLS must not serve in the clear.
fn unbuilt(config: &Config, given: &BTreeSet<String>) -> Result<(), Notice> {
    for flag in FLAGS
        .iter()
        .filter(|flag| flag.status == Status::Refused && given.contains(&flag.name))
    {
        // Set to the default's value again is not a wish for anything.
        let mut reset = config.clone();
        let same = matches!(reset.set(&flag.name, flag.default), Some(Ok(()))) && reset == *config;
        if !same {
            return Err(unverified(format!(
                "--{} is not built yet in this version: leave it out to start without it",
                flag.name
            )));
        }
    }
    let every = [
        (
            &config.listen_client_urls,
            "client",
            "--cert-file, --key-file",
        ),
        (
            &config.listen_client_http_urls,
            "client",
            "--cert-file, --key-file",
        ),
        (
            &config.listen_metrics_urls,
            "metrics",
            "--cert-file, --key-file",
        ),
        (
            &config.listen_peer_urls,
            "peer",
            "--peer-cert-file, --peer-key-file",
        ),
    ];
    for (listeners, kind, files) in every {
        if let Some(url) = listeners.iter().find(|url: &&Url| url.scheme.is_tls()) {
            return Err(unverified(format!(
                "{kind} url {url} asks for TLS ({files}), which is not built yet in this version: use {}",
                urls::join(listeners)
                    .replace("https://", "http://")
                    .replace("unixs://", "unix://")
            )));
        }
    }
    Ok(())
}
