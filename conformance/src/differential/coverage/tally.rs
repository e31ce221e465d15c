//! Counters for what is listed, and only for that.

use std::collections::BTreeMap;

/// The state that a request met, which tells old revisions from future ones.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The newest revision.
    pub revision: i64,
    /// The last compaction; -1 before the first.
    pub compacted: i64,
}

/// One class of values of a message. Its name begins with the field's.
pub type Class<T> = (&'static str, fn(&T, Now) -> bool);

/// Counts per message and class.
#[derive(Default)]
pub struct Tally {
    messages: BTreeMap<&'static str, Vec<(String, u64)>>,
}

impl Tally {
    /// Lists the classes of a message.
    pub fn list<T>(&mut self, message: &'static str, classes: &[Class<T>]) {
        self.list_names(message, classes.iter().map(|(name, _)| (*name).to_owned()));
    }

    /// Lists names that are counted by their place.
    pub fn list_names(&mut self, message: &'static str, names: impl Iterator<Item = String>) {
        let before = self
            .messages
            .insert(message, names.map(|name| (name, 0)).collect());
        assert!(before.is_none(), "{message} is listed twice");
    }

    /// Counts every class that a value is of.
    pub fn look<T>(&mut self, message: &'static str, classes: &[Class<T>], value: &T, now: Now) {
        for (place, (_, holds)) in classes.iter().enumerate() {
            if holds(value, now) {
                self.hit(message, place);
            }
        }
    }

    /// Counts one name by its place in the list.
    pub fn hit(&mut self, message: &'static str, place: usize) {
        let listed = self.messages.get_mut(message);
        listed.expect("what is counted is listed")[place].1 += 1;
    }

    /// Adds the counts of another tally of the same list.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.messages.values_mut().zip(other.messages.values()) {
            for ((_, mine), (_, theirs)) in mine.iter_mut().zip(theirs) {
                *mine += theirs;
            }
        }
    }

    /// Message, class, count.
    pub fn items(&self) -> impl Iterator<Item = (&'static str, &str, u64)> {
        self.messages.iter().flat_map(|(message, classes)| {
            classes
                .iter()
                .map(|(class, count)| (*message, class.as_str(), *count))
        })
    }
}
