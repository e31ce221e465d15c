//! HashKV of known histories, as a running etcd 3.7.1 answers them. Each case
//! is asked before and after the scrub: it must not matter.

use crate::fixture::{Store, put_op, success};
use sternpost_proto::internal::{LeaseRevoke, command::Verb};

/// The hash of nothing but the bucket's name.
const NOTHING: u32 = 1_084_519_789;

/// Runs `story` on both engines, with and without scrubbing after each
/// compaction, and compares hashes: (revision asked, hash, compact revision).
fn check(story: &dyn Fn(&mut Story), expected: &[(i64, u32, i64)]) {
    for scrubs in [false, true] {
        for store in Store::both() {
            let mut told = Story { store, scrubs };
            story(&mut told);
            for &(revision, hash, compact_revision) in expected {
                assert_eq!(
                    told.store.hash(revision),
                    (hash, compact_revision),
                    "revision {revision}, scrubs {scrubs}"
                );
            }
        }
    }
}

struct Story {
    store: Store,
    scrubs: bool,
}

impl Story {
    fn put(&mut self, key: &str, value: &str) {
        self.store.put(key, value);
    }

    fn delete(&mut self, key: &str) {
        assert_eq!(self.store.delete(key, ""), 1);
    }

    fn compact(&mut self, revision: i64) {
        self.store.compact(revision).unwrap();
        if self.scrubs {
            self.store.scrub();
        }
    }
}

#[test]
fn case_1_empty_store() {
    check(
        &|_| {},
        &[(0, NOTHING, -1), (1, NOTHING, -1), (-5, NOTHING, -1)],
    );
}

#[test]
fn case_2_one_put() {
    check(
        &|s| s.put("a", "1"),
        &[(2, 2_587_454_935, -1), (0, 2_587_454_935, -1)],
    );
    check(&|s| s.put("a", ""), &[(2, 1_436_260_321, -1)]);
}

#[test]
fn case_3_tombstone() {
    let story = |s: &mut Story| {
        s.put("a", "1");
        s.delete("a");
    };
    check(&story, &[(3, 3_520_211_144, -1), (2, 2_587_454_935, -1)]);
}

#[test]
fn case_4_created_again() {
    let story = |s: &mut Story| {
        s.put("a", "1");
        s.delete("a");
        s.put("a", "2");
    };
    check(&story, &[(4, 957_593_145, -1)]);
}

#[test]
fn case_5_sub_revisions() {
    let story = |s: &mut Story| {
        s.store
            .txn(success(vec![put_op("a", "1"), put_op("b", "2")]))
            .unwrap();
        assert_eq!(s.store.delete("a", "c"), 2);
    };
    check(&story, &[(2, 2_787_448_889, -1), (3, 2_867_864_036, -1)]);
}

#[test]
fn case_6_leases() {
    let story = |s: &mut Story| {
        s.store.grant(7);
        s.store.put_lease("a", "1", 7);
        s.put("a", "1");
    };
    check(&story, &[(2, 4_202_119_179, -1), (3, 2_115_297_375, -1)]);
    let story = |s: &mut Story| {
        s.store.grant(7);
        s.store.put_lease("a", "1", 7);
        s.store.put_lease("b", "2", 7);
        s.store
            .run(Verb::LeaseRevoke(LeaseRevoke {
                id: 7,
                expired_in_term: 0,
            }))
            .response
            .unwrap();
    };
    check(&story, &[(4, 636_500_618, -1)]);
}

#[test]
fn case_7_superseded_at_the_hashed_revision() {
    let story = |s: &mut Story| {
        for value in ["1", "2", "3"] {
            s.put("a", value);
        }
        s.compact(3);
    };
    check(&story, &[(4, 1_619_834_972, 3), (3, 1_483_641_527, 3)]);
}

#[test]
fn case_8_live_at_the_compaction_superseded_later() {
    let story = |s: &mut Story| {
        s.put("a", "1");
        s.compact(2);
        s.put("a", "2");
    };
    check(&story, &[(3, 1_483_641_527, 2), (2, 2_587_454_935, 2)]);
}

#[test]
fn case_9_beside_a_key_that_stays() {
    let story = |s: &mut Story| {
        s.put("a", "1");
        s.put("b", "2");
        s.compact(3);
        s.put("a", "3");
    };
    check(&story, &[(4, 1_107_643_163, 3), (3, 1_827_592_406, 3)]);
}

#[test]
fn case_10_compaction_on_a_tombstone() {
    let story = |s: &mut Story| {
        s.put("a", "1");
        s.put("b", "2");
        s.delete("a");
        s.compact(4);
        s.put("c", "3");
    };
    check(&story, &[(5, 4_196_123_440, 4), (4, 728_145_079, 4)]);
    let further = |s: &mut Story| {
        story(s);
        s.compact(5);
    };
    check(&further, &[(5, 4_196_123_440, 5)]);
}

#[test]
fn case_11_nothing_lives_in_the_end() {
    let story = |s: &mut Story| {
        s.put("a", "1");
        s.put("b", "2");
        s.compact(3);
        s.delete("a");
        s.delete("b");
    };
    check(&story, &[(4, 776_148_148, 3), (5, 3_647_447_639, 3)]);
}

#[test]
fn case_12_the_only_key_deleted_after_the_compaction() {
    let story = |s: &mut Story| {
        s.put("a", "1");
        s.compact(2);
        s.delete("a");
    };
    check(&story, &[(3, 3_520_211_144, 2)]);
    let further = |s: &mut Story| {
        story(s);
        s.compact(3);
    };
    check(&further, &[(3, NOTHING, 3)]);
}

#[test]
fn case_13_all_deleted_then_compacted() {
    let story = |s: &mut Story| {
        s.put("a", "1");
        s.delete("a");
        s.compact(3);
        s.put("b", "2");
    };
    check(&story, &[(3, NOTHING, 3), (4, 3_337_853_667, 3)]);
}

#[test]
fn a_scrub_half_done_does_not_show() {
    let mut scrubbed = Store::memory();
    let mut halfway = Store::memory();
    for store in [&mut scrubbed, &mut halfway] {
        for round in 0..30 {
            let deletes = success(vec![
                crate::fixture::delete_op("a", ""),
                crate::fixture::delete_op("b", ""),
                crate::fixture::delete_op("c", ""),
            ]);
            store
                .txn(success(vec![
                    put_op("a", "1"),
                    put_op("b", "2"),
                    put_op("c", "3"),
                ]))
                .unwrap();
            store.put("stays", &round.to_string());
            store.txn(deletes).unwrap();
        }
        store.compact(40).unwrap();
    }
    // Stops somewhere, also in the middle of a revision, then C moves on.
    for steps in 1..9 {
        halfway.machine.scrub_step(4).unwrap();
        assert!(!halfway.view().scrubbed(), "{steps}");
        scrubbed.scrub();
        for revision in [40, 41, 60, 0] {
            assert_eq!(
                halfway.hash(revision),
                scrubbed.hash(revision),
                "after {steps} steps at {revision}"
            );
        }
    }
    for target in [42, 43, 46, 91] {
        for store in [&mut scrubbed, &mut halfway] {
            store.compact(target).unwrap();
        }
        halfway.machine.scrub_step(20).unwrap();
        scrubbed.scrub();
        assert_eq!(halfway.hash(0), scrubbed.hash(0), "compacted at {target}");
    }
    halfway.scrub();
    let rows = |store: &Store| {
        let view = store.view();
        let mut scan = view
            .snapshot()
            .scan(crate::schema::Family::Log, b"", None)
            .unwrap();
        let mut rows = 0;
        while scan.item().is_some() {
            rows += 1;
            scan.advance().unwrap();
        }
        rows
    };
    assert_eq!(
        rows(&halfway),
        rows(&scrubbed),
        "in the end the same rows are left"
    );
}

#[test]
fn refuses_what_is_compacted_or_to_come() {
    use crate::{ReadError, Rejection};
    let mut store = Store::memory();
    for value in ["1", "2", "3"] {
        store.put("a", value);
    }
    store.compact(3).unwrap();
    let refusal = |revision| match store.view().hash_kv(revision) {
        Err(ReadError::Rejected(rejection)) => Some(rejection),
        _ => None,
    };
    assert_eq!(refusal(2), Some(Rejection::Compacted));
    assert_eq!(refusal(5), Some(Rejection::FutureRevision));
    assert_eq!(refusal(3), None);
    assert_eq!(refusal(-1), None);
}
