//! HashKV, step by step.

use super::view::ReadView;
use crate::{
    error::Fault,
    mvcc::hash::{HashScope, Hasher},
};
use std::sync::Arc;

/// The answer of HashKV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKv {
    /// CRC-32C as etcd computes it.
    pub hash: u32,
    /// The revision hashed.
    pub hash_revision: i64,
    /// The compact revision, -1 before the first compaction.
    pub compact_revision: i64,
    /// The revision of the view.
    pub current_revision: i64,
}

/// A hash in progress, off the apply thread.
pub struct HashTask {
    view: Arc<ReadView>,
    scope: HashScope,
    hasher: Hasher,
}

impl HashTask {
    pub(super) fn new(view: Arc<ReadView>, scope: HashScope) -> Self {
        Self {
            view,
            scope,
            hasher: Hasher::new(scope),
        }
    }

    /// Goes on for about `rows_max` rows; the answer once done.
    pub fn step(&mut self, rows_max: usize) -> Result<Option<HashKv>, Fault> {
        let hash = self.hasher.step(self.view.snapshot(), rows_max)?;
        Ok(hash.map(|hash| HashKv {
            hash,
            hash_revision: self.scope.revision,
            compact_revision: self.scope.compact_revision,
            current_revision: self.view.revision(),
        }))
    }
}
