//! The ordered key-value engine under the store, behind three small traits:
//! [`Read`] for whoever reads (a snapshot, or the newest state), [`Scan`] for
//! walking keys in order, [`Backend`] for the writer.
//!
//! Nothing here knows what the bytes mean; that is `schema`.

mod batch;
mod memory;
#[cfg(feature = "rocksdb")]
mod rocks;
#[cfg(feature = "rocksdb")]
mod rocks_fault;
#[cfg(feature = "rocksdb")]
mod rocks_options;

pub(crate) use batch::WriteBatch;
pub(crate) use memory::Memory;
#[cfg(feature = "rocksdb")]
pub(crate) use memory::ROWS;
#[cfg(feature = "rocksdb")]
pub(crate) use rocks::Rocks;

use crate::{error::Fault, schema::Family};
use std::{path::Path, sync::Arc};

/// One state of the four families.
pub(crate) trait Read: Send + Sync {
    /// Hands the value of `key` to `found`, without copying it, and says
    /// whether there is one.
    fn get(&self, family: Family, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool, Fault>;

    /// Walks the keys in `[from, until)` upwards; `None` means no upper bound.
    /// It stands on the first of them, if any.
    fn scan<'a>(
        &'a self,
        family: Family,
        from: &[u8],
        until: Option<&[u8]>,
    ) -> Result<Box<dyn Scan + 'a>, Fault>;
}

/// A position in a walk. Seeking below where the walk began is not allowed.
pub(crate) trait Scan {
    /// The row it stands on; `None` at the end.
    fn item(&self) -> Option<(&[u8], &[u8])>;

    /// Goes to the next row.
    fn advance(&mut self) -> Result<(), Fault>;

    /// Goes to the first row at or above `key`.
    fn seek(&mut self, key: &[u8]) -> Result<(), Fault>;
}

/// The engine. Reads on it see the newest written state.
pub(crate) trait Backend: Read {
    /// The state as of now, for as long as it is held.
    fn snapshot(&self) -> Arc<dyn Read>;

    /// Writes all of the batch or nothing. It may be lost in a crash until
    /// the next flush, but never in part, and never before an earlier one.
    fn write(&self, batch: &WriteBatch) -> Result<(), Fault>;

    /// The same without waiting: false, and nothing is written, if the engine
    /// slows its writers down or there is no room on the disk.
    fn try_write(&self, batch: &WriteBatch) -> Result<bool, Fault>;

    /// Makes all that was written before the call durable.
    fn flush(&self) -> Result<(), Fault>;

    /// Rewrites the files, so that deleted rows give their space back.
    fn compact_files(&self) -> Result<(), Fault>;

    /// Sizes of data and files.
    fn sizes(&self) -> Result<EngineSizes, Fault>;

    /// Bytes written since the last flush that was asked for, or a little more.
    fn unflushed_bytes(&self) -> u64;

    /// Whether writers are slowed down or stopped.
    fn write_stalled(&self) -> bool;

    /// Makes the directory `dir`, which must not exist, a store of its own
    /// with all that was written before the call, and maybe more. Files are
    /// shared with this one where they never change again.
    fn checkpoint(&self, dir: &Path) -> Result<(), Fault>;

    /// How many snapshots of it are held.
    fn snapshots_held(&self) -> usize;
}

/// What an engine says about its size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EngineSizes {
    /// Live bytes of `log`, `ver` and `meta`, memtables included.
    pub data_bytes: u64,
    /// The same without dead rows, estimated.
    pub data_in_use_bytes: u64,
    /// Live bytes of `cur`, memtables included.
    pub current_copy_bytes: u64,
    /// All files.
    pub disk_bytes: u64,
}

/// The first key after all that start with `prefix`; `None` if there is none.
pub(crate) fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// Reads one value as a whole.
pub(crate) fn get_owned(
    read: &dyn Read,
    family: Family,
    key: &[u8],
) -> Result<Option<Vec<u8>>, Fault> {
    let mut value = None;
    read.get(family, key, &mut |bytes| value = Some(bytes.to_vec()))?;
    Ok(value)
}

#[cfg(test)]
#[cfg(feature = "rocksdb")]
mod tests;
