use super::*;
use crate::fixture::{Store, range_request, text};
use crate::read::{WireAnswer, revision_header};
use prost::Message as _;

/// a: 2, 5 (rewritten); b: 3; c: 4, deleted at 6; a\0: 7.
fn store() -> Store {
    let mut store = Store::rocks();
    for (key, value) in [("a", "z"), ("b", "y"), ("c", "x"), ("a", "w")] {
        store.put(key, value);
    }
    store.delete("c", "");
    store.put("a\0", "v");
    store
}

fn keys(answer: &pb::RangeResponse) -> String {
    answer
        .kvs
        .iter()
        .map(|kv| text(&kv.key).replace('\0', "0"))
        .collect::<Vec<_>>()
        .join(" ")
}

fn ask(store: &Store, change: impl FnOnce(&mut pb::RangeRequest)) -> pb::RangeResponse {
    let mut request = range_request("a", "z");
    change(&mut request);
    store.view().range(&request).unwrap()
}

#[test]
fn every_revision_is_still_there() {
    let store = store();
    for (revision, expected) in [
        (1, ""),
        (2, "a"),
        (3, "a b"),
        (4, "a b c"),
        (5, "a b c"),
        (6, "a b"),
        (7, "a a0 b"),
        (0, "a a0 b"),
        (-3, "a a0 b"),
    ] {
        let answer = ask(&store, |request| request.revision = revision);
        assert_eq!(
            (keys(&answer).as_str(), answer.count),
            (expected, answer.kvs.len() as i64),
            "at {revision}"
        );
        let counted = ask(&store, |request| {
            request.revision = revision;
            request.count_only = true;
        });
        assert_eq!(
            (counted.kvs.len(), counted.more, counted.count),
            (0, false, answer.count)
        );
    }
    let old = ask(&store, |request| {
        request.revision = 4;
        request.range_end = Bytes::new();
    });
    assert_eq!(
        (
            text(&old.kvs[0].value).as_str(),
            old.kvs[0].mod_revision,
            old.count
        ),
        ("z", 2, 1)
    );
    let empty = ask(&store, |request| {
        request.range_end = Bytes::from_static(b"a")
    });
    assert_eq!(empty, pb::RangeResponse::default());
}

#[test]
fn refuses_revisions_out_of_reach() {
    let mut store = store();
    store.compact(5).unwrap();
    let ask = |revision| {
        store.view().range(&pb::RangeRequest {
            revision,
            ..range_request("a", "")
        })
    };
    assert!(matches!(
        ask(8),
        Err(ReadError::Rejected(Rejection::FutureRevision))
    ));
    assert!(matches!(
        ask(4),
        Err(ReadError::Rejected(Rejection::Compacted))
    ));
    assert!(ask(5).is_ok());
}

#[test]
fn limits_cut_and_count_does_not_mind() {
    let store = store();
    for revision in [0, 4] {
        for (limit, more) in [
            (1, true),
            (2, true),
            (3, false),
            (4, false),
            (0, false),
            (-1, false),
        ] {
            let answer = ask(&store, |request| {
                request.limit = limit;
                request.revision = revision;
            });
            let expected = if limit > 0 { limit.min(3) as usize } else { 3 };
            assert_eq!(
                (answer.kvs.len(), answer.more, answer.count),
                (expected, more, 3),
                "limit {limit}"
            );
        }
    }
}

#[test]
fn sorts_as_etcd_does() {
    let store = store();
    let sorted = |target: SortTarget, order: SortOrder, limit| {
        let answer = ask(&store, |request| {
            request.set_sort_target(target);
            request.set_sort_order(order);
            request.limit = limit;
        });
        assert_eq!((answer.count, answer.more), (3, limit > 0 && limit < 3));
        keys(&answer)
    };
    // Revisions: a 5 (created 2, version 2), a0 7, b 3; values w, v, y.
    assert_eq!(sorted(SortTarget::Key, SortOrder::Descend, 0), "b a0 a");
    assert_eq!(sorted(SortTarget::Key, SortOrder::Descend, 1), "b");
    assert_eq!(sorted(SortTarget::Key, SortOrder::Ascend, 2), "a a0");
    assert_eq!(sorted(SortTarget::Mod, SortOrder::Ascend, 0), "b a a0");
    assert_eq!(sorted(SortTarget::Mod, SortOrder::Ascend, 1), "b");
    assert_eq!(sorted(SortTarget::Create, SortOrder::Descend, 1), "a0");
    assert_eq!(sorted(SortTarget::Version, SortOrder::Descend, 0), "a a0 b");
    assert_eq!(sorted(SortTarget::Value, SortOrder::Ascend, 0), "a0 a b");
    // Without an order the first two keys are taken, then sorted.
    assert_eq!(sorted(SortTarget::Mod, SortOrder::None, 1), "a");
    assert_eq!(sorted(SortTarget::Mod, SortOrder::None, 0), "b a a0");
}

#[test]
fn filters_come_after_the_count() {
    let store = store();
    let filtered = ask(&store, |request| {
        request.min_mod_revision = 4;
        request.max_mod_revision = 6;
        request.limit = 1;
    });
    assert_eq!(
        (keys(&filtered).as_str(), filtered.count, filtered.more),
        ("a", 3, false)
    );
    let created = ask(&store, |request| {
        request.max_create_revision = 3;
        request.limit = 1;
    });
    assert_eq!(
        (keys(&created).as_str(), created.count, created.more),
        ("a", 3, true)
    );
    let point = ask(&store, |request| {
        request.range_end = Bytes::new();
        request.min_create_revision = 3;
    });
    assert_eq!((point.kvs.len(), point.count), (0, 1));
}

#[test]
fn keys_only_drops_the_lease_unless_sorted_by_value() {
    let mut store = Store::memory();
    store.grant(7);
    store.put_lease("a", "1", 7);
    store.put_lease("b", "1", 7);
    store.put("b", "2");
    for (range_end, revision) in [("", 0), ("z", 0), ("", 3), ("z", 3)] {
        let mut request = pb::RangeRequest {
            keys_only: true,
            revision,
            ..range_request("a", range_end)
        };
        let kv = store.view().range(&request).unwrap().kvs.remove(0);
        assert_eq!((kv.value.len(), kv.lease, kv.version), (0, 0, 1));
        request.set_sort_target(SortTarget::Value);
        let kv = store.view().range(&request).unwrap().kvs.remove(0);
        assert_eq!((kv.value.len(), kv.lease), (0, 7));
    }
}

#[test]
fn many_versions_of_one_key_are_skipped() {
    let mut store = Store::rocks();
    store.put("k1", "first");
    for round in 0..60 {
        store.put("k0", &round.to_string());
        if round % 5 == 0 {
            store.delete("k0", "");
        }
    }
    for revision in 2..store.view().revision() {
        let listed = store.list("k", "l", revision);
        assert_eq!(
            listed.last(),
            Some(&("k1".to_owned(), "first".to_owned())),
            "at {revision}"
        );
        let point = store.list("k0", "", revision);
        assert_eq!(listed[..listed.len() - 1], point[..], "at {revision}");
    }
}

#[test]
fn cursors_walk_what_a_range_answers() {
    let store = store();
    for revision in [0, 4] {
        for limit in [0, 1, 2, 3, 5] {
            for keys_only in [false, true] {
                let request = pb::RangeRequest {
                    revision,
                    limit,
                    keys_only,
                    ..range_request("a", "z")
                };
                let whole = store.view().range(&request).unwrap();
                let mut cursor = store.view().cursor(&request).unwrap();
                let mut kvs = Vec::new();
                loop {
                    let chunk = cursor.next_chunk(2, 1 << 20).unwrap();
                    if chunk.is_empty() {
                        break;
                    }
                    kvs.extend(chunk);
                }
                assert_eq!(
                    (kvs, cursor.more(), cursor.count()),
                    (whole.kvs, whole.more, whole.count)
                );
            }
        }
    }
    let mut point = store.view().cursor(&range_request("a", "")).unwrap();
    assert_eq!(point.next_chunk(10, 1).unwrap().len(), 1);
    assert!(point.next_chunk(10, 1).unwrap().is_empty());
}

#[test]
fn previous_versions_until_they_are_compacted() {
    let mut store = store();
    let history = store.view().history(2, 100, 1 << 20).unwrap();
    assert_eq!(history.len(), 6);
    let rewritten = history[3].events[0].clone();
    let previous = store.view().previous(&rewritten).unwrap().unwrap();
    assert_eq!(
        (text(&previous.value).as_str(), previous.mod_revision),
        ("z", 2)
    );
    assert_eq!(store.view().previous(&history[0].events[0]).unwrap(), None);
    store.compact(4).unwrap();
    assert!(
        store.view().previous(&rewritten).unwrap().is_some(),
        "4 is still readable"
    );
    store.compact(5).unwrap();
    assert_eq!(
        store.view().previous(&rewritten).unwrap(),
        None,
        "before any scrub"
    );
    assert!(matches!(
        store.view().history(4, 1, 1),
        Err(ReadError::Rejected(Rejection::Compacted))
    ));
    store.scrub();
    let rest = store.view().history(5, 1, 1).unwrap();
    assert_eq!((rest.len(), rest[0].revision), (1, 5));
    assert!(store.view().history(8, 10, 10).unwrap().is_empty());
    assert_eq!(
        store.view().history(5, 100, 2).unwrap().len(),
        1,
        "stops once the bytes are passed"
    );
}

#[test]
fn counts_of_old_revisions_either_way() {
    let mut store = Store::memory();
    let mut counts = vec![0, 0];
    for round in 0..400 {
        let revision = store.put(&format!("k{}", round % 70), "");
        if round % 3 == 0 {
            store.delete(&format!("k{}", (round * 7) % 70), "");
        }
        if round % 11 == 0 {
            store.put("other", "");
        }
        for at in counts.len() as i64..=store.view().revision() {
            assert!(at >= revision);
            counts.push(store.list("k", "l", at).len() as i64);
        }
    }
    let view = store.view();
    for (revision, count) in counts.iter().enumerate().skip(1) {
        let request = pb::RangeRequest {
            revision: revision as i64,
            ..range_request("k", "l")
        };
        let counted = pb::RangeRequest {
            count_only: true,
            ..request.clone()
        };
        assert_eq!(view.range(&counted).unwrap().count, *count, "at {revision}");
        let page = view
            .range(&pb::RangeRequest {
                limit: 1,
                ..request
            })
            .unwrap();
        assert_eq!(
            (page.count, page.more),
            (*count, *count > 1),
            "at {revision}"
        );
    }
}

#[test]
fn pages_of_many_keys_tell_the_exact_count() {
    let mut store = Store::memory();
    for number in 0..3000 {
        store.put(&format!("k{number:04}"), "");
    }
    for number in (0..3000).step_by(7) {
        store.delete(&format!("k{number:04}"), "");
    }
    let now = store.view().revision();
    for (first, end) in [(0, 3000), (1, 2999), (255, 1800), (700, 701), (2100, 2700)] {
        let all = store.list(&format!("k{first:04}"), &format!("k{end:04}"), 0);
        for (limit, revision, keys_only) in [
            (1, 0, false),
            (300, 0, true),
            (500, now, false),
            (600, 0, false),
        ] {
            let request = pb::RangeRequest {
                limit,
                revision,
                keys_only,
                ..range_request(&format!("k{first:04}"), &format!("k{end:04}"))
            };
            let page = store.view().range(&request).unwrap();
            assert_eq!(page.count, all.len() as i64, "{first} to {end}, {limit}");
            let at_most = store.view().count_at_most(&request.key, &request.range_end);
            assert!((0..=1024).contains(&(at_most as i64 - page.count)));
        }
    }
}

#[test]
fn an_encoded_answer_of_many_pieces_is_the_same() {
    let mut store = Store::memory();
    for number in 0..700 {
        let value = "v".repeat((number * number) % 3000);
        store.put(&format!("k{number:04}"), &value);
    }
    store.put("k0300", &"large".repeat(100_000));
    for limit in [0, 1, 20, 300, 699] {
        let request = pb::RangeRequest {
            limit,
            ..range_request("k", "l")
        };
        let answered = store.view().range(&request).unwrap();
        let header = pb::RangeResponse {
            header: Some(revision_header(7)),
            ..Default::default()
        };
        let mut wire = WireAnswer::new(5, &header);
        store
            .view()
            .range_onto(&request, &mut wire, &mut || ())
            .unwrap();
        let bytes = wire.bytes();
        let pieces = wire.into_pieces(|first| first[..5].copy_from_slice(b"12345"));
        assert!(limit != 0 || pieces.len() > 3, "{}", pieces.len());
        let all: Vec<u8> = pieces.into_iter().flatten().collect();
        assert_eq!((all.len(), &all[..5]), (bytes, &b"12345"[..]));
        let decoded = pb::RangeResponse::decode(&all[5..]).unwrap();
        assert_eq!(
            (decoded.kvs, decoded.more, decoded.count),
            (answered.kvs, answered.more, answered.count)
        );
        assert_eq!(decoded.header, header.header);
    }
}

#[test]
fn a_sorted_range_of_few_out_of_many() {
    let mut store = Store::memory();
    for number in 0..1000 {
        store.put(
            &format!("k{:04}", (number * 617) % 1000),
            &(number % 10).to_string(),
        );
    }
    for (target, order) in [
        (SortTarget::Key, SortOrder::Descend),
        (SortTarget::Create, SortOrder::Ascend),
        (SortTarget::Mod, SortOrder::Descend),
        (SortTarget::Value, SortOrder::Descend),
    ] {
        let mut request = range_request("k", "l");
        request.set_sort_target(target);
        request.set_sort_order(order);
        let all = store.view().range(&request).unwrap();
        for limit in [1, 7, 300, 1000] {
            request.limit = limit;
            let few = store.view().range(&request).unwrap();
            assert_eq!(
                few.kvs,
                all.kvs[..limit as usize],
                "{target:?} {order:?} {limit}"
            );
            assert_eq!((few.more, few.count), (limit < 1000, 1000));
        }
    }
}
