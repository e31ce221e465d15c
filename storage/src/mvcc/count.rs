//! Exact counts of live keys without walking them.
//!
//! The key space is cut into blocks of some hundred keys; each knows how many
//! live keys it holds. A count adds up whole blocks and walks at most the two
//! at its ends. Only creates and deletes change a block. The table is shared
//! with the views, copied where it changes, and stored with the data, so it
//! is never rebuilt.
//!
//! How the key space is cut depends on how entries came in chunks: it may
//! differ between members and is in no hash.

use super::{overlay::Overlay, span::KeySpan};
use crate::{
    backend::{Read, Scan, prefix_end},
    error::Fault,
    schema::{Family, corrupt, meta, varint},
};
use bytes::Bytes;
use std::{collections::BTreeSet, sync::Arc};

/// A block above this is split.
const BLOCK_KEYS_MAX: u64 = 512;
/// What a split aims at, and the most that a merge makes.
const BLOCK_KEYS_TARGET: u64 = 256;
/// A block below this is merged with its neighbour if they fit together.
const BLOCK_KEYS_MIN: u64 = 64;
/// Blocks in a run: a count adds up runs first, a change copies one run.
const RUN_BLOCKS_MAX: usize = 64;

/// The blocks, immutable once published.
#[derive(Clone, Debug)]
pub(crate) struct CountTable {
    /// Never empty; the first block of the first run begins at the empty key.
    runs: Arc<Vec<Arc<Run>>>,
    total: u64,
}

#[derive(Clone, Debug)]
struct Run {
    keys: u64,
    /// Never empty.
    blocks: Vec<Block>,
}

#[derive(Clone, Debug)]
struct Block {
    /// Where it begins; it ends where the next one begins.
    first: Bytes,
    keys: u64,
}

/// Where a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct At {
    run: usize,
    block: usize,
}

impl Run {
    fn new(blocks: Vec<Block>) -> Self {
        Self {
            keys: blocks.iter().map(|block| block.keys).sum(),
            blocks,
        }
    }
}

impl Default for CountTable {
    fn default() -> Self {
        Self::of(vec![Block {
            first: Bytes::new(),
            keys: 0,
        }])
    }
}

impl CountTable {
    fn of(blocks: Vec<Block>) -> Self {
        let mut runs = Vec::new();
        let mut rest = blocks.into_iter().peekable();
        while rest.peek().is_some() {
            runs.push(Arc::new(Run::new(
                rest.by_ref().take(RUN_BLOCKS_MAX / 2).collect(),
            )));
        }
        let total = runs.iter().map(|run| run.keys).sum();
        Self {
            runs: Arc::new(runs),
            total,
        }
    }

    /// Reads the stored blocks.
    pub(crate) fn load(read: &dyn Read) -> Result<Self, Fault> {
        let prefix = [meta::COUNT];
        let mut scan = read.scan(Family::Meta, &prefix, prefix_end(&prefix).as_deref())?;
        let mut blocks = Vec::new();
        while let Some((key, value)) = scan.item() {
            let mut rest = value;
            match (varint::take(&mut rest), rest.is_empty()) {
                (Some(keys), true) if keys <= u64::from(u32::MAX) => blocks.push(Block {
                    first: Bytes::copy_from_slice(&key[1..]),
                    keys,
                }),
                _ => return Err(corrupt(Family::Meta, key, "not a count")),
            }
            scan.advance()?;
        }
        match blocks.first() {
            None => Ok(Self::default()),
            Some(block) if block.first.is_empty() => Ok(Self::of(blocks)),
            Some(_) => Err(corrupt(
                Family::Meta,
                &prefix,
                "the first count block is missing",
            )),
        }
    }

    /// Live keys in the whole store.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Live keys in a span; `read` is the state this table belongs to.
    pub(crate) fn count(&self, read: &dyn Read, span: KeySpan<'_>) -> Result<u64, Fault> {
        let (from, until) = match span {
            KeySpan::One(key) => return Ok(u64::from(read.get(Family::Cur, key, &mut |_| {})?)),
            _ if span.is_empty() => return Ok(0),
            KeySpan::Range { from, until } => (from, until),
        };
        let low = self.locate(from);
        let high = until.map(|until| self.locate(until));
        if high == Some(low) {
            return self.part(read, low, from, until);
        }
        let mut count = self.part(read, low, from, None)?;
        match high {
            Some(high) => {
                count += self.between(low, high);
                count += self.part(read, high, b"", until)?;
            }
            None => count += self.after(low),
        }
        Ok(count)
    }

    /// Live keys in a span, or a little more: all keys of the blocks it touches.
    /// Reads nothing.
    pub(crate) fn count_at_most(&self, span: KeySpan<'_>) -> u64 {
        let (from, until) = match span {
            KeySpan::One(_) => return 1,
            _ if span.is_empty() => return 0,
            KeySpan::Range { from, until } => (from, until),
        };
        let low = self.locate(from);
        let beyond = match until.map(|until| self.locate(until)) {
            Some(high) if high == low => 0,
            Some(high) => self.between(low, high) + self.block(high).keys,
            None => self.after(low),
        };
        self.block(low).keys + beyond
    }

    /// Where the block after the one that `key` belongs to begins.
    pub(crate) fn boundary_after(&self, key: &[u8]) -> Option<&[u8]> {
        let next = self.next(self.locate(key))?;
        Some(&self.block(next).first)
    }

    /// Keys of one block that are in `[from, until)`. Walks what is inside and
    /// what is outside at once, until either ends: a prefix that fills nearly
    /// all of the block, or nearly nothing, costs next to nothing.
    fn part(
        &self,
        read: &dyn Read,
        at: At,
        from: &[u8],
        until: Option<&[u8]>,
    ) -> Result<u64, Fault> {
        let block = self.block(at);
        let first = block.first.as_ref();
        let end = self.next(at).map(|next| self.block(next).first.as_ref());
        let from = from.max(first);
        let until = until.filter(|&until| end.is_none_or(|end| until < end));
        if until.is_some_and(|until| until <= from) {
            return Ok(0);
        }
        if block.keys == 0 || (from == first && until.is_none()) {
            return Ok(block.keys);
        }
        let mut inside = Walk::new(read, &[(from, until.or(end))])?;
        let above = until.map(|until| (until, end));
        let outside: Vec<_> = above.into_iter().chain([(first, Some(from))]).collect();
        let mut outside = Walk::new(read, &outside)?;
        loop {
            if !inside.step()? {
                return Ok(inside.walked);
            }
            if !outside.step()? {
                return block.keys.checked_sub(outside.walked).ok_or_else(|| {
                    corrupt(
                        Family::Meta,
                        &meta::count(first),
                        "more keys than the block counted",
                    )
                });
            }
        }
    }

    /// Keys in blocks after `low` and before `high`.
    fn between(&self, low: At, high: At) -> u64 {
        if low.run == high.run {
            return sum(&self.runs[low.run].blocks[low.block + 1..high.block]);
        }
        let runs: u64 = self.runs[low.run + 1..high.run]
            .iter()
            .map(|run| run.keys)
            .sum();
        sum(&self.runs[low.run].blocks[low.block + 1..])
            + runs
            + sum(&self.runs[high.run].blocks[..high.block])
    }

    /// Keys in all blocks after `low`.
    fn after(&self, low: At) -> u64 {
        let runs: u64 = self.runs[low.run + 1..].iter().map(|run| run.keys).sum();
        sum(&self.runs[low.run].blocks[low.block + 1..]) + runs
    }

    /// The block that `key` belongs to.
    fn locate(&self, key: &[u8]) -> At {
        let run = self
            .runs
            .partition_point(|run| run.blocks[0].first.as_ref() <= key)
            .saturating_sub(1);
        let block = self.runs[run]
            .blocks
            .partition_point(|block| block.first.as_ref() <= key)
            .saturating_sub(1);
        At { run, block }
    }

    fn block(&self, at: At) -> &Block {
        &self.runs[at.run].blocks[at.block]
    }

    fn next(&self, at: At) -> Option<At> {
        if at.block + 1 < self.runs[at.run].blocks.len() {
            return Some(At {
                run: at.run,
                block: at.block + 1,
            });
        }
        (at.run + 1 < self.runs.len()).then_some(At {
            run: at.run + 1,
            block: 0,
        })
    }

    fn run_mut(&mut self, run: usize) -> &mut Run {
        Arc::make_mut(&mut Arc::make_mut(&mut self.runs)[run])
    }

    /// Puts `blocks` in place of the one at `at`, which held as many keys.
    fn replace(&mut self, at: At, blocks: Vec<Block>) {
        let run = self.run_mut(at.run);
        run.blocks.splice(at.block..=at.block, blocks);
        if run.blocks.len() > RUN_BLOCKS_MAX {
            let upper = Run::new(run.blocks.split_off(run.blocks.len() / 2));
            run.keys -= upper.keys;
            Arc::make_mut(&mut self.runs).insert(at.run + 1, Arc::new(upper));
        }
    }

    /// Removes the block at `at`, whose keys the caller gives to another.
    fn remove(&mut self, at: At) -> Block {
        let run = self.run_mut(at.run);
        let block = run.blocks.remove(at.block);
        run.keys -= block.keys;
        if run.blocks.is_empty() {
            Arc::make_mut(&mut self.runs).remove(at.run);
        }
        block
    }
}

/// Counts the keys of some spans, step by step.
struct Walk<'a> {
    scans: Vec<Box<dyn Scan + 'a>>,
    walked: u64,
}

impl<'a> Walk<'a> {
    fn new(read: &'a dyn Read, spans: &[(&[u8], Option<&[u8]>)]) -> Result<Self, Fault> {
        let spans = spans
            .iter()
            .filter(|(from, until)| until.is_none_or(|until| *from < until));
        let scans = spans.map(|(from, until)| read.scan(Family::Cur, from, *until));
        Ok(Self {
            scans: scans.collect::<Result<_, _>>()?,
            walked: 0,
        })
    }

    /// Goes past one key; `false` if there is none left.
    fn step(&mut self) -> Result<bool, Fault> {
        while let Some(scan) = self.scans.last_mut() {
            if scan.item().is_some() {
                self.walked += 1;
                scan.advance()?;
                return Ok(true);
            }
            self.scans.pop();
        }
        Ok(false)
    }
}

fn sum(blocks: &[Block]) -> u64 {
    blocks.iter().map(|block| block.keys).sum()
}

/// The writer's table, with what has to be stored of it.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    table: CountTable,
    /// First keys of changed blocks. Ordered: they are written in order.
    changed: BTreeSet<Bytes>,
}

impl Counts {
    /// Over a stored table.
    pub(crate) fn new(table: CountTable) -> Self {
        Self {
            table,
            changed: BTreeSet::new(),
        }
    }

    /// The table as it is now.
    pub(crate) fn table(&self) -> &CountTable {
        &self.table
    }

    /// A key came to be.
    pub(crate) fn created(&mut self, key: &[u8]) {
        let block = self.touch(key);
        block.0.keys += 1;
        *block.1 += 1;
        self.table.total += 1;
    }

    /// A key is gone. Its block counted it: it was read from the same state.
    pub(crate) fn deleted(&mut self, key: &[u8]) -> Result<(), Fault> {
        let block = self.touch(key);
        let (Some(keys), Some(run)) = (block.0.keys.checked_sub(1), block.1.checked_sub(1)) else {
            return Err(corrupt(
                Family::Meta,
                &meta::count(key),
                "more keys than its block counted",
            ));
        };
        block.0.keys = keys;
        *block.1 = run;
        self.table.total -= 1;
        Ok(())
    }

    fn touch(&mut self, key: &[u8]) -> (&mut Block, &mut u64) {
        let at = self.table.locate(key);
        let first = &self.table.block(at).first;
        if !self.changed.contains(first) {
            self.changed.insert(first.clone());
        }
        let run = self.table.run_mut(at.run);
        (&mut run.blocks[at.block], &mut run.keys)
    }

    /// Splits and merges what has grown or shrunk, and puts all changed
    /// blocks into the batch. `base` is what the overlay lies over.
    pub(crate) fn store(&mut self, overlay: &mut Overlay, base: &dyn Read) -> Result<(), Fault> {
        if self.changed.is_empty() {
            return Ok(());
        }
        for first in std::mem::take(&mut self.changed) {
            let at = self.table.locate(&first);
            if self.table.block(at).first != first {
                // Merged away for a neighbour's sake.
                continue;
            }
            let keys = self.table.block(at).keys;
            if keys > BLOCK_KEYS_MAX {
                self.split(at, &overlay.over(base))?;
            } else if keys < BLOCK_KEYS_MIN {
                self.merge(at, overlay);
            }
            self.changed.insert(first);
        }
        for first in std::mem::take(&mut self.changed) {
            let at = self.table.locate(&first);
            let block = self.table.block(at);
            if block.first == first {
                let keys = block.keys;
                overlay.batch().put_with(
                    Family::Meta,
                    |out| {
                        out.push(meta::COUNT);
                        out.extend_from_slice(&first);
                    },
                    |out| varint::put(out, keys),
                );
            }
        }
        Ok(())
    }

    /// Cuts a block into equal ones near the target.
    fn split(&mut self, at: At, read: &dyn Read) -> Result<(), Fault> {
        let block = self.table.block(at).clone();
        let end = self
            .table
            .next(at)
            .map(|next| self.table.block(next).first.clone());
        let pieces = block.keys / BLOCK_KEYS_TARGET;
        let mut blocks = Vec::with_capacity(pieces as usize);
        let mut scan = read.scan(Family::Cur, &block.first, end.as_deref())?;
        let mut walked = 0;
        while let Some((key, _)) = scan.item() {
            // Piece i holds the keys from i * keys / pieces on.
            let due = blocks.len() as u64 * block.keys / pieces;
            if walked == due && (blocks.len() as u64) < pieces {
                let first = if walked == 0 {
                    block.first.clone()
                } else {
                    Bytes::copy_from_slice(key)
                };
                blocks.push(Block { first, keys: 0 });
            }
            if let Some(last) = blocks.last_mut() {
                last.keys += 1;
            }
            walked += 1;
            scan.advance()?;
        }
        if walked != block.keys {
            let detail = format!("counted {}, walked {walked}", block.keys);
            return Err(corrupt(Family::Meta, &meta::count(&block.first), &detail));
        }
        self.changed
            .extend(blocks.iter().map(|block| block.first.clone()));
        self.table.replace(at, blocks);
        Ok(())
    }

    /// Gives a small block's keys to the one before it, or takes over those
    /// of the one after it, if they fit together.
    fn merge(&mut self, at: At, overlay: &mut Overlay) {
        let keys = self.table.block(at).keys;
        let fits = |other: At| self.table.block(other).keys + keys <= BLOCK_KEYS_TARGET;
        let previous = match (at.run, at.block) {
            (0, 0) => None,
            (run, 0) => Some(At {
                run: run - 1,
                block: self.table.runs[run - 1].blocks.len() - 1,
            }),
            (run, block) => Some(At {
                run,
                block: block - 1,
            }),
        };
        let (kept, gone) = match (
            previous.filter(|&at| fits(at)),
            self.table.next(at).filter(|&at| fits(at)),
        ) {
            (Some(previous), _) => (previous, at),
            (None, Some(next)) => (at, next),
            (None, None) => return,
        };
        // The kept block comes first, so its place stays as it is.
        let removed = self.table.remove(gone);
        let run = self.table.run_mut(kept.run);
        run.keys += removed.keys;
        let block = &mut run.blocks[kept.block];
        block.keys += removed.keys;
        self.changed.remove(&removed.first);
        self.changed.insert(block.first.clone());
        overlay
            .batch()
            .delete(Family::Meta, &meta::count(&removed.first));
    }
}

#[cfg(test)]
mod tests;
