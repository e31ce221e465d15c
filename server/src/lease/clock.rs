//! The countdown: when each lease ends, on the leader alone.
//!
//! It decides nothing for the cluster. An expiry found here becomes a
//! proposal; the lease is gone when that is applied. All times are
//! microseconds of a clock that the caller reads, so that tests turn it by
//! hand. (Less would not do: a lease just granted for 60 s has 59 whole ones left.)
//!
//! Leases live in shards, because they are renewed from all RPC threads. A
//! shard keeps one wake-up per lease in a heap and doesn't touch it when the
//! lease is renewed: a wake-up that finds its lease renewed moves on to the new
//! deadline. A renewal is a lookup and a store under the shard's lock.

use parking_lot::Mutex;
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};
use sternpost_storage::LeaseInfo;

/// Shards, by the lease ID's low bits.
const SHARDS: usize = 64;
/// A lease that has more than this left gets a checkpoint after as much time.
pub const CHECKPOINT_EVERY_US: u64 = 5 * 60 * 1_000_000;
/// Stale wake-ups a heap may hold besides one for each lease.
const STALE_MAX: usize = 64;

/// What a renewal finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// Renewed to so many seconds from now.
    Renewed(i64),
    /// No such lease.
    Unknown,
    /// Its time is over, and its end is on the way: wait for it.
    Expired,
    /// A checkpoint is being written: wait for it.
    Checkpointing,
    /// A checkpoint counts: it must be cleared first, or a change of leader
    /// would cut the renewed lease short.
    Checkpointed,
}

/// One lease.
struct Lease {
    ttl_secs: i64,
    /// The checkpoint that the log knows, 0 for none.
    checkpoint_secs: i64,
    deadline_us: u64,
    /// When its valid wake-up in `expiries` fires.
    expiry_wake_us: u64,
    /// When its valid wake-up in `checkpoints` fires; `None`: it has none.
    checkpoint_wake_us: Option<u64>,
    /// Its expiry is proposed: no renewal may answer any more.
    expiring: bool,
    /// Its checkpoint is proposed: no renewal may answer now.
    checkpointing: bool,
}

type Wakes = BinaryHeap<Reverse<(u64, i64)>>;

#[derive(Default)]
struct Shard {
    leases: HashMap<i64, Lease>,
    expiries: Wakes,
    checkpoints: Wakes,
}

/// All leases of a leader.
pub struct Countdown {
    shards: Vec<Mutex<Shard>>,
    checkpoints_on: bool,
}

impl Countdown {
    /// No leases.
    pub fn new(checkpoints_on: bool) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            checkpoints_on,
        }
    }

    fn shard(&self, id: i64) -> &Mutex<Shard> {
        // The low bits of random and of counted-up IDs both spread well.
        &self.shards[id.rem_euclid(SHARDS as i64) as usize]
    }

    /// Forgets all leases.
    pub fn clear(&self) {
        for shard in &self.shards {
            *shard.lock() = Shard::default();
        }
    }

    /// Makes the leases those of `leases`. Known ones keep their deadline; new
    /// ones start with what they have by the log, and `extend_us` on top.
    pub fn reconcile(&self, leases: &[LeaseInfo], extend_us: u64, now_us: u64) {
        let listed: std::collections::HashSet<i64> =
            leases.iter().map(|lease| lease.id.0).collect();
        for shard in &self.shards {
            shard.lock().leases.retain(|id, _| listed.contains(id));
        }
        for lease in leases {
            let mut shard = self.shard(lease.id.0).lock();
            match shard.leases.get_mut(&lease.id.0) {
                Some(known) if known.ttl_secs == lease.ttl_secs => {
                    known.checkpoint_secs = lease.remaining_secs
                }
                // Unknown, or another lease under an ID that was used again.
                Some(_) | None => self.insert(&mut shard, lease, extend_us, now_us),
            }
        }
    }

    /// A lease was granted. One that is known already stays as it is.
    pub fn granted(&self, lease: &LeaseInfo, now_us: u64) {
        let mut shard = self.shard(lease.id.0).lock();
        if !shard.leases.contains_key(&lease.id.0) {
            self.insert(&mut shard, lease, 0, now_us);
        }
    }

    fn insert(&self, shard: &mut Shard, lease: &LeaseInfo, extend_us: u64, now_us: u64) {
        let id = lease.id.0;
        let left_secs = if lease.remaining_secs > 0 {
            lease.remaining_secs
        } else {
            lease.ttl_secs
        };
        let deadline_us = now_us
            .saturating_add(extend_us)
            .saturating_add(to_us(left_secs));
        shard.expiries.push(Reverse((deadline_us, id)));
        let mut inserted = Lease {
            ttl_secs: lease.ttl_secs,
            checkpoint_secs: lease.remaining_secs,
            deadline_us,
            expiry_wake_us: deadline_us,
            checkpoint_wake_us: None,
            expiring: false,
            checkpointing: false,
        };
        self.schedule_checkpoint(&mut shard.checkpoints, id, &mut inserted, now_us);
        shard.leases.insert(id, inserted);
        shard.drop_stale();
    }

    fn schedule_checkpoint(
        &self,
        checkpoints: &mut Wakes,
        id: i64,
        lease: &mut Lease,
        now_us: u64,
    ) {
        let left_secs = if lease.checkpoint_secs > 0 {
            lease.checkpoint_secs
        } else {
            lease.ttl_secs
        };
        let is_long = to_us(left_secs) > CHECKPOINT_EVERY_US;
        lease.checkpoint_wake_us =
            (self.checkpoints_on && is_long).then_some(now_us + CHECKPOINT_EVERY_US);
        if let Some(wake_us) = lease.checkpoint_wake_us {
            checkpoints.push(Reverse((wake_us, id)));
        }
    }

    /// A lease is gone.
    pub fn revoked(&self, id: i64) {
        let mut shard = self.shard(id).lock();
        shard.leases.remove(&id);
        shard.drop_stale();
    }

    /// A lease's checkpoint was applied, or cleared.
    pub fn checkpointed(&self, lease: &LeaseInfo, now_us: u64) {
        let mut shard = self.shard(lease.id.0).lock();
        let Shard {
            leases,
            checkpoints,
            ..
        } = &mut *shard;
        if let Some(known) = leases.get_mut(&lease.id.0) {
            known.checkpoint_secs = lease.remaining_secs;
            self.schedule_checkpoint(checkpoints, lease.id.0, known, now_us);
        }
        shard.drop_stale();
    }

    /// Renews a lease, unless something stands against it.
    pub fn renew(&self, id: i64, now_us: u64) -> Renewal {
        let mut shard = self.shard(id).lock();
        let Some(lease) = shard.leases.get_mut(&id) else {
            return Renewal::Unknown;
        };
        if lease.expiring || lease.deadline_us <= now_us {
            return Renewal::Expired;
        }
        if lease.checkpointing {
            return Renewal::Checkpointing;
        }
        if lease.checkpoint_secs > 0 {
            return Renewal::Checkpointed;
        }
        lease.deadline_us = now_us.saturating_add(to_us(lease.ttl_secs));
        Renewal::Renewed(lease.ttl_secs)
    }

    /// Microseconds left, negative once they are over, and granted seconds.
    pub fn remaining(&self, id: i64, now_us: u64) -> Option<(i64, i64)> {
        let shard = self.shard(id).lock();
        let lease = shard.leases.get(&id)?;
        Some((
            lease.deadline_us.saturating_sub(now_us) as i64
                - now_us.saturating_sub(lease.deadline_us) as i64,
            lease.ttl_secs,
        ))
    }

    /// All leases, the one that ends first in front.
    pub fn by_deadline(&self) -> Vec<i64> {
        let mut all: Vec<(u64, i64)> = Vec::new();
        for shard in &self.shards {
            all.extend(
                shard
                    .lock()
                    .leases
                    .iter()
                    .map(|(id, lease)| (lease.deadline_us, *id)),
            );
        }
        all.sort_unstable();
        all.into_iter().map(|(_, id)| id).collect()
    }

    /// At most `max` leases whose time is over. They stay expiring until they
    /// are revoked or given back by [`Countdown::retry_expiry`].
    pub fn take_expired(&self, max: usize, now_us: u64) -> Vec<i64> {
        let mut expired = Vec::new();
        for shard in &self.shards {
            if expired.len() >= max {
                break;
            }
            shard.lock().take_expired(&mut expired, max, now_us);
        }
        expired
    }

    /// The revoke of an expired lease failed: it is found again from
    /// `again_us` on. It can't be renewed before.
    pub fn retry_expiry(&self, id: i64, again_us: u64) {
        let mut shard = self.shard(id).lock();
        let Shard {
            leases, expiries, ..
        } = &mut *shard;
        if let Some(lease) = leases.get_mut(&id) {
            lease.expiry_wake_us = again_us;
            expiries.push(Reverse((again_us, id)));
        }
    }

    /// At most `max` leases whose checkpoint is due, with the seconds left.
    /// They can't be renewed until [`Countdown::checkpoint_ended`].
    pub fn take_checkpoints(&self, max: usize, now_us: u64) -> Vec<(i64, i64)> {
        let mut due = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.lock();
            while due.len() < max
                && let Some((wake_us, id)) = shard.checkpoints.peek().map(|wake| wake.0)
                && wake_us <= now_us
            {
                shard.checkpoints.pop();
                if let Some(lease) = shard.leases.get_mut(&id)
                    && lease.checkpoint_wake_us == Some(wake_us)
                {
                    lease.checkpoint_wake_us = None;
                    let left_secs =
                        i64::try_from(lease.deadline_us.saturating_sub(now_us).div_ceil(1_000_000))
                            .unwrap_or(i64::MAX);
                    if left_secs > 0 && left_secs < lease.ttl_secs {
                        lease.checkpointing = true;
                        due.push((id, left_secs));
                    }
                }
            }
        }
        due
    }

    /// The proposal of a checkpoint has ended. It counts from now on, also if
    /// its outcome is not known: at worst a renewal clears one too many.
    pub fn checkpoint_ended(&self, id: i64, left_secs: i64, now_us: u64) {
        let mut shard = self.shard(id).lock();
        let Shard {
            leases,
            checkpoints,
            ..
        } = &mut *shard;
        if let Some(lease) = leases.get_mut(&id) {
            lease.checkpointing = false;
            lease.checkpoint_secs = left_secs;
            if lease.checkpoint_wake_us.is_none() {
                self.schedule_checkpoint(checkpoints, id, lease, now_us);
            }
        }
    }

    /// How many leases there are.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.lock().leases.len())
            .sum()
    }

    /// How many wake-ups the heaps hold.
    #[cfg(test)]
    fn wakes(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.lock())
            .map(|shard| shard.expiries.len() + shard.checkpoints.len())
            .sum()
    }
}

impl Shard {
    fn take_expired(&mut self, expired: &mut Vec<i64>, max: usize, now_us: u64) {
        while expired.len() < max
            && let Some((wake_us, id)) = self.expiries.peek().map(|wake| wake.0)
            && wake_us <= now_us
        {
            self.expiries.pop();
            let Some(lease) = self.leases.get_mut(&id) else {
                continue;
            };
            if lease.expiry_wake_us != wake_us {
                continue;
            }
            if lease.deadline_us > now_us && !lease.expiring {
                lease.expiry_wake_us = lease.deadline_us;
                self.expiries.push(Reverse((lease.deadline_us, id)));
                continue;
            }
            lease.expiring = true;
            expired.push(id);
        }
    }

    /// Wake-ups of leases that are gone leave by themselves only when they
    /// fire, which may be years away: sweep them out before they pile up.
    fn drop_stale(&mut self) {
        let leases = &self.leases;
        if self.expiries.len() > 2 * leases.len() + STALE_MAX {
            self.expiries.retain(|Reverse((at, id))| {
                leases
                    .get(id)
                    .is_some_and(|lease| lease.expiry_wake_us == *at)
            });
        }
        if self.checkpoints.len() > 2 * leases.len() + STALE_MAX {
            self.checkpoints.retain(|Reverse((at, id))| {
                leases
                    .get(id)
                    .is_some_and(|lease| lease.checkpoint_wake_us == Some(*at))
            });
        }
    }
}

/// A lease's seconds; the TTL is limited far below what could overflow.
fn to_us(secs: i64) -> u64 {
    u64::try_from(secs).unwrap_or(0).saturating_mul(1_000_000)
}

#[cfg(test)]
mod tests;
