//! Everything in ordered maps that share their nodes with their snapshots.
//! For simulation and models: it has no disk and forgets all when dropped.

use super::{Backend, EngineSizes, Read, Scan, WriteBatch};
use crate::{error::Fault, schema::Family};
use bytes::Bytes;
use imbl::OrdMap;
use std::{
    io,
    ops::Bound,
    path::Path,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

type Rows = OrdMap<Bytes, Bytes>;

/// The only file of a checkpoint: family (1), length of the key (4), of the
/// value (4), key, value; and again. Numbers are big-endian.
pub(crate) const ROWS: &str = "ROWS";

/// The engine in memory.
#[derive(Default)]
pub(crate) struct Memory {
    state: RwLock<State>,
    /// What a power cut leaves at least.
    flushed: RwLock<State>,
    /// Shared with all snapshots.
    held: Arc<()>,
    /// Whoever writes has to wait, as on an engine that is stalled.
    busy: AtomicBool,
}

#[derive(Clone, Default)]
struct State {
    families: [Rows; 4],
}

/// A state that counts as held.
struct Held {
    state: State,
    _held: Arc<()>,
}

fn encode(state: &State) -> Vec<u8> {
    let mut blob = Vec::new();
    for (family, rows) in state.families.iter().enumerate() {
        for (key, value) in rows {
            blob.push(family as u8);
            blob.extend_from_slice(&(key.len() as u32).to_be_bytes());
            blob.extend_from_slice(&(value.len() as u32).to_be_bytes());
            blob.extend_from_slice(key);
            blob.extend_from_slice(value);
        }
    }
    blob
}

#[cfg(feature = "rocksdb")]
fn decode(mut blob: &[u8]) -> Option<State> {
    fn take<'a>(blob: &mut &'a [u8], bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = blob.split_at_checked(bytes)?;
        *blob = rest;
        Some(taken)
    }
    let mut state = State::default();
    while !blob.is_empty() {
        let family = usize::from(take(&mut blob, 1)?[0]);
        let lengths = [take(&mut blob, 4)?, take(&mut blob, 4)?].map(|length| {
            length
                .iter()
                .fold(0, |sum, &byte| sum << 8 | usize::from(byte))
        });
        let key = Bytes::copy_from_slice(take(&mut blob, lengths[0])?);
        let value = Bytes::copy_from_slice(take(&mut blob, lengths[1])?);
        state.families.get_mut(family)?.insert(key, value);
    }
    Some(state)
}

impl Memory {
    /// What is left after a power cut: all that was written, or only what was
    /// flushed.
    #[cfg(feature = "testing")]
    pub(crate) fn after_power_cut(&self, all: bool) -> Self {
        let flushed = self.flushed.read().unwrap_or_else(PoisonError::into_inner);
        let left = if all { self.state() } else { flushed.clone() };
        Self {
            state: RwLock::new(left.clone()),
            flushed: RwLock::new(left),
            held: Arc::default(),
            busy: AtomicBool::default(),
        }
    }

    /// Whether whoever writes has to wait: then who may not is sent away.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::Relaxed);
    }

    /// What a checkpoint in this directory holds.
    #[cfg(feature = "rocksdb")]
    pub(crate) fn load(dir: &Path) -> Result<Self, Fault> {
        let path = dir.join(ROWS);
        let blob = std::fs::read(&path)
            .map_err(|error| Fault::Backend(format!("reading {}: {error}", path.display())))?;
        let state = decode(&blob).ok_or_else(|| Fault::Corrupt {
            place: path.display().to_string(),
            detail: "a row is cut short".to_owned(),
        })?;
        Ok(Self {
            flushed: RwLock::new(state.clone()),
            state: RwLock::new(state),
            held: Arc::default(),
            busy: AtomicBool::default(),
        })
    }

    fn state(&self) -> State {
        self.state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Read for Memory {
    fn get(&self, family: Family, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool, Fault> {
        self.state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(family, key, found)
    }

    fn scan<'a>(
        &'a self,
        family: Family,
        from: &[u8],
        until: Option<&[u8]>,
    ) -> Result<Box<dyn Scan + 'a>, Fault> {
        let rows = self.state().families[family as usize].clone();
        Ok(Box::new(MemoryScan::new(rows, from, until)))
    }
}

impl Read for State {
    fn get(&self, family: Family, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool, Fault> {
        let value = self.families[family as usize].get(key);
        if let Some(value) = value {
            found(value);
        }
        Ok(value.is_some())
    }

    fn scan<'a>(
        &'a self,
        family: Family,
        from: &[u8],
        until: Option<&[u8]>,
    ) -> Result<Box<dyn Scan + 'a>, Fault> {
        Ok(Box::new(MemoryScan::new(
            self.families[family as usize].clone(),
            from,
            until,
        )))
    }
}

impl Read for Held {
    fn get(&self, family: Family, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool, Fault> {
        self.state.get(family, key, found)
    }

    fn scan<'a>(
        &'a self,
        family: Family,
        from: &[u8],
        until: Option<&[u8]>,
    ) -> Result<Box<dyn Scan + 'a>, Fault> {
        self.state.scan(family, from, until)
    }
}

impl Backend for Memory {
    fn snapshot(&self) -> Arc<dyn Read> {
        Arc::new(Held {
            state: self.state(),
            _held: self.held.clone(),
        })
    }

    fn try_write(&self, batch: &WriteBatch) -> Result<bool, Fault> {
        if self.busy.load(Ordering::Relaxed) {
            return Ok(false);
        }
        self.write(batch).map(|()| true)
    }

    fn write(&self, batch: &WriteBatch) -> Result<(), Fault> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        for operation in batch.operations() {
            let rows = &mut state.families[operation.family as usize];
            match operation.value {
                Some(value) => rows.insert(
                    Bytes::copy_from_slice(operation.key),
                    Bytes::copy_from_slice(value),
                ),
                None => rows.remove(operation.key),
            };
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), Fault> {
        let state = self.state();
        *self.flushed.write().unwrap_or_else(PoisonError::into_inner) = state;
        Ok(())
    }

    fn compact_files(&self) -> Result<(), Fault> {
        Ok(())
    }

    fn sizes(&self) -> Result<EngineSizes, Fault> {
        let state = self.state();
        let bytes = |family: Family| -> u64 {
            state.families[family as usize]
                .iter()
                .map(|(key, value)| (key.len() + value.len()) as u64)
                .sum()
        };
        let data_bytes = bytes(Family::Log) + bytes(Family::Ver) + bytes(Family::Meta);
        let current_copy_bytes = bytes(Family::Cur);
        Ok(EngineSizes {
            data_bytes,
            data_in_use_bytes: data_bytes,
            current_copy_bytes,
            disk_bytes: data_bytes + current_copy_bytes,
        })
    }

    fn unflushed_bytes(&self) -> u64 {
        0
    }

    fn write_stalled(&self) -> bool {
        false
    }

    fn checkpoint(&self, dir: &Path) -> Result<(), Fault> {
        let blob = encode(&self.state());
        let write = || {
            std::fs::create_dir(dir)?;
            std::fs::write(dir.join(ROWS), &blob)
        };
        write().map_err(|error: io::Error| {
            Fault::Backend(format!("writing {}: {error}", dir.display()))
        })
    }

    fn snapshots_held(&self) -> usize {
        Arc::strong_count(&self.held) - 1
    }
}

/// A walk that looks each next row up by the last key: slower than an
/// iterator, but it can own the map it walks.
struct MemoryScan {
    rows: Rows,
    until: Option<Vec<u8>>,
    item: Option<(Bytes, Bytes)>,
}

impl MemoryScan {
    fn new(rows: Rows, from: &[u8], until: Option<&[u8]>) -> Self {
        let mut scan = Self {
            rows,
            until: until.map(<[u8]>::to_vec),
            item: None,
        };
        scan.item = scan.first(Bound::Included(from));
        scan
    }

    fn first(&self, from: Bound<&[u8]>) -> Option<(Bytes, Bytes)> {
        let (key, value) = self
            .rows
            .range::<_, [u8]>((from, Bound::Unbounded))
            .next()?;
        let inside = self
            .until
            .as_deref()
            .is_none_or(|until| key.as_ref() < until);
        inside.then(|| (key.clone(), value.clone()))
    }
}

impl Scan for MemoryScan {
    fn item(&self) -> Option<(&[u8], &[u8])> {
        self.item
            .as_ref()
            .map(|(key, value)| (key.as_ref(), value.as_ref()))
    }

    fn advance(&mut self) -> Result<(), Fault> {
        if let Some((key, _)) = self.item.take() {
            self.item = self.first(Bound::Excluded(&key));
        }
        Ok(())
    }

    fn seek(&mut self, key: &[u8]) -> Result<(), Fault> {
        self.item = self.first(Bound::Included(key));
        Ok(())
    }
}
