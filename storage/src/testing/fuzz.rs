//! Functions that take any bytes. They panic when a promise is broken, and
//! `fuzz/` looks for bytes that make them.

use crate::{
    apply::{Entry, EntryPayload},
    ids::{LogMark, Revision},
    schema::{meta::StateRow, rows, varint},
    state_machine::StateMachine,
};
use bytes::{Buf as _, Bytes};
use prost::Message as _;
use std::sync::Arc;
use sternpost_proto::internal::Command;

/// Entries beyond this are ignored: a longer input finds nothing new.
const COMMANDS_MAX: usize = 64;

/// Any commands, one after another with a length byte pair before each: no
/// panic, and two machines that are fed differently agree on every outcome,
/// on the digest, on the hash, and on whether to stop.
pub fn fuzz_commands(data: &[u8]) {
    let entries = entries(data);
    let mut whole = StateMachine::in_memory();
    let mut single = StateMachine::in_memory();
    let at_once = whole.apply_batch(&entries).map(|batch| batch.outcomes);
    let one_by_one: Result<Vec<_>, _> = entries
        .iter()
        .map(|entry| single.apply_batch(std::slice::from_ref(entry)))
        .collect();
    match (at_once, one_by_one) {
        (Ok(at_once), Ok(one_by_one)) => {
            let one_by_one: Vec<_> = one_by_one
                .into_iter()
                .flat_map(|batch| batch.outcomes)
                .collect();
            assert_eq!(
                format!("{at_once:?}"),
                format!("{one_by_one:?}"),
                "outcomes depend on the chunks"
            );
            compare(&whole, &single);
        }
        (Err(_), Err(_)) => {}
        (at_once, one_by_one) => panic!(
            "at once {:?}, one by one {:?}: whether to stop depends on the chunks",
            at_once.map(|outcomes| outcomes.len()),
            one_by_one.map(|batches| batches.len())
        ),
    }
}

fn compare(whole: &StateMachine, single: &StateMachine) {
    let (whole, single) = (whole.read_handle().view(), single.read_handle().view());
    assert_eq!(
        whole.state_digest(),
        single.state_digest(),
        "the digest depends on the chunks"
    );
    assert_eq!(
        whole.revision(),
        single.revision(),
        "the revision depends on the chunks"
    );
    let hash = |view: &Arc<crate::ReadView>| {
        let mut task = view.hash_kv(0).expect("the current revision is readable");
        loop {
            if let Some(hash) = task.step(usize::MAX).expect("memory does not fail") {
                return hash;
            }
        }
    };
    assert_eq!(
        hash(&whole),
        hash(&single),
        "the hash depends on the chunks"
    );
}

/// The bytes that [`fuzz_commands`] takes these commands from.
pub fn commands_input(payloads: &[EntryPayload]) -> Vec<u8> {
    let mut input = Vec::new();
    for payload in payloads {
        if let EntryPayload::Command(command) = payload {
            let bytes = command.encode_to_vec();
            input.extend(
                u16::try_from(bytes.len())
                    .expect("a short command")
                    .to_le_bytes(),
            );
            input.extend(bytes);
        }
    }
    input
}

/// Any stored rows: no panic, and what can be read is written back as the
/// same row. Keys keep their order when they are escaped.
pub fn fuzz_rows(data: &[u8]) {
    let mut out = Vec::new();
    if let Ok((header, value)) = rows::decode_current(b"key", data) {
        rows::encode_current(&mut out, &header, value);
        assert_eq!(
            rows::decode_current(b"key", &out).ok(),
            Some((header, value)),
            "a row of cur"
        );
    }
    if let Ok(row) = rows::decode_log(Revision::new(2, 0), data) {
        out.clear();
        rows::encode_log(&mut out, &row);
        assert_eq!(
            rows::decode_log(Revision::new(2, 0), &out).ok(),
            Some(row),
            "a row of log"
        );
    }
    if let Ok(row) = rows::decode_ver(b"key", data) {
        out.clear();
        rows::encode_ver(&mut out, row);
        assert_eq!(
            rows::decode_ver(b"key", &out).ok(),
            Some(row),
            "a row of ver"
        );
    }
    if let Ok(state) = StateRow::decode(data) {
        out.clear();
        state.encode(&mut out);
        assert_eq!(StateRow::decode(&out).ok(), Some(state), "the state row");
    }
    if let Ok(revision) = rows::decode_log_key(data) {
        assert_eq!(rows::log_key(revision), data, "a key of log");
    }
    let mut rest = data;
    if let Some(number) = varint::take(&mut rest) {
        out.clear();
        varint::put(&mut out, number);
        assert_eq!(varint::take(&mut &out[..]), Some(number), "a varint");
    }
    fuzz_version_keys(data);
}

/// Both halves of the bytes as keys.
fn fuzz_version_keys(data: &[u8]) {
    if let Ok((prefix, _)) = rows::split_ver_key(data) {
        let mut key = Vec::new();
        if rows::unescape_ver_prefix(prefix, &mut key).is_ok() {
            let mut again = Vec::new();
            rows::put_ver_prefix(&mut again, &key);
            assert_eq!(again, prefix, "the prefix of a key of ver");
        }
    }
    let (a, b) = data.split_at(data.len() / 2);
    let version_key = |key: &[u8], main: i64| {
        let mut out = Vec::new();
        rows::put_ver_key(&mut out, key, Revision::new(main, 0));
        out
    };
    assert_eq!(
        version_key(a, 2).cmp(&version_key(b, 2)),
        a.cmp(b),
        "the order of {a:?} and {b:?}"
    );
    assert!(
        version_key(a, 3) < version_key(a, 2),
        "a newer version comes first"
    );
    if a != b {
        assert_eq!(
            version_key(a, 2).cmp(&version_key(b, 3)),
            a.cmp(b),
            "the key goes before the revision"
        );
    }
}

/// A blank entry stands for bytes that are no command at all.
fn entries(data: &[u8]) -> Vec<Entry> {
    let mut rest = data;
    let mut entries = Vec::new();
    while rest.len() >= 2 && entries.len() < COMMANDS_MAX {
        let length = usize::from(rest.get_u16_le()).min(rest.len());
        let bytes = Bytes::copy_from_slice(&rest[..length]);
        rest.advance(length);
        let payload = match Command::decode(bytes) {
            Ok(command) => EntryPayload::Command(Arc::new(command)),
            Err(_) => EntryPayload::Blank,
        };
        let index = u64::try_from(entries.len()).expect("few entries");
        entries.push(Entry {
            mark: LogMark { term: 1, index },
            payload,
        });
    }
    entries
}
