//! Consensus: the raft log on disk, openraft around it, and the worker that
//! applies committed entries to `storage`.
//!
//! This is the only crate that names openraft. The server sees [`RaftNode`]:
//! it proposes commands, waits for read indexes, reads the published view and
//! follows the feed of applied changes.

pub mod applied;
mod apply_worker;
mod assembly;
mod batcher;
mod changer;
mod changes;
pub mod codec;
pub mod error;
mod flow;
mod force;
mod forward;
mod heard;
mod housekeeper;
mod joint;
mod lanes;
mod leading;
mod lifecycle;
pub mod log_store;
mod membership;
mod network;
pub mod node;
mod nudge;
pub mod observer;
mod opening;
pub mod options;
pub mod peer;
mod read_index;
pub mod reply;
mod room;
mod runtime;
mod scrub;
pub mod snapshot;
mod state_machine;
mod status;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod types;
pub mod wal;

pub use applied::{Feed, FeedItem, FeedReader, Published};
pub use changer::MembershipChange;
pub use changes::{ChangeItem, ChangeReader, Changes};
pub use error::{MembershipError, OpenError, ProposeError, ReadIndexError, TransferError};
pub use leading::{MemberProgress, Progress};
pub use log_store::{LogStore, Recovered, WalOptions};
pub use node::{Leadership, NodeStatus, RaftNode};
pub use observer::{Observer, Way};
pub use options::{Bootstrap, Identity, NodeOptions};
pub use snapshot::Stores;
