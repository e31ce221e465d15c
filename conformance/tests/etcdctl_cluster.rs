//! The unmodified etcdctl 3.7.1 prints for members of ours what it prints for as many of the
//! reference.

use sternpost_conformance::cluster::Plan;
use sternpost_conformance::etcdctl::cluster::differences;
use sternpost_conformance::target::Kind;

#[test]
fn members_come_and_go() {
    same(include_str!("../scripts/cluster/members.txt"));
}

#[test]
fn members_are_replaced() {
    same(include_str!("../scripts/cluster/replace.txt"));
}

#[test]
fn without_a_quorum() {
    same(include_str!("../scripts/cluster/quorum.txt"));
}

#[test]
fn one_member_becomes_three() {
    same_from(1, include_str!("../scripts/cluster/grow.txt"));
}

fn same(script: &str) {
    same_from(3, script);
}

fn same_from(members: usize, script: &str) {
    let start = |kind| Plan::new(kind, members).without_fsync().start();
    let (mut ours, mut reference) = (start(Kind::Sternpost), start(Kind::Etcd));
    let differences = differences(script, [&mut ours, &mut reference]);
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences.join("\n")
    );
}
