//! Changes to be written together.

use crate::schema::Family;
use std::ops::Range;

/// Puts and deletes in order, their bytes in one buffer. It is cleared and
/// used again, so that a chunk of entries costs no allocation per row.
#[derive(Debug, Default)]
pub(crate) struct WriteBatch {
    bytes: Vec<u8>,
    operations: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    family: Family,
    key: Range<usize>,
    /// `None` for a delete.
    value: Option<Range<usize>>,
}

/// One change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operation<'a> {
    pub family: Family,
    pub key: &'a [u8],
    /// `None` for a delete.
    pub value: Option<&'a [u8]>,
}

/// A cleared batch keeps no more than this, so that one huge transaction does
/// not hold its memory for good.
const KEPT_BYTES_MAX: usize = 4 << 20;
const KEPT_OPERATIONS_MAX: usize = 64 << 10;

impl WriteBatch {
    /// Puts a row whose key and value are appended by `key` and `value`, and
    /// tells where the value lies ([`WriteBatch::slice`]).
    pub(crate) fn put_with(
        &mut self,
        family: Family,
        key: impl FnOnce(&mut Vec<u8>),
        value: impl FnOnce(&mut Vec<u8>),
    ) -> Range<usize> {
        let start = self.bytes.len();
        key(&mut self.bytes);
        let middle = self.bytes.len();
        value(&mut self.bytes);
        let end = self.bytes.len();
        self.operations.push(Slot {
            family,
            key: start..middle,
            value: Some(middle..end),
        });
        middle..end
    }

    /// Deletes the row whose key is appended by `key`.
    pub(crate) fn delete_with(&mut self, family: Family, key: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        key(&mut self.bytes);
        self.operations.push(Slot {
            family,
            key: start..self.bytes.len(),
            value: None,
        });
    }

    /// Puts a row.
    pub(crate) fn put(&mut self, family: Family, key: &[u8], value: &[u8]) -> Range<usize> {
        self.put_with(
            family,
            |out| out.extend_from_slice(key),
            |out| out.extend_from_slice(value),
        )
    }

    /// Deletes a row.
    pub(crate) fn delete(&mut self, family: Family, key: &[u8]) {
        self.delete_with(family, |out| out.extend_from_slice(key));
    }

    /// The bytes at a place that `put` or `put_with` told.
    pub(crate) fn slice(&self, place: Range<usize>) -> &[u8] {
        &self.bytes[place]
    }

    /// All changes in order.
    pub(crate) fn operations(&self) -> impl Iterator<Item = Operation<'_>> {
        self.operations.iter().map(|slot| Operation {
            family: slot.family,
            key: &self.bytes[slot.key.clone()],
            value: slot.value.clone().map(|value| &self.bytes[value]),
        })
    }

    /// Bytes of all keys and values.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// How many changes there are.
    pub(crate) fn len(&self) -> usize {
        self.operations.len()
    }

    /// Drops all changes, keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
        self.operations.clear();
        self.operations.shrink_to(KEPT_OPERATIONS_MAX);
    }
}
