use super::*;
use crate::{
    Change, Event,
    fixture::{
        Store, bytes, delete_op, delete_request, op, put_op, put_request, range_op, range_request,
        success, text, version_is,
    },
    ids::{MemberId, Revision},
};
use prost::Message as _;
use sternpost_proto::{
    etcdserverpb::{
        AlarmType, TxnRequest, compare, request_op::Request, response_op::Response as Answer,
    },
    internal::{
        self, AlarmChange, LeaseCheckpoints, LeaseGrant, LeaseRemaining, LeaseRevoke,
        MemberAttributes,
    },
    mvccpb::KeyValue,
};

fn kv(key: &str, value: &str, create: i64, modified: i64, version: i64) -> KeyValue {
    KeyValue {
        key: bytes(key),
        create_revision: create,
        mod_revision: modified,
        version,
        value: bytes(value),
        lease: 0,
    }
}

fn header(revision: i64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader {
        revision,
        ..Default::default()
    })
}

#[test]
fn puts_number_versions() {
    for mut store in Store::both() {
        assert_eq!(store.put("a", "1"), 2);
        let request = pb::PutRequest {
            prev_kv: true,
            ..put_request("a", "1", 0)
        };
        let applied = store.run(Verb::Put(request));
        assert_eq!(applied.revision, 3);
        let Ok(Response::Put(answer)) = applied.response else {
            panic!()
        };
        assert_eq!(answer.prev_kv, Some(kv("a", "1", 2, 2, 1)));
        let events = applied.events.unwrap();
        let event = Event {
            revision: Revision::new(3, 0),
            key: bytes("a"),
            change: Change::Put {
                value: bytes("1"),
                create_revision: 2,
                version: 2,
                lease: 0,
            },
            previous: Some(Revision::new(2, 0)),
        };
        assert_eq!(
            (events.revision, events.events.as_slice()),
            (3, [event].as_slice())
        );
        assert_eq!(
            store.view().history(3, 10, 1000).unwrap(),
            [events.as_ref().clone()]
        );
        assert_eq!(store.delete("a", ""), 1);
        assert_eq!(store.put("a", "2"), 5);
        let answer = store.view().range(&range_request("a", "")).unwrap();
        assert_eq!(answer.kvs, [kv("a", "2", 5, 5, 1)]);
    }
}

#[test]
fn ignore_flags_need_the_key_and_keep_what_they_name() {
    let mut store = Store::memory();
    store.grant(7);
    let keep_value = pb::PutRequest {
        ignore_value: true,
        ..put_request("a", "", 0)
    };
    let keep_lease = pb::PutRequest {
        ignore_lease: true,
        ..put_request("a", "2", 0)
    };
    for request in [&keep_value, &keep_lease] {
        let applied = store.run(Verb::Put(request.clone()));
        assert_eq!(applied.response.unwrap_err(), Rejection::KeyNotFound);
        assert_eq!((applied.revision, applied.events.is_none()), (1, true));
    }
    store.put_lease("a", "1", 7);
    store.run(Verb::Put(keep_lease));
    let found = store
        .view()
        .range(&range_request("a", ""))
        .unwrap()
        .kvs
        .remove(0);
    assert_eq!(
        (text(&found.value).as_str(), found.lease, found.version),
        ("2", 7, 2)
    );
    store.run(Verb::Put(keep_value));
    let found = store
        .view()
        .range(&range_request("a", ""))
        .unwrap()
        .kvs
        .remove(0);
    assert_eq!(
        (text(&found.value).as_str(), found.lease, found.version),
        ("2", 0, 3)
    );
    assert!(store.view().lease_keys(LeaseId(7)).unwrap().is_empty());
}

#[test]
fn deletes_in_key_order_at_one_revision() {
    for mut store in Store::both() {
        for key in ["c", "a", "b", "d"] {
            store.put(key, key);
        }
        let request = pb::DeleteRangeRequest {
            prev_kv: true,
            ..delete_request("a", "d")
        };
        let applied = store.run(Verb::DeleteRange(request));
        let Ok(Response::DeleteRange(answer)) = applied.response else {
            panic!()
        };
        assert_eq!(answer.deleted, 3);
        let keys: Vec<String> = answer.prev_kvs.iter().map(|kv| text(&kv.key)).collect();
        assert_eq!(keys, ["a", "b", "c"]);
        let events = applied.events.unwrap();
        let subs: Vec<i64> = events
            .events
            .iter()
            .map(|event| event.revision.sub)
            .collect();
        assert_eq!((events.revision, subs), (6, vec![0, 1, 2]));
        assert!(events.events.iter().all(Event::is_delete));
        let nothing = store.run(Verb::DeleteRange(delete_request("a", "d")));
        assert_eq!((nothing.revision, nothing.events.is_none()), (6, true));
        assert_eq!(store.delete("\0", "\0"), 1);
        assert_eq!(store.view().keys_total(), 0);
    }
}

#[test]
fn txn_answers_carry_the_revision_each_saw() {
    for mut store in Store::both() {
        store.put("a", "1");
        let nested = success(vec![range_op("a", "z")]);
        let request = success(vec![
            range_op("a", "z"),
            delete_op("none", ""),
            put_op("b", "2"),
            range_op("a", "z"),
            op(Request::RequestTxn(nested)),
            delete_op("a", ""),
        ]);
        let answer = store.txn(request).unwrap();
        assert!(answer.succeeded);
        let seen: Vec<_> = answer
            .responses
            .into_iter()
            .map(|op| op.response.unwrap())
            .collect();
        let Answer::ResponseRange(before) = &seen[0] else {
            panic!()
        };
        assert_eq!((&before.header, before.count), (&header(2), 1));
        let Answer::ResponseDeleteRange(none) = &seen[1] else {
            panic!()
        };
        assert_eq!((&none.header, none.deleted), (&header(2), 0));
        let Answer::ResponsePut(put) = &seen[2] else {
            panic!()
        };
        assert_eq!(put.header, header(3));
        let Answer::ResponseRange(after) = &seen[3] else {
            panic!()
        };
        assert_eq!((&after.header, after.count), (&header(3), 2));
        assert_eq!(after.kvs[1], kv("b", "2", 3, 3, 1));
        let Answer::ResponseTxn(nested) = &seen[4] else {
            panic!()
        };
        assert_eq!(nested.header, header(0));
        let Answer::ResponseDeleteRange(gone) = &seen[5] else {
            panic!()
        };
        assert_eq!((&gone.header, gone.deleted), (&header(3), 1));
        assert_eq!(
            store.list("\0", "\0", 0),
            [("b".to_owned(), "2".to_owned())]
        );
        assert_eq!(
            store.view().history(3, 10, 1000).unwrap()[0].events.len(),
            2
        );
    }
}

#[test]
fn compares_see_the_state_before_the_txn() {
    let mut store = Store::memory();
    store.put("a", "1");
    let nested = TxnRequest {
        compare: vec![version_is("b", 0)],
        success: vec![put_op("seen", "before")],
        failure: vec![put_op("seen", "after")],
    };
    let request = TxnRequest {
        compare: vec![version_is("a", 1), version_is("b", 0)],
        success: vec![put_op("b", "1"), op(Request::RequestTxn(nested))],
        failure: vec![],
    };
    assert!(store.txn(request.clone()).unwrap().succeeded);
    assert_eq!(store.list("seen", "", 0)[0].1, "before");
    let second = store.txn(request).unwrap();
    assert_eq!((second.succeeded, second.responses.len()), (false, 0));
    let every = |value: &str| pb::Compare {
        target: compare::CompareTarget::Value as i32,
        target_union: Some(compare::TargetUnion::Value(bytes(value))),
        key: bytes("a"),
        range_end: bytes("c"),
        ..Default::default()
    };
    let holds = |store: &mut Store, compare| {
        let request = TxnRequest {
            compare: vec![compare],
            ..Default::default()
        };
        store.view().read_txn(&request).unwrap().succeeded
    };
    assert!(holds(&mut store, every("1")));
    store.put("b", "2");
    assert!(!holds(&mut store, every("1")), "it must hold for every key");
    let missing = pb::Compare {
        result: compare::CompareResult::NotEqual as i32,
        key: bytes("x"),
        range_end: bytes("z"),
        ..every("1")
    };
    assert!(
        !holds(&mut store, missing.clone()),
        "a missing key has no value"
    );
    let created = pb::Compare {
        target: compare::CompareTarget::Create as i32,
        result: compare::CompareResult::Equal as i32,
        target_union: None,
        ..missing
    };
    assert!(holds(&mut store, created));
}

#[test]
fn one_failed_check_leaves_nothing() {
    let mut store = Store::memory();
    store.put("a", "1");
    store.put("a", "2");
    store.compact(3).unwrap();
    let range_at = |revision| {
        op(Request::RequestRange(pb::RangeRequest {
            revision,
            ..range_request("a", "")
        }))
    };
    let no_lease = op(Request::RequestPut(put_request("c", "1", 99)));
    let no_key = pb::PutRequest {
        ignore_value: true,
        ..put_request("b", "", 0)
    };
    // Put in the same transaction, but not there before it.
    let no_key = op(Request::RequestPut(no_key));
    for (bad, rejection) in [
        (range_at(4), Rejection::FutureRevision),
        (range_at(2), Rejection::Compacted),
        (range_at(-1), Rejection::Compacted),
        (no_lease, Rejection::LeaseNotFound),
        (no_key, Rejection::KeyNotFound),
    ] {
        let nested = success(vec![bad.clone()]);
        for last in [bad, op(Request::RequestTxn(nested))] {
            let request = success(vec![put_op("x", "1"), delete_op("a", ""), last]);
            assert_eq!(store.txn(request), Err(rejection));
        }
    }
    assert_eq!(store.view().revision(), 3);
    assert_eq!(store.list("\0", "\0", 0).len(), 1);
}

#[test]
fn txn_ranges_read_old_revisions_as_written() {
    for mut store in Store::both() {
        // All in one chunk: nothing is written when the transaction comes.
        let past = pb::RangeRequest {
            revision: 3,
            ..range_request("a", "z")
        };
        let entries = [
            store.command(Verb::Put(put_request("a", "1", 0))),
            store.command(Verb::Put(put_request("b", "2", 0))),
            store.command(Verb::Put(put_request("a", "3", 0))),
            store.command(Verb::Txn(success(vec![
                put_op("c", "4"),
                delete_op("b", ""),
                op(Request::RequestRange(past)),
            ]))),
        ];
        let outcomes = store.machine.apply_batch(&entries).unwrap().outcomes;
        let Ok(Response::Txn(answer)) = &outcomes[3].response else {
            panic!()
        };
        let Some(Answer::ResponseRange(past)) = &answer.responses[2].response else {
            panic!()
        };
        assert_eq!(past.header, header(5));
        assert_eq!(
            (past.kvs.as_slice(), past.count),
            ([kv("a", "1", 2, 2, 1), kv("b", "2", 3, 3, 1)].as_slice(), 2)
        );
    }
}

#[test]
fn leases_take_their_keys_along() {
    for mut store in Store::both() {
        let unknown = store.run(Verb::Put(put_request("a", "1", 7)));
        assert_eq!(unknown.response.unwrap_err(), Rejection::LeaseNotFound);
        store.grant(7);
        let again = store.run(Verb::LeaseGrant(LeaseGrant { id: 7, ttl_secs: 5 }));
        assert_eq!(again.response.unwrap_err(), Rejection::LeaseExists);
        store.grant(-8);
        for key in ["c", "a", "b"] {
            store.put_lease(key, "1", 7);
        }
        store.put_lease("b", "1", -8);
        let keys = |store: &Store, id| -> Vec<String> {
            store
                .view()
                .lease_keys(LeaseId(id))
                .unwrap()
                .iter()
                .map(|key| text(key))
                .collect()
        };
        assert_eq!(keys(&store, 7), ["a", "c"]);
        assert_eq!(keys(&store, -8), ["b"]);
        let ids: Vec<i64> = store
            .view()
            .leases()
            .unwrap()
            .iter()
            .map(|lease| lease.id.0)
            .collect();
        assert_eq!(ids, [-8, 7]);
        store.term = 4;
        let stale = store.run(Verb::LeaseRevoke(LeaseRevoke {
            id: 7,
            expired_in_term: 3,
        }));
        assert_eq!(stale.response.unwrap_err(), Rejection::StaleExpiry);
        let revoked = store.run(Verb::LeaseRevoke(LeaseRevoke {
            id: 7,
            expired_in_term: 4,
        }));
        assert_eq!(revoked.changes, [StateChange::LeaseRevoked(LeaseId(7))]);
        let events = revoked.events.unwrap();
        let gone: Vec<String> = events.events.iter().map(|event| text(&event.key)).collect();
        assert_eq!(
            (events.revision, gone),
            (6, vec!["a".to_owned(), "c".to_owned()])
        );
        assert_eq!(store.view().lease(LeaseId(7)).unwrap(), None);
        assert!(keys(&store, 7).is_empty());
        store.delete("b", "");
        let empty = store.run(Verb::LeaseRevoke(LeaseRevoke {
            id: -8,
            expired_in_term: 0,
        }));
        assert_eq!((empty.revision, empty.events.is_none()), (7, true));
        let missing = store.run(Verb::LeaseRevoke(LeaseRevoke {
            id: -8,
            expired_in_term: 0,
        }));
        assert_eq!(missing.response.unwrap_err(), Rejection::LeaseNotFound);
    }
}

#[test]
fn a_command_for_another_term_does_nothing() {
    for mut store in Store::both() {
        let put = |key: &str, proposed_in_term| {
            let mut command = crate::fixture::command(Verb::Put(put_request(key, "v", 0)));
            command.header.as_mut().unwrap().proposed_in_term = proposed_in_term;
            EntryPayload::Command(Arc::new(command))
        };
        store.term = 4;
        let before = store.view().state_digest();
        let entries =
            [put("a", 3), put("b", 5), put("c", 4), put("d", 0)].map(|payload| store.next(payload));
        let batch = store.machine.apply_batch(&entries).unwrap();
        let outcomes: Vec<_> = batch
            .outcomes
            .iter()
            .map(|applied| {
                assert_eq!(applied.response.is_ok(), applied.events.is_some());
                (applied.revision, applied.response.as_ref().err().copied())
            })
            .collect();
        let stale = Some(Rejection::StaleProposal);
        assert_eq!(outcomes, [(1, stale), (1, stale), (2, None), (3, None)]);
        let keys: Vec<_> = store.list("a", "z", 0).into_iter().map(|kv| kv.0).collect();
        assert_eq!(keys, ["c", "d"]);
        assert_ne!(store.view().state_digest(), before);
    }
}

#[test]
fn checkpoints_keep_what_remains() {
    let mut store = Store::memory();
    store.grant(7);
    let leases = [(7, 30), (99, 5)]
        .map(|(id, remaining_secs)| LeaseRemaining { id, remaining_secs })
        .to_vec();
    let applied = store.run(Verb::LeaseCheckpoints(LeaseCheckpoints { leases }));
    let expected = LeaseInfo {
        id: LeaseId(7),
        ttl_secs: 60,
        remaining_secs: 30,
    };
    assert_eq!(applied.changes, [StateChange::LeaseCheckpointed(expected)]);
    assert_eq!(store.view().lease(LeaseId(7)).unwrap(), Some(expected));
}

fn alarm(store: &mut Store, clear: bool, member_id: u64, kind: AlarmType) -> (usize, bool) {
    let change = AlarmChange {
        clear,
        member_id,
        alarm: kind as i32,
    };
    let applied = store.run(Verb::Alarm(change));
    let Ok(Response::Alarm(answer)) = applied.response else {
        panic!()
    };
    (answer.len(), applied.changes == [StateChange::Alarms])
}

#[test]
fn alarms_come_and_go() {
    for mut store in Store::both() {
        assert_eq!(alarm(&mut store, true, 1, AlarmType::Nospace), (0, false));
        assert_eq!(alarm(&mut store, false, 2, AlarmType::Nospace), (1, true));
        assert_eq!(alarm(&mut store, false, 2, AlarmType::Nospace), (1, false));
        assert_eq!(alarm(&mut store, false, 1, AlarmType::Corrupt), (1, true));
        assert_eq!(alarm(&mut store, false, 1, AlarmType::None), (0, false));
        let active: Vec<_> = store
            .view()
            .alarms()
            .iter()
            .map(|a| (a.member_id, a.alarm))
            .collect();
        assert_eq!(active, [(1, 2), (2, 1)]);
        assert_eq!(alarm(&mut store, true, 1, AlarmType::Corrupt), (1, true));
        assert_eq!(store.view().alarms().len(), 1);
    }
}

#[test]
fn alarms_refuse_what_they_should() {
    let nested = success(vec![op(Request::RequestTxn(success(vec![put_op(
        "a", "1",
    )])))]);
    let in_failure = TxnRequest {
        failure: vec![put_op("a", "1")],
        ..Default::default()
    };
    let compaction = pb::CompactionRequest {
        revision: 1,
        physical: false,
    };
    let verbs = [
        // verb, answer under NOSPACE, answer under CORRUPT; None: carried out
        (
            Verb::Put(put_request("a", "1", 0)),
            Some(Rejection::NoSpace),
            true,
        ),
        (Verb::Txn(nested), Some(Rejection::NoSpace), true),
        (Verb::Txn(in_failure), Some(Rejection::NoSpace), true),
        (Verb::Txn(success(vec![delete_op("a", "")])), None, true),
        (Verb::DeleteRange(delete_request("a", "")), None, true),
        (
            Verb::LeaseGrant(LeaseGrant { id: 5, ttl_secs: 5 }),
            Some(Rejection::NoSpace),
            true,
        ),
        (
            Verb::LeaseRevoke(LeaseRevoke {
                id: 7,
                expired_in_term: 0,
            }),
            None,
            true,
        ),
        (Verb::Compaction(compaction), None, true),
        (
            Verb::LeaseCheckpoints(LeaseCheckpoints::default()),
            None,
            false,
        ),
    ];
    for (verb, nospace, corrupt) in verbs {
        for both in [false, true] {
            let mut store = Store::memory();
            store.grant(7);
            alarm(&mut store, false, 1, AlarmType::Nospace);
            if both {
                alarm(&mut store, false, 2, AlarmType::Corrupt);
            }
            let expected = if both {
                corrupt.then_some(Rejection::Corrupt)
            } else {
                nospace
            };
            assert_eq!(store.run(verb.clone()).response.err(), expected, "{verb:?}");
        }
    }
}

#[test]
fn members_follow_membership_and_attributes() {
    let node = |id: u64| internal::Node {
        id,
        name: String::new(),
        peer_urls: vec![format!("http://{id}:2380")],
        client_urls: vec![],
        joining: id == 7,
    };
    let membership = |ids: &[u64], voters: &[u64]| {
        let stored = internal::StoredMembership {
            log_id: Some(internal::LogId { term: 1, index: 0 }),
            membership: Some(internal::Membership {
                configs: vec![internal::VoterSet {
                    ids: voters.to_vec(),
                }],
                nodes: ids.iter().map(|&id| node(id)).collect(),
            }),
        };
        Bytes::from(stored.encode_to_vec())
    };
    let mut store = Store::rocks();
    let entry = store.next(EntryPayload::Membership(membership(&[5, 3], &[3])));
    assert_eq!(store.apply(entry).changes, [StateChange::Members]);
    let said = |member_id, name: &str| MemberAttributes {
        member_id,
        name: name.to_owned(),
        client_urls: vec!["http://c".to_owned()],
    };
    assert!(
        store
            .run(Verb::MemberAttributes(said(9, "stranger")))
            .changes
            .is_empty()
    );
    store.run(Verb::MemberAttributes(said(5, "five")));
    store.run(Verb::ClusterVersion(internal::ClusterVersion {
        version: "3.7.0".to_owned(),
    }));
    let names = |store: &Store| -> Vec<(u64, String, bool)> {
        let view = store.view();
        let members = view.members().iter();
        members
            .map(|(id, record)| (id.0, record.name.clone(), record.is_learner))
            .collect()
    };
    let both = vec![(3, String::new(), false), (5, "five".to_owned(), true)];
    assert_eq!(names(&store), both);
    assert_eq!(store.view().members()[1].0, MemberId(5));
    store.machine.flusher().flush().unwrap();
    let mut store = store.crash();
    assert_eq!(names(&store), both);
    assert_eq!(store.view().cluster_version(), Some("3.7.0"));
    assert_eq!(store.machine.membership(), Some(membership(&[5, 3], &[3])));
    let entry = store.next(EntryPayload::Membership(membership(&[3, 7], &[3])));
    store.apply(entry);
    // Too late: it belongs to nobody any more.
    let late = store.run(Verb::MemberAttributes(said(5, "late")));
    assert!(late.changes.is_empty());
    store.machine.flusher().flush().unwrap();
    let mut store = store.crash();
    let removed = |id| store.view().is_removed_member(MemberId(id));
    assert_eq!([3, 5, 7, 9].map(removed), [false, true, false, false]);
    assert_eq!(names(&store)[1], (7, String::new(), false));
    assert!(store.view().members()[1].1.is_joining);
    let damaged = store.next(EntryPayload::Membership(Bytes::from_static(b"\xff\xff")));
    assert!(matches!(
        store.machine.apply_batch(&[damaged]),
        Err(Fault::Entry { .. })
    ));
}

#[test]
fn the_digest_tells_histories_apart() {
    let mut digests = Vec::new();
    for story in 0..6 {
        let mut store = Store::memory();
        store.grant(7);
        match story {
            0 => {}
            1 => store.grant(8),
            2 => assert_eq!(store.put("a", "1"), 2),
            3 => assert_eq!(store.put("a", "2"), 2),
            4 => store.compact(1).unwrap(),
            _ => assert!(alarm(&mut store, false, 1, AlarmType::Nospace).1),
        }
        digests.push(store.view().state_digest());
    }
    let distinct: std::collections::BTreeSet<_> = digests.iter().collect();
    assert_eq!(distinct.len(), digests.len());
}
