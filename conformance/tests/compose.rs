//! `docker-compose.yml`, and what it mounts: parsed, held against each other, and its members
//! started as `make cluster` starts them.

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use sternpost_conformance::cluster::Addresses;
use sternpost_conformance::compose::{self, Service};
use sternpost_conformance::etcdctl::run::etcdctl;
use sternpost_conformance::process::Process;
use sternpost_conformance::target::Kind;
use sternpost_conformance::{http, metrics};

const READY_LIMIT: Duration = Duration::from_secs(60);

#[test]
fn make_cluster_starts_the_members_of_the_file() {
    let members = members();
    let dir = tempfile::tempdir().expect("the temporary directory is writable");
    // An address that nobody serves on: the ports are the file's own.
    let address = Addresses::loopback().host(0);
    let start = |nth: usize| {
        let flags = compose::local_flags(&members, nth, &address, dir.path());
        let log = dir.path().join(format!("{nth}.log"));
        Process::start(&Kind::Sternpost.program(), &flags, &[], &log)
    };
    let processes: Vec<Process> = (0..members.len()).map(start).collect();
    for process in &processes {
        assert!(process.wait_ready(READY_LIMIT), "{}", process.tail());
    }
    let endpoint = |member: &Service| format!("{address}:{}", member.port);
    for member in &members {
        let words = ["put", &member.name, "here"].map(str::to_owned);
        let output = etcdctl(&endpoint(member), &words, "", None);
        assert_eq!(output.end, "0", "{output}");
    }
    let words = ["member", "list"].map(str::to_owned);
    let list = etcdctl(&endpoint(&members[0]), &words, "", None).stdout;
    assert_eq!(list.lines().count(), members.len(), "{list}");
    for member in &members {
        let words = ["get", "", "--prefix", "--keys-only"].map(str::to_owned);
        let keys = etcdctl(&endpoint(member), &words, "", None).stdout;
        let there = members.iter().all(|member| keys.contains(&member.name));
        assert!(there, "{}: {keys}", member.name);
    }
    what_the_dashboard_shows_is_there(&endpoint(&members[0]));
}

/// Every metric that a panel names is one that a member of ours has, soon: some begin with the
/// first of their kind.
fn what_the_dashboard_shows_is_there(endpoint: &str) {
    let mut missing = named_metrics();
    missing.remove("up");
    let deadline = Instant::now() + READY_LIMIT;
    while !missing.is_empty() {
        assert!(Instant::now() < deadline, "no member has {missing:?}");
        std::thread::park_timeout(Duration::from_millis(200));
        let page = http::get(endpoint, "/metrics").expect("a member has metrics");
        for name in metrics::families(&page.body).into_keys() {
            missing.remove(&name);
        }
    }
}

#[test]
fn three_members_name_each_other() {
    let members = members();
    assert_eq!(members.len(), 3);
    let own = |member: &Service| format!("{0}=http://{0}:2380", member.name);
    let all: Vec<String> = members.iter().map(own).collect();
    let initial = format!("--initial-cluster={}", all.join(","));
    for member in &members {
        assert!(member.flags.contains(&initial), "{member:?}");
        assert!(member.flags.contains(&format!("--name={}", member.name)));
    }
    let scraped = read("deploy/prometheus.yml");
    for member in &members {
        assert!(scraped.contains(&format!("{}:2379", member.name)));
    }
}

/// Files that are mounted exist; the image's own paths are those of the official one.
#[test]
fn what_is_mounted_is_there() {
    let compose = read("docker-compose.yml");
    let mounted = compose.lines().filter_map(|line| {
        let from = line.trim().strip_prefix("- ./")?;
        from.split(':').next()
    });
    let mounted: Vec<&str> = mounted.collect();
    assert!(mounted.len() >= 4, "{mounted:?}");
    for file in mounted {
        assert!(root().join(file).is_file(), "{file} is mounted and missing");
    }
    let image = read("Dockerfile");
    for part in [
        "ln -s sternpost /image/usr/local/bin/etcd ",
        "ln -s sternpost /image/usr/local/bin/etcdutl ",
        "/image/var/lib/etcd",
        "EXPOSE 2379 2380",
        "USER nonroot",
        "CMD [\"/usr/local/bin/etcd\"]",
    ] {
        assert!(image.contains(part), "the Dockerfile is without {part}");
    }
}

/// Names in the expressions of all panels, those of histograms without their endings.
fn named_metrics() -> BTreeSet<String> {
    let dashboard: Value =
        serde_json::from_str(&read("deploy/grafana/cluster.json")).expect("the dashboard is JSON");
    let panels = dashboard["panels"].as_array().expect("it has panels");
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let expressions = targets
        .flatten()
        .filter_map(|target| target["expr"].as_str());
    let mut names = BTreeSet::new();
    for expression in expressions {
        // A name stands before the labels, always given here.
        for (at, _) in expression.match_indices('{') {
            let before = &expression[..at];
            let begin = before.rfind(|c: char| !c.is_alphanumeric() && c != '_');
            let name = &before[begin.map_or(0, |begin| begin + 1)..];
            names.insert(name.trim_end_matches("_bucket").to_owned());
        }
    }
    assert!(names.len() > 20, "{names:?}");
    names
}

fn members() -> Vec<Service> {
    compose::members(&read("docker-compose.yml")).expect("it describes a cluster")
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent()
        .expect("a crate is inside the workspace")
        .to_owned()
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}
