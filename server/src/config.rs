//! etcd's flags, `ETCD_*` variables and their checks.

/// One public field per flag, named as the flag in snake case; durations are
/// `std::time::Duration`.
pub struct Config {}
