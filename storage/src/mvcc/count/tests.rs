use super::*;
use crate::backend::{Backend, Memory};

/// Keys, counts and their store, kept in step.
struct Live {
    backend: Memory,
    overlay: Overlay,
    counts: Counts,
    keys: BTreeSet<Vec<u8>>,
}

impl Live {
    fn new() -> Self {
        Self {
            backend: Memory::default(),
            overlay: Overlay::default(),
            counts: Counts::default(),
            keys: BTreeSet::new(),
        }
    }

    fn create(&mut self, key: &[u8]) {
        if self.keys.insert(key.to_vec()) {
            self.overlay
                .put_current(&Bytes::copy_from_slice(key), |_| {});
            self.counts.created(key);
        }
    }

    fn delete(&mut self, key: &[u8]) {
        if self.keys.remove(key) {
            self.overlay.delete_current(&Bytes::copy_from_slice(key));
            self.counts.deleted(key).unwrap();
        }
    }

    fn store(&mut self) {
        self.counts.store(&mut self.overlay, &self.backend).unwrap();
        self.backend.write(self.overlay.changes()).unwrap();
        self.overlay.clear();
    }

    fn count(&self, from: &[u8], until: &[u8]) -> u64 {
        let pending = self.overlay.over(&self.backend);
        self.counts
            .table()
            .count(&pending, KeySpan::new(from, until))
            .unwrap()
    }

    /// Every span between a few keys is counted right, and the stored table
    /// is the one at hand.
    fn check(&self) {
        let table = self.counts.table();
        let sizes: Vec<u64> = blocks(table).iter().map(|block| block.keys).collect();
        assert_eq!(table.total(), self.keys.len() as u64);
        assert_eq!(sizes.iter().sum::<u64>(), self.keys.len() as u64);
        assert!(
            sizes.iter().all(|&keys| keys <= BLOCK_KEYS_MAX),
            "{sizes:?}"
        );
        let mut borders: Vec<Vec<u8>> = self
            .keys
            .iter()
            .step_by(self.keys.len() / 9 + 1)
            .cloned()
            .collect();
        borders.extend(
            blocks(table)
                .iter()
                .step_by(3)
                .map(|block| block.first.to_vec()),
        );
        borders.extend([b"".to_vec(), b"\0".to_vec(), b"\xff\xff".to_vec()]);
        for from in &borders {
            let open = self.keys.range::<Vec<u8>, _>(from..).count() as u64;
            assert_eq!(self.count(from, b"\0"), open);
            for until in borders
                .iter()
                .filter(|until| until.len() > 1 && *until >= from)
            {
                let expected = self.keys.range::<Vec<u8>, _>(from..until).count() as u64;
                assert_eq!(self.count(from, until), expected, "{from:?} {until:?}");
            }
        }
    }

    fn check_stored(&self) {
        let loaded = CountTable::load(&self.backend).unwrap();
        let pairs = |table: &CountTable| -> Vec<(Bytes, u64)> {
            blocks(table)
                .into_iter()
                .map(|block| (block.first, block.keys))
                .collect()
        };
        assert_eq!(pairs(&loaded), pairs(self.counts.table()));
    }
}

fn blocks(table: &CountTable) -> Vec<Block> {
    table
        .runs
        .iter()
        .flat_map(|run| run.blocks.clone())
        .collect()
}

fn key(number: u32) -> Vec<u8> {
    format!("/registry/{number:06}").into_bytes()
}

#[test]
fn grows_and_shrinks_in_order() {
    let mut live = Live::new();
    for chunk in 0..30 {
        for number in 0..500 {
            live.create(&key(chunk * 500 + number));
        }
        live.store();
    }
    live.check();
    live.check_stored();
    assert!(blocks(live.counts.table()).len() > 29);
    for chunk in 0..30 {
        for number in 0..495 {
            live.delete(&key(chunk * 500 + number));
        }
        live.store();
    }
    live.check();
    live.check_stored();
    assert!(blocks(live.counts.table()).len() < 10, "small blocks merge");
    for number in 0..15_000 {
        live.delete(&key(number));
    }
    live.store();
    live.check();
    live.check_stored();
}

#[test]
fn random_changes_in_chunks_of_all_sizes() {
    let mut live = Live::new();
    let mut seed = 7u32;
    let mut random = |below: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) % below
    };
    for round in 0..40 {
        let grow = round % 20 < 12;
        for _ in 0..random(2000) {
            let number = random(30_000);
            if grow || random(3) == 0 {
                live.create(&key(number))
            } else {
                live.delete(&key(number))
            }
        }
        if round % 7 == 0 {
            assert_eq!(
                live.count(b"\0", b"\0"),
                live.keys.len() as u64,
                "counted before it is stored"
            );
        }
        live.store();
        live.check_stored();
        if round % 10 == 9 {
            live.check();
        }
    }
}

#[test]
fn one_huge_chunk_is_cut_at_once() {
    let mut live = Live::new();
    for number in 0..30_000 {
        live.create(&key(number));
    }
    live.store();
    live.check();
    live.check_stored();
    assert!(live.counts.table().runs.len() > 1);
    let first = live.count(b"/registry/", b"/registry0");
    assert_eq!(first, 30_000);
}

#[test]
fn views_keep_their_table() {
    let mut live = Live::new();
    live.create(b"a");
    live.store();
    let seen = live.counts.table().clone();
    live.create(b"b");
    live.delete(b"a");
    live.create(b"c");
    assert_eq!((seen.total(), live.counts.table().total()), (1, 2));
}

#[test]
fn refuses_damage() {
    let backend = Memory::default();
    let mut batch = WriteBatch::default();
    batch.put(Family::Meta, &meta::count(b"x"), &[1]);
    backend.write(&batch).unwrap();
    assert!(CountTable::load(&backend).is_err(), "no first block");
    batch.put(Family::Meta, &meta::count(b""), &[0x80]);
    backend.write(&batch).unwrap();
    assert!(CountTable::load(&backend).is_err(), "cut number");
    assert!(
        Counts::default().deleted(b"x").is_err(),
        "a key that was never counted"
    );
}

use crate::backend::WriteBatch;
