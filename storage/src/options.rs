//! How a store is opened.

use std::path::PathBuf;

/// What a store needs to know when it is opened. Nothing here may change the
/// result of a command.
#[derive(Clone, Debug)]
pub struct StorageOptions {
    /// The directory of the RocksDB database, created if missing.
    pub path: PathBuf,
    /// Bytes of the block cache shared by all column families.
    pub block_cache_bytes: usize,
    /// Bytes of one memtable of `cur` and `log` before it is flushed.
    pub write_buffer_bytes: usize,
    /// Whether a flush reaches the disk before it counts as done.
    pub durability: Durability,
}

/// Whether data is made to survive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// fsync, as it must be.
    Synced,
    /// etcd's `--unsafe-no-fsync`: a flush need not reach the disk. The engine
    /// syncs all the same, because its flushes are few; the raft log does not.
    UnsafeNoFsync,
}

impl StorageOptions {
    /// The defaults, at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            block_cache_bytes: 96 << 20,
            write_buffer_bytes: 16 << 20,
            durability: Durability::Synced,
        }
    }
}
