//! Everything in ordered maps that share their nodes with their snapshots.
//! For simulation and models: it has no disk and forgets all when dropped.

use super::{Backend, EngineSizes, Read, Scan, WriteBatch};
use crate::{error::Fault, schema::Family};
use bytes::Bytes;
use imbl::OrdMap;
use std::{
    ops::Bound,
    sync::{Arc, PoisonError, RwLock},
};

type Rows = OrdMap<Bytes, Bytes>;

/// The engine in memory.
#[derive(Default)]
pub(crate) struct Memory {
    state: RwLock<State>,
    /// What a power cut leaves at least.
    flushed: RwLock<State>,
}

#[derive(Clone, Default)]
struct State {
    families: [Rows; 4],
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
        }
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

impl Backend for Memory {
    fn snapshot(&self) -> Arc<dyn Read> {
        Arc::new(self.state())
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
