//! Only what was asked for comes.

use super::super::watching::Watch;

/// Events that nobody wanted, and earlier keys that nobody asked for.
#[must_use]
pub fn check(watch: &Watch) -> Vec<String> {
    let unwanted = watch.events().filter(|event| {
        !watch.wish.wants(event) || (event.prev_kv.is_some() && !watch.wish.previous)
    });
    unwanted
        .map(|event| format!("{}: {:?} and was told {event:?}", watch.who, watch.wish))
        .collect()
}
