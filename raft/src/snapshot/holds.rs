//! Keeps the log from being purged behind a state that is being sent: whoever
//! gets the state goes on with the entries after it.

use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc};

/// All holds of one member.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    ever: u64,
    /// By hold: the last entry that may be purged.
    upto: BTreeMap<u64, u64>,
}

impl Holds {
    /// Keeps the entries after `index` until the hold is dropped.
    pub(crate) fn hold(self: &Arc<Self>, index: u64) -> Hold {
        let mut held = self.held.lock();
        let number = held.ever;
        held.ever += 1;
        held.upto.insert(number, index);
        Hold {
            holds: self.clone(),
            number,
        }
    }

    /// The last entry that may be purged, if anything is held.
    pub(crate) fn lowest(&self) -> Option<u64> {
        self.held.lock().upto.values().min().copied()
    }
}

/// See [`Holds::hold`].
#[derive(Debug)]
pub(crate) struct Hold {
    holds: Arc<Holds>,
    number: u64,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.holds.held.lock().upto.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_hold_counts_as_long_as_it_is_held() {
        let holds = Arc::new(Holds::default());
        assert_eq!(holds.lowest(), None);
        let seven = holds.hold(7);
        let nine = holds.hold(9);
        let other_seven = holds.hold(7);
        assert_eq!(holds.lowest(), Some(7));
        drop(seven);
        assert_eq!(holds.lowest(), Some(7));
        drop(other_seven);
        assert_eq!(holds.lowest(), Some(9));
        drop(nine);
        assert_eq!(holds.lowest(), None);
    }
}
