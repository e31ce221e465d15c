//! A type per number, so that a revision can't be passed for a lease.

use std::fmt;

/// A position in the history: `main` grows by one with each mutating entry,
/// `sub` numbers the changes inside it from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    /// The revision clients see.
    pub main: i64,
    /// The change within it, in operation order.
    pub sub: i64,
}

impl Revision {
    /// The revision `main`, change `sub`.
    pub const fn new(main: i64, sub: i64) -> Self {
        Self { main, sub }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.main, self.sub)
    }
}

/// A lease; 0 means none. Clients may choose negative ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

/// A member of the cluster, as etcd computes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

/// A position in the raft log. Ordered by term, then by index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogMark {
    /// The term of the leader that wrote the entry.
    pub term: u64,
    /// The index of the entry; the first one is openraft's index 0.
    pub index: u64,
}

impl fmt::Display for LogMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.term, self.index)
    }
}
