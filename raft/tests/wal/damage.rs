//! Files that are not what was written: the log does not open, and says
//! which file, where, and what to do.

use crate::support::{
    IDENTITY, Witness,
    forgetful::Forgetful,
    model::{Call, Model},
    open_in, options, run, try_open_in,
};
use std::sync::Arc;
use sternpost_raft::{Identity, LogStore, OpenError, WalOptions, wal::files::Files as _};

/// The length of a segment's seal and of a mark.
const SEAL_LEN: usize = 9;
const MARK_LEN: usize = 37;

/// A log of several segments, closed.
fn build(identity: Identity, bytes: usize) -> (Forgetful, Model) {
    let files = Forgetful::default();
    let options = WalOptions {
        identity: Some(identity),
        ..options("memory".as_ref())
    };
    let observer = Arc::new(Witness::default());
    let (mut log, _) = LogStore::open_in(Arc::new(files.clone()), &options, observer).unwrap();
    let model = run(async {
        let mut model = Model::default();
        for _ in 0..10 {
            let append = Call::Append {
                count: 2,
                bytes,
                newer: 1,
            };
            for call in [Call::Vote { newer: 1 }, append, Call::Committed] {
                let (states, done) = model.call(&mut log, &call).await;
                model = states.last().unwrap().clone();
                if let Some(done) = done {
                    done.await.unwrap().unwrap();
                }
            }
        }
        model
    });
    log.close();
    (files, model)
}

fn log_of_segments() -> (Forgetful, Model, Vec<String>) {
    let (files, model) = build(IDENTITY, 500);
    let names = segments(&files);
    assert!(names.len() >= 3, "{names:?}");
    (files, model, names)
}

fn segments(files: &Forgetful) -> Vec<String> {
    let mut names = files.list().unwrap();
    names.retain(|name| !name.starts_with("spare"));
    names
}

/// Opening fails, with a text that says where and what to do.
fn refused(files: &Forgetful, name: &str) -> String {
    let text = match try_open_in(files) {
        Ok(_) => panic!("opened, with {name} damaged"),
        Err(error) => error.to_string(),
    };
    assert!(text.contains(name), "{text}: does not name {name}");
    assert!(text.contains("restore this member"), "{text}: no advice");
    text
}

fn offset(text: &str) -> usize {
    let rest = text.split("offset ").nth(1).unwrap();
    rest.split(':').next().unwrap().parse().unwrap()
}

#[test]
fn any_flipped_byte() {
    let (files, model, names) = log_of_segments();
    for name in &names {
        let whole = files.read(name);
        let used = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        let mut found = 0;
        for at in 0..used {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            let copy = files.copy();
            copy.put(name, Some(bytes));
            match try_open_in(&copy) {
                // Behind the last record only, or nothing is lost.
                Ok((mut log, _)) => assert_eq!(run(Model::of(&mut log)), model),
                Err(_) => {
                    found += 1;
                    assert!(offset(&refused(&copy, name)) <= at);
                }
            }
        }
        let unneeded = SEAL_LEN.max(MARK_LEN);
        assert!(found >= used - unneeded, "{name}: {found} of {used}");
    }
}

#[test]
fn any_cut_file() {
    let (files, _, names) = log_of_segments();
    for name in &names {
        let whole = files.read(name);
        for length in (0..whole.len()).step_by(7) {
            let copy = files.copy();
            copy.put(name, Some(whole[..length].to_vec()));
            let text = refused(&copy, name);
            assert!(offset(&text) <= length, "{text}");
        }
    }
}

#[test]
fn any_missing_segment() {
    let (files, _, names) = log_of_segments();
    for (at, name) in names.iter().enumerate() {
        let copy = files.copy();
        copy.put(name, None);
        // Without the first one, the next one is the first to be named.
        refused(&copy, if at == 0 { &names[1] } else { name });
    }
}

#[test]
fn any_swapped_segments() {
    let (files, _, names) = log_of_segments();
    for left in 0..names.len() {
        for right in 0..left {
            let copy = files.copy();
            copy.put(&names[left], Some(files.read(&names[right])));
            copy.put(&names[right], Some(files.read(&names[left])));
            refused(&copy, &names[right]);
        }
    }
}

#[test]
fn a_stale_copy_of_a_segment() {
    run(async {
        let files = Forgetful::default();
        let (mut log, _) = open_in(&files);
        let mut model = Model::default();
        let mut copies = Vec::new();
        for _ in 0..25 {
            let call = Call::Append {
                count: 1,
                bytes: 500,
                newer: 0,
            };
            let (states, done) = model.call(&mut log, &call).await;
            model = states[0].clone();
            done.unwrap().await.unwrap().unwrap();
            let last = segments(&files).pop().unwrap();
            copies.push((last.clone(), files.read(&last)));
        }
        log.close();
        let names = segments(&files);
        let mut tried = 0;
        for (name, bytes) in copies {
            let whole = files.read(&name);
            // The last segment before its next record is no different from
            // one that never had it.
            let is_last = Some(&name) == names.last();
            let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
            if is_last || bytes == whole || whole[used + 1 + SEAL_LEN..].iter().all(|b| *b == 0) {
                continue;
            }
            let copy = files.copy();
            copy.put(&name, Some(bytes));
            refused(&copy, &name);
            tried += 1;
        }
        assert!(tried > 10, "{tried}");
    });
}

#[test]
fn a_segment_of_another_member() {
    let (files, _, names) = log_of_segments();
    for identity in [
        Identity {
            member_id: 1,
            ..IDENTITY
        },
        Identity {
            cluster_id: 1,
            ..IDENTITY
        },
    ] {
        let (others, _) = build(identity, 500);
        for name in &names[1..] {
            let copy = files.copy();
            copy.put(name, Some(others.read(name)));
            let error = try_open_in(&copy).err().unwrap();
            assert!(matches!(error, OpenError::Identity(_)), "{error}");
            refused(&copy, name);
        }
    }
}

#[test]
fn a_segment_of_another_history() {
    let (files, _, names) = log_of_segments();
    let (others, _) = build(IDENTITY, 510);
    let copy = files.copy();
    copy.put(&names[1], Some(others.read(&names[1])));
    refused(&copy, &names[1]);
}

#[test]
fn a_newer_format() {
    let (files, _, names) = log_of_segments();
    let mut bytes = files.read(&names[0]);
    // Behind the magic: length, kind, checksum, and the format as first field.
    let payload = 12 + SEAL_LEN;
    let length = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
    assert_eq!(bytes[payload..payload + 2], [8, 1]);
    bytes[payload + 1] = 2;
    let crc = crc32c::crc32c(&bytes[12..17]);
    let crc = crc32c::crc32c_append(crc, &bytes[payload..payload + length]);
    bytes[17..21].copy_from_slice(&crc.to_le_bytes());
    files.put(&names[0], Some(bytes));
    let text = refused(&files, &names[0]);
    assert!(
        text.contains("has format 2, this version reads 1"),
        "{text}"
    );
}
