//! The multi-version store over the backend: what a key was at any revision
//! that compaction has left.
//!
//! Readers and the writer share one set of functions, which take a
//! [`crate::backend::Read`]: for readers that is a snapshot, inside an entry
//! it is the [`overlay`] of changes not yet written, laid over the backend.

pub(crate) mod compaction;
pub(crate) mod compare;
pub(crate) mod count;
pub(crate) mod current;
pub(crate) mod digest;
pub(crate) mod hash;
pub(crate) mod history;
pub(crate) mod overlay;
pub(crate) mod range;
pub(crate) mod span;
pub(crate) mod versions;
pub(crate) mod write_txn;
pub(crate) mod writer;
