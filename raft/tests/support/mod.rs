//! Shared by the tests of the log.
#![allow(dead_code)]

pub mod forgetful;
pub mod model;

use parking_lot::{Condvar, Mutex};
use std::{path::Path, sync::Arc};
use sternpost_raft::{
    Identity, LogStore, Observer, OpenError, Recovered, WalOptions,
    types::{Data, Entry, EntryPayload, log_id},
};

pub const IDENTITY: Identity = Identity {
    member_id: 0xfeed,
    cluster_id: 0xcafe,
};

/// Small segments, so that a test sees many.
pub const SEGMENT_BYTES: u64 = 4096;

/// Keeps the fatal text, if there is one.
#[derive(Default)]
pub struct Witness {
    fatal: Mutex<Option<String>>,
    told: Condvar,
}

impl Witness {
    pub fn fatal(&self) -> Option<String> {
        self.fatal.lock().clone()
    }

    /// Waits for the fatal text.
    pub fn wait_fatal(&self) -> String {
        let mut fatal = self.fatal.lock();
        while fatal.is_none() {
            self.told.wait(&mut fatal);
        }
        fatal.clone().unwrap()
    }
}

impl Observer for Witness {
    fn fatal(&self, text: &str) {
        *self.fatal.lock() = Some(text.into());
        self.told.notify_all();
    }
}

pub fn options(dir: &Path) -> WalOptions {
    WalOptions {
        dir: dir.to_path_buf(),
        segment_bytes: SEGMENT_BYTES,
        identity: Some(IDENTITY),
        unsafe_no_fsync: false,
    }
}

pub fn try_open(dir: &Path) -> Result<(LogStore, Recovered), OpenError> {
    LogStore::open(&options(dir), Arc::new(Witness::default()))
}

pub fn open(dir: &Path) -> (LogStore, Recovered) {
    try_open(dir).unwrap()
}

/// Opens the log that these files hold.
pub fn try_open_in(files: &forgetful::Forgetful) -> Result<(LogStore, Recovered), OpenError> {
    let observer = Arc::new(Witness::default());
    LogStore::open_in(
        Arc::new(files.clone()),
        &options("memory".as_ref()),
        observer,
    )
}

/// Opens the log that these files hold.
pub fn open_in(files: &forgetful::Forgetful) -> (LogStore, Recovered) {
    try_open_in(files).unwrap()
}

/// An entry whose content follows from its position.
pub fn entry(term: u64, index: u64, bytes: usize) -> Entry {
    let seed = (term * 31 + index) as u8;
    let content: Vec<u8> = (0..bytes).map(|at| seed.wrapping_add(at as u8)).collect();
    Entry {
        log_id: log_id(term, index),
        payload: EntryPayload::Normal(Data::from_encoded(content.into())),
    }
}

/// Position and content, to compare entries by.
pub fn content(entry: &Entry) -> (u64, u64, Vec<u8>) {
    let bytes = match &entry.payload {
        EntryPayload::Normal(data) => data.encoded().to_vec(),
        _ => Vec::new(),
    };
    (entry.log_id.leader_id.term, entry.log_id.index, bytes)
}

pub fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}
