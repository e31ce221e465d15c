//! Functions that take any bytes. They panic when a promise is broken, and
//! `fuzz/` looks for bytes that make them.

use crate::{
    apply::{Entry, EntryPayload},
    ids::LogMark,
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
