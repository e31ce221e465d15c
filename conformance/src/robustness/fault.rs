//! What happens to members and links in a run.

use crate::cluster::Cluster;
use crate::disk::faults::{self, Faults};
use crate::network::links::Rule;
use crate::network::{CLIENTS, Network};
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use std::sync::Arc;
use std::time::Duration;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// kill -9 of the leader.
    KillLeader,
    /// kill -9 of a follower.
    KillFollower,
    /// kill -9 of two, so that there is no quorum.
    KillTwo,
    /// kill -9 of all.
    KillAll,
    /// SIGTERM to the leader.
    StopLeader,
    /// SIGSTOP of the leader, SIGCONT later.
    PauseLeader,
    /// The same of a follower.
    PauseFollower,
    /// The leadership is moved on and on.
    MoveLeader,
    /// A follower is removed, emptied, and added again.
    Replace,
    /// Every sync of a member takes long.
    SlowDisk,
    /// The leader is cut off from members, not from clients.
    LeaderAlone,
    /// Members do not hear the leader; it hears them.
    LeaderUnheard,
    /// The leader does not hear members; they hear it.
    LeaderDeaf,
    /// A follower is cut off from members, not from clients.
    FollowerAlone,
    /// A follower does not hear the leader.
    FollowerDeaf,
    /// Two members do not hear each other, both hear the third.
    Bridge,
    /// Nobody hears anybody.
    AllAlone,
    /// The clients of the leader are cut off, and come back.
    ClientsOfLeader,
    /// Packets between members are lost and doubled.
    Loss,
    /// Packets between members are late and overtake each other.
    Delay,
    /// Members have a slow link.
    Slow,
}

/// All that need no network of our own.
const PROCESSES: [Fault; 10] = [
    Fault::KillLeader,
    Fault::KillFollower,
    Fault::KillTwo,
    Fault::KillAll,
    Fault::StopLeader,
    Fault::PauseLeader,
    Fault::PauseFollower,
    Fault::MoveLeader,
    Fault::Replace,
    Fault::SlowDisk,
];
/// All that do.
const LINKS: [Fault; 11] = [
    Fault::LeaderAlone,
    Fault::LeaderUnheard,
    Fault::LeaderDeaf,
    Fault::FollowerAlone,
    Fault::FollowerDeaf,
    Fault::Bridge,
    Fault::AllAlone,
    Fault::ClientsOfLeader,
    Fault::Loss,
    Fault::Delay,
    Fault::Slow,
];
/// Longer than an election.
const LASTS_MS: std::ops::Range<u64> = 1200..3000;
/// A sync then takes more than an election at the faster settings.
const SLOW_SYNC: Duration = Duration::from_millis(400);
/// Of a link that is slow.
const SLOW_BYTES: u64 = 30_000;

/// All kinds that there can be here.
#[must_use]
pub fn kinds(network: bool) -> Vec<Fault> {
    let links = LINKS.iter().filter(|_| network);
    PROCESSES.iter().chain(links).copied().collect()
}

/// Kinds by their names, separated by commas.
///
/// # Panics
/// When there is no such kind.
#[must_use]
pub fn named(names: &str) -> Vec<Fault> {
    let all = kinds(true);
    let find = |name: &str| {
        let found = all.iter().find(|kind| format!("{kind:?}") == name.trim());
        *found.unwrap_or_else(|| panic!("no fault is named {name}, there are {all:?}"))
    };
    names.split(',').map(find).collect()
}

/// Lets it happen, waits, and undoes it.
///
/// # Panics
/// When a member does not come back.
pub async fn happen(fault: Fault, cluster: &mut Cluster, disk: &Faults, rng: &mut StdRng) {
    let leader = cluster.wait_leader().await;
    let others: Vec<usize> = (0..cluster.size()).filter(|nth| *nth != leader).collect();
    let other = *others.choose(rng).expect("a cluster has followers");
    let lasts = Duration::from_millis(rng.random_range(LASTS_MS));
    match fault {
        Fault::KillLeader => kill(cluster, &[leader], lasts).await,
        Fault::KillFollower => kill(cluster, &[other], lasts).await,
        Fault::KillTwo => kill(cluster, &[leader, other], lasts).await,
        Fault::KillAll => kill(cluster, &[leader, others[0], others[1]], Duration::ZERO).await,
        Fault::StopLeader => {
            cluster.stop(leader);
            tokio::time::sleep(lasts).await;
            cluster.spawn(leader);
        }
        Fault::PauseLeader => pause(cluster, leader, lasts).await,
        Fault::PauseFollower => pause(cluster, other, lasts).await,
        Fault::MoveLeader => move_leader(cluster, lasts).await,
        Fault::Replace => replace(cluster, other).await,
        Fault::SlowDisk => {
            let nth = rng.random_range(0..cluster.size());
            let dir = cluster.member(nth).data_dir();
            disk.arm(faults::Fault::Slow(SLOW_SYNC), &dir.display().to_string());
            tokio::time::sleep(lasts).await;
            disk.disarm();
        }
        _ => {
            let network = cluster.network().expect("asked for with a network only");
            cut(fault, &network, leader, other);
            tokio::time::sleep(lasts).await;
            network.links().mend();
        }
    }
    // What was stopped comes back by itself, however long that takes.
    cluster.wait_healthy_all();
}

async fn kill(cluster: &mut Cluster, members: &[usize], lasts: Duration) {
    for nth in members {
        cluster.kill(*nth);
    }
    tokio::time::sleep(lasts).await;
    for nth in members {
        cluster.spawn(*nth);
    }
}

async fn pause(cluster: &mut Cluster, nth: usize, lasts: Duration) {
    cluster.pause(nth);
    tokio::time::sleep(lasts).await;
    cluster.resume(nth);
}

async fn move_leader(cluster: &Cluster, lasts: Duration) {
    let until = tokio::time::Instant::now() + lasts;
    while tokio::time::Instant::now() < until {
        let next = cluster.follower().await;
        cluster.make_leader(next).await;
    }
}

/// A member's disk is gone.
async fn replace(cluster: &mut Cluster, nth: usize) {
    let id = cluster.id(nth).await;
    cluster.kill(nth);
    cluster.empty(nth);
    cluster.replace(nth, id).await;
}

fn cut(fault: Fault, network: &Arc<Network>, leader: usize, other: usize) {
    let links = network.links();
    let host = |nth: usize| u8::try_from(nth + 1).expect("members are few");
    let (leader, other) = (host(leader), host(other));
    let third = 6 - leader - other;
    match fault {
        Fault::LeaderAlone => {
            links.set_both(leader, other, Rule::CUT);
            links.set_both(leader, third, Rule::CUT);
        }
        Fault::LeaderUnheard => {
            links.set(leader, other, Rule::CUT);
            links.set(leader, third, Rule::CUT);
        }
        Fault::LeaderDeaf => {
            links.set(other, leader, Rule::CUT);
            links.set(third, leader, Rule::CUT);
        }
        Fault::FollowerAlone => {
            links.set_both(other, leader, Rule::CUT);
            links.set_both(other, third, Rule::CUT);
        }
        Fault::FollowerDeaf => links.set(leader, other, Rule::CUT),
        Fault::Bridge => links.set_both(leader, other, Rule::CUT),
        Fault::ClientsOfLeader => links.set_both(leader, CLIENTS, Rule::CUT),
        _ => {
            let rule = everywhere(fault);
            for (one, other) in [(leader, other), (leader, third), (other, third)] {
                links.set_both(one, other, rule);
            }
        }
    }
}

/// What happens to every link between members.
fn everywhere(fault: Fault) -> Rule {
    match fault {
        Fault::Loss => Rule {
            loss_percent: 25,
            twice_percent: 10,
            ..Rule::default()
        },
        Fault::Delay => Rule {
            delay: Duration::from_millis(40),
            jitter: Duration::from_millis(80),
            ..Rule::default()
        },
        Fault::Slow => Rule {
            bytes_per_sec: Some(SLOW_BYTES),
            ..Rule::default()
        },
        _ => Rule::CUT,
    }
}
