//! The replicated state machine: etcd's MVCC store over an ordered key-value
//! backend, synchronous and deterministic.
//!
//! [`StateMachine`] is the single writer: the raft crate's apply worker feeds
//! it log entries. [`ReadHandle`] is for everyone else: it hands out the
//! published [`ReadView`], one consistent state with its revision.
//!
//! What must not live here: clocks, randomness, threads, async, iteration
//! over hashed maps, anything that two members could answer differently.

pub mod apply;
mod backend;
mod cluster;
pub mod error;
pub mod event;
pub mod failpoints;
#[cfg(test)]
#[cfg(feature = "rocksdb")]
mod fixture;
pub mod ids;
mod lease;
mod mvcc;
pub mod options;
pub mod read;
mod schema;
#[cfg(feature = "rocksdb")]
pub mod snapshot;
pub mod state_machine;
#[cfg(feature = "testing")]
pub mod testing;

pub use apply::{Applied, Entry, EntryPayload, Response, StateChange};
pub use error::{Fault, ReadError, Rejection};
pub use event::{Change, Event, RevisionEvents};
pub use ids::{LeaseId, LogMark, MemberId, Revision};
pub use options::{Durability, StorageOptions};
pub use read::{HashKv, HashTask, LeaseInfo, RangeCursor, ReadHandle, ReadView, Sizes, WireAnswer};
#[cfg(feature = "rocksdb")]
pub use snapshot::{Checkpoint, SnapshotFile, SnapshotState};
pub use state_machine::{AppliedBatch, Flusher, OldStore, ScrubProgress, StateMachine};
