//! What a cluster does when members are missing, ours as the reference does: what fails and how,
//! how soon it can be written to again. And the network that other suites cut.

use pb::watch_request::RequestUnion;
use std::time::{Duration, Instant};
use sternpost_conformance::client::Client;
use sternpost_conformance::cluster::failover::Gaps;
use sternpost_conformance::cluster::{Addresses, Cluster, Plan};
use sternpost_conformance::ledger::restarts::number;
use sternpost_conformance::measure::catch_up::fill;
use sternpost_conformance::network::{Network, links::Rule};
use sternpost_conformance::target::Kind;
use sternpost_conformance::wait;
use sternpost_proto::etcdserverpb as pb;
use tokio_stream::StreamExt as _;
use tonic::{Request, Status, Streaming};

/// Kills of the leader that every change is measured with; the margin is asked for only of the
/// long form.
const FAILOVERS: u64 = 3;
const FAILOVERS_LONG: u64 = 20;
/// What scheduling may add to ours.
const MARGIN: Duration = Duration::from_millis(100);
/// A member without a quorum refuses a write after five seconds and two election timeouts; reads
/// it leaves open until the client gives up.
const PATIENCE: Duration = Duration::from_secs(9);
/// On a busy machine.
const REFUSED_WITHIN: Duration = Duration::from_secs(15);
const HEALED_WITHIN: Duration = Duration::from_secs(30);
/// Keys of a store that a learner has to take in, and its time for that.
const LEARNER_KEYS: u64 = 20_000;
const VOTES_WITHIN: Duration = Duration::from_secs(300);

/// `STERNPOST_FAILOVERS` (default 3) kills of each server's leader, in turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_leader_is_replaced_as_soon_as_the_references() {
    let rounds = number("STERNPOST_FAILOVERS", FAILOVERS);
    let mut sides =
        [Kind::Etcd, Kind::Sternpost].map(|kind| (Plan::new(kind, 3).start(), Gaps::default()));
    for _ in 0..rounds {
        for (cluster, gaps) in &mut sides {
            gaps.kill_the_leader(cluster).await;
        }
    }
    for (cluster, gaps) in &sides {
        println!("{}: {gaps}", cluster.name());
    }
    let [(_, etcd), (_, ours)] = &sides;
    if rounds >= FAILOVERS_LONG {
        assert!(ours.median() <= etcd.median() + MARGIN, "the middle one");
        assert!(ours.longest() <= etcd.longest() + MARGIN, "the longest");
    }
}

/// Codes and texts that a lonely member answers with; that it still reads what it has; and
/// that all is well once the others are back, with no hand on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_it_answers_as_the_reference() {
    let mut unlike = Vec::new();
    for leads in [true, false] {
        let mut ours = Plan::new(Kind::Sternpost, 3).start();
        let mut etcd = Plan::new(Kind::Etcd, 3).start();
        let (ours, etcd) = tokio::join!(alone(&mut ours, leads), alone(&mut etcd, leads));
        let pairs = ours.into_iter().zip(etcd);
        let pairs = pairs.filter(|(ours, etcd)| ours != etcd);
        unlike.extend(pairs.map(|(ours, etcd)| format!("it led: {leads}: {ours}; etcd: {etcd}")));
    }
    assert!(unlike.is_empty(), "{}", unlike.join("\n"));
}

/// Leaves one member, and returns what it says to each kind of request.
async fn alone(cluster: &mut Cluster, leads: bool) -> Vec<String> {
    let leader = cluster.wait_leader().await;
    let left = if leads { leader } else { (leader + 1) % 3 };
    put(&cluster.client(left), "before")
        .await
        .expect("a quorum is there");
    let stream = watch_while_led(&cluster.client(left)).await;
    for nth in (0..3).filter(|nth| *nth != left) {
        cluster.kill(nth);
    }
    let client = cluster.client(left);
    // Until then it may think that the others are only slow.
    wait::until_async("that nobody leads is known", HEALED_WITHIN, || async {
        let status = cluster.status(left).await?;
        (status.leader == 0).then_some(())
    })
    .await;
    let mut told = refusals(client.clone()).await;
    told.push(format!(
        "a stream that asked for a leader: {}",
        end_of(stream).await
    ));
    let local = pb::RangeRequest {
        key: "k".into(),
        serializable: true,
        ..Default::default()
    };
    let local = client.kv.clone().range(local).await;
    let local = local.expect("a local read needs nobody").into_inner();
    told.push(format!("a local read: {:?}", local.kvs[0].value));
    for nth in (0..3).filter(|nth| *nth != left) {
        cluster.spawn(nth);
    }
    wait::until_async("a write, with no hand on it", HEALED_WITHIN, || async {
        put(&client, "after").await.ok()
    })
    .await;
    cluster.wait_healthy_all();
    cluster.wait_equal().await;
    told
}

/// A watch that is to end when there is no leader.
async fn watch_while_led(client: &Client) -> Streaming<pb::WatchResponse> {
    let create = pb::WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(pb::WatchCreateRequest {
            key: "k".into(),
            ..Default::default()
        })),
    };
    let requests = tokio_stream::iter([create]).chain(tokio_stream::pending());
    let mut request = Request::new(requests);
    request
        .metadata_mut()
        .insert("hasleader", "true".parse().expect("it is ASCII"));
    let answers = client.watch.clone().watch(request).await;
    let mut answers = answers.expect("there is a leader").into_inner();
    let created = answers.message().await.expect("the watch is made");
    assert!(created.is_some_and(|answer| answer.created));
    answers
}

/// How a stream ends by itself.
async fn end_of(mut stream: Streaming<pb::WatchResponse>) -> String {
    let end = async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return "without a word".to_owned(),
                Err(status) => return format!("{:?} {}", status.code(), status.message()),
            }
        }
    };
    let limited = tokio::time::timeout(HEALED_WITHIN, end).await;
    limited.unwrap_or_else(|_| "not at all".to_owned())
}

/// What it answers to requests that take a quorum, all asked at once.
async fn refusals(client: Client) -> Vec<String> {
    let begun = Instant::now();
    let range = |key: &str| {
        let mut kv = client.kv.clone();
        let request = pb::RangeRequest {
            key: key.to_owned().into(),
            ..Default::default()
        };
        async move { kv.range(limited(request)).await.map(|_| ()) }
    };
    let (mut kv, mut lease) = (client.kv.clone(), client.lease.clone());
    let (mut other, mut maintenance) = (client.kv.clone(), client.maintenance.clone());
    let grant = pb::LeaseGrantRequest { ttl: 100, id: 77 };
    let compaction = pb::CompactionRequest {
        revision: 1,
        physical: false,
    };
    let transfer = pb::MoveLeaderRequest { target_id: 1 };
    let (put, read, granted, compacted, moved, watched) = tokio::join!(
        put(&client, "alone"),
        range("k"),
        async { lease.lease_grant(limited(grant)).await.map(|_| ()) },
        async { kv.compact(limited(compaction)).await.map(|_| ()) },
        async { maintenance.move_leader(limited(transfer)).await.map(|_| ()) },
        async {
            let mut request = limited(pb::RangeRequest::default());
            request
                .metadata_mut()
                .insert("hasleader", "true".parse().expect("it is ASCII"));
            other.range(request).await.map(|_| ())
        },
    );
    assert!(begun.elapsed() < REFUSED_WITHIN, "{:?}", begun.elapsed());
    let all = [
        ("put", put),
        ("linearizable read", read),
        ("lease grant", granted),
        ("compaction", compacted),
        ("move of the leadership", moved),
        ("asked whether there is a leader", watched),
    ];
    let text = |(what, answer): (&str, Result<(), Status>)| match answer {
        Ok(()) => format!("{what}: done"),
        Err(status) => format!("{what}: {:?} {}", status.code(), status.message()),
    };
    all.into_iter().map(text).collect()
}

async fn put(client: &Client, value: &str) -> Result<(), Status> {
    let request = pb::PutRequest {
        key: "k".into(),
        value: value.to_owned().into(),
        ..Default::default()
    };
    client.kv.clone().put(limited(request)).await.map(|_| ())
}

/// A member whose directory was lost must not come back as if it had never voted: it says so and
/// ends; removed and added again it is welcome.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_without_its_data_is_refused_until_it_is_added_again() {
    for kind in [Kind::Etcd, Kind::Sternpost] {
        let mut cluster = Plan::new(kind, 3).start();
        let leader = cluster.wait_leader().await;
        let lost = (leader + 1) % 3;
        put(&cluster.client(leader), "there")
            .await
            .expect("all are there");
        let id = cluster.id(lost).await;
        cluster.kill(lost);
        cluster.empty(lost);
        cluster.spawn(lost);
        let (status, last) = cluster.wait_end(lost);
        assert!(!status.success(), "{kind:?}: {status}: {last}");
        let said = cluster.member(lost).log_text();
        assert!(
            said.contains("has already been bootstrapped"),
            "{kind:?}: {last}"
        );
        cluster.replace(lost, id).await;
        cluster.wait_healthy(lost);
        assert_ne!(cluster.id(lost).await, id, "a removed id never comes back");
        let digest = cluster.wait_equal().await;
        assert_eq!(digest.revision, 2, "{kind:?}");
    }
}

fn limited<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(PATIENCE);
    request
}

/// A store of `STERNPOST_LEARNER_KEYS` keys of a kilobyte each (default 20,000: more than the log
/// keeps), and a promotion that is asked for once, at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_learner_gets_its_vote_with_no_hand_on_it() {
    let keys = number("STERNPOST_LEARNER_KEYS", LEARNER_KEYS);
    let plan = Plan::new(Kind::Sternpost, 1).flag("--sternpost-promote-learners");
    let mut cluster = plan.flag("--quota-backend-bytes=17179869184").start();
    fill(&cluster, 0, keys, keys).await;
    let mut client = cluster.client(0).cluster.clone();
    let add = pb::MemberAddRequest {
        peer_ur_ls: vec![cluster.urls(1).0],
        is_learner: true,
    };
    let added = client.member_add(add).await.expect("there is room for one");
    let id = added.into_inner().member.expect("it is told").id;
    let learner = cluster.join().await;
    cluster.spawn(learner);
    let begun = Instant::now();
    let told = client.member_promote(pb::MemberPromoteRequest { id }).await;
    println!(
        "asked at once: {:?}",
        told.map_err(|status| status.message().to_owned())
    );
    wait::until_async("its vote", VOTES_WITHIN, || {
        let mut client = client.clone();
        async move {
            let members = client.member_list(pb::MemberListRequest { linearizable: true });
            let members = members.await.ok()?.into_inner().members;
            let votes = |member: &pb::Member| member.id == id && !member.is_learner;
            members.iter().any(votes).then_some(())
        }
    })
    .await;
    println!("it votes after {:.1?}", begun.elapsed());
    put(&cluster.client(learner), "by both")
        .await
        .expect("two are a quorum of two");
    cluster.wait_equal().await;
}

/// The suites that cut the network stand on this: one direction of one link is cut, and the
/// cluster moves on without the leader that nobody hears.
#[test]
fn a_leader_that_nobody_hears_is_replaced() {
    let tested = Network::run(3, 1, |network| {
        let plan = Plan::new(Kind::Sternpost, 3).without_fsync();
        let cluster = plan.on(&Addresses::Network(network.clone())).start();
        let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
        runtime.block_on(async {
            let leader = cluster.wait_leader().await;
            let from = host(leader);
            for to in (1..=3).filter(|to| *to != from) {
                network.links().set(from, to, Rule::CUT);
            }
            let next = (leader + 1) % 3;
            wait::until_async("another leader", HEALED_WITHIN, || async {
                let status = cluster.status(next).await?;
                let old = cluster.status(leader).await?.header?.member_id;
                (status.leader != 0 && status.leader != old).then_some(())
            })
            .await;
            put(&cluster.client(next), "without it")
                .await
                .expect("two are a quorum");
            network.links().mend();
            cluster.wait_leader().await;
            cluster.wait_equal().await;
        });
    });
    if let Err(why) = tested {
        Network::missing(&why);
    }
}

fn host(nth: usize) -> u8 {
    u8::try_from(nth + 1).expect("members are few")
}
