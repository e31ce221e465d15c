//! Histories with compactions: what they excuse, and what they do not.

use super::super::super::compactor::Outcome;
use super::super::super::operation::Refusal;
use super::super::super::watching::Behind;
use super::*;

/// One that was asked for at `call`, and answered a little later.
fn compaction(revision: i64, call: u64, outcome: Outcome) -> Compaction {
    let open = outcome == Outcome::Open;
    Compaction {
        member: 0,
        revision,
        physical: false,
        call,
        back: if open { 0 } else { call + 1 },
        outcome,
    }
}

fn done(revision: i64, call: u64) -> Compaction {
    compaction(revision, call, Outcome::Done(5))
}

fn refused(revision: i64, call: u64, refusal: Refusal) -> Compaction {
    compaction(revision, call, Outcome::Refused(refusal))
}

/// A watch from `start` that was told these, and then that it is behind.
fn ended(start: i64, told: &[Event], compacted: i64) -> Watch {
    let mut ended = watch(vec![(5, told.to_vec())]);
    ended
        .responses
        .retain(|response| !response.events.is_empty());
    ended.wish.start = start;
    ended.behind = Some(Behind {
        compacted,
        at: SENT,
    });
    ended
}

#[test]
fn a_watch_ends_behind_a_compaction_and_nowhere_else() {
    let all = happened();
    let none = Vec::<String>::new();
    assert_eq!(found_beside(&ended(2, &[], 4), &[done(4, 10)]), none);
    assert_eq!(found_beside(&ended(3, &[], 4), &[done(4, 10)]), none);
    let open = [compaction(4, 10, Outcome::Open)];
    assert_eq!(found_beside(&ended(3, &[], 4), &open), none);
    // Of the compaction's own revision everything is left.
    assert_eq!(found_beside(&ended(4, &[], 4), &[done(4, 10)]), ["behind"]);
    assert_eq!(
        found_beside(&ended(2, &all[..2], 4), &[done(4, 10)]),
        ["behind"]
    );
    assert_eq!(found_beside(&ended(2, &all[..1], 4), &[done(4, 10)]), none);
    // Nobody has compacted there, or has asked for it, or only later.
    assert_eq!(found_beside(&ended(2, &[], 4), &[done(5, 10)]), ["behind"]);
    assert_eq!(
        found_beside(&ended(2, &[], 4), &[done(4, SENT + 1)]),
        ["behind"]
    );
    let refusal = [refused(4, 10, Refusal::Compacted), done(5, 8)];
    assert_eq!(found_beside(&ended(2, &[], 4), &refusal), ["behind"]);
}

#[test]
fn an_earlier_key_is_missing_only_where_it_was_compacted() {
    let mut missing = happened();
    missing[2].prev_kv = None;
    let watch = watch(vec![(5, missing)]);
    let none = Vec::<String>::new();
    assert_eq!(found_beside(&watch, &[done(4, 10)]), none, "3 is compacted");
    let open = [compaction(5, 10, Outcome::Open)];
    assert_eq!(found_beside(&watch, &open), none, "perhaps");
    assert_eq!(
        found_beside(&watch, &[done(3, 10)]),
        ["previous"],
        "3 is left"
    );
    assert_eq!(
        found_beside(&watch, &[done(4, SENT)]),
        ["previous"],
        "later"
    );
    let future = [refused(9, 10, Refusal::Future)];
    assert_eq!(found_beside(&watch, &future), ["previous"], "refused");
    let far = [compaction(9, 10, Outcome::Open)];
    assert_eq!(
        found_beside(&watch, &far),
        ["previous"],
        "not in this story"
    );
    let mut wrong = happened();
    wrong[4].prev_kv = Some(kv("k1", "a", 2, 2, 1));
    let wrong = super::watch(vec![(5, wrong)]);
    assert_eq!(
        found_beside(&wrong, &[done(5, 10)]),
        ["previous"],
        "not missing"
    );
}

/// What is found in a read of revision `at` that was asked for at 20, and answered at 30.
fn past(at: i64, local: bool, told: Told, compactions: &[Compaction]) -> usize {
    let story = story();
    let mut read = operation(Ask::Past(at), told, local);
    (read.call, read.back) = (20, 30);
    let mut before = operation(Ask::Grant(1), shown(4, Vec::new()), false);
    (before.call, before.back) = (9, 10);
    let operations = [before, read];
    let acknowledged = Acknowledged::new(&operations, &[]);
    let compactions = Compactions::new(compactions, &story);
    past_reads::check(&operations, &story, &compactions, &acknowledged).len()
}

fn shown(revision: i64, rows: Vec<Row>) -> Told {
    Told {
        known: true,
        succeeded: true,
        revision,
        rows,
        ..Told::default()
    }
}

#[test]
fn a_read_of_a_past_that_never_was_is_found() {
    for local in [true, false] {
        assert_eq!(past(1, local, shown(5, Vec::new()), &[]), 0);
        assert_eq!(past(2, local, shown(5, vec![row("a", 2)]), &[]), 0);
        assert_eq!(past(4, local, shown(4, vec![row("c", 4)]), &[]), 0);
        assert_eq!(
            past(2, local, shown(5, vec![row("c", 4)]), &[]),
            1,
            "a later state"
        );
        assert_eq!(past(4, local, shown(5, Vec::new()), &[]), 1, "a lost key");
        assert_eq!(
            past(5, local, shown(4, vec![row("d", 5)]), &[]),
            1,
            "beyond its answer"
        );
        assert_eq!(
            past(9, local, shown(9, vec![row("d", 5)]), &[]),
            1,
            "never was"
        );
    }
    let old = shown(3, vec![row("a", 2)]);
    assert_eq!(past(2, true, old.clone(), &[]), 0, "a member may be behind");
    assert_eq!(past(2, false, old, &[]), 1, "somebody was told of 4 before");
}

#[test]
fn a_read_is_refused_if_its_past_is_compacted_and_only_then() {
    let compacted = Told::refused(Refusal::Compacted);
    let state = shown(5, vec![row("a", 2)]);
    for local in [true, false] {
        assert_eq!(past(3, local, compacted.clone(), &[done(4, 12)]), 0);
        assert_eq!(
            past(3, local, compacted.clone(), &[done(4, 25)]),
            0,
            "beside it"
        );
        let open = [compaction(4, 12, Outcome::Open)];
        assert_eq!(past(3, local, compacted.clone(), &open), 0, "perhaps");
        assert_eq!(
            past(4, local, compacted.clone(), &[done(4, 12)]),
            1,
            "4 is left"
        );
        assert_eq!(
            past(3, local, compacted.clone(), &[done(4, 31)]),
            1,
            "later"
        );
        let refusal = [refused(4, 12, Refusal::Compacted)];
        assert_eq!(past(3, local, compacted.clone(), &refusal), 1, "not done");
        assert_eq!(
            past(2, local, state.clone(), &[done(2, 12)]),
            0,
            "2 is left"
        );
        assert_eq!(
            past(2, local, state.clone(), &[done(4, 25)]),
            0,
            "beside it"
        );
        let words = Told::refused(Refusal::Unknown("no".into()));
        assert_eq!(past(2, local, words, &[]), 1);
    }
    assert_eq!(
        past(2, true, state.clone(), &[done(3, 12)]),
        0,
        "a member may be behind"
    );
    assert_eq!(
        past(2, false, state, &[done(3, 12)]),
        1,
        "done before it was asked"
    );
}

#[test]
fn a_read_is_refused_if_its_revision_is_to_come_and_only_then() {
    let future = Told::refused(Refusal::Future);
    assert_eq!(past(5, false, future.clone(), &[]), 0);
    assert_eq!(
        past(4, false, future.clone(), &[]),
        1,
        "somebody was told of 4 before"
    );
    assert_eq!(past(4, true, future, &[]), 0, "a member may be behind");
}

#[test]
fn a_write_that_is_refused_with_its_read_has_not_happened() {
    let refused = |value: &str, past| {
        let ask = Ask::Write(Change {
            puts: vec![Put {
                key: "k1".into(),
                value: value.into(),
                lease: 0,
            }],
            past,
            ..Change::default()
        });
        let told = Told::refused(Refusal::Compacted);
        let history = History {
            story: &story(),
            watches: &[],
            operations: &[operation(ask, told, false)],
            compactions: &[done(4, 0)],
        };
        history.check().len()
    };
    assert_eq!(refused("never", Some(3)), 0);
    assert_eq!(refused("a", Some(3)), 1, "it is there");
    assert_eq!(refused("never", None), 1, "it reads no past");
}

/// What is found in these compactions; a watch was told of all revisions at 50.
fn compacted(compactions: &[Compaction]) -> usize {
    let watch = watch(vec![(5, happened())]);
    let acknowledged = Acknowledged::new(&[], &[watch]);
    Compactions::new(compactions, &story())
        .check(&acknowledged)
        .len()
}

#[test]
fn a_compaction_that_is_answered_wrongly_is_found() {
    let again = |revision, call| refused(revision, call, Refusal::Compacted);
    let future = |revision, call| refused(revision, call, Refusal::Future);
    let open = |revision, call| compaction(revision, call, Outcome::Open);
    assert_eq!(
        compacted(&[done(3, 10), again(3, 12), done(4, 14), future(9, 60)]),
        0
    );
    assert_eq!(compacted(&[done(3, 10), done(3, 12)]), 1, "again");
    assert_eq!(compacted(&[done(4, 10), done(3, 12)]), 1, "below");
    assert_eq!(
        compacted(&[open(4, 10), done(3, 12)]),
        0,
        "4 may not have been"
    );
    assert_eq!(
        compacted(&[open(4, 10), again(3, 12)]),
        0,
        "4 may have been"
    );
    assert_eq!(
        compacted(&[again(3, 12)]),
        1,
        "its own request does not count"
    );
    assert_eq!(
        compacted(&[done(3, 10), again(4, 12)]),
        1,
        "nobody was so far"
    );
    assert_eq!(compacted(&[done(6, 10)]), 1, "beyond its answer");
    assert_eq!(compacted(&[future(5, 49)]), 0, "nobody was told before");
    assert_eq!(compacted(&[future(5, 60)]), 1, "it was told before");
    assert_eq!(
        compacted(&[refused(3, 60, Refusal::Unknown("no".into()))]),
        1
    );
}
