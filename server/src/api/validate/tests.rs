//! Each condition of the error table, and which of two is found first.

use super::*;
use prost::Message as _;
use sternpost_proto::internal::{Command, command::Verb};

const OPS_MAX: usize = 128;

fn put_op(key: &str) -> pb::RequestOp {
    let put = pb::PutRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        ..Default::default()
    };
    pb::RequestOp {
        request: Some(Request::RequestPut(put)),
    }
}

fn range_op(key: &str) -> pb::RequestOp {
    let range = pb::RangeRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        ..Default::default()
    };
    pb::RequestOp {
        request: Some(Request::RequestRange(range)),
    }
}

fn delete_op(key: &str, range_end: &str) -> pb::RequestOp {
    let (key, range_end) = (key.to_owned().into(), range_end.to_owned().into());
    let delete = pb::DeleteRangeRequest {
        key,
        range_end,
        prev_kv: false,
    };
    pb::RequestOp {
        request: Some(Request::RequestDeleteRange(delete)),
    }
}

fn nested_op(success: Vec<pb::RequestOp>, failure: Vec<pb::RequestOp>) -> pb::RequestOp {
    pb::RequestOp {
        request: Some(Request::RequestTxn(txn_of(success, failure))),
    }
}

fn txn_of(success: Vec<pb::RequestOp>, failure: Vec<pb::RequestOp>) -> pb::TxnRequest {
    pb::TxnRequest {
        compare: Vec::new(),
        success,
        failure,
    }
}

fn checked(success: Vec<pb::RequestOp>) -> Result<(), ApiError> {
    let as_failure = txn(&txn_of(Vec::new(), success.clone()), OPS_MAX);
    let as_success = txn(&txn_of(success, Vec::new()), OPS_MAX);
    assert_eq!(as_success, as_failure, "both branches are checked alike");
    as_success
}

#[test]
fn ranges_need_a_key_and_known_sort_options() {
    let good = pb::RangeRequest {
        key: "k".into(),
        ..Default::default()
    };
    assert_eq!(range(&good), Ok(()));
    let order = pb::RangeRequest {
        sort_order: 3,
        ..good.clone()
    };
    let target = pb::RangeRequest {
        sort_target: 5,
        ..good.clone()
    };
    assert_eq!(range(&order), Err(ApiError::InvalidSortOption));
    assert_eq!(range(&target), Err(ApiError::InvalidSortOption));
    let negative = pb::RangeRequest {
        sort_order: -1,
        ..good
    };
    assert_eq!(range(&negative), Err(ApiError::InvalidSortOption));
    let no_key = pb::RangeRequest {
        sort_order: 3,
        ..Default::default()
    };
    assert_eq!(
        range(&no_key),
        Err(ApiError::EmptyKey),
        "the key is looked at first"
    );
}

#[test]
fn streams_take_key_order_only() {
    let base = pb::RangeRequest {
        key: "k".into(),
        ..Default::default()
    };
    let sorted = |order: SortOrder, target: SortTarget| {
        range_stream(&pb::RangeRequest {
            sort_order: order.into(),
            sort_target: target.into(),
            ..base.clone()
        })
    };
    assert_eq!(sorted(SortOrder::None, SortTarget::Value), Ok(()));
    assert_eq!(sorted(SortOrder::Ascend, SortTarget::Key), Ok(()));
    assert_eq!(
        sorted(SortOrder::Descend, SortTarget::Key),
        Err(ApiError::StreamSortOrder)
    );
    assert_eq!(
        sorted(SortOrder::Ascend, SortTarget::Mod),
        Err(ApiError::StreamSortOrder)
    );
    let filters = [
        pb::RangeRequest {
            min_mod_revision: 1,
            ..base.clone()
        },
        pb::RangeRequest {
            max_mod_revision: -1,
            ..base.clone()
        },
        pb::RangeRequest {
            min_create_revision: 1,
            ..base.clone()
        },
        pb::RangeRequest {
            max_create_revision: 1,
            ..base.clone()
        },
    ];
    for filtered in filters {
        assert_eq!(range_stream(&filtered), Err(ApiError::StreamRevisionFilter));
    }
    let both = pb::RangeRequest {
        sort_order: 2,
        min_mod_revision: 1,
        ..base
    };
    assert_eq!(
        range_stream(&both),
        Err(ApiError::StreamSortOrder),
        "the order is looked at first"
    );
    assert_eq!(
        range_stream(&pb::RangeRequest::default()),
        Err(ApiError::EmptyKey)
    );
}

#[test]
fn puts_may_not_give_what_they_ignore() {
    let base = pb::PutRequest {
        key: "k".into(),
        value: "v".into(),
        lease: 7,
        ..Default::default()
    };
    assert_eq!(put(&base), Ok(()));
    let value = pb::PutRequest {
        ignore_value: true,
        ..base.clone()
    };
    assert_eq!(put(&value), Err(ApiError::ValueProvided));
    let lease = pb::PutRequest {
        ignore_lease: true,
        ..base.clone()
    };
    assert_eq!(put(&lease), Err(ApiError::LeaseProvided));
    let both = pb::PutRequest {
        ignore_value: true,
        ignore_lease: true,
        ..base.clone()
    };
    assert_eq!(
        put(&both),
        Err(ApiError::ValueProvided),
        "the value is looked at first"
    );
    let no_key = pb::PutRequest {
        key: Bytes::new(),
        ..both
    };
    assert_eq!(put(&no_key), Err(ApiError::EmptyKey));
    let neither = pb::PutRequest {
        value: Bytes::new(),
        lease: 0,
        ignore_value: true,
        ignore_lease: true,
        ..base
    };
    assert_eq!(put(&neither), Ok(()));
}

#[test]
fn deletes_need_a_key() {
    assert_eq!(
        delete_range(&pb::DeleteRangeRequest::default()),
        Err(ApiError::EmptyKey)
    );
    assert_eq!(
        delete_range(&pb::DeleteRangeRequest {
            key: "k".into(),
            ..Default::default()
        }),
        Ok(())
    );
}

#[test]
fn a_nested_transaction_gets_what_its_parent_left() {
    let ops = |count: usize| {
        (0..count)
            .map(|i| range_op(&i.to_string()))
            .collect::<Vec<_>>()
    };
    assert_eq!(txn(&txn_of(ops(4), ops(3)), 4), Ok(()));
    assert_eq!(txn(&txn_of(ops(3), ops(5)), 4), Err(ApiError::TooManyOps));
    let compares = pb::TxnRequest {
        compare: vec![pb::Compare::default(); 5],
        ..Default::default()
    };
    assert_eq!(
        txn(&compares, 4),
        Err(ApiError::TooManyOps),
        "the count comes before the keys"
    );

    let mut parent = ops(1);
    parent.push(nested_op(ops(2), Vec::new()));
    assert_eq!(txn(&txn_of(parent.clone(), Vec::new()), 4), Ok(()));
    parent.push(range_op("x"));
    assert_eq!(
        txn(&txn_of(parent, Vec::new()), 4),
        Err(ApiError::TooManyOps)
    );
    let empty = nested_op(Vec::new(), Vec::new());
    assert_eq!(
        txn(&txn_of(vec![empty], Vec::new()), 1),
        Ok(()),
        "an empty one needs none"
    );
}

#[test]
fn keys_are_checked_in_compares_then_in_both_branches() {
    let no_key = pb::TxnRequest {
        compare: vec![pb::Compare::default()],
        ..Default::default()
    };
    assert_eq!(txn(&no_key, OPS_MAX), Err(ApiError::EmptyKey));
    for op in [
        put_op(""),
        range_op(""),
        delete_op("", "x"),
        nested_op(Vec::new(), vec![put_op("")]),
    ] {
        assert_eq!(checked(vec![put_op("a"), op]), Err(ApiError::EmptyKey));
    }
    let unset = pb::RequestOp { request: None };
    assert_eq!(checked(vec![unset.clone()]), Err(ApiError::KeyNotFound));
    assert_eq!(
        checked(vec![unset.clone(), put_op("")]),
        Err(ApiError::KeyNotFound),
        "in the order of the ops"
    );
    let duplicate_then_unset = vec![put_op("a"), put_op("a"), unset];
    assert_eq!(
        checked(duplicate_then_unset),
        Err(ApiError::KeyNotFound),
        "shapes before duplicates"
    );
    let sort = pb::RangeRequest {
        key: "k".into(),
        sort_order: 9,
        ..Default::default()
    };
    let sort = pb::RequestOp {
        request: Some(Request::RequestRange(sort)),
    };
    assert_eq!(checked(vec![sort]), Err(ApiError::InvalidSortOption));
}

#[test]
fn a_branch_writes_a_key_once() {
    let duplicate = Err(ApiError::DuplicateKey);
    assert_eq!(checked(vec![put_op("a"), put_op("b")]), Ok(()));
    assert_eq!(checked(vec![put_op("a"), put_op("a")]), duplicate);
    assert_eq!(checked(vec![put_op("a"), delete_op("a", "")]), duplicate);
    assert_eq!(checked(vec![delete_op("a", ""), put_op("a")]), duplicate);
    assert_eq!(checked(vec![delete_op("a", "c"), put_op("b")]), duplicate);
    assert_eq!(
        checked(vec![delete_op("a", "c"), put_op("c")]),
        Ok(()),
        "the end is not in the range"
    );
    assert_eq!(
        checked(vec![delete_op("a", "c"), delete_op("b", "d")]),
        Ok(()),
        "deletes may overlap"
    );
    assert_eq!(
        checked(vec![delete_op("a", "c"), delete_op("b", "d"), put_op("c")]),
        duplicate
    );
    assert_eq!(
        checked(vec![delete_op("c", "a"), put_op("b")]),
        Ok(()),
        "an empty range deletes nothing"
    );
    assert_eq!(
        checked(vec![delete_op("a", "\0"), put_op("b")]),
        Ok(()),
        "as etcd, which reads \\0 as a key here"
    );
    assert_eq!(
        checked(vec![range_op("a"), range_op("a"), put_op("a")]),
        Ok(())
    );
    assert_eq!(
        txn(&txn_of(vec![put_op("a")], vec![put_op("a")]), OPS_MAX),
        Ok(()),
        "one branch each"
    );
}

#[test]
fn nested_writes_count_for_the_branch_they_are_in() {
    let duplicate = Err(ApiError::DuplicateKey);
    let puts_a = || nested_op(vec![put_op("a")], Vec::new());
    assert_eq!(
        checked(vec![nested_op(vec![put_op("a")], vec![put_op("a")])]),
        Ok(()),
        "only one of them runs"
    );
    assert_eq!(checked(vec![puts_a(), put_op("a")]), duplicate);
    assert_eq!(checked(vec![put_op("a"), puts_a()]), duplicate);
    assert_eq!(checked(vec![puts_a(), puts_a()]), duplicate);
    assert_eq!(
        checked(vec![puts_a(), nested_op(Vec::new(), vec![put_op("a")])]),
        duplicate
    );
    assert_eq!(checked(vec![puts_a(), delete_op("a", "")]), duplicate);
    let deletes_a = || nested_op(Vec::new(), vec![delete_op("a", "b")]);
    assert_eq!(checked(vec![deletes_a(), put_op("a")]), duplicate);
    assert_eq!(checked(vec![deletes_a(), puts_a()]), duplicate);
    assert_eq!(
        checked(vec![puts_a(), deletes_a()]),
        Ok(()),
        "as etcd, which looks back only"
    );
    assert_eq!(
        checked(vec![nested_op(vec![put_op("a")], vec![delete_op("a", "")])]),
        Ok(())
    );
    assert_eq!(
        checked(vec![nested_op(vec![puts_a()], Vec::new()), puts_a()]),
        duplicate
    );
}

fn nested_to(depth: usize) -> pb::TxnRequest {
    let mut txn = txn_of(vec![put_op("leaf")], Vec::new());
    for _ in 0..depth {
        let nested = pb::RequestOp {
            request: Some(Request::RequestTxn(txn)),
        };
        txn = txn_of(vec![nested], Vec::new());
    }
    txn
}

#[test]
fn what_passes_can_be_read_back_from_the_log() {
    let deepest = nested_to(NESTED_TXN_DEPTH_MAX);
    assert_eq!(txn(&deepest, OPS_MAX), Ok(()));
    let command = Command {
        header: None,
        verb: Some(Verb::Txn(deepest)),
    };
    assert!(Command::decode(command.encode_to_vec().as_slice()).is_ok());
    assert_eq!(
        txn(&nested_to(NESTED_TXN_DEPTH_MAX + 1), OPS_MAX),
        Err(ApiError::TooManyOps)
    );
    assert_eq!(txn(&nested_to(10), 11), Ok(()));
    assert_eq!(
        txn(&nested_to(10), 10),
        Err(ApiError::TooManyOps),
        "each level takes one of the budget"
    );
}

#[test]
fn the_decoder_refuses_what_nests_deeper_before_anything_recurses() {
    let bytes = nested_to(60).encode_to_vec();
    assert!(pb::TxnRequest::decode(bytes.as_slice()).is_err());
}
