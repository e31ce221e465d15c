//! Leases: the leader's countdown.
