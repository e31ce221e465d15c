//! A data directory with some of everything in its files, and copies of it.

use super::answers::{Answers, read_all};
use crate::client::Client;
use crate::target::{Kind, Plan, Target};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use sternpost_proto::etcdserverpb as pb;
use tempfile::TempDir;

const SEED: u64 = 8;
/// More than one segment of the log.
const BIG_PUTS: usize = 66;
const BIG: usize = 1 << 20;
/// Kept out of everything that is read again and again: only the log holds them in the end.
const SESSIONS: u32 = 5;
const KEYS: u32 = 120;
const WRITES: u32 = 300;
const LEASES: i64 = 5;
const LEASE_TTL: i64 = 1_000_000;

/// A stopped server's files, and what they must answer.
pub struct Dataset {
    dir: TempDir,
    /// Revisions that are read, the oldest one left first.
    revisions: Vec<i64>,
    last: i64,
    right: Answers,
    newest: Vec<(Bytes, Bytes)>,
}

impl Dataset {
    /// Makes one: several sessions, each ended by a clean stop, so that each leaves files.
    ///
    /// # Panics
    /// When the server does not do what it should.
    pub async fn create() -> Self {
        let dir = tempfile::Builder::new().prefix("dataset-").tempdir();
        let dir = dir.expect("the temporary directory is writable");
        let mut target = plan(&dir.path().join("data")).start();
        let mut rng = StdRng::seed_from_u64(SEED);
        let mut revisions = Vec::new();
        for session in 0..SESSIONS {
            let mut client = target.client().await;
            if session == 0 {
                begin(&mut client, &mut rng).await;
            }
            revisions.push(write(&mut client, &mut rng, session).await);
            if session == 1 {
                let request = pb::CompactionRequest {
                    revision: revisions[0],
                    physical: true,
                };
                client.kv.compact(request).await.expect("it is not new");
                let request = pb::DefragmentRequest {};
                client
                    .maintenance
                    .defragment(request)
                    .await
                    .expect("it can");
            }
            target.stop();
            if session + 2 == SESSIONS {
                keep_older(&dir.path().join("data"), &dir.path().join("older"));
            }
            target.restart();
        }
        let last = revisions.pop().expect("there were sessions");
        let right = read_all(&mut target.client().await, &revisions, last).await;
        for (question, answer) in &right {
            assert!(answer.is_ok(), "{question}: {answer:?}");
        }
        let everything = pb::RangeRequest {
            key: "\0".into(),
            range_end: "\0".into(),
            ..Default::default()
        };
        let now = target.client().await.kv.range(everything).await;
        let now = now.expect("it was read before").into_inner();
        target.stop();
        Self {
            newest: now.kvs.into_iter().map(|kv| (kv.key, kv.value)).collect(),
            dir,
            revisions,
            last,
            right,
        }
    }

    /// The segments of the log, oldest first.
    #[must_use]
    pub fn segments(&self) -> Vec<PathBuf> {
        let mut files = self.files("wal", ".log");
        files.retain(|file| !file.ends_with("spare.log"));
        files
    }

    /// Files as they were at the end of the session before the last: those that are written in place,
    /// and the store's own list.
    ///
    /// # Panics
    /// When they can't be read.
    #[must_use]
    pub fn older(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let dir = self.dir.path().join("older");
        let mut files = Vec::new();
        for part in ["member/wal", "member/state"] {
            for entry in fs::read_dir(dir.join(part)).expect("they were kept") {
                let name = Path::new(part).join(entry.expect("a name").file_name());
                let bytes = fs::read(dir.join(&name)).expect("they were kept");
                files.push((name, bytes));
            }
        }
        files.sort();
        files
    }

    /// What is right.
    #[must_use]
    pub fn right(&self) -> &Answers {
        &self.right
    }

    /// The newest keys and values.
    #[must_use]
    pub fn newest(&self) -> &[(Bytes, Bytes)] {
        &self.newest
    }

    /// Asks a server on a copy the same.
    pub async fn read(&self, target: &Target) -> Answers {
        let mut client = target.client().await;
        read_all(&mut client, &self.revisions, self.last).await
    }

    /// The files below `member/<part>` whose names end so, sorted.
    ///
    /// # Panics
    /// When they can't be listed.
    #[must_use]
    pub fn files(&self, part: &str, end: &str) -> Vec<PathBuf> {
        let dir = self.data().join("member").join(part);
        let mut names: Vec<PathBuf> = fs::read_dir(&dir)
            .expect("the data is there")
            .map(|entry| entry.expect("a name").file_name())
            .filter(|name| name.to_string_lossy().ends_with(end))
            .map(|name| Path::new("member").join(part).join(name))
            .collect();
        names.sort();
        names
    }

    /// The bytes of a file.
    ///
    /// # Panics
    /// When it can't be read.
    #[must_use]
    pub fn bytes(&self, file: &Path) -> Vec<u8> {
        fs::read(self.data().join(file)).expect("the file is there")
    }

    /// A copy to be damaged. Files that a server never writes to again are links until
    /// [`Copy::replace`] makes them files of their own.
    ///
    /// # Panics
    /// When there is no room for it.
    #[must_use]
    pub fn copy(&self) -> Copy {
        let dir = tempfile::Builder::new().prefix("damaged-").tempdir();
        let dir = dir.expect("the temporary directory is writable");
        let last_segment = self.segments().pop();
        for part in ["wal", "state"] {
            let to = dir.path().join("data/member").join(part);
            fs::create_dir_all(&to).expect("the temporary directory is writable");
            for file in self.files(part, "") {
                let (from, to) = (self.data().join(&file), dir.path().join("data").join(&file));
                if file.ends_with("spare.log") || file.ends_with("LOCK") {
                    continue;
                }
                let final_file = part == "wal" || file.extension().is_some_and(|e| e == "sst");
                if final_file && Some(&file) != last_segment.as_ref() {
                    fs::hard_link(from, to).expect("both are on one file system");
                } else {
                    sparse(&from, &to);
                }
            }
        }
        Copy { dir }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }
}

/// Files to be damaged.
pub struct Copy {
    dir: TempDir,
}

impl Copy {
    /// Gives a file other bytes, or takes it away.
    ///
    /// # Panics
    /// When it can't be written.
    pub fn replace(&self, file: &Path, bytes: Option<&[u8]>) {
        let path = self.dir.path().join("data").join(file);
        let _ = fs::remove_file(&path);
        if let Some(bytes) = bytes {
            let failed = "the temporary directory is writable";
            let used = bytes.iter().rposition(|byte| *byte != 0);
            fs::write(&path, &bytes[..used.map_or(0, |at| at + 1)]).expect(failed);
            let file = File::options().write(true).open(path).expect(failed);
            file.set_len(bytes.len() as u64).expect(failed);
        }
    }

    /// How to start a server on it.
    #[must_use]
    pub fn plan(&self) -> Plan {
        plan(&self.dir.path().join("data"))
    }
}

fn plan(data_dir: &Path) -> Plan {
    // Without a sync each time a dataset is made and read in seconds; nothing crashes here.
    Plan::new(Kind::Sternpost)
        .data_dir(data_dir)
        .without_fsync()
        .flag("--snapshot-count=100")
}

/// Keeps the files that will be written to again.
fn keep_older(data: &Path, older: &Path) {
    for part in ["member/wal", "member/state"] {
        fs::create_dir_all(older.join(part)).expect("the temporary directory is writable");
        let names = fs::read_dir(data.join(part)).expect("the data is there");
        let names = names.map(|entry| entry.expect("a name").file_name());
        let mut names: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
        names.sort();
        let is_segment = |name: &&String| name.starts_with('0') && name.ends_with(".log");
        let last_segment = names.iter().rfind(is_segment);
        for name in &names {
            let of_the_store = name.starts_with("MANIFEST") || name == "CURRENT";
            if of_the_store || Some(name) == last_segment {
                sparse(&data.join(part).join(name), &older.join(part).join(name));
            }
        }
    }
}

/// Leases, and large values until the log needs a second segment.
async fn begin(client: &mut Client, rng: &mut StdRng) {
    for id in 1..=LEASES {
        let request = pb::LeaseGrantRequest { ttl: LEASE_TTL, id };
        client.lease.lease_grant(request).await.expect("it is new");
    }
    let mut value = vec![0; BIG];
    for _ in 0..BIG_PUTS {
        rng.fill(&mut value[..]);
        let request = pb::PutRequest {
            key: "big".into(),
            value: value.clone().into(),
            ..Default::default()
        };
        client.kv.put(request).await.expect("a put");
    }
    let request = pb::DeleteRangeRequest {
        key: "big".into(),
        ..Default::default()
    };
    client.kv.delete_range(request).await.expect("a deletion");
}

/// A session's writes; the revision of the last one.
async fn write(client: &mut Client, rng: &mut StdRng, session: u32) -> i64 {
    let mut last = 0;
    for number in 0..WRITES {
        let key = format!("key-{:03}", rng.random_range(0..KEYS));
        let header = if rng.random_ratio(1, 10) {
            let request = pb::DeleteRangeRequest {
                key: key.into(),
                ..Default::default()
            };
            client
                .kv
                .delete_range(request)
                .await
                .expect("a deletion")
                .into_inner()
                .header
        } else {
            let pad: String = (0..rng.random_range(0..400))
                .map(|_| char::from(rng.random_range(b'a'..=b'z')))
                .collect();
            let request = pb::PutRequest {
                key: key.into(),
                value: format!("{session}-{number}-{pad}").into(),
                lease: if rng.random_ratio(1, 8) {
                    rng.random_range(1..=LEASES)
                } else {
                    0
                },
                ..Default::default()
            };
            client
                .kv
                .put(request)
                .await
                .expect("a put")
                .into_inner()
                .header
        };
        last = header.map_or(last, |header| header.revision);
    }
    last
}

/// Copies what was written, and leaves the rest a hole.
fn sparse(from: &Path, to: &Path) {
    let failed = "the temporary directory is writable";
    let mut source = File::open(from).expect("the file is there");
    let mut copy = File::create(to).expect(failed);
    let length = source.metadata().expect("an open file").len();
    copy.set_len(length).expect(failed);
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while at < length {
        let count = source.read(&mut buffer).expect("the file can be read");
        if count == 0 {
            break;
        }
        if buffer[..count] != vec![0; count] {
            copy.seek(SeekFrom::Start(at)).expect(failed);
            copy.write_all(&buffer[..count]).expect(failed);
        }
        at += count as u64;
    }
}
