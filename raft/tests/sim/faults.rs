//! What goes wrong, as the seed says.

use crate::{network::Weather, world::World};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

/// One fault after the other. At the end all is well again.
pub async fn run(world: Arc<World>, seed: u64, faults: u32) {
    let mut rng = StdRng::seed_from_u64(seed);
    for _ in 0..faults {
        sleep(Duration::from_millis(rng.random_range(100..1800))).await;
        let member = rng.random_range(1..=world.size());
        let other = rng.random_range(1..=world.size());
        match rng.random_range(0..10) {
            0 => isolate(&world, member),
            1 => world.network.cut(member, other),
            2 => {
                world.network.cut(member, other);
                world.network.cut(other, member);
            }
            3 | 4 => world.network.heal(),
            5 => world.network.set_weather(Weather {
                delay_ms_max: rng.random_range(1..80),
                lost: rng.random_range(0..15),
                doubled: rng.random_range(0..30),
                broken: rng.random_range(0..10),
            }),
            6 => world.network.set_weather(Weather::FINE),
            7 => {
                if let Some(node) = world.node(member) {
                    let _ = node.transfer_leader(other).await;
                }
            }
            _ => crash(&world, &mut rng, member).await,
        }
    }
    world.network.heal();
    world.network.set_weather(Weather::FINE);
    for member in 1..=world.size() {
        if world.node(member).is_none() {
            world.start(member).await;
        }
    }
}

fn isolate(world: &World, member: u64) {
    for other in 1..=world.size() {
        world.network.cut(member, other);
        world.network.cut(other, member);
    }
}

/// The power of a member, or of all of them, goes; or what is down starts.
async fn crash(world: &Arc<World>, rng: &mut StdRng, member: u64) {
    if world.node(member).is_none() {
        world.start(member).await;
    } else if rng.random_bool(0.1) {
        for member in 1..=world.size() {
            world.crash(member, rng);
        }
    } else {
        world.crash(member, rng);
    }
}
