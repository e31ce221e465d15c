//! Reads packets from all devices, and hands them on by the rules.

use super::device::{Device, PACKET_MAX};
use super::links::Links;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Packets taken from one device before the next has its turn.
const TURN: usize = 64;
/// Packets on their way; a real wire does not hold more either.
const ON_THE_WAY_MAX: usize = 20_000;
/// How soon a stop is noticed.
const LOOK: Duration = Duration::from_millis(20);

/// A packet that arrives later: when, its number (first in, first out), to whom.
type Later = Reverse<(Instant, u64, u8, Vec<u8>)>;

/// The switch.
pub struct Switch {
    devices: Vec<Device>,
    links: Arc<Links>,
    rng: StdRng,
    on_the_way: BinaryHeap<Later>,
    /// When a slow link is free again.
    free_at: BTreeMap<(u8, u8), Instant>,
    number: u64,
}

impl Switch {
    /// Between these devices; chance follows the seed.
    pub fn new(devices: Vec<Device>, links: Arc<Links>, seed: u64) -> Self {
        Self {
            devices,
            links,
            rng: StdRng::seed_from_u64(seed),
            on_the_way: BinaryHeap::new(),
            free_at: BTreeMap::new(),
            number: 0,
        }
    }

    /// Works until it is stopped.
    pub fn run(mut self, stop: &AtomicBool) {
        let mut buffer = vec![0; PACKET_MAX];
        while !stop.load(Ordering::Relaxed) {
            self.wait();
            for nth in 0..self.devices.len() {
                for _ in 0..TURN {
                    let Some(length) = self.devices[nth].receive(&mut buffer) else {
                        break;
                    };
                    let from = self.devices[nth].number;
                    self.take(from, &buffer[..length]);
                }
            }
            self.deliver_due();
        }
    }

    /// Until a packet comes, or one is due.
    fn wait(&self) {
        let due = self.on_the_way.peek().map(|Reverse(packet)| packet.0);
        let until_due = due.map(|at| at.saturating_duration_since(Instant::now()));
        let limit = until_due.unwrap_or(LOOK).min(LOOK);
        let mut waits: Vec<libc::pollfd> = self
            .devices
            .iter()
            .map(|device| libc::pollfd {
                fd: device.descriptor(),
                events: libc::POLLIN,
                revents: 0,
            })
            .collect();
        let count = libc::nfds_t::try_from(waits.len()).expect("hosts are few");
        let limit = libc::timespec {
            tv_sec: 0,
            tv_nsec: i64::from(limit.subsec_nanos()),
        };
        // SAFETY: the array and its length belong together, and outlive the call.
        unsafe {
            libc::ppoll(
                waits.as_mut_ptr(),
                count,
                &raw const limit,
                std::ptr::null(),
            )
        };
    }

    /// A packet from a host.
    fn take(&mut self, from: u8, packet: &[u8]) {
        // IPv4 alone; the last byte of the receiver's address is its host's number.
        let Some(to) = packet
            .get(19)
            .copied()
            .filter(|_| packet[0] >> 4 == 4 && packet[16] == 10)
        else {
            return;
        };
        let rule = self.links.rule(from, to);
        if rule.cut || self.chance(rule.loss_percent) {
            return;
        }
        let copies = 1 + usize::from(self.chance(rule.twice_percent));
        for _ in 0..copies {
            let mut wait = rule.delay;
            if !rule.jitter.is_zero() {
                wait += rule.jitter.mul_f64(self.rng.random_range(0.0..1.0));
            }
            let mut at = Instant::now() + wait;
            if let Some(rate) = rule.bytes_per_sec {
                let free = self.free_at.entry((from, to)).or_insert(at);
                at = at.max(*free);
                let length = u64::try_from(packet.len()).unwrap_or(u64::MAX);
                *free = at + Duration::from_nanos(length * 1_000_000_000 / rate.max(1));
            }
            if wait.is_zero() && rule.bytes_per_sec.is_none() {
                self.deliver(to, packet);
            } else if self.on_the_way.len() < ON_THE_WAY_MAX {
                self.number += 1;
                let later = (at, self.number, to, packet.to_vec());
                self.on_the_way.push(Reverse(later));
            }
        }
    }

    fn chance(&mut self, percent: u32) -> bool {
        percent > 0 && self.rng.random_ratio(percent.min(100), 100)
    }

    fn deliver_due(&mut self) {
        let now = Instant::now();
        while let Some(Reverse(packet)) = self.on_the_way.peek() {
            if packet.0 > now {
                return;
            }
            if let Some(Reverse((_, _, to, packet))) = self.on_the_way.pop() {
                self.deliver(to, &packet);
            }
        }
    }

    fn deliver(&mut self, to: u8, packet: &[u8]) {
        if let Some(device) = self.devices.iter_mut().find(|device| device.number == to) {
            device.send(packet);
        }
    }
}
