//! From a checked request to its applied command: size, request ID, deadline.
//!
//! The command is encoded once, inside [`sternpost_raft::RaftNode::propose`];
//! nothing here copies keys or values.

use crate::{api::status::ApiError, member::Member};
use prometheus::IntGauge;
use prost::{Message as _, encoding::encoded_len_varint};
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use sternpost_proto::internal::{Command, CommandHeader, command::Verb};
use sternpost_raft::ProposeError;
use sternpost_storage::Response;
use tokio::time::{Instant, timeout_at};

/// The rules that this version applies commands by.
const FEATURE_LEVEL: u32 = 1;

/// What became of a command.
#[derive(Debug)]
pub struct Outcome {
    /// Its index in the raft log.
    pub index: u64,
    /// The store's revision after it.
    pub revision: i64,
    /// It changed something beside keys: leases, alarms, members.
    pub changed: bool,
    /// The answer.
    pub response: Response,
}

/// Numbers for commands: unique over members and restarts. As etcd's: 16 bits
/// of the member ID, 40 of the start time in milliseconds, 8 and more to count.
pub struct RequestIds(AtomicU64);

impl RequestIds {
    /// Numbers for this member, started now.
    pub fn new(member_id: u64) -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        let started_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let suffix = (started_ms << 24 >> 24) << 8;
        Self(AtomicU64::new(
            (member_id << 48) | (suffix & ((1 << 48) - 1)),
        ))
    }

    fn next(&self) -> u64 {
        self.0.fetch_add(1, Relaxed)
    }
}

/// The bytes that etcd's log entry would have for this command: its limit is
/// on them, and clients find the same border here.
fn size_in_etcd(id: u64, verb: &Verb) -> usize {
    let body = match verb {
        Verb::Put(request) => request.encoded_len(),
        Verb::DeleteRange(request) => request.encoded_len(),
        Verb::Txn(request) => request.encoded_len(),
        Verb::Compaction(request) => request.encoded_len(),
        Verb::LeaseGrant(request) => request.encoded_len(),
        Verb::LeaseRevoke(request) => request.encoded_len(),
        Verb::LeaseCheckpoints(request) => request.encoded_len(),
        Verb::Alarm(request) => request.encoded_len(),
        Verb::MemberAttributes(request) => request.encoded_len(),
        Verb::ClusterVersion(request) => request.encoded_len(),
    };
    // The header is field 100, a tag of two bytes; it holds the ID alone. The
    // request's own field has a tag of one.
    let header = 2 + 1 + 1 + encoded_len_varint(id);
    header + 1 + encoded_len_varint(body as u64) + body
}

/// Counts a proposal as pending, and as failed unless told otherwise: also
/// when the client goes away and the future is dropped.
struct Pending<'a> {
    member: &'a Member,
    applied: bool,
}

impl<'a> Pending<'a> {
    fn new(member: &'a Member) -> Self {
        gauge(member).inc();
        Self {
            member,
            applied: false,
        }
    }
}

impl Pending<'_> {
    fn applied(&mut self) {
        self.applied = true;
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        gauge(self.member).dec();
        if !self.applied {
            self.member.metrics.server.proposals_failed.inc();
        }
    }
}

fn gauge(member: &Member) -> &IntGauge {
    &member.metrics.server.proposals_pending
}

impl Member {
    /// Proposes a command at once; the future waits until it is applied here,
    /// at most the request timeout. It is small, since thousands of them wait
    /// at a time: the command is not in it.
    pub fn propose(&self, verb: Verb) -> impl Future<Output = Result<Outcome, ApiError>> + use<'_> {
        let started = Instant::now();
        let deadline = started + self.config.request_timeout();
        // Refused, a command was no proposal.
        let proposed = self.command(verb).map(|command| {
            let pending = Pending::new(self);
            let proposal = match self.leadership.has_leader() {
                true => Ok(self.node.propose(command)),
                // Boxed, so that what is rare takes no room in every request.
                false => Err(Box::new(command)),
            };
            (pending, proposal)
        });
        async move {
            let (mut pending, proposal) = proposed?;
            let proposal = match proposal {
                Ok(proposal) => proposal,
                Err(command) => {
                    let elected = Box::pin(self.leadership.wait_for_leader(deadline)).await;
                    // As in etcd, whose own deadline comes out here.
                    elected.map_err(|_| ApiError::ContextDeadlineExceeded)?;
                    self.node.propose(*command)
                }
            };
            let applied = match timeout_at(deadline, proposal).await {
                Ok(Ok(applied)) => applied,
                Ok(Err(ProposeError::Rejected(rejection))) => {
                    pending.applied();
                    return Err(rejection.into());
                }
                Ok(Err(ProposeError::OutcomeUnknown)) => return Err(self.unknown_cause(started)),
                Ok(Err(error)) => return Err(error.into()),
                Err(_elapsed) => return Err(self.timeout_cause(started)),
            };
            pending.applied();
            Ok(Outcome {
                index: applied.mark.index,
                revision: applied.revision,
                changed: !applied.changes.is_empty(),
                response: applied.response?,
            })
        }
    }

    fn command(&self, verb: Verb) -> Result<Command, ApiError> {
        let id = self.request_ids.next();
        if size_in_etcd(id, &verb) > self.config.max_request_bytes {
            return Err(ApiError::RequestTooLarge);
        }
        let header = CommandHeader {
            id,
            user: String::new(),
            auth_revision: 0,
            member_id: self.identity.member_id,
            feature_level: FEATURE_LEVEL,
            proposed_in_term: 0,
        };
        Ok(Command {
            header: Some(header),
            verb: Some(verb),
        })
    }

    /// Why nothing is known of a proposal that was cut off.
    fn unknown_cause(&self, started: Instant) -> ApiError {
        if self.is_stopping() {
            ApiError::Stopped
        } else {
            self.timeout_cause(started)
        }
    }

    /// Which of etcd's timeouts this one is: a request that began shortly
    /// before the leader was elected may have been lost with the one before.
    fn timeout_cause(&self, started: Instant) -> ApiError {
        let window = 2 * self.config.election_timeout;
        match self.leadership.elected_at() {
            Some(elected) if started < elected && started + window > elected => {
                ApiError::TimeoutDueToLeaderFail
            }
            _ => ApiError::Timeout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sternpost_proto::etcdserverpb::PutRequest;

    #[test]
    fn the_size_is_that_of_etcd_s_entry() {
        // Measured on etcd 3.7.1 with a member ID that ends in 0xa040: a value
        // of 1,572,839 bytes under a key of one is the largest that
        // --max-request-bytes=1572864 lets through.
        let id = 0xa040_u64 << 48;
        let put = |value| {
            Verb::Put(PutRequest {
                key: "k".into(),
                value: vec![0; value].into(),
                ..Default::default()
            })
        };
        assert_eq!(size_in_etcd(id, &put(1_572_839)), 1_572_864);
        assert_eq!(size_in_etcd(id, &put(1_572_840)), 1_572_865);
    }

    #[test]
    fn request_ids_are_of_the_member_and_differ() {
        let ids = RequestIds::new(0x2e12_59d4_15f2_a040);
        let (first, second) = (ids.next(), ids.next());
        assert_eq!(first >> 48, 0xa040);
        assert_eq!(second, first + 1);
    }
}
