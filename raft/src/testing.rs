//! Entrances for fuzzing and for simulation.

pub mod turns;

use crate::{
    options::Identity,
    wal::{
        Marks,
        files::{File, Files},
        record,
        recover::recover,
        segment::{self, Place, SPARE},
    },
};
use parking_lot::Mutex;
use std::{collections::BTreeMap, io, sync::Arc};

/// The size of the files made here.
const FILE_BYTES: u64 = 512;

/// Opens arbitrary bytes as a log: as whole files, as what follows an intact
/// header, and as records whose checksums fit, so that all decoders are
/// reached. Whatever the answer, nothing may panic.
pub fn fuzz_log_records(data: &[u8]) {
    let files = Memory::default();
    let at = data.first().map_or(0, |byte| usize::from(*byte));
    let (left, right) = data.split_at(at.min(data.len()));
    files.put(&segment::name(1), left.to_vec());
    files.put(&segment::name(2), right.to_vec());
    let _refused = recover(&files);

    open_behind_header(|bytes, offset, _| {
        bytes.truncate(offset);
        bytes.extend_from_slice(data);
    });

    open_behind_header(|bytes, offset, mut crc| {
        bytes.truncate(offset);
        let mut rest = data;
        while let [kind, length, tail @ ..] = rest {
            let (payload, tail) = tail.split_at(usize::from(*length).min(tail.len()));
            let start = bytes.len();
            record::push(bytes, *kind, |bytes| bytes.extend_from_slice(payload));
            let before = crc;
            (crc, _) = record::seal(&mut bytes[start..], before);
            if let Some(raw) = record::parse(&bytes[start..], before) {
                let _refused = raw.entry();
            }
            rest = tail;
        }
    });
}

fn open_behind_header(change: impl FnOnce(&mut Vec<u8>, usize, u32)) {
    let files = Memory::default();
    let place = Place {
        identity: Identity {
            member_id: 1,
            cluster_id: 2,
        },
        sequence: 1,
        previous_end: 0,
        previous_crc: 0,
        opens: 1,
        marks: Marks::default(),
    };
    let spare = files.create(SPARE, FILE_BYTES).expect("memory has room");
    let active = segment::begin(&files, spare, &place).expect("memory does not fail");
    let name = segment::name(1);
    let mut bytes = files.get(&name).expect("just made").0.lock().clone();
    change(&mut bytes, active.offset as usize, active.crc);
    bytes.resize(bytes.len().max(FILE_BYTES as usize), 0);
    files.put(&name, bytes);
    let _refused = recover(&files);
}

/// Files in memory.
#[derive(Default)]
struct Memory {
    files: Mutex<BTreeMap<String, Arc<Content>>>,
}

struct Content(Mutex<Vec<u8>>);

impl Memory {
    fn put(&self, name: &str, bytes: Vec<u8>) {
        let content = Arc::new(Content(Mutex::new(bytes)));
        self.files.lock().insert(name.into(), content);
    }

    fn get(&self, name: &str) -> io::Result<Arc<Content>> {
        let files = self.files.lock();
        let content = files.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(content.clone())
    }
}

impl Files for Memory {
    fn path_of(&self, name: &str) -> String {
        name.into()
    }

    fn lock(&self) -> io::Result<Box<dyn Send>> {
        Ok(Box::new(()))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files.lock().keys().cloned().collect())
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn File>> {
        self.put(name, vec![0; bytes as usize]);
        self.open(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(self.get(name)?)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let content = self.get(from)?;
        let mut files = self.files.lock();
        files.remove(from);
        files.insert(to.into(), content);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.files.lock().remove(name);
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        Ok(())
    }
}

impl File for Content {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.0.lock();
        let start = offset as usize;
        let found = bytes.get(start..start + buffer.len());
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut content = self.0.lock();
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        let len = content.len().max(end);
        content.resize(len, 0);
        content[start..end].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn arbitrary_bytes_do_not_panic(data in prop::collection::vec(any::<u8>(), 0..400)) {
            fuzz_log_records(&data);
        }

        #[test]
        fn likely_records_do_not_panic(
            records in prop::collection::vec(
                (0u8..10, prop::collection::vec(prop_oneof![0u8..4, any::<u8>()], 0..40)),
                0..12,
            ),
        ) {
            let mut data = Vec::new();
            for (kind, payload) in records {
                data.extend([kind, payload.len() as u8]);
                data.extend(payload);
            }
            fuzz_log_records(&data);
        }

        #[test]
        fn extreme_positions_do_not_panic(
            records in prop::collection::vec(
                (
                    4u8..8,
                    prop_oneof![Just(0), Just(1), Just(u64::MAX)],
                    prop_oneof![0..4u64, u64::MAX - 3..=u64::MAX],
                ),
                0..12,
            ),
        ) {
            let mut data = Vec::new();
            for (kind, term, index) in records {
                data.extend([kind, 16]);
                data.extend(term.to_le_bytes());
                data.extend(index.to_le_bytes());
            }
            fuzz_log_records(&data);
        }
    }
}
