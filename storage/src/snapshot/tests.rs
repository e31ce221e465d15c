use super::*;
use crate::fixture::{Store, options};

fn file(name: &str) -> SnapshotFile {
    SnapshotFile {
        name: name.to_owned(),
        bytes: 1,
    }
}

fn files(names: &[&str]) -> Vec<SnapshotFile> {
    names.iter().copied().map(file).collect()
}

/// Copies a checkpoint file by file, as a transfer would.
fn received(from: &Path, checkpoint: &Checkpoint, to: &Path) -> Vec<(SnapshotFile, u32)> {
    std::fs::create_dir(to).unwrap();
    let copy = |file: &SnapshotFile| {
        std::fs::copy(from.join(&file.name), to.join(&file.name)).unwrap();
        let found = checksum(&from.join(&file.name), u64::MAX, &mut |_| Ok(())).unwrap();
        assert_eq!(found.0, file.bytes);
        (file.clone(), found.1)
    };
    checkpoint.files.iter().map(copy).collect()
}

fn check(dir: &Path, files: &[(SnapshotFile, u32)]) -> Result<(), Fault> {
    verify(dir, files, &mut |_| Ok(()))
}

#[test]
fn a_checkpoint_holds_all_that_was_written_before_it() {
    for mut store in Store::both() {
        let dir = tempfile::tempdir().unwrap();
        for round in 0..50 {
            store.put(&format!("key-{round}"), "value");
            if round % 10 != 0 {
                continue;
            }
            // Nothing but the checkpoint itself flushes.
            let path = dir.path().join(format!("checkpoint-{round}"));
            let checkpoint = store.machine.flusher().checkpoint(&path).unwrap();
            assert_eq!(checkpoint.state, store.machine.describe().unwrap());
            assert_eq!(Some(checkpoint.state.applied), store.machine.applied());
            let copy = StateMachine::open_snapshot(&options(&path)).unwrap();
            let (copy, own) = (copy.read_handle().view(), store.view());
            assert_eq!(copy.keys_total(), own.keys_total());
            assert_eq!(copy.state_digest(), own.state_digest());
        }
    }
}

#[test]
fn an_empty_store_has_nothing_to_copy() {
    for store in Store::both() {
        let dir = tempfile::tempdir().unwrap();
        let refused = store.machine.flusher().checkpoint(&dir.path().join("copy"));
        assert!(refused.unwrap_err().to_string().contains("nothing to copy"));
    }
}

#[test]
fn a_copy_is_checked_marked_and_opened() {
    for mut store in Store::both() {
        store.put("key", "value");
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let checkpoint = store.machine.flusher().checkpoint(&from).unwrap();
        let files = received(&from, &checkpoint, &to);
        check(&to, &files).unwrap();
        prepare(&to, &checkpoint.state).unwrap();
        let copy = StateMachine::open_snapshot(&options(&to)).unwrap();
        assert_eq!(copy.installed().unwrap(), Some(checkpoint.state.applied));
        assert_eq!(copy.describe().unwrap(), checkpoint.state);
        assert_eq!(store.machine.installed().unwrap(), None);
    }
}

#[test]
fn a_copy_of_something_else_is_refused() {
    let mut store = Store::rocks();
    store.put("key", "value");
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let checkpoint = store.machine.flusher().checkpoint(&from).unwrap();
    received(&from, &checkpoint, &to);
    let mut announced = checkpoint.state;
    announced.applied.index += 1;
    let refused = prepare(&to, &announced).unwrap_err().to_string();
    assert!(refused.contains("announced was"), "{refused}");
}

#[test]
fn damage_of_any_file_and_files_that_do_not_belong_are_found() {
    let mut store = Store::rocks();
    store.put("key", "value");
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    let checkpoint = store.machine.flusher().checkpoint(&from).unwrap();
    for (number, victim) in checkpoint.files.iter().enumerate() {
        let to = dir.path().join(format!("to-{number}"));
        let files = received(&from, &checkpoint, &to);
        check(&to, &files).unwrap();
        let path = to.join(&victim.name);
        let bytes = std::fs::read(&path).unwrap();
        if let Some(last) = bytes.last() {
            let mut flipped = bytes.clone();
            *flipped.last_mut().unwrap() = last ^ 1;
            std::fs::write(&path, flipped).unwrap();
            assert!(check(&to, &files).is_err(), "{} flipped", victim.name);
            std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
            assert!(check(&to, &files).is_err(), "{} cut", victim.name);
        }
        std::fs::remove_file(&path).unwrap();
        assert!(check(&to, &files).is_err(), "{} missing", victim.name);
        std::fs::write(&path, &bytes).unwrap();
        check(&to, &files).unwrap();
        std::fs::write(to.join("000099.sst"), "").unwrap();
        assert!(check(&to, &files).is_err(), "one too many");
    }
}

#[test]
fn only_names_of_a_store_are_taken() {
    let whole = ["000012.sst", "CURRENT", "MANIFEST-000005", "OPTIONS-000007"];
    check_files(&files(&whole)).unwrap();
    check_files(&files(&["ROWS"])).unwrap();
    let bad = [
        "../CURRENT",
        "/etc/passwd",
        "a/b.sst",
        "..",
        ".",
        "",
        ".sst",
        "12.sst/",
        "12.SST",
        "-1.sst",
        "MANIFEST-",
        "MANIFEST-5/../6",
        "LOG",
        "LOCK",
        "x\0.sst",
        "0000000000000000000000001.sst",
    ];
    for name in bad {
        let mut names = whole.to_vec();
        names.push(name);
        assert!(check_files(&files(&names)).is_err(), "{name:?}");
    }
    let sets: [&[&str]; 6] = [
        &[],
        &["CURRENT"],
        &["MANIFEST-000005", "000001.sst"],
        &["CURRENT", "MANIFEST-000005", "MANIFEST-000006"],
        &["CURRENT", "MANIFEST-000005", "CURRENT"],
        &["ROWS", "CURRENT", "MANIFEST-000005"],
    ];
    for names in sets {
        assert!(check_files(&files(names)).is_err(), "{names:?}");
    }
    let huge = SnapshotFile {
        name: "000001.sst".to_owned(),
        bytes: u64::MAX,
    };
    let mut all = files(&whole);
    all.push(huge);
    assert!(check_files(&all).is_err());
    let many: Vec<_> = (0..=FILES_MAX).map(|n| file(&format!("{n}.sst"))).collect();
    assert!(check_files(&many).is_err());
}

#[test]
fn after_a_switch_everyone_but_old_views_sees_the_new_store() {
    for [mut ahead, mut behind] in [Store::both(), [Store::rocks(), Store::rocks()]] {
        for round in 0..100 {
            ahead.put(&format!("new-{round}"), "value");
        }
        behind.put("old", "value");
        let (reads, flusher) = (behind.machine.read_handle(), behind.machine.flusher());
        let old_view = reads.view();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("copy");
        let state = ahead.machine.flusher().checkpoint(&path).unwrap().state;
        prepare(&path, &state).unwrap();
        let other = StateMachine::open_snapshot(&options(&path)).unwrap();
        let old = behind.machine.switch_to(other);

        assert_eq!(behind.machine.describe().unwrap(), state);
        assert_eq!(reads.view().state_digest(), state.digest);
        assert_eq!((old_view.keys_total(), reads.view().keys_total()), (1, 100));
        assert_eq!(reads.sizes().pinned_views, 1);
        // The old one can still be read, and is not flushed any more.
        assert!(old.is_held());
        assert_eq!(old_view.count(b"old", b"").unwrap(), 1);
        drop(old_view);
        assert!(!old.is_held());
        drop(old);

        (behind.term, behind.index) = (ahead.term, ahead.index);
        behind.put("after", "value");
        assert_eq!(reads.view().keys_total(), 101);
        flusher.flush().unwrap();
        assert_eq!(flusher.unflushed_bytes(), 0);
        assert_eq!(reads.sizes().pinned_views, 0);
    }
}
