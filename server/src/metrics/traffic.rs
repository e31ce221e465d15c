//! Bytes that go to the other members and come from them, counted where they
//! pass and turned into series when somebody scrapes.

use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// Ends of connections that are counted apart. There are as many as members'
/// URLs; whoever invents more is not counted.
const ENDS_MAX: usize = 256;

/// Bytes of one end of a connection.
#[derive(Debug, Default)]
pub struct Bytes {
    /// Sent from here.
    pub sent: AtomicU64,
    /// Received here.
    pub received: AtomicU64,
}

/// Who is at the other end: the member that was called at a URL, or the one
/// that calls.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// A peer URL.
    Called(String),
    /// A member's ID.
    Caller(u64),
}

/// All ends.
#[derive(Debug, Default)]
pub struct Traffic(Mutex<BTreeMap<End, Arc<Bytes>>>);

impl Traffic {
    /// Where to count for this end.
    pub fn of(&self, end: End) -> Arc<Bytes> {
        let mut ends = self.0.lock();
        if ends.len() >= ENDS_MAX && !ends.contains_key(&end) {
            return Arc::default();
        }
        ends.entry(end).or_default().clone()
    }

    /// Bytes sent to and received from a member since this was last asked for it.
    pub fn take(&self, id: u64, urls: &[String]) -> (u64, u64) {
        let ends = self.0.lock();
        let of_member = ends.iter().filter(|(end, _)| match end {
            End::Called(url) => urls.contains(url),
            End::Caller(caller) => *caller == id,
        });
        of_member.fold((0, 0), |(sent, received), (_, bytes)| {
            (
                sent + bytes.sent.swap(0, Relaxed),
                received + bytes.received.swap(0, Relaxed),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_a_member_are_taken_once() {
        let traffic = Traffic::default();
        let url = "http://10.0.0.1:2380".to_owned();
        traffic
            .of(End::Called(url.clone()))
            .sent
            .fetch_add(5, Relaxed);
        traffic.of(End::Caller(1)).received.fetch_add(7, Relaxed);
        traffic.of(End::Caller(2)).received.fetch_add(9, Relaxed);
        assert_eq!(traffic.take(1, std::slice::from_ref(&url)), (5, 7));
        assert_eq!(traffic.take(1, &[url]), (0, 0));
    }

    #[test]
    fn invented_ends_take_no_room() {
        let traffic = Traffic::default();
        for id in 0..2 * ENDS_MAX as u64 {
            traffic.of(End::Caller(id)).sent.fetch_add(1, Relaxed);
        }
        assert_eq!(traffic.0.lock().len(), ENDS_MAX);
    }
}
