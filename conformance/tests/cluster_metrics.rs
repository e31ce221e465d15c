//! What members count of each other: one is lost, comes back, and gets a whole state. The shape is
//! the reference's.

use std::time::Duration;
use sternpost_conformance::cluster::{Cluster, Plan};
use sternpost_conformance::measure::catch_up::fill;
use sternpost_conformance::metrics::{self, Family};
use sternpost_conformance::target::Kind;
use sternpost_conformance::{http, wait};

/// More than the log keeps for a member that is away.
const KEYS: u64 = 8000;
/// A busy machine takes its time to apply that.
const PATIENCE: Duration = Duration::from_secs(60);
/// What begins so is about other members.
const OTHERS: &str = "etcd_network_";
const NEAR: &str = "etcd_network_active_peers{";
const LOST: &str = "etcd_network_disconnected_peers_total";
const SENT: &str = "etcd_network_snapshot_send_success";
const RECEIVED: &str = "etcd_network_snapshot_receive_success";

type Page = std::collections::BTreeMap<String, Family>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_was_sent_is_counted_as_the_reference_does() {
    let (etcd, ours) = (pages(Kind::Etcd).await, pages(Kind::Sternpost).await);
    let mut wrong = Vec::new();
    for (theirs, found) in etcd.iter().zip(&ours) {
        wrong.extend(metrics::differences(theirs, found));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The leader's families about others, and those of the follower that got a state from it.
async fn pages(kind: Kind) -> [Page; 2] {
    let mut cluster = Plan::new(kind, 3)
        .flag("--snapshot-count=500")
        .without_fsync()
        .start();
    let leader = cluster.wait_leader().await;
    let away = (leader + 1) % 3;
    wait::until("the leader knows the others", PATIENCE, || {
        let page = page(&cluster, leader);
        let near = |line: &&str| line.starts_with(NEAR) && line.ends_with(" 1");
        (page.lines().filter(near).count() == 2).then_some(())
    });
    cluster.kill(away);
    fill(&cluster, leader, KEYS, KEYS).await;
    wait::until("the leader misses it", PATIENCE, || {
        counts(&cluster, leader, LOST).then_some(())
    });
    cluster.start(away);
    wait::until("a state was sent and received", PATIENCE, || {
        let sent = counts(&cluster, leader, SENT);
        (sent && counts(&cluster, away, RECEIVED)).then_some(())
    });
    let about_others = |nth| {
        let mut families = metrics::families(&page(&cluster, nth));
        families.retain(|name, _| name.starts_with(OTHERS));
        families
    };
    let (leads, mut follows) = (about_others(leader), about_others(away));
    // etcd counts a connection that the leader has made anew.
    follows.remove(LOST);
    [leads, follows]
}

fn counts(cluster: &Cluster, nth: usize, name: &str) -> bool {
    page(cluster, nth).contains(name)
}

fn page(cluster: &Cluster, nth: usize) -> String {
    let answer = http::request(cluster.endpoint(nth), "GET", "/metrics", "");
    answer.expect("a page of metrics").body
}
