//! Random steps over thousands of keys and over keys of many versions: what
//! shows only beyond one count block, one run of blocks, a few versions or a
//! page of a range.

use crate::generate::{Plan, raw};
use bytes::Bytes;
use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any, prop_oneof},
};
use std::sync::Arc;
use sternpost_proto::{
    etcdserverpb::{self as pb, request_op::Request},
    internal::{Command, command::Verb},
};
use sternpost_storage::{EntryPayload, testing::script::Step};

/// As many as fill more than one run of count blocks.
const KEYS: u32 = 24_000;

/// Random plans for one run.
pub fn plans() -> impl Strategy<Value = Vec<Plan>> {
    let everything = Bytes::from_static(b"\0");
    let last = [
        Step::Scrub(None),
        Step::Info,
        Step::Count(everything.clone(), everything.clone()),
        Step::Range(pb::RangeRequest {
            key: everything.clone(),
            range_end: everything,
            ..Default::default()
        }),
        Step::Hash(0),
    ];
    vec(step().prop_map(Plan::new), 1..40).prop_map(move |mut plans| {
        plans.extend(last.clone().map(Plan::new));
        plans
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => fill().prop_map(Step::Apply),
        3 => overwrite().prop_map(Step::Apply),
        5 => delete().prop_map(|delete| Step::Apply(vec![command(Verb::DeleteRange(delete))])),
        2 => raw().prop_map(|revision| {
            let request = pb::CompactionRequest { revision, physical: false };
            Step::Apply(vec![command(Verb::Compaction(request))])
        }),
        12 => range_request().prop_map(Step::Range),
        4 => (1..600_usize, range_request()).prop_map(|(chunk, request)| Step::Stream(chunk, request)),
        8 => range().prop_map(|(key, range_end)| Step::Count(key, range_end)),
        2 => (raw(), 1..20_usize).prop_map(|(from, max)| Step::History(from, max)),
        2 => raw().prop_map(Step::Hash),
        3 => Just(Step::Info),
        4 => (0..3000_usize).prop_map(|rows| Step::Scrub(Some(rows))),
        1 => Just(Step::Scrub(None)),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
    ]
}

fn command(verb: Verb) -> EntryPayload {
    EntryPayload::Command(Arc::new(Command {
        header: None,
        verb: Some(verb),
    }))
}

/// Puts of all keys from number 0 on, a hundred to a transaction.
pub fn all_puts(keys: u32) -> Vec<EntryPayload> {
    let put = |number: u32| {
        let put = pb::PutRequest {
            key: key(number),
            ..Default::default()
        };
        pb::RequestOp {
            request: Some(Request::RequestPut(put)),
        }
    };
    let txn = |first: u32| {
        let success = (first..keys.min(first + 100)).map(put).collect();
        command(Verb::Txn(pb::TxnRequest {
            success,
            ..Default::default()
        }))
    };
    (0..keys).step_by(100).map(txn).collect()
}

/// Keys in families of a thousand.
pub fn key(number: u32) -> Bytes {
    Bytes::from(format!("{:02}/{:03}", number / 1000, number % 1000))
}

/// Transactions of up to a hundred puts each, over neighbouring keys or over
/// every few of them. Some values are large enough for a chunk to be written
/// in parts.
fn fill() -> impl Strategy<Value = Vec<EntryPayload>> {
    (0..KEYS, 1..8_u32, 1..100_u32, 1..90_u32, any::<u8>()).prop_map(
        |(first, stride, puts, txns, value)| {
            let put = |number: u32| {
                let key = key((first + number * stride) % KEYS);
                let put = pb::PutRequest {
                    key,
                    value: Bytes::from(vec![
                        b'0' + value % 10;
                        if value % 50 == 0 { 1500 } else { 1 }
                    ]),
                    ..Default::default()
                };
                pb::RequestOp {
                    request: Some(Request::RequestPut(put)),
                }
            };
            let txn = |txn: u32| {
                let success = (txn * puts..(txn + 1) * puts).map(put).collect();
                command(Verb::Txn(pb::TxnRequest {
                    success,
                    ..Default::default()
                }))
            };
            (0..txns).map(txn).collect()
        },
    )
}

/// Many versions of one key, the first lives of it ended by deletes.
fn overwrite() -> impl Strategy<Value = Vec<EntryPayload>> {
    (0..KEYS / 1000, vec(0..9_u8, 1..60)).prop_map(|(family, writes)| {
        let key = key(family * 1000);
        let write = |write: u8| match write {
            0 => command(Verb::DeleteRange(pb::DeleteRangeRequest {
                key: key.clone(),
                ..Default::default()
            })),
            _ => {
                let value = Bytes::from(vec![b'0' + write]);
                command(Verb::Put(pb::PutRequest {
                    key: key.clone(),
                    value,
                    ..Default::default()
                }))
            }
        };
        writes.into_iter().map(write).collect()
    })
}

fn delete() -> impl Strategy<Value = pb::DeleteRangeRequest> {
    (range(), any::<bool>()).prop_map(|((key, range_end), prev_kv)| pb::DeleteRangeRequest {
        key,
        range_end,
        prev_kv,
    })
}

/// A few keys, a family, whole families, or everything from a key on.
fn range() -> impl Strategy<Value = (Bytes, Bytes)> {
    let family = |number: u32| Bytes::from(format!("{number:02}/"));
    let after = |number: u32| Bytes::from(format!("{number:02}0"));
    prop_oneof![
        4 => (0..KEYS, 0..3000_u32).prop_map(|(first, keys)| (key(first), key(first + keys))),
        3 => (0..KEYS / 1000).prop_map(move |number| (family(number), after(number))),
        2 => (0..KEYS / 1000, 1..9_u32).prop_map(move |(first, more)| (family(first), after(first + more))),
        1 => (0..KEYS).prop_map(|first| (key(first), Bytes::from_static(b"\0"))),
        1 => (0..KEYS).prop_map(|number| (key(number), Bytes::new())),
    ]
}

fn range_request() -> impl Strategy<Value = pb::RangeRequest> {
    let limit = prop_oneof![2 => Just(0), 5 => 1..700_i64];
    let bound = || prop_oneof![9 => Just(0), 1 => raw()];
    let sorted = prop_oneof![3 => Just((0, 0)), 2 => (0..3_i32, 0..5_i32)];
    (
        range(),
        limit,
        raw(),
        sorted,
        any::<bool>(),
        (bound(), bound(), bound()),
    )
        .prop_map(
            |((key, range_end), limit, revision, (sort_order, sort_target), keys_only, bounds)| {
                pb::RangeRequest {
                    key,
                    range_end,
                    limit,
                    revision,
                    sort_order,
                    sort_target,
                    keys_only,
                    min_mod_revision: bounds.0,
                    max_mod_revision: bounds.1,
                    min_create_revision: bounds.2,
                    ..Default::default()
                }
            },
        )
}
