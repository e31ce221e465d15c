//! Consensus: the raft log on disk, openraft around it, and the worker that
//! applies committed entries to `storage`.
//!
//! This is the only crate that names openraft. The server sees [`RaftNode`]:
//! it proposes commands, waits for read indexes, reads the published view and
//! follows the feed of applied changes.

pub mod applied;
pub mod codec;
pub mod error;
pub mod log_store;
pub mod node;
pub mod observer;
pub mod options;
pub mod reply;
pub mod types;
pub mod wal;

pub use applied::{Feed, FeedItem, FeedReader, Published};
pub use error::{OpenError, ProposeError, ReadIndexError};
pub use log_store::{LogStore, Recovered, WalOptions};
pub use node::{Leadership, NodeStatus, RaftNode};
pub use observer::Observer;
pub use options::{Bootstrap, Identity, NodeOptions};
