//! Who watches what: matching events to watchers, without clock or channel.
//!
//! Watchers with the same key or range sit in one group, so an event is
//! matched against distinct ranges, not against watchers. A watcher is in one
//! of three places:
//! - synced: all that was matched so far went to its queue, new events find
//!   it by its group;
//! - catching up: it is owed events from the history, in turn with others;
//! - stalled: its stream has no room, nobody looks for it until there is.
//!
//! Invariant: `next_revision` of a watcher that is not synced is the first
//! revision not yet in its queue; of a synced one it is a lower bound, below
//! which events must not be sent.

use super::intervals::{End, Intervals};
use bytes::Bytes;
use slab::Slab;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use sternpost_storage::Event;

/// A watcher of this registry.
pub type WatcherKey = u32;
/// A group of watchers of one index.
pub type GroupKey = u32;

/// What a watcher watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// One key.
    Key(Bytes),
    /// All keys from the first one to before the end.
    Range(Bytes, End),
}

impl Selector {
    /// Reads etcd's pair of fields: an empty key means the smallest one, an
    /// end of one zero byte no end. `None` for a range that holds no key. The
    /// bytes are copied, so that a watch doesn't pin the buffer its request
    /// came in.
    pub fn parse(key: &[u8], range_end: &[u8]) -> Option<Self> {
        let key = Bytes::copy_from_slice(if key.is_empty() { &[0] } else { key });
        match range_end {
            [] => Some(Self::Key(key)),
            [0] => Some(Self::Range(key, End::Open)),
            end if key.as_ref() < end => {
                Some(Self::Range(key, End::Before(Bytes::copy_from_slice(end))))
            }
            _ => None,
        }
    }
}

/// What a watcher wants to see of an event. Watchers of a group that agree in
/// this share the encoded bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// The pair before the event, too.
    pub prev_kv: bool,
    /// No puts.
    pub skip_puts: bool,
    /// No deletes.
    pub skip_deletes: bool,
    /// Large responses in parts.
    pub fragment: bool,
}

/// What is known of a watch when it is created.
#[derive(Clone, Debug)]
pub struct Watch {
    /// The stream it belongs to.
    pub session: u32,
    /// Its ID there.
    pub id: i64,
    /// Its keys.
    pub selector: Selector,
    /// What it wants of them.
    pub form: Form,
    /// The start revision as asked for, 0 for "from now".
    pub start_revision: i64,
    /// The first revision it must see.
    pub next_revision: i64,
    /// It wants to be told of progress from time to time.
    pub progress_notify: bool,
}

/// A registered watch.
pub struct Watcher {
    /// What it asked for, and how far it is.
    pub watch: Watch,
    /// No event was sent since the last progress tick.
    pub quiet: bool,
    place: Place,
}

enum Place {
    Synced(Seat),
    CatchingUp { seat: Seat, ticket: u64 },
    Stalled,
}

#[derive(Clone, Copy)]
struct Seat {
    group: GroupKey,
    position: u32,
}

/// A group that events hit, and the numbers of those events, ascending.
pub type Hits = (GroupKey, Vec<u32>);

/// All watchers of one hub.
#[derive(Default)]
pub struct Registry {
    watchers: Slab<Watcher>,
    synced: Index,
    unsynced: Index,
    /// The watchers that catch up, by the revision they need next.
    by_revision: BTreeSet<(i64, WatcherKey)>,
    /// The same, by whose turn it is.
    turns: BTreeMap<u64, WatcherKey>,
    tickets: u64,
    synced_total: usize,
}

impl Registry {
    /// Adds a watch, synced or to catch up from its `next_revision`.
    pub fn insert(&mut self, watch: Watch, synced: bool) -> WatcherKey {
        let slot = self.watchers.insert(Watcher {
            watch,
            quiet: true,
            place: Place::Stalled,
        });
        let key = WatcherKey::try_from(slot).expect("fewer watchers than u32::MAX");
        if synced {
            self.set_synced(key);
        } else {
            self.set_catching_up(key);
        }
        key
    }

    /// Forgets a watch.
    pub fn remove(&mut self, key: WatcherKey) -> Watch {
        self.leave(key);
        self.watchers.remove(key as usize).watch
    }

    /// A watcher.
    pub fn get(&self, key: WatcherKey) -> &Watcher {
        &self.watchers[key as usize]
    }

    /// A watcher, to note what was sent to it.
    pub fn get_mut(&mut self, key: WatcherKey) -> &mut Watcher {
        &mut self.watchers[key as usize]
    }

    /// Whether new events find this watcher.
    pub fn is_synced(&self, key: WatcherKey) -> bool {
        matches!(self.get(key).place, Place::Synced(_))
    }

    /// How many watchers there are.
    pub fn len(&self) -> usize {
        self.watchers.len()
    }

    /// How many of them new events find.
    pub fn synced_len(&self) -> usize {
        self.synced_total
    }

    /// Takes a watcher that lacks nothing among those that new events find.
    pub fn set_synced(&mut self, key: WatcherKey) {
        self.leave(key);
        let selector = &self.watchers[key as usize].watch.selector;
        let seat = self.synced.join(selector, key);
        self.synced_total += 1;
        self.watchers[key as usize].place = Place::Synced(seat);
    }

    /// Puts a watcher in line for history, behind all others.
    pub fn set_catching_up(&mut self, key: WatcherKey) {
        self.leave(key);
        let watch = &self.watchers[key as usize].watch;
        let seat = self.unsynced.join(&watch.selector, key);
        self.by_revision.insert((watch.next_revision, key));
        let ticket = self.tickets;
        self.tickets += 1;
        self.turns.insert(ticket, key);
        self.watchers[key as usize].place = Place::CatchingUp { seat, ticket };
    }

    /// Sets a watcher aside until its stream has room again.
    pub fn set_stalled(&mut self, key: WatcherKey) {
        self.leave(key);
    }

    /// Notes that a watcher has all before `next_revision`.
    pub fn advance(&mut self, key: WatcherKey, next_revision: i64) {
        let watcher = &mut self.watchers[key as usize];
        let before = std::mem::replace(&mut watcher.watch.next_revision, next_revision);
        if let Place::CatchingUp { .. } = watcher.place {
            self.by_revision.remove(&(before, key));
            self.by_revision.insert((next_revision, key));
        }
    }

    /// The watcher whose turn it is to be served from history; it goes to the
    /// end of the line.
    pub fn next_turn(&mut self) -> Option<WatcherKey> {
        let (_, key) = self.turns.pop_first()?;
        let next = self.tickets;
        self.tickets += 1;
        self.turns.insert(next, key);
        match &mut self.watchers[key as usize].place {
            Place::CatchingUp { ticket, .. } => *ticket = next,
            Place::Synced(_) | Place::Stalled => {
                unreachable!("only watchers that catch up have a ticket")
            }
        }
        Some(key)
    }

    /// Whether any watcher catches up.
    pub fn has_turns(&self) -> bool {
        !self.turns.is_empty()
    }

    /// The watchers that catch up and need a revision in `from..=to` next, in
    /// order of that revision.
    pub fn catching_up_in(&self, from: i64, to: i64) -> Vec<WatcherKey> {
        if from > to {
            return Vec::new();
        }
        self.by_revision
            .range((from, WatcherKey::MIN)..=(to, WatcherKey::MAX))
            .map(|(_, key)| *key)
            .collect()
    }

    /// All synced watchers, in order of their keys.
    pub fn all_synced(&self) -> Vec<WatcherKey> {
        let synced = self
            .watchers
            .iter()
            .filter(|(_, watcher)| matches!(watcher.place, Place::Synced(_)));
        synced.map(|(slot, _)| slot as WatcherKey).collect()
    }

    /// Matches events, each once, against the synced watchers.
    pub fn match_synced(&mut self, events: &[&Event]) -> Vec<Hits> {
        self.synced.match_events(events)
    }

    /// Matches events, each once, against those that catch up.
    pub fn match_catching_up(&mut self, events: &[&Event]) -> Vec<Hits> {
        self.unsynced.match_events(events)
    }

    /// Copies the watchers of a group of the synced into `members`.
    pub fn synced_members(&self, group: GroupKey, members: &mut Vec<WatcherKey>) {
        members.clear();
        members.extend_from_slice(&self.synced.groups[group as usize].members);
    }

    /// The group of a watcher that catches up.
    pub fn catching_up_group(&self, key: WatcherKey) -> Option<GroupKey> {
        match self.get(key).place {
            Place::CatchingUp { seat, .. } => Some(seat.group),
            Place::Synced(_) | Place::Stalled => None,
        }
    }

    fn leave(&mut self, key: WatcherKey) {
        let watcher = &mut self.watchers[key as usize];
        let place = std::mem::replace(&mut watcher.place, Place::Stalled);
        let (index, seat) = match place {
            Place::Stalled => return,
            Place::Synced(seat) => {
                self.synced_total -= 1;
                (&mut self.synced, seat)
            }
            Place::CatchingUp { seat, ticket } => {
                self.by_revision.remove(&(watcher.watch.next_revision, key));
                self.turns.remove(&ticket);
                (&mut self.unsynced, seat)
            }
        };
        if let Some(moved) = index.leave(seat) {
            match &mut self.watchers[moved as usize].place {
                Place::Synced(other) | Place::CatchingUp { seat: other, .. } => {
                    other.position = seat.position
                }
                Place::Stalled => unreachable!("a stalled watcher has no seat"),
            }
        }
    }
}

/// Groups by what they watch.
#[derive(Default)]
struct Index {
    exact: HashMap<Bytes, GroupKey>,
    ranges: Intervals,
    groups: Slab<Group>,
}

struct Group {
    selector: Selector,
    members: Vec<WatcherKey>,
    hits: Vec<u32>,
}

impl Index {
    fn join(&mut self, selector: &Selector, watcher: WatcherKey) -> Seat {
        let group = self.find(selector).unwrap_or_else(|| self.add(selector));
        let members = &mut self.groups[group as usize].members;
        members.push(watcher);
        let position = u32::try_from(members.len() - 1).expect("fewer watchers than u32::MAX");
        Seat { group, position }
    }

    /// Frees a seat; the watcher that was moved into it, if any.
    fn leave(&mut self, seat: Seat) -> Option<WatcherKey> {
        let group = &mut self.groups[seat.group as usize];
        group.members.swap_remove(seat.position as usize);
        let moved = group.members.get(seat.position as usize).copied();
        if group.members.is_empty() {
            let group = self.groups.remove(seat.group as usize);
            match &group.selector {
                Selector::Key(key) => self.exact.remove(key),
                Selector::Range(start, end) => self.ranges.remove(start, end),
            };
        }
        moved
    }

    fn find(&self, selector: &Selector) -> Option<GroupKey> {
        match selector {
            Selector::Key(key) => self.exact.get(key).copied(),
            Selector::Range(start, end) => self.ranges.get(start, end),
        }
    }

    fn add(&mut self, selector: &Selector) -> GroupKey {
        let slot = self.groups.insert(Group {
            selector: selector.clone(),
            members: Vec::new(),
            hits: Vec::new(),
        });
        let group = GroupKey::try_from(slot).expect("fewer groups than u32::MAX");
        match selector.clone() {
            Selector::Key(key) => drop(self.exact.insert(key, group)),
            Selector::Range(start, end) => self.ranges.insert(start, end, group),
        }
        group
    }

    /// The groups hit, in order of their first hit: exact before ranges, the
    /// ranges in their own order.
    fn match_events(&mut self, events: &[&Event]) -> Vec<Hits> {
        let mut touched = Vec::new();
        let Self {
            exact,
            ranges,
            groups,
        } = self;
        for (number, event) in (0u32..).zip(events) {
            let mut hit = |group: GroupKey| {
                let hits = &mut groups[group as usize].hits;
                if hits.is_empty() {
                    touched.push(group);
                }
                hits.push(number);
            };
            if let Some(group) = exact.get(&event.key) {
                hit(*group);
            }
            ranges.for_each_holding(&event.key, &mut hit);
        }
        touched
            .into_iter()
            .map(|group| (group, std::mem::take(&mut groups[group as usize].hits)))
            .collect()
    }
}

#[cfg(test)]
mod tests;
