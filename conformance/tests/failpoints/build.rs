//! Which builds have failpoints, which they have, and how they are armed.

use crate::{alone, cluster};
use std::collections::BTreeSet;
use std::net::TcpStream;
use sternpost_conformance::binaries;
use sternpost_conformance::failpoints::Failpoints;
use sternpost_conformance::target::{Kind, Plan, Target};

/// A server with failpoints, and they.
pub fn server(flags: &[&str]) -> (Target, Failpoints) {
    let points = Failpoints::somewhere();
    let plan = Plan::new(Kind::Sternpost)
        .program(binaries::sternpost_with_failpoints())
        .environment(points.environment());
    let plan = flags.iter().fold(plan, |plan, flag| plan.flag(flag));
    (plan.start(), points)
}

#[test]
fn every_point_is_reached_by_a_test() {
    let (_server, points) = server(&["--unsafe-no-fsync=true"]);
    let there: BTreeSet<String> = points.list().into_iter().map(|(name, _)| name).collect();
    let alone = alone::POINTS.iter().map(|(name, _)| *name);
    let reached: BTreeSet<String> = alone.chain(cluster::points()).map(str::to_owned).collect();
    assert_eq!(there, reached);
    assert!(there.len() >= 20);
}

/// Neither the names nor the way to arm them.
#[test]
fn a_normal_build_has_no_failpoints() {
    let (server, points) = server(&["--unsafe-no-fsync=true"]);
    let mut names: Vec<String> = points.list().into_iter().map(|(name, _)| name).collect();
    drop(server);
    names.push("GOFAIL_".to_owned());
    let of = |program| std::fs::read(program).expect("the program can be read");
    let with = found(&of(binaries::sternpost_with_failpoints()), &names);
    assert_eq!(with.len(), names.len(), "only {with:?}");
    let without = found(&of(binaries::sternpost()), &names);
    assert!(without.is_empty(), "{without:?}");

    let armed = "raftBeforeSave=panic;raftBeforeSaveVote=panic";
    let target = Plan::new(Kind::Sternpost)
        .without_fsync()
        .environment(points.environment_with(armed))
        .start();
    assert_eq!(target.get("/health").status, 200);
    let nobody = TcpStream::connect(points.address());
    assert!(nobody.is_err(), "somebody listens at {}", points.address());
}

/// Which of the names occur in a program.
fn found<'n>(program: &[u8], names: &'n [String]) -> BTreeSet<&'n str> {
    let mut found = BTreeSet::new();
    let mut first = [false; 256];
    for name in names {
        first[usize::from(name.as_bytes()[0])] = true;
    }
    for at in 0..program.len() {
        if first[usize::from(program[at])] {
            let here = &program[at..];
            let begins = |name: &&String| here.starts_with(name.as_bytes());
            found.extend(names.iter().filter(begins).map(String::as_str));
        }
    }
    found
}

#[test]
fn points_are_armed_as_those_of_gofail() {
    let (_server, points) = server(&["--unsafe-no-fsync=true"]);
    assert!(points.list().iter().all(|(_, terms)| terms.is_empty()));
    let name = "defragBeforeCopy";
    let ask = |method, path: &str, body| {
        let answer = points.ask(method, path, body);
        (answer.status, answer.body)
    };
    let (own, its_count) = (format!("/{name}"), format!("/{name}/count"));
    assert_eq!(ask("PUT", &own, "sleep(\"1s\")"), (204, String::new()));
    assert_eq!(ask("GET", &own, ""), (200, "sleep(\"1s\")\n".to_owned()));
    assert_eq!(ask("GET", &its_count, ""), (200, "0".to_owned()));
    let armed = (name.to_owned(), "sleep(\"1s\")".to_owned());
    assert!(points.list().contains(&armed));
    assert_eq!(ask("DELETE", &own, ""), (204, String::new()));
    assert_eq!(ask("GET", &own, ""), (200, "\n".to_owned()));

    for (method, body) in [("PUT", "panic"), ("GET", ""), ("DELETE", "")] {
        let (status, text) = ask(method, "/beforeLunch", body);
        assert_eq!(status, 404, "{method}: {text}");
    }
    for (terms, why) in [
        (
            "boom",
            "\"boom\" is no action: off, panic, sleep and return are",
        ),
        ("sleep(\"soon\")", "\"soon\" is no time"),
        ("", "has no action"),
    ] {
        let (status, text) = ask("PUT", &own, terms);
        assert_eq!(status, 400, "{terms}: {text}");
        assert!(text.contains(name) && text.contains(why), "{terms}: {text}");
    }
    let (status, text) = ask("PUT", "/afterCommit", "return(\"x\")");
    assert_eq!(status, 400, "{text}");
    assert!(text.contains("can't fail"), "{text}");
}

#[test]
fn what_can_not_be_armed_is_refused_at_the_start() {
    let start = |variable: &str, value: &str| {
        let plan = Plan::new(Kind::Sternpost).program(binaries::sternpost_with_failpoints());
        let plan = plan.environment(vec![(variable.to_owned(), value.into())]);
        plan.try_start().err().expect("it does not start")
    };
    for address in ["0.0.0.0:12382", "[::]:12382", "192.0.2.1:12382"] {
        let log = start("GOFAIL_HTTP", address);
        assert!(log.contains("it must be a loopback address"), "{log}");
    }
    let log = start("GOFAIL_HTTP", "12382");
    assert!(log.contains("GOFAIL_HTTP=12382: "), "{log}");
    let log = start("GOFAIL_FAILPOINTS", "afterCommit=off;beforeCommit");
    assert!(log.contains("is not of the form name=terms"), "{log}");
    let log = start("GOFAIL_FAILPOINTS", "beforeLunch=panic");
    assert!(log.contains("no failpoint is named"), "{log}");
    let log = start("GOFAIL_FAILPOINTS", "afterCommit=boom");
    assert!(log.contains("is no action"), "{log}");
}
