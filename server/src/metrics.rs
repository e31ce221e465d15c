//! All metric families, under etcd's names.

/// All families; cheap to clone.
#[derive(Clone)]
pub struct Metrics {}
