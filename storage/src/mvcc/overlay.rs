//! Changes of the running chunk that are not written yet, as an index over
//! the batch that will write them.
//!
//! `cur` and `meta` rows are indexed, so that later requests of the chunk see
//! earlier ones. `log` and `ver` rows are not: only a read at an old revision
//! needs them, and the writer writes the batch before an entry that does one.

use crate::{
    backend::{Read, Scan, WriteBatch},
    error::Fault,
    schema::Family,
};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, btree_map},
    ops::{Bound, Range},
};

/// Where a row's value lies in the batch; `None` for a deleted row.
type Place = Option<Range<usize>>;

/// The batch and its index.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    batch: WriteBatch,
    current: BTreeMap<Bytes, Place>,
    meta: BTreeMap<Bytes, Place>,
}

impl Overlay {
    /// Puts a `cur` row.
    pub(crate) fn put_current(&mut self, key: &Bytes, value: impl FnOnce(&mut Vec<u8>)) {
        let place = self
            .batch
            .put_with(Family::Cur, |out| out.extend_from_slice(key), value);
        self.current.insert(key.clone(), Some(place));
    }

    /// Deletes a `cur` row.
    pub(crate) fn delete_current(&mut self, key: &Bytes) {
        self.batch.delete(Family::Cur, key);
        self.current.insert(key.clone(), None);
    }

    /// Puts a `meta` row.
    pub(crate) fn put_meta(&mut self, key: &[u8], value: &[u8]) {
        let place = self.batch.put(Family::Meta, key, value);
        self.meta.insert(Bytes::copy_from_slice(key), Some(place));
    }

    /// Deletes a `meta` row.
    pub(crate) fn delete_meta(&mut self, key: &[u8]) {
        self.batch.delete(Family::Meta, key);
        self.meta.insert(Bytes::copy_from_slice(key), None);
    }

    /// The batch, for rows that need no index.
    pub(crate) fn batch(&mut self) -> &mut WriteBatch {
        &mut self.batch
    }

    /// What is to be written.
    pub(crate) fn changes(&self) -> &WriteBatch {
        &self.batch
    }

    /// Forgets everything, once it is written.
    pub(crate) fn clear(&mut self) {
        self.batch.clear();
        self.current.clear();
        self.meta.clear();
    }

    /// This laid over `base`.
    pub(crate) fn over<'a>(&'a self, base: &'a dyn Read) -> Pending<'a> {
        Pending {
            overlay: self,
            base,
        }
    }

    fn index(&self, family: Family) -> Option<&BTreeMap<Bytes, Place>> {
        match family {
            Family::Cur => Some(&self.current),
            Family::Meta => Some(&self.meta),
            Family::Log | Family::Ver => None,
        }
    }
}

/// The state with the overlay's changes in it.
pub(crate) struct Pending<'a> {
    overlay: &'a Overlay,
    base: &'a dyn Read,
}

impl Read for Pending<'_> {
    fn get(&self, family: Family, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool, Fault> {
        match self.overlay.index(family).and_then(|rows| rows.get(key)) {
            Some(Some(place)) => {
                found(self.overlay.batch.slice(place.clone()));
                Ok(true)
            }
            Some(None) => Ok(false),
            None => self.base.get(family, key, found),
        }
    }

    fn scan<'a>(
        &'a self,
        family: Family,
        from: &[u8],
        until: Option<&[u8]>,
    ) -> Result<Box<dyn Scan + 'a>, Fault> {
        let base = self.base.scan(family, from, until)?;
        let rows = match self.overlay.index(family) {
            Some(rows) if !rows.is_empty() && until.is_none_or(|until| from < until) => rows,
            _ => return Ok(base),
        };
        let upper = until.map_or(Bound::Unbounded, |until| {
            Bound::Excluded(Bytes::copy_from_slice(until))
        });
        let mut scan = PendingScan {
            batch: &self.overlay.batch,
            rows,
            upper,
            base,
            over: Default::default(),
            top: None,
        };
        scan.restart(from);
        scan.settle()?;
        Ok(Box::new(scan))
    }
}

/// Both walks at once; the overlay's row wins where both have one.
struct PendingScan<'a> {
    batch: &'a WriteBatch,
    rows: &'a BTreeMap<Bytes, Place>,
    upper: Bound<Bytes>,
    base: Box<dyn Scan + 'a>,
    over: btree_map::Range<'a, Bytes, Place>,
    /// The overlay's row, if the walk stands on it and not on the base's.
    top: Option<(&'a Bytes, Range<usize>)>,
}

impl PendingScan<'_> {
    fn restart(&mut self, from: &[u8]) {
        let upper = match &self.upper {
            Bound::Excluded(until) => Bound::Excluded(until.as_ref()),
            _ => Bound::Unbounded,
        };
        self.over = self.rows.range::<[u8], _>((Bound::Included(from), upper));
    }

    /// Finds which of the two walks has the next row. The first row of `over`
    /// is looked at by cloning the iterator, which is a copy of two positions.
    fn settle(&mut self) -> Result<(), Fault> {
        self.top = None;
        while let Some((key, place)) = self.over.clone().next() {
            match self.base.item() {
                Some((base_key, _)) if base_key < key.as_ref() => return Ok(()),
                Some((base_key, _)) if base_key == key.as_ref() => self.base.advance()?,
                _ => {}
            }
            self.over.next();
            if let Some(place) = place {
                self.top = Some((key, place.clone()));
                return Ok(());
            }
        }
        Ok(())
    }
}

impl Scan for PendingScan<'_> {
    fn item(&self) -> Option<(&[u8], &[u8])> {
        match &self.top {
            Some((key, place)) => Some((key.as_ref(), self.batch.slice(place.clone()))),
            None => self.base.item(),
        }
    }

    fn advance(&mut self) -> Result<(), Fault> {
        if self.top.is_none() {
            self.base.advance()?;
        }
        self.settle()
    }

    fn seek(&mut self, key: &[u8]) -> Result<(), Fault> {
        self.base.seek(key)?;
        self.restart(key);
        self.settle()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Backend, Memory, get_owned};

    fn keys(read: &dyn Read, from: &[u8], until: Option<&[u8]>) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut scan = read.scan(Family::Meta, from, until).unwrap();
        let mut rows = Vec::new();
        while let Some((key, value)) = scan.item() {
            rows.push((key.to_vec(), value.to_vec()));
            scan.advance().unwrap();
        }
        rows
    }

    fn row(key: &str, value: &str) -> (Vec<u8>, Vec<u8>) {
        (key.into(), value.into())
    }

    #[test]
    fn changes_hide_the_base() {
        let base = Memory::default();
        let mut batch = WriteBatch::default();
        for key in ["b", "d", "f"] {
            batch.put(Family::Meta, key.as_bytes(), b"old");
        }
        base.write(&batch).unwrap();
        let mut overlay = Overlay::default();
        overlay.put_meta(b"a", b"new");
        overlay.delete_meta(b"b");
        overlay.put_meta(b"d", b"new");
        overlay.put_meta(b"e", b"new");
        overlay.delete_meta(b"e");
        overlay.put_meta(b"g", b"new");
        let pending = overlay.over(&base);
        assert_eq!(
            keys(&pending, b"", None),
            [
                row("a", "new"),
                row("d", "new"),
                row("f", "old"),
                row("g", "new")
            ]
        );
        assert_eq!(
            keys(&pending, b"b", Some(b"g")),
            [row("d", "new"), row("f", "old")]
        );
        assert_eq!(keys(&pending, b"g", Some(b"b")), []);
        assert_eq!(get_owned(&pending, Family::Meta, b"b").unwrap(), None);
        assert_eq!(
            get_owned(&pending, Family::Meta, b"f").unwrap(),
            Some(b"old".to_vec())
        );
        let mut scan = pending.scan(Family::Meta, b"", None).unwrap();
        scan.seek(b"e").unwrap();
        assert_eq!(scan.item(), Some((b"f".as_slice(), b"old".as_slice())));
        scan.advance().unwrap();
        scan.advance().unwrap();
        assert_eq!(scan.item(), None);
    }
}
