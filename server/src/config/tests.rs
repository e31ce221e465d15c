//! What a command line, variables and a file make of the flags, and in which
//! words they are refused: those of etcd 3.7.1, seen on a running one.

use super::{flags::FLAGS, sources::Loaded, *};
use std::io::Write as _;

fn given(line: &str, variables: &[(&str, &str)]) -> Result<Loaded, Stop> {
    let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let variables: Vec<_> = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    load(&arguments, &variables)
}

fn config(line: &str) -> Config {
    given(line, &[])
        .unwrap_or_else(|stop| panic!("{line}: {stop:?}"))
        .config
}

/// How a start ends: exit code and text.
fn refused(line: &str, variables: &[(&str, &str)]) -> (i32, String) {
    match given(line, variables) {
        Ok(_) => panic!("{line} was accepted"),
        Err(Stop::Print(text)) => (0, text),
        Err(Stop::Usage(text)) => (2, text),
        Err(Stop::Refuse { why, .. }) => (1, why.field.map_or(why.text, |(_, value)| value)),
    }
}

#[test]
fn both_dashes_and_both_ways_to_give_a_value() {
    for line in [
        "-name m1 --pre-vote=false",
        "--name=m1 -pre-vote=0",
        "--name m1 --pre-vote=F",
    ] {
        let config = config(line);
        assert_eq!(
            (config.name.as_str(), config.pre_vote),
            ("m1", false),
            "{line}"
        );
    }
    assert_eq!(config("--name m1").data_dir.to_str(), Some("m1.etcd"));
    assert!(config("--unsafe-no-fsync --name -m").unsafe_no_fsync);
}

#[test]
fn misspelt_lines_get_a_message_and_code_2() {
    let table = [
        ("--nope", "flag provided but not defined: -nope"),
        ("--name", "flag needs an argument: -name"),
        (
            "--heartbeat-interval=x",
            "invalid value \"x\" for flag -heartbeat-interval: parse error",
        ),
        (
            "--max-txn-ops=-1",
            "invalid value \"-1\" for flag -max-txn-ops: parse error",
        ),
        (
            "--watch-progress-notify-interval=5",
            "invalid value \"5\" for flag -watch-progress-notify-interval: parse error",
        ),
        (
            "--pre-vote=maybe",
            "invalid boolean value \"maybe\" for -pre-vote: parse error",
        ),
        (
            "--initial-cluster-state=foo",
            "invalid value \"foo\" for flag -initial-cluster-state: invalid value",
        ),
        (
            "--listen-client-urls=nope",
            "invalid value \"nope\" for flag -listen-client-urls: URL scheme must be http, https, unix, or unixs: nope",
        ),
        (
            "--listen-client-urls=http://127.0.0.1",
            "invalid value \"http://127.0.0.1\" for flag -listen-client-urls: \
             URL address does not have the form \"host:port\": http://127.0.0.1",
        ),
        (
            "--feature-gates=Nope=true",
            "invalid value \"Nope=true\" for flag -feature-gates: unrecognized feature gate: Nope",
        ),
        (
            "--feature-gates=LeaseCheckpoint",
            "invalid value \"LeaseCheckpoint\" for flag -feature-gates: missing bool value for LeaseCheckpoint",
        ),
    ];
    for (line, text) in table {
        assert_eq!(refused(line, &[]), (2, text.to_owned()), "{line}");
    }
}

#[test]
fn what_does_not_fit_together_gets_one_line_and_code_1() {
    let table = [
        (
            "--listen-client-urls=http://127.0.0.1:1",
            "--advertise-client-urls is required when --listen-client-urls is set explicitly",
        ),
        (
            "--listen-client-urls=http://example.com:1 --advertise-client-urls=http://example.com:1",
            "expected IP in URL for binding (http://example.com:1)",
        ),
        (
            "--heartbeat-interval=0",
            "--heartbeat-interval must be >0 (set to 0ms)",
        ),
        (
            "--heartbeat-interval=500",
            "--election-timeout[1000ms] should be at least as 5 times as --heartbeat-interval[500ms]",
        ),
        (
            "--election-timeout=60000",
            "--election-timeout[60000ms] is too long, and should be set less than 50000ms",
        ),
        (
            "--log-format=xml",
            "unknown log format: xml, supported values json, console",
        ),
        ("--logger=capnslog", "--logger=capnslog is removed in v3.5"),
        (
            "--auto-compaction-mode=foo",
            "unknown auto-compaction-mode \"foo\"",
        ),
        (
            "--auto-compaction-retention=x",
            "error parsing CompactionRetention: time: invalid duration \"x\"",
        ),
        (
            "--discovery-fallback=proxy",
            "v2 proxy is deprecated, and --discovery-fallback can't be configured as \"proxy\"",
        ),
        (
            "--discovery-token=a",
            "both --discovery-token and --discovery-endpoints must be set",
        ),
        (
            "--compact-hash-check-time=0s",
            "--compact-hash-check-time must be >0 (set to 0s)",
        ),
        (
            "--tls-min-version=TLS1.0",
            "unexpected TLS version \"TLS1.0\" (must be one of: TLS1.2, TLS1.3)",
        ),
        (
            "--log-outputs=default,stderr",
            "multi logoutput for \"default\" is not supported yet",
        ),
        (
            "--config-file=/nope",
            "open /nope: no such file or directory",
        ),
        ("--pre-vote true", "\"true\" is not a valid flag"),
        ("foo", "\"foo\" is not a valid flag"),
        (
            "--enable-log-rotation",
            "--log-outputs requires a single file path when --log-rotate-config-json is defined",
        ),
    ];
    for (line, text) in table {
        assert_eq!(refused(line, &[]), (1, text.to_owned()), "{line}");
    }
}

#[test]
fn tls_is_never_dropped_silently() {
    for line in [
        "--cert-file=/c --key-file=/k",
        "--peer-trusted-ca-file=/ca",
        "--auto-tls",
        "--client-cert-auth",
        "--auth-token=jwt,pub-key=a,priv-key=b,sign-method=RS256",
        "--listen-peer-urls=https://127.0.0.1:1",
        "--listen-client-urls=https://127.0.0.1:1 --advertise-client-urls=https://127.0.0.1:1",
        "--listen-metrics-urls=https://127.0.0.1:1",
    ] {
        let (code, text) = refused(line, &[]);
        assert!(
            code == 1 && text.contains("not built yet"),
            "{line}: {text}"
        );
    }
    // The default, said aloud, is no wish.
    config("--auth-token=simple --auto-tls=false");
}

#[test]
fn variables_set_flags_and_never_shadow_them() {
    let variables = [
        ("ETCD_NAME", "m2"),
        ("ETCD_SOCKET_REUSE_PORT", "true"),
        ("PATH", "/bin"),
    ];
    let config = given("", &variables).unwrap().config;
    assert_eq!(
        (config.name.as_str(), config.socket_reuse_port),
        ("m2", true)
    );
    assert_eq!(refused("--name=a", &variables), (1, "ETCD_NAME".to_owned()));
    assert_eq!(
        refused("", &[("ETCD_HEARTBEAT_INTERVAL", "x")]),
        (
            1,
            "invalid value \"x\" for ETCD_HEARTBEAT_INTERVAL: parse error".to_owned()
        )
    );
}

#[test]
fn empty_and_unknown_variables_only_warn() {
    let loaded = given(
        "--name m1",
        &[("ETCD_NAME", ""), ("ETCD_NOPE", "x"), ("ETCD_VERSION", "1")],
    )
    .unwrap();
    let shown: Vec<_> = loaded
        .notices
        .iter()
        .filter_map(|notice| notice.field.clone())
        .collect();
    assert_eq!(
        shown,
        [
            ("environment-variable", "ETCD_NAME=".to_owned()),
            ("environment-variable", "ETCD_NOPE=x".to_owned()),
            ("key", "ETCD_VERSION".to_owned()),
        ]
    );
}

#[test]
fn flags_of_old_stand_for_new_ones() {
    let line = "--experimental-watch-progress-notify-interval=5s --experimental-initial-corrupt-check \
                --experimental-enable-lease-checkpoint=false --enable-v2 --name m1";
    let loaded = given(line, &[]).unwrap();
    assert_eq!(
        loaded.config.watch_progress_notify_interval,
        Duration::from_secs(5)
    );
    assert!(loaded.config.feature_gates.enabled("InitialCorruptCheck"));
    assert!(!loaded.config.feature_gates.enabled("LeaseCheckpoint"));
    assert_eq!(loaded.notices.len(), 4, "{:?}", loaded.notices);
}

#[test]
fn a_file_replaces_flags_and_variables() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(
        file,
        "name: from-file\nheartbeat-interval: 200\nelection-timeout: 2000\nwatch-progress-notify-interval: 5000000000\n\
         socket-options:\n  reuse-port: true\nlog-outputs: [stdout]\nquota-backend-bytes: 8589934592\n\
         auto-compaction-retention: \"1\"\nwarning-apply-duration: 1s\nno-such-key: 1\nclient-transport-security:\n  cert-file:\n"
    )
    .unwrap();
    let line = format!(
        "--config-file {} --name ignored --max-txn-ops=7",
        file.path().display()
    );
    let loaded = given(&line, &[("ETCD_MAX_TXN_OPS", "9")]).unwrap();
    let config = loaded.config;
    assert_eq!(
        (config.name.as_str(), config.max_txn_ops),
        ("from-file", 128)
    );
    assert_eq!(config.heartbeat_interval, Duration::from_millis(200));
    assert_eq!(
        config.watch_progress_notify_interval,
        Duration::from_secs(5)
    );
    assert_eq!(config.warning_apply_duration, Duration::from_secs(1));
    assert_eq!(
        (config.log_outputs[0].as_str(), config.socket_reuse_port),
        ("stdout", true)
    );
    assert_eq!(config.effective_quota_bytes(), Some(8 << 30));
    assert_eq!(
        config.auto_compaction(),
        Some(AutoCompaction::Periodic(Duration::from_secs(3600)))
    );
    let by_variable = given("", &[("ETCD_CONFIG_FILE", file.path().to_str().unwrap())]).unwrap();
    assert_eq!(by_variable.config.name, "from-file");
}

#[test]
fn help_teaches_every_flag_and_version_is_etcd_s() {
    let (code, text) = refused("--help", &[]);
    assert_eq!(code, 0);
    for flag in FLAGS.iter() {
        assert!(
            text.contains(&format!("  --{} ", flag.name)),
            "{}",
            flag.name
        );
    }
    assert!(
        refused("--version", &[])
            .1
            .starts_with("etcd Version: 3.7.1\n")
    );
    assert!(given("--version=false --name m1", &[]).is_ok());
}

#[test]
fn defaults_are_etcd_s() {
    let config = Config::default();
    assert_eq!(config.data_dir.to_str(), Some("default.etcd"));
    assert_eq!(config.initial_cluster[0].name, "default");
    assert_eq!(config.effective_quota_bytes(), Some(2 << 30));
    assert_eq!(config.request_timeout(), Duration::from_secs(7));
    assert_eq!(config.progress_notify_interval(), Duration::from_secs(600));
    assert_eq!(config.auto_compaction(), None);
}

#[test]
fn every_row_sets_its_field() {
    for flag in FLAGS.iter() {
        let mut config = Config::bare();
        assert_eq!(
            config.set(&flag.name, flag.default),
            Some(Ok(())),
            "{}",
            flag.name
        );
        assert_eq!(config, Config::bare(), "{}", flag.name);
    }
    assert!(Config::bare().set("no-such-flag", "").is_none());
}

#[test]
fn retention_depends_on_the_mode() {
    let mut config = Config {
        auto_compaction_retention: Retention::Count(2),
        ..Config::default()
    };
    assert_eq!(
        config.auto_compaction(),
        Some(AutoCompaction::Periodic(Duration::from_secs(7200)))
    );
    config.auto_compaction_mode = AutoCompactionMode::Revision;
    assert_eq!(config.auto_compaction(), Some(AutoCompaction::Revision(2)));
}

#[test]
fn a_negative_quota_is_no_quota() {
    let config = Config {
        quota_backend_bytes: -1,
        ..Config::default()
    };
    assert_eq!(config.effective_quota_bytes(), None);
}
