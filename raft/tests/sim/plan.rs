//! What a seed decides before anything happens.

use crate::chance::Chance;
use std::sync::{Arc, atomic::AtomicBool};

/// Thousandths, and times in microseconds, unless they say otherwise.
#[derive(Clone, Debug)]
pub struct Plan {
    pub members: u64,
    pub clients: usize,
    pub keys: u64,
    /// How long faults go on.
    pub faults_for: u64,
    /// The mean time between two faults.
    pub faults_every: u64,
    pub heartbeat_ms: u64,
    pub election_ms: u64,
    /// The rest of a client between two requests, at most.
    pub think_max: u64,
    pub wire: Wire,
    pub disk: Disk,
    pub snapshot_entries: u64,
    pub catchup_entries: u64,
    /// How much faster or slower clocks may go than the world's.
    pub skew: u64,
    /// How often an unsynced sector arrives all the same at a power cut.
    pub arrived: u64,
    /// Whoever has just voted loses power.
    pub crash_at_votes: u64,
}

/// What the network does when nothing else is wrong.
#[derive(Clone, Debug)]
pub struct Wire {
    pub delay_min: u64,
    pub delay_max: u64,
    pub lost: u64,
    pub twice: u64,
    /// A stream breaks at a message.
    pub breaks: u64,
}

/// How long disks take, in milliseconds.
#[derive(Clone, Debug)]
pub struct Disk {
    pub write_max: u64,
    pub apply_max: u64,
    /// So often the state makes writers wait, and the log counts as slow.
    pub busy: u64,
    /// So often it takes up to two seconds more.
    pub stalls: u64,
    /// Once it is set, no more.
    pub calm: Arc<AtomicBool>,
}

impl Plan {
    pub fn of(chance: &mut Chance) -> Self {
        let calm = chance.permille(150);
        let fault = |chance: &mut Chance, max: u64| if calm { 0 } else { chance.between(0, max) };
        Self {
            members: chance.pick(&[3, 3, 3, 5, 4]),
            clients: chance.between(2, 6) as usize,
            keys: chance.between(1, 5),
            faults_for: chance.between(20, 60) * 1_000_000,
            faults_every: chance.between(300, 3000) * 1000,
            heartbeat_ms: 100,
            election_ms: 1000,
            think_max: chance.pick(&[20_000, 100_000, 300_000]),
            wire: Wire {
                delay_min: chance.pick(&[0, 1000, 10_000]),
                delay_max: chance.pick(&[2000, 20_000, 100_000]),
                lost: fault(chance, 120),
                twice: fault(chance, 200),
                breaks: fault(chance, 10),
            },
            disk: Disk {
                write_max: chance.pick(&[2, 10, 40]),
                apply_max: chance.pick(&[1, 5, 60]),
                busy: chance.pick(&[0, 500, 1000]),
                stalls: fault(chance, 5),
                calm: Arc::default(),
            },
            snapshot_entries: chance.pick(&[20, 100, 1000]),
            // What is purged can only be had as a whole state, and those are not simulated.
            catchup_entries: u64::MAX,
            skew: chance.pick(&[0, 20, 100]),
            arrived: chance.pick(&[0, 0, 500, 1000]),
            crash_at_votes: chance.pick(&[0, 20, 150]),
        }
    }
}
