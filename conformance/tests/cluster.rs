//! The harness itself, and what a cluster of either server must do.

use std::time::Duration;
use sternpost_conformance::cluster::{Addresses, Plan};
use sternpost_conformance::network::{Network, links::Rule};
use sternpost_conformance::target::Kind;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x() {
    let mut cluster = Plan::new(Kind::Etcd, 3).start();
    let leader = cluster.wait_leader().await;
    println!("leader {leader}");
    cluster.make_leader((leader + 1) % 3).await;
    cluster.kill(0);
    cluster.wait_leader().await;
    cluster.start(0);
    println!("{:?}", cluster.wait_equal().await);
}

#[test]
fn n() {
    Network::run(3, 1, |network| {
        let cluster = Plan::new(Kind::Etcd, 3)
            .on(&Addresses::Network(network.clone()))
            .start();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let leader = cluster.wait_leader().await;
            println!("{:?}", cluster.wait_equal().await);
            let begun = std::time::Instant::now();
            let one = u8::try_from(leader + 1).unwrap();
            for other in 1..=3 {
                network.links().set(one, other, Rule::CUT);
            }
            while cluster.leader().await.is_none_or(|now| now == leader) {
                tokio::time::sleep(Duration::from_millis(20)).await;
                let mut s = vec![];
                for n in 0..3 {
                    let st = cluster.status(n).await;
                    s.push(st.map(|s| (s.leader, s.raft_term)));
                }
                if begun.elapsed() > Duration::from_secs(5) {
                    println!("{s:?}");
                    break;
                }
            }
            network.links().mend();
            println!("{} {:?}", cluster.wait_leader().await, begun.elapsed());
        });
    })
    .unwrap();
}
