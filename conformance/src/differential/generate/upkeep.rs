//! Hashes, alarms, status, members, defragment.

use super::Generator;
use crate::differential::op::Op;
use bytes::Bytes;
use rand::RngExt;
use sternpost_proto::etcdserverpb as pb;

use pb::alarm_request::AlarmAction;

/// An alarm of such a member is as good as one of the server's own, and equal on both.
const SOMEBODY: [u64; 3] = [7, 0, u64::MAX];
/// Asked for on a server of 3.7; only the first two are what it can go down to.
const VERSIONS: [&str; 6] = ["3.6", "3.6.0", "3.5.0", "x.y", "", "3.7.0"];

impl Generator {
    /// The hash of now and of some revisions of the past, and the errors of HashKV.
    ///
    /// A compaction that still deletes may show in the reference's hash, so one that
    /// waits for its end comes first.
    pub(super) fn hashes(&mut self) {
        self.queue.push_back(Op::Settle);
        let mut compacted = self.compacted;
        if !self.compacted_physically {
            let put = Op::Put(pb::PutRequest {
                key: Bytes::from_static(b"h"),
                ..Default::default()
            });
            self.queue.extend([put.clone(), put.clone(), put]);
            self.compact_settled(pb::CompactionRequest {
                revision: self.revision + 1,
                physical: true,
            });
            compacted = self.revision + 1;
            self.queue.push_back(Op::HashKv(self.revision + 3));
        }
        let mut revisions = vec![self.revision, -3, compacted - 1, self.revision + 1000];
        for _ in 0..4 {
            revisions.push(
                self.rng
                    .random_range(compacted.max(1)..=self.revision.max(compacted)),
            );
        }
        revisions.retain(|revision| {
            *revision != compacted
                && !self.cached_hashes.contains(revision)
                && !self.reborn.contains(revision)
        });
        if self.compacted_physically
            && !self.cached_hashes.contains(&0)
            && !self.cached_hashes.contains(&self.revision)
            && !self.reborn.contains(&self.revision)
        {
            revisions.push(0);
        }
        self.queue.extend(revisions.into_iter().map(Op::HashKv));
    }

    /// Raises an alarm, shows what is refused under it, and clears it.
    pub(super) fn alarms(&mut self) -> Op {
        let alarm = 1 + i32::from(self.one_in(3));
        let member_id = SOMEBODY[self.rng.random_range(0..SOMEBODY.len())];
        let alarm_op = |action: AlarmAction, alarm: i32| {
            Op::Alarm(pb::AlarmRequest {
                action: action as i32,
                member_id,
                alarm,
            })
        };
        let under_it = [
            self.put(),
            self.range(),
            self.delete(),
            self.txn(),
            self.wrong(),
            Op::Grant(pb::LeaseGrantRequest { ttl: 5000, id: 9 }),
            Op::Revoke(pb::LeaseRevokeRequest { id: 9 }),
            Op::KeepAlive(vec![1]),
            Op::Status,
            alarm_op(AlarmAction::Get, 0),
            alarm_op(AlarmAction::Get, alarm),
            alarm_op(AlarmAction::Get, 3 - alarm),
        ];
        self.queue.push_back(alarm_op(AlarmAction::Activate, alarm));
        self.queue.push_back(alarm_op(AlarmAction::Activate, alarm));
        self.queue.extend(under_it);
        self.queue
            .push_back(alarm_op(AlarmAction::Deactivate, 3 - alarm));
        self.queue
            .push_back(alarm_op(AlarmAction::Deactivate, alarm));
        self.queue
            .push_back(alarm_op(AlarmAction::Deactivate, alarm));
        self.queue.push_back(alarm_op(AlarmAction::Activate, 0));
        alarm_op(AlarmAction::Get, 0)
    }

    pub(super) fn upkeep(&mut self) -> Op {
        match self.rng.random_range(0..10) {
            0..2 => Op::Members(self.one_in(2)),
            2 if self.one_in(4) => Op::Defragment,
            3 => Op::Hash,
            4 => Op::AuthStatus,
            5 => Op::Authenticate(pb::AuthenticateRequest {
                name: self.word(),
                password: self.word(),
            }),
            6 => Op::MoveLeader(match self.rng.random_range(0..3) {
                0 => None,
                1 => Some(0),
                _ => Some(self.rng.random_range(1..100)),
            }),
            7..9 => Op::Downgrade(self.downgrade_request()),
            _ => Op::Status,
        }
    }

    fn word(&mut self) -> String {
        ["", "root", "nobody"][self.rng.random_range(0..3)].to_owned()
    }

    /// Never one that would begin a downgrade.
    fn downgrade_request(&mut self) -> pb::DowngradeRequest {
        let action = [0, 0, 1, 2, 9][self.rng.random_range(0..5)];
        let harmless = if action == 1 { 2 } else { 0 };
        let version = VERSIONS[self.rng.random_range(harmless..VERSIONS.len())];
        pb::DowngradeRequest {
            action,
            version: version.to_owned(),
        }
    }
}
