//! The registry against the obvious: a list of watchers, walked per event.

use super::*;
use proptest::prelude::*;
use sternpost_storage::{Change, Revision};

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0u8..3, 0..3)
}

fn event(key: &[u8]) -> Event {
    let key = Bytes::copy_from_slice(key);
    Event {
        revision: Revision::new(2, 0),
        key,
        change: Change::Delete,
        previous: None,
    }
}

fn watch(key: &[u8], range_end: &[u8]) -> Option<Watch> {
    let selector = Selector::parse(key, range_end)?;
    let form = Form::default();
    Some(Watch {
        session: 0,
        id: 0,
        selector,
        form,
        start_revision: 0,
        next_revision: 1,
        progress_notify: false,
    })
}

/// etcd's meaning of the two fields, said once more.
fn holds((key, range_end): &(Vec<u8>, Vec<u8>), candidate: &[u8]) -> bool {
    let key = if key.is_empty() { vec![0] } else { key.clone() };
    match range_end.as_slice() {
        [] => candidate == key,
        [0] => candidate >= key.as_slice(),
        end => candidate >= key.as_slice() && candidate < end,
    }
}

#[derive(Clone, Debug)]
enum Op {
    Insert(Vec<u8>, Vec<u8>, bool),
    Remove(usize),
    Sync(usize),
    CatchUp(usize, i64),
    Stall(usize),
    Match(Vec<Vec<u8>>),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (key(), key(), any::<bool>()).prop_map(|(key, end, synced)| Op::Insert(key, end, synced)),
        1 => any::<usize>().prop_map(Op::Remove),
        1 => any::<usize>().prop_map(Op::Sync),
        1 => (any::<usize>(), 1..9i64).prop_map(|(which, next)| Op::CatchUp(which, next)),
        1 => any::<usize>().prop_map(Op::Stall),
        3 => prop::collection::vec(prop::collection::vec(0u8..3, 1..3), 1..5).prop_map(Op::Match),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Synced,
    CatchingUp,
    Stalled,
}

/// `key` and `range_end`, where the watcher is, what it needs next.
type Known = ((Vec<u8>, Vec<u8>), Place, i64);

#[derive(Default)]
struct Model {
    watchers: BTreeMap<WatcherKey, Known>,
}

impl Model {
    fn any(&self, which: usize) -> Option<WatcherKey> {
        self.watchers
            .keys()
            .nth(which % self.watchers.len().max(1))
            .copied()
    }

    fn matches(&self, place: Place, events: &[Event]) -> BTreeMap<WatcherKey, Vec<u32>> {
        let mut found = BTreeMap::new();
        for (key, (range, at, _)) in &self.watchers {
            let hits: Vec<u32> = (0u32..)
                .zip(events)
                .filter(|(_, event)| holds(range, &event.key))
                .map(|(number, _)| number)
                .collect();
            if *at == place && !hits.is_empty() {
                found.insert(*key, hits);
            }
        }
        found
    }
}

fn matched(
    registry: &mut Registry,
    place: Place,
    events: &[Event],
) -> BTreeMap<WatcherKey, Vec<u32>> {
    let events: Vec<&Event> = events.iter().collect();
    let hits = match place {
        Place::Synced => registry.match_synced(&events),
        _ => registry.match_catching_up(&events),
    };
    let index = if place == Place::Synced {
        &registry.synced
    } else {
        &registry.unsynced
    };
    let mut found = BTreeMap::new();
    for (group, hits) in hits {
        for key in &index.groups[group as usize].members {
            assert!(
                found.insert(*key, hits.clone()).is_none(),
                "a watcher sits in one group"
            );
        }
    }
    found
}

fn apply(registry: &mut Registry, model: &mut Model, op: Op) -> Result<(), TestCaseError> {
    match op {
        Op::Insert(start, end, synced) => {
            let Some(watch) = watch(&start, &end) else {
                prop_assert!(
                    !end.is_empty() && end != [0],
                    "only a range with an end can be empty"
                );
                return Ok(());
            };
            let key = registry.insert(watch, synced);
            let place = if synced {
                Place::Synced
            } else {
                Place::CatchingUp
            };
            model.watchers.insert(key, ((start, end), place, 1));
        }
        Op::Remove(which) => {
            if let Some(key) = model.any(which) {
                registry.remove(key);
                model.watchers.remove(&key);
            }
        }
        Op::Sync(which) => {
            if let Some(key) = model.any(which) {
                registry.set_synced(key);
                model.watchers.get_mut(&key).expect("known").1 = Place::Synced;
            }
        }
        Op::CatchUp(which, next) => {
            if let Some(key) = model.any(which) {
                registry.advance(key, next);
                registry.set_catching_up(key);
                let known = model.watchers.get_mut(&key).expect("known");
                (known.1, known.2) = (Place::CatchingUp, next);
            }
        }
        Op::Stall(which) => {
            if let Some(key) = model.any(which) {
                registry.set_stalled(key);
                model.watchers.get_mut(&key).expect("known").1 = Place::Stalled;
            }
        }
        Op::Match(keys) => {
            let events: Vec<Event> = keys.iter().map(|key| event(key)).collect();
            for place in [Place::Synced, Place::CatchingUp] {
                prop_assert_eq!(
                    matched(registry, place, &events),
                    model.matches(place, &events)
                );
            }
        }
    }
    Ok(())
}

proptest! {
    /// Whatever was registered, moved and removed: each event finds the
    /// watchers that a walk over all of them finds.
    #[test]
    fn same_as_a_walk_over_all_watchers(ops in prop::collection::vec(op(), 1..150)) {
        let (mut registry, mut model) = (Registry::default(), Model::default());
        for op in ops {
            apply(&mut registry, &mut model, op)?;
            let places = |place| model.watchers.values().filter(move |(_, at, _)| *at == place).count();
            prop_assert_eq!(registry.len(), model.watchers.len());
            prop_assert_eq!(registry.synced_len(), places(Place::Synced));
            prop_assert_eq!(registry.has_turns(), places(Place::CatchingUp) > 0);
            let mut due: Vec<_> =
                model.watchers.iter().filter(|(_, (_, at, _))| *at == Place::CatchingUp).map(|(key, (_, _, next))| (*next, *key)).collect();
            due.sort_unstable();
            let due: Vec<_> = due.into_iter().map(|(_, key)| key).collect();
            prop_assert_eq!(registry.catching_up_in(i64::MIN, i64::MAX), due);
        }
    }
}

#[test]
fn turns_go_round() {
    let mut registry = Registry::default();
    let keys: Vec<_> = (0..3)
        .map(|_| registry.insert(watch(b"a", b"").expect("one key"), false))
        .collect();
    let round = |registry: &mut Registry| {
        (0..3)
            .filter_map(|_| registry.next_turn())
            .collect::<Vec<_>>()
    };
    assert_eq!(round(&mut registry), keys);
    registry.set_synced(keys[1]);
    assert_eq!(round(&mut registry), [keys[0], keys[2], keys[0]]);
}

#[test]
fn a_selector_does_not_pin_the_request() {
    let request = Bytes::from(vec![b'k'; 4096]);
    let Some(Selector::Key(key)) = Selector::parse(&request[..1], b"") else {
        panic!("one key")
    };
    assert_ne!(key.as_ptr(), request.as_ptr());
}
