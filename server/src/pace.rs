//! Rests for long work beside traffic: where every core is busy, a write to
//! the log waits ten times as long for the disk (docs/benchmarks.md).

use crate::member::Member;
use std::time::{Duration, Instant};

/// How long traffic counts as going on after an entry was applied.
const TRAFFIC: Duration = Duration::from_millis(100);

/// How long the rest is beside the step before it, while traffic goes on.
const RESTS: u32 = 2;
/// A rest takes no longer: a step that was kept from its core is not to be paid for.
const REST_MAX: Duration = Duration::from_millis(20);

/// The pace of one piece of long work, which calls `rest` between its steps.
pub struct Pace<'a> {
    member: &'a Member,
    applied: Option<u64>,
    /// When an entry was last seen to have been applied.
    traffic: Option<Instant>,
    /// The end of the last step.
    step: Option<Instant>,
}

impl<'a> Pace<'a> {
    /// The work begins.
    pub fn new(member: &'a Member) -> Self {
        Self {
            member,
            applied: None,
            traffic: None,
            step: None,
        }
    }

    /// Ends a step; blocks, for twice its time, while entries are applied.
    pub fn rest(&mut self) {
        let applied = self.member.node.status().applied_index;
        let last = self.applied.replace(applied);
        if last.is_some_and(|last| last != applied) {
            self.traffic = Some(Instant::now());
        }
        // The first look can't tell.
        if let Some(begun) = self.step
            && self.traffic.is_some_and(|at| at.elapsed() < TRAFFIC)
        {
            std::thread::sleep((begun.elapsed() * RESTS).min(REST_MAX));
        }
        self.step = Some(Instant::now());
    }

    /// The same for work that somebody waits for: only while all threads of the
    /// pool are taken, as the cores are then.
    pub fn rest_if_crowded(&mut self) {
        if self.member.pool.is_crowded() {
            self.rest();
        } else {
            self.step = Some(Instant::now());
        }
    }
}
