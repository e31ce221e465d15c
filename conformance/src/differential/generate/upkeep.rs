//! Hashes, alarms, status, members, defragment.

use super::Generator;
use crate::differential::op::Op;
use bytes::Bytes;
use rand::RngExt;
use sternpost_proto::etcdserverpb as pb;

use pb::alarm_request::AlarmAction;

/// An alarm of this member is as good as one of the server's own, and equal on both.
const SOMEBODY: u64 = 7;

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
        revisions
            .retain(|revision| *revision != compacted && !self.cached_hashes.contains(revision));
        if self.compacted_physically
            && !self.cached_hashes.contains(&0)
            && !self.cached_hashes.contains(&self.revision)
        {
            revisions.push(0);
        }
        self.queue.extend(revisions.into_iter().map(Op::HashKv));
    }

    /// Raises an alarm, shows what is refused under it, and clears it.
    pub(super) fn alarms(&mut self) -> Op {
        let alarm = 1 + i32::from(self.one_in(3));
        let alarm_op = |action: AlarmAction, alarm: i32| {
            Op::Alarm(pb::AlarmRequest {
                action: action as i32,
                member_id: SOMEBODY,
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
        match self.rng.random_range(0..4) {
            0 => Op::Members(self.one_in(2)),
            1 if self.one_in(4) => Op::Defragment,
            _ => Op::Status,
        }
    }
}
