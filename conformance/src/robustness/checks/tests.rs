//! Hand-made histories: every check finds what it is for, and nothing in a sound one.

mod compacted;

use super::super::operation::{Ask, Change, Operation, Put, Row, Told};
use super::super::story::Story;
use super::super::watching::{Response, Watch, Wish};
use super::*;
use sternpost_proto::mvccpb::{Event, KeyValue, event::EventType};

/// When every response of these watches came.
const SENT: u64 = 50;

/// k1 = a, k2 = b, then k1 = c and k2 gone in one revision, then k1 = d.
fn happened() -> Vec<Event> {
    vec![
        put("k1", "a", 2, None),
        put("k2", "b", 3, None),
        put("k1", "c", 4, Some(kv("k1", "a", 2, 2, 1))),
        gone("k2", 4, Some(kv("k2", "b", 3, 3, 1))),
        put("k1", "d", 5, Some(kv("k1", "c", 2, 4, 2))),
    ]
}

fn kv(
    key: &'static str,
    value: &'static str,
    created: i64,
    modified: i64,
    version: i64,
) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: value.into(),
        create_revision: created,
        mod_revision: modified,
        version,
        lease: 0,
    }
}

fn put(key: &'static str, value: &'static str, at: i64, previous: Option<KeyValue>) -> Event {
    let created = previous.as_ref().map_or(at, |kv| kv.create_revision);
    let version = previous.as_ref().map_or(1, |kv| kv.version + 1);
    Event {
        r#type: EventType::Put as i32,
        kv: Some(kv(key, value, created, at, version)),
        prev_kv: previous,
    }
}

fn gone(key: &'static str, at: i64, previous: Option<KeyValue>) -> Event {
    Event {
        r#type: EventType::Delete as i32,
        kv: Some(kv(key, "", 0, at, 0)),
        prev_kv: previous,
    }
}

fn story() -> Story {
    let mut story = Story::default();
    assert!(story.take_in("all", &happened()).is_empty());
    story
}

/// A watch of everything that was sent these responses; an empty one is a notice.
fn watch(responses: Vec<(i64, Vec<Event>)>) -> Watch {
    let responses = responses.into_iter();
    Watch {
        who: "w".into(),
        wish: Wish {
            start: 2,
            previous: true,
            ..Wish::default()
        },
        created: 1,
        responses: responses
            .map(|(revision, events)| Response {
                at: SENT,
                revision,
                events,
            })
            .collect(),
        behind: None,
    }
}

fn found(watch: &Watch) -> Vec<String> {
    found_beside(watch, &[])
}

/// What is found in a watch while these compactions were asked for.
fn found_beside(watch: &Watch, compactions: &[Compaction]) -> Vec<String> {
    let history = History {
        story: &story(),
        watches: std::slice::from_ref(watch),
        operations: &[],
        compactions,
    };
    let all = history.check();
    let promises = all.iter().filter_map(|what| what.split(':').next());
    let mut promises: Vec<String> = promises.map(str::to_owned).collect();
    promises.dedup();
    promises
}

#[test]
fn a_sound_watch_passes() {
    let all = happened();
    let sound = watch(vec![
        (2, all[..1].to_vec()),
        (2, Vec::new()),
        (4, all[1..4].to_vec()),
        (5, all[4..].to_vec()),
        (5, Vec::new()),
    ]);
    assert_eq!(found(&sound), Vec::<String>::new());
    let mut deletions = watch(vec![(4, vec![all[3].clone()]), (5, Vec::new())]);
    deletions.wish.no_puts = true;
    assert_eq!(found(&deletions), Vec::<String>::new());
}

#[test]
fn a_watch_told_wrong_is_found() {
    let all = happened();
    let swapped = watch(vec![(3, all[1..2].to_vec()), (2, all[..1].to_vec())]);
    assert!(found(&swapped).contains(&"ordered".to_owned()));
    let again = watch(vec![(2, all[..1].to_vec()), (2, all[..1].to_vec())]);
    assert!(found(&again).contains(&"unique".to_owned()));
    let torn = watch(vec![(4, all[..3].to_vec()), (4, all[3..4].to_vec())]);
    assert_eq!(found(&torn), ["atomic"]);
    let left_out = watch(vec![(2, all[..1].to_vec()), (5, all[2..].to_vec())]);
    assert_eq!(found(&left_out), ["reliable"]);
    let late = watch(vec![(5, all[1..].to_vec())]);
    assert_eq!(found(&late), ["resumable", "reliable"]);
    let mut unwanted = watch(vec![(5, all.clone())]);
    unwanted.wish.no_puts = true;
    assert!(found(&unwanted).contains(&"filtered".to_owned()));
    let mut forged = all.clone();
    forged[0] = put("k1", "x", 2, None);
    assert_eq!(found(&watch(vec![(5, forged)])), ["reliable"]);
}

#[test]
fn a_notice_that_comes_too_early_is_found() {
    let all = happened();
    let early = watch(vec![(3, Vec::new()), (5, all.clone())]);
    assert_eq!(found(&early), ["bookmarkable"]);
    let never = watch(vec![(2, all[..1].to_vec()), (5, Vec::new())]);
    assert_eq!(found(&never), ["bookmarkable"]);
    let back = watch(vec![(5, all), (5, Vec::new()), (3, Vec::new())]);
    assert_eq!(found(&back), ["bookmarkable"]);
}

#[test]
fn a_wrong_past_is_found() {
    let mut missing = happened();
    missing[2].prev_kv = None;
    assert_eq!(found(&watch(vec![(5, missing)])), ["previous"]);
    let mut older = happened();
    older[4].prev_kv = Some(kv("k1", "a", 2, 2, 1));
    assert_eq!(found(&watch(vec![(5, older)])), ["previous"]);
    let mut made_up = happened();
    made_up[0].prev_kv = Some(kv("k1", "z", 1, 1, 1));
    assert_eq!(found(&watch(vec![(5, made_up)])), ["previous"]);
}

#[test]
fn members_that_tell_different_stories_are_found() {
    let mut story = story();
    let other = [put("k1", "x", 2, None)];
    assert_eq!(story.take_in("another", &other).len(), 1);
    assert!(story.gaps().is_empty());
    let _ = story.take_in("another", &[put("k1", "y", 9, None)]);
    assert_eq!(story.gaps(), [6, 7, 8]);
}

#[test]
fn the_end_of_a_lease_is_told_from_a_deletion() {
    let leased = |key, at| {
        let mut event = put(key, "v", at, None);
        event.kv.as_mut().expect("an event has a key").lease = 7;
        event
    };
    let mut story = Story::default();
    let told = [
        leased("k1", 2),
        leased("k2", 3),
        gone("k1", 4, None),
        leased("k1", 5),
    ];
    let _ = story.take_in("all", &told);
    let _ = story.take_in("all", &[gone("k1", 6, None), gone("k2", 6, None)]);
    let found = story.deletions();
    let leases: Vec<(i64, i64)> = found.iter().map(|one| (one.revision, one.lease)).collect();
    assert_eq!(leases, [(4, 0), (6, 7)]);
}

#[test]
fn the_traffic_ends_before_the_first_write_that_is_no_client_s() {
    let mut story = Story::default();
    let _ = story.take_in("all", &[put("k1", "x", 2, None)]);
    assert_eq!(story.traffic_end(), i64::MAX);
    let late = [put("last0", "", 3, None), put("k1", "late", 4, None)];
    let _ = story.take_in("all", &late);
    assert_eq!(story.traffic_end(), 3);
}

fn operation(ask: Ask, told: Told, local: bool) -> Operation {
    Operation {
        client: 1,
        member: 0,
        local,
        call: 1,
        back: 2,
        ask,
        told,
    }
}

fn written(value: &str, told: Told) -> Vec<String> {
    let ask = Ask::Write(Change {
        puts: vec![Put {
            key: "k1".into(),
            value: value.into(),
            lease: 0,
        }],
        ..Change::default()
    });
    durable::check(&[operation(ask, told, false)], &story())
}

#[test]
fn a_lost_write_is_found() {
    let done = |revision| Told {
        known: true,
        succeeded: true,
        revision,
        ..Told::default()
    };
    assert!(written("a", done(2)).is_empty());
    assert_eq!(written("a", done(3)).len(), 1, "told another revision");
    assert_eq!(written("lost", done(6)).len(), 1);
    assert!(
        written("lost", Told::default()).is_empty(),
        "nobody promised"
    );
    let refused = Told {
        succeeded: false,
        ..done(3)
    };
    assert_eq!(written("b", refused).len(), 1, "told that it was not done");
}

fn row(value: &str, modified: i64) -> Row {
    Row {
        key: "k1".into(),
        value: value.into(),
        modified,
    }
}

#[test]
fn a_local_read_of_what_never_was_is_found() {
    let read = |revision, rows| {
        let ask = Ask::Read {
            key: "k".into(),
            prefix: true,
        };
        let told = Told {
            known: true,
            succeeded: true,
            revision,
            rows,
            ..Told::default()
        };
        local_reads::check(&[operation(ask, told, true)], &story()).len()
    };
    assert_eq!(read(1, Vec::new()), 0);
    assert_eq!(read(2, vec![row("a", 2)]), 0, "an old state is a state");
    assert_eq!(read(4, vec![row("c", 4)]), 0);
    assert_eq!(read(4, vec![row("a", 2)]), 1, "half of a revision");
    assert_eq!(read(7, vec![row("d", 5)]), 1, "a revision to come");
}
