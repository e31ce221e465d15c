//! Random steps. Keys are few, so that everything meets everything; numbers
//! that only make sense beside the store's revision are drawn raw and bent
//! into shape by [`Plan::settle`] once that revision is known.

use bytes::Bytes;
use proptest::{
    collection::vec,
    prelude::{BoxedStrategy, Just, Strategy, any, prop_oneof},
    sample::select,
};
use prost::Message as _;
use std::{fmt, sync::Arc};
use sternpost_proto::{
    etcdserverpb::{self as pb, compare::TargetUnion, request_op::Request},
    internal::{self, Command, command::Verb},
};
use sternpost_storage::{
    EntryPayload,
    testing::{Engine as _, Model, script::Step},
};

/// A step whose revisions are still raw.
#[derive(Clone)]
pub struct Plan(Step);

/// The script shows what became of it, so that nobody has to read raw plans.
impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

/// What raw numbers are bent to.
#[derive(Clone, Copy)]
struct Now {
    revision: i64,
    compact_revision: i64,
    term: u64,
}

impl Plan {
    /// A step with raw revisions.
    pub fn new(step: Step) -> Self {
        Self(step)
    }

    /// The step that is to be run on stores in the model's state.
    pub fn settle(&self, model: &Model) -> Step {
        let summary = model.summary();
        let now = Now {
            revision: summary.revision,
            compact_revision: summary.compact_revision,
            term: summary.applied.map_or(1, |mark| mark.term),
        };
        let mut step = self.0.clone();
        match &mut step {
            Step::Apply(payloads) => payloads
                .iter_mut()
                .for_each(|payload| now.settle_payload(payload)),
            Step::Range(request) => now.settle_range(request),
            Step::Stream(_, request) => {
                now.settle_range(request);
                request.sort_order = 0;
                request.sort_target = 0;
                request.min_mod_revision = 0;
                request.max_mod_revision = 0;
                request.min_create_revision = 0;
                request.max_create_revision = 0;
                request.count_only = false;
            }
            Step::ReadTxn(request) => now.settle_txn(request),
            Step::History(revision, _) | Step::Hash(revision) => *revision = now.settle(*revision),
            Step::Term(term) => *term = now.term + *term % 2,
            _ => {}
        }
        step
    }
}

impl Now {
    /// Mostly a readable revision; also 0, both ends, and just beyond them.
    fn settle(self, raw: i64) -> i64 {
        let (kind, number) = (raw % 8, raw / 8);
        let first = self.compact_revision.max(0);
        match kind {
            0 => 0,
            1 => self.revision,
            2 => self.compact_revision,
            3 => match number % 8 {
                0 => self.compact_revision - 1,
                1 => self.revision + 1,
                2 => -1,
                3 => i64::MAX,
                4 => i64::MIN,
                _ => self.compact_revision + 1,
            },
            _ => first + number % (self.revision - first + 1),
        }
    }

    fn settle_payload(self, payload: &mut EntryPayload) {
        let EntryPayload::Command(command) = payload else {
            return;
        };
        match Arc::make_mut(command)
            .verb
            .as_mut()
            .expect("plans hold known commands")
        {
            Verb::Txn(request) => self.settle_txn(request),
            Verb::Compaction(request) => request.revision = self.settle(request.revision),
            Verb::LeaseRevoke(revoke) if revoke.expired_in_term != 0 => {
                revoke.expired_in_term =
                    self.term.saturating_sub(revoke.expired_in_term % 2).max(1);
            }
            _ => {}
        }
    }

    fn settle_range(self, request: &mut pb::RangeRequest) {
        request.revision = self.settle(request.revision);
        let bounds = [
            &mut request.min_mod_revision,
            &mut request.max_mod_revision,
            &mut request.min_create_revision,
            &mut request.max_create_revision,
        ];
        for bound in bounds {
            *bound %= self.revision + 2;
        }
    }

    fn settle_txn(self, request: &mut pb::TxnRequest) {
        for compare in &mut request.compare {
            if let Some(TargetUnion::CreateRevision(number) | TargetUnion::ModRevision(number)) =
                &mut compare.target_union
            {
                *number = self.settle(*number);
            }
        }
        for operation in request.success.iter_mut().chain(&mut request.failure) {
            match operation.request.as_mut() {
                Some(Request::RequestRange(range)) => self.settle_range(range),
                Some(Request::RequestTxn(nested)) => self.settle_txn(nested),
                _ => {}
            }
        }
    }
}

/// Random plans for one run, and a look at everything in the end.
pub fn plans() -> impl Strategy<Value = Vec<Plan>> {
    let checked = step().prop_map(|mut step| {
        if let Step::Apply(payloads) = &mut step {
            payloads.iter_mut().for_each(drop_conflicts_of);
        }
        Plan(step)
    });
    vec(checked, 1..70).prop_map(|mut plans| {
        plans.extend([Step::Verify, Step::Scrub(None), Step::Verify].map(Plan));
        plans
    })
}

/// Entries that nobody has checked: transactions that write a key twice,
/// revisions that make no sense.
pub fn unchecked_payloads() -> impl Strategy<Value = Vec<EntryPayload>> {
    vec(payload(), 1..40)
}

fn drop_conflicts_of(payload: &mut EntryPayload) {
    if let EntryPayload::Command(command) = payload
        && let Some(Verb::Txn(request)) = &mut Arc::make_mut(command).verb
    {
        drop_conflicts(request);
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        40 => payload().prop_map(|payload| Step::Apply(vec![payload])),
        10 => vec(payload(), 2..9).prop_map(Step::Apply),
        1 => burst().prop_map(Step::Apply),
        10 => range_request().prop_map(Step::Range),
        3 => (1..4_usize, range_request()).prop_map(|(chunk, request)| Step::Stream(chunk, request)),
        3 => txn(read_operation().boxed()).prop_map(Step::ReadTxn),
        2 => range().prop_map(|(key, range_end)| Step::Count(key, range_end)),
        3 => (raw(), 0..5_usize).prop_map(|(from, max)| Step::History(from, max)),
        2 => raw().prop_map(Step::Hash),
        1 => lease_id().prop_map(Step::Lease),
        1 => Just(Step::Verify),
        1 => any::<u64>().prop_map(Step::Term),
        5 => (0..4_usize).prop_map(|rows| Step::Scrub(Some(rows))),
        2 => Just(Step::Scrub(None)),
        2 => Just(Step::Flush),
        2 => Just(Step::Reopen),
        1 => Just(Step::Replay),
    ]
}

fn payload() -> impl Strategy<Value = EntryPayload> {
    let verb = prop_oneof![
        30 => put().prop_map(Verb::Put),
        12 => delete().prop_map(Verb::DeleteRange),
        16 => txn(write_operation()).prop_map(Verb::Txn),
        5 => raw().prop_map(|revision| Verb::Compaction(pb::CompactionRequest { revision, physical: false })),
        6 => (lease_id(), 0..100_i64)
            .prop_map(|(id, ttl_secs)| Verb::LeaseGrant(internal::LeaseGrant { id, ttl_secs })),
        4 => (lease_id(), select(vec![0, 0, 1, 2_u64])).prop_map(|(id, expired_in_term)| {
            Verb::LeaseRevoke(internal::LeaseRevoke { id, expired_in_term })
        }),
        2 => vec(checkpoint(), 0..3)
            .prop_map(|leases| Verb::LeaseCheckpoints(internal::LeaseCheckpoints { leases })),
        3 => alarm().prop_map(Verb::Alarm),
        1 => (1..4_u64).prop_map(|member_id| Verb::MemberAttributes(internal::MemberAttributes {
            member_id,
            name: format!("n{member_id}"),
            client_urls: vec![format!("http://n{member_id}:2379")],
        })),
        1 => Just(Verb::ClusterVersion(internal::ClusterVersion { version: "3.7.0".to_owned() })),
    ];
    prop_oneof![
        40 => verb.prop_map(|verb| EntryPayload::Command(Arc::new(Command { header: None, verb: Some(verb) }))),
        1 => Just(EntryPayload::Blank),
        1 => (1..4_u64).prop_map(membership),
    ]
}

/// More versions of one key than a read steps over one by one.
fn burst() -> impl Strategy<Value = Vec<EntryPayload>> {
    (key(), vec(0..6_u8, 8..24)).prop_map(|(key, writes)| {
        let write = |write: u8| {
            let key = key.clone();
            let verb = match write {
                0 => Verb::DeleteRange(pb::DeleteRangeRequest {
                    key,
                    ..Default::default()
                }),
                _ => Verb::Put(pb::PutRequest {
                    key,
                    value: Bytes::from(vec![write]),
                    ..Default::default()
                }),
            };
            EntryPayload::Command(Arc::new(Command {
                header: None,
                verb: Some(verb),
            }))
        };
        writes.into_iter().map(write).collect()
    })
}

/// One voter more than learners, by ID.
fn membership(members: u64) -> EntryPayload {
    let node = |id: u64| internal::Node {
        id,
        peer_urls: vec![format!("http://m{id}:2380")],
        joining: id == members,
        ..Default::default()
    };
    let voters = internal::VoterSet {
        ids: (1..=members.div_ceil(2)).collect(),
    };
    let membership = internal::Membership {
        configs: vec![voters],
        nodes: (1..=members).map(node).collect(),
    };
    let stored = internal::StoredMembership {
        log_id: None,
        membership: Some(membership),
    };
    EntryPayload::Membership(stored.encode_to_vec().into())
}

/// Numbers for [`Now::settle`].
pub fn raw() -> impl Strategy<Value = i64> {
    0..4096_i64
}

/// Prefixes of each other, zero bytes, the highest byte, and longer ones.
fn key() -> impl Strategy<Value = Bytes> {
    let keys: [&[u8]; 13] = [
        b"\0",
        b"\0\0",
        b"a",
        b"a\0",
        b"a\0\x01",
        b"a\0\xff",
        b"a\x01",
        b"aa",
        b"ab",
        b"b",
        b"c/d/e",
        b"\xff",
        b"\xff\xff",
    ];
    select(keys.map(Bytes::from_static).to_vec())
}

fn range() -> impl Strategy<Value = (Bytes, Bytes)> {
    let range_end = prop_oneof![
        3 => Just(Bytes::new()),
        2 => Just(Bytes::from_static(b"\0")),
        4 => key(),
    ];
    (key(), range_end)
}

fn value() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        8 => select([&b""[..], b"1", b"2", b"\0", b"\xff"].map(Bytes::from_static).to_vec()),
        1 => (0..2000_usize).prop_map(|length| Bytes::from(vec![b'v'; length])),
    ]
}

fn lease_id() -> impl Strategy<Value = i64> {
    select(vec![1, 2, -3, i64::MAX, i64::MIN])
}

fn put() -> impl Strategy<Value = pb::PutRequest> {
    let lease = prop_oneof![3 => Just(0), 2 => lease_id()];
    let rarely = || prop_oneof![7 => Just(false), 1 => Just(true)];
    (key(), value(), lease, any::<bool>(), rarely(), rarely()).prop_map(
        |(key, value, lease, prev_kv, ignore_value, ignore_lease)| pb::PutRequest {
            key,
            value: if ignore_value { Bytes::new() } else { value },
            lease: if ignore_lease { 0 } else { lease },
            prev_kv,
            ignore_value,
            ignore_lease,
        },
    )
}

fn delete() -> impl Strategy<Value = pb::DeleteRangeRequest> {
    (range(), any::<bool>()).prop_map(|((key, range_end), prev_kv)| pb::DeleteRangeRequest {
        key,
        range_end,
        prev_kv,
    })
}

fn range_request() -> impl Strategy<Value = pb::RangeRequest> {
    let limit = prop_oneof![3 => Just(0), 4 => 1..5_i64, 1 => select(vec![-1, i64::MAX, i64::MIN])];
    let bound = || prop_oneof![9 => Just(0), 1 => raw()];
    let bounds = (bound(), bound(), bound(), bound());
    let only = prop_oneof![5 => Just((false, false)), 2 => Just((true, false)), 1 => Just((false, true)), 1 => Just((true, true))];
    (range(), limit, raw(), 0..3_i32, 0..5_i32, only, bounds).prop_map(
        |(
            (key, range_end),
            limit,
            revision,
            sort_order,
            sort_target,
            (keys_only, count_only),
            bounds,
        )| {
            pb::RangeRequest {
                key,
                range_end,
                limit,
                revision,
                sort_order,
                sort_target,
                serializable: false,
                keys_only,
                count_only,
                min_mod_revision: bounds.0,
                max_mod_revision: bounds.1,
                min_create_revision: bounds.2,
                max_create_revision: bounds.3,
            }
        },
    )
}

fn checkpoint() -> impl Strategy<Value = internal::LeaseRemaining> {
    (lease_id(), 0..50_i64)
        .prop_map(|(id, remaining_secs)| internal::LeaseRemaining { id, remaining_secs })
}

/// Cleared more often than raised, so that most runs still write.
fn alarm() -> impl Strategy<Value = internal::AlarmChange> {
    (0..4, 1..3_u64, 0..3_i32).prop_map(|(clear, member_id, alarm)| internal::AlarmChange {
        clear: clear > 0,
        member_id,
        alarm,
    })
}

fn compare() -> impl Strategy<Value = pb::Compare> {
    let union = prop_oneof![
        1 => Just(None),
        3 => (0..4_i64).prop_map(|version| Some(TargetUnion::Version(version))),
        3 => raw().prop_map(|revision| Some(TargetUnion::CreateRevision(revision))),
        3 => raw().prop_map(|revision| Some(TargetUnion::ModRevision(revision))),
        3 => value().prop_map(|value| Some(TargetUnion::Value(value))),
        3 => prop_oneof![Just(0), lease_id()].prop_map(|lease| Some(TargetUnion::Lease(lease))),
    ];
    (range(), union, 0..5_i32, 0..5_i32).prop_map(
        |((key, range_end), target_union, result, drawn)| {
            let target = match &target_union {
                Some(TargetUnion::Version(_)) => 0,
                Some(TargetUnion::CreateRevision(_)) => 1,
                Some(TargetUnion::ModRevision(_)) => 2,
                Some(TargetUnion::Value(_)) => 3,
                Some(TargetUnion::Lease(_)) => 4,
                None => drawn,
            };
            pb::Compare {
                result,
                target,
                key,
                range_end,
                target_union,
            }
        },
    )
}

fn txn(operation: BoxedStrategy<pb::RequestOp>) -> impl Strategy<Value = pb::TxnRequest> {
    (
        vec(compare(), 0..3),
        vec(operation.clone(), 0..5),
        vec(operation, 0..5),
    )
        .prop_map(|(compare, success, failure)| pb::TxnRequest {
            compare,
            success,
            failure,
        })
}

fn read_operation() -> impl Strategy<Value = pb::RequestOp> {
    range_request().prop_map(|range| pb::RequestOp {
        request: Some(Request::RequestRange(range)),
    })
}

fn write_operation() -> BoxedStrategy<pb::RequestOp> {
    let request = |request| pb::RequestOp {
        request: Some(request),
    };
    let leaf = prop_oneof![
        4 => put().prop_map(move |put| request(Request::RequestPut(put))),
        2 => delete().prop_map(move |delete| request(Request::RequestDeleteRange(delete))),
        2 => read_operation(),
    ];
    leaf.prop_recursive(3, 16, 4, move |inner| {
        txn(inner.boxed()).prop_map(move |nested| request(Request::RequestTxn(nested)))
    })
    .boxed()
}

/// Drops the operations that the server's request check would refuse a
/// transaction for: two puts of one key in a branch, or a put inside a delete.
fn drop_conflicts(request: &mut pb::TxnRequest) {
    for branch in [&mut request.success, &mut request.failure] {
        let mut taken = Footprint::default();
        branch.retain_mut(|operation| {
            if let Some(Request::RequestTxn(nested)) = &mut operation.request {
                drop_conflicts(nested);
            }
            let footprint = Footprint::of(operation);
            let fits = !taken.conflicts(&footprint);
            if fits {
                taken.add(footprint);
            }
            fits
        });
    }
}

/// What an operation puts and deletes.
#[derive(Default)]
struct Footprint {
    puts: Vec<Bytes>,
    deletes: Vec<(Bytes, Bytes)>,
}

impl Footprint {
    fn of(operation: &pb::RequestOp) -> Self {
        let mut footprint = Self::default();
        match operation.request.as_ref() {
            Some(Request::RequestPut(put)) => footprint.puts.push(put.key.clone()),
            Some(Request::RequestDeleteRange(delete)) => {
                footprint
                    .deletes
                    .push((delete.key.clone(), delete.range_end.clone()));
            }
            Some(Request::RequestTxn(nested)) => {
                nested
                    .success
                    .iter()
                    .chain(&nested.failure)
                    .for_each(|operation| footprint.add(Self::of(operation)));
            }
            _ => {}
        }
        footprint
    }

    fn add(&mut self, other: Self) {
        self.puts.extend(other.puts);
        self.deletes.extend(other.deletes);
    }

    fn conflicts(&self, other: &Self) -> bool {
        let covered = |puts: &[Bytes], deletes: &[(Bytes, Bytes)]| {
            puts.iter()
                .any(|key| deletes.iter().any(|(start, end)| contains(start, end, key)))
        };
        self.puts.iter().any(|key| other.puts.contains(key))
            || covered(&self.puts, &other.deletes)
            || covered(&other.puts, &self.deletes)
    }
}

fn contains(start: &[u8], end: &[u8], key: &[u8]) -> bool {
    match end {
        [] => key == start,
        [0] => key >= start,
        _ => key >= start && key < end,
    }
}
