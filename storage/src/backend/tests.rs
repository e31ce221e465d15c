//! Both engines keep the same contract.

use super::*;
use crate::fixture::{crash_image, options};
use tempfile::TempDir;

fn engines(directory: &TempDir) -> [Box<dyn Backend>; 2] {
    [
        Box::new(Memory::default()),
        Box::new(Rocks::open(&options(directory.path())).unwrap()),
    ]
}

fn write(backend: &dyn Backend, rows: &[(&str, Option<&str>)]) {
    let mut batch = WriteBatch::default();
    for (key, value) in rows {
        match value {
            Some(value) => {
                batch.put(Family::Log, key.as_bytes(), value.as_bytes());
            }
            None => batch.delete(Family::Log, key.as_bytes()),
        }
    }
    backend.write(&batch).unwrap();
}

fn rows(read: &dyn Read, from: &str, until: Option<&str>) -> String {
    let mut scan = read
        .scan(Family::Log, from.as_bytes(), until.map(str::as_bytes))
        .unwrap();
    let mut out = Vec::new();
    while let Some((key, value)) = scan.item() {
        out.push(format!(
            "{}={}",
            String::from_utf8_lossy(key),
            String::from_utf8_lossy(value)
        ));
        scan.advance().unwrap();
    }
    scan.advance().unwrap();
    assert!(scan.item().is_none(), "the end is the end");
    out.join(" ")
}

#[test]
fn scans_keep_their_bounds() {
    let directory = TempDir::new().unwrap();
    for backend in engines(&directory) {
        assert_eq!(rows(&*backend, "", None), "");
        write(
            &*backend,
            &[
                ("a", Some("1")),
                ("b", Some("2")),
                ("d", Some("3")),
                ("b", None),
            ],
        );
        assert_eq!(rows(&*backend, "", None), "a=1 d=3");
        assert_eq!(rows(&*backend, "a", Some("d")), "a=1");
        assert_eq!(rows(&*backend, "b", None), "d=3");
        assert_eq!(rows(&*backend, "d", Some("a")), "");
        let mut scan = backend.scan(Family::Log, b"a", Some(b"e")).unwrap();
        scan.seek(b"c").unwrap();
        assert_eq!(scan.item(), Some((b"d".as_slice(), b"3".as_slice())));
        scan.seek(b"e").unwrap();
        assert_eq!(scan.item(), None);
        assert_eq!(
            get_owned(&*backend, Family::Log, b"a").unwrap(),
            Some(b"1".to_vec())
        );
        assert_eq!(get_owned(&*backend, Family::Ver, b"a").unwrap(), None);
    }
}

#[test]
fn snapshots_do_not_move() {
    let directory = TempDir::new().unwrap();
    for backend in engines(&directory) {
        write(&*backend, &[("a", Some("1"))]);
        let snapshot = backend.snapshot();
        write(&*backend, &[("a", Some("2")), ("b", Some("3"))]);
        backend.flush().unwrap();
        assert_eq!(rows(&*snapshot, "", None), "a=1");
        assert_eq!(
            get_owned(&*snapshot, Family::Log, b"a").unwrap(),
            Some(b"1".to_vec())
        );
        assert_eq!(rows(&*backend, "", None), "a=2 b=3");
        drop(backend);
        assert_eq!(
            rows(&*snapshot, "", None),
            "a=1",
            "a snapshot outlives its handle"
        );
    }
}

#[test]
fn a_crash_goes_back_to_the_flush_in_all_families() {
    let directory = TempDir::new().unwrap();
    let put = |backend: &Rocks, value: &[u8]| {
        let mut batch = WriteBatch::default();
        for family in Family::ALL {
            batch.put(family, b"k", value);
        }
        backend.write(&batch).unwrap();
    };
    let backend = Rocks::open(&options(directory.path())).unwrap();
    put(&backend, b"flushed");
    backend.flush().unwrap();
    put(&backend, b"lost");
    let image = crash_image(directory.path());
    let backend = Rocks::open(&options(image.path())).unwrap();
    for family in Family::ALL {
        assert_eq!(
            get_owned(&backend, family, b"k").unwrap(),
            Some(b"flushed".to_vec()),
            "{family:?}"
        );
    }
}

#[test]
fn deleted_rows_give_their_space_back() {
    let directory = TempDir::new().unwrap();
    let backend = Rocks::open(&options(directory.path())).unwrap();
    let noise: Vec<u8> = (0..1u32 << 18)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let mut batch = WriteBatch::default();
    for (at, piece) in noise.chunks(1024).enumerate() {
        batch.put(Family::Log, &(at as u32).to_be_bytes(), piece);
    }
    backend.write(&batch).unwrap();
    backend.flush().unwrap();
    let full = backend.sizes().unwrap();
    assert!(full.data_bytes > 1 << 15, "{full:?}");
    batch.clear();
    for at in 0..256u32 {
        batch.delete(Family::Log, &at.to_be_bytes());
    }
    backend.write(&batch).unwrap();
    backend.flush().unwrap();
    backend.compact_files().unwrap();
    let empty = backend.sizes().unwrap();
    assert!(empty.data_bytes < full.data_bytes / 4, "{full:?} {empty:?}");
    assert!(empty.data_in_use_bytes <= empty.data_bytes);
}

#[test]
fn a_new_database_is_small() {
    let directory = TempDir::new().unwrap();
    let backend = Rocks::open(&options(directory.path())).unwrap();
    write(&backend, &[("k", Some("v"))]);
    assert!((1..100).contains(&backend.unflushed_bytes()));
    let memtable = backend.sizes().unwrap().data_bytes;
    assert!(memtable < 24 << 10, "{memtable}");
    backend.flush().unwrap();
    assert_eq!(backend.unflushed_bytes(), 0);
    let flushed = backend.sizes().unwrap().data_bytes;
    assert!(flushed < 24 << 10, "{flushed}");
}

#[test]
fn prefix_ends() {
    assert_eq!(prefix_end(b"a").as_deref(), Some(b"b".as_slice()));
    assert_eq!(prefix_end(b"a\xff").as_deref(), Some(b"b".as_slice()));
    assert_eq!(prefix_end(b"\xff\xff"), None);
    assert_eq!(prefix_end(b""), None);
}

#[test]
fn files_that_can_not_be_rewritten_are_told_of() {
    let directory = TempDir::new().unwrap();
    let backend = Rocks::open(&options(directory.path())).unwrap();
    for key in ["a", "b"] {
        write(&backend, &[(key, Some("1"))]);
        backend.flush().unwrap();
    }
    backend.compact_files().unwrap();
    write(&backend, &[("a", Some("2"))]);
    backend.flush().unwrap();
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "sst") {
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[0] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }
    }
    let told = backend.compact_files().unwrap_err().to_string();
    assert!(told.contains("LOG says why"), "{told}");
}
