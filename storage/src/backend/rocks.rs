//! RocksDB as the engine.
//!
//! Its own log is off: the raft log is replayed instead. A crash goes back to
//! the last flush, of all families together.

use super::{
    Backend, EngineSizes, Read, Scan, WriteBatch,
    rocks_fault::{check_current, fault, fault_in},
    rocks_options,
};
use crate::{error::Fault, options::StorageOptions, schema::Family};
use rocksdb::{
    BottommostLevelCompaction, Cache, ColumnFamily, CompactOptions, DB, DBPinnableSlice,
    DBRawIterator, ErrorKind, FlushOptions, ReadOptions, Snapshot, WriteOptions,
    checkpoint::Checkpoint, properties,
};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// The engine on disk. A clone is another handle of the same database.
#[derive(Clone)]
pub(crate) struct Rocks {
    database: Arc<Database>,
}

/// The database with what is asked for all the time.
struct Database {
    db: DB,
    write_options: WriteOptions,
    /// An error instead of a wait.
    try_write_options: WriteOptions,
    read_options: ReadOptions,
    /// Bytes written since the last flush that was asked for. Automatic
    /// flushes are not seen, so it may say too much.
    unflushed_bytes: AtomicU64,
}

impl Rocks {
    /// Opens or creates the database.
    pub(crate) fn open(options: &StorageOptions) -> Result<Self, Fault> {
        std::fs::create_dir_all(&options.path).map_err(|error| {
            Fault::Backend(format!("creating {}: {error}", options.path.display()))
        })?;
        check_current(&options.path)?;
        let cache = Cache::new_lru_cache(options.block_cache_bytes);
        let db_options = rocks_options::database(&cache);
        let families = rocks_options::families(options, &cache);
        let db = DB::open_cf_descriptors(&db_options, &options.path, families)
            .map_err(|error| fault_in(&options.path, error))?;
        Ok(Self::over(db))
    }

    /// Opens what is there to be read. Nothing is written but RocksDB's own
    /// notes (`LOG`).
    pub(crate) fn open_to_read(options: &StorageOptions) -> Result<Self, Fault> {
        let cache = Cache::new_lru_cache(options.block_cache_bytes);
        let db_options = rocks_options::database(&cache);
        let families = rocks_options::families(options, &cache);
        let db = DB::open_cf_descriptors_read_only(&db_options, &options.path, families, false)
            .map_err(|error| fault_in(&options.path, error))?;
        Ok(Self::over(db))
    }

    fn over(db: DB) -> Self {
        let [write_options, try_write_options] = [false, true].map(|fails| {
            let mut options = WriteOptions::default();
            options.disable_wal(true);
            options.set_no_slowdown(fails);
            options
        });
        let database = Database {
            db,
            write_options,
            try_write_options,
            read_options: ReadOptions::default(),
            unflushed_bytes: AtomicU64::new(0),
        };
        Self {
            database: Arc::new(database),
        }
    }
}

impl Database {
    fn family(&self, family: Family) -> &ColumnFamily {
        self.db
            .cf_handle(family.name())
            .expect("every family was opened")
    }

    /// What a write or flush failed on: it may say what happened in the background.
    fn fault(&self, error: rocksdb::Error) -> Fault {
        fault_in(self.db.path(), error)
    }

    fn write(&self, batch: &WriteBatch, options: &WriteOptions) -> Result<(), rocksdb::Error> {
        // Twelve bytes of RocksDB's head, and a few per row for its lengths.
        let mut rocks_batch =
            rocksdb::WriteBatch::with_capacity_bytes(12 + batch.bytes() + batch.len() * 8);
        let families = Family::ALL.map(|family| self.family(family));
        for operation in batch.operations() {
            let family = families[operation.family as usize];
            match operation.value {
                Some(value) => rocks_batch.put_cf(family, operation.key, value),
                None => rocks_batch.delete_cf(family, operation.key),
            }
        }
        self.db.write_opt(rocks_batch, options)?;
        let bytes = batch.bytes() + batch.len() * MEMTABLE_ROW_BYTES;
        self.unflushed_bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(())
    }

    fn get(
        &self,
        options: &ReadOptions,
        family: Family,
        key: &[u8],
        found: &mut dyn FnMut(&[u8]),
    ) -> Result<bool, Fault> {
        let value: Option<DBPinnableSlice<'_>> = self
            .db
            .get_pinned_cf_opt(self.family(family), key, options)
            .map_err(fault)?;
        if let Some(value) = &value {
            found(value);
        }
        Ok(value.is_some())
    }

    fn scan<'a>(
        &'a self,
        mut options: ReadOptions,
        family: Family,
        from: &[u8],
        until: Option<&[u8]>,
    ) -> Result<Box<dyn Scan + 'a>, Fault> {
        // Bounds on both sides keep the iterator from walking the tombstones
        // of its neighbours.
        options.set_iterate_lower_bound(from);
        if let Some(until) = until {
            options.set_iterate_upper_bound(until);
        }
        let mut iterator = self.db.raw_iterator_cf_opt(self.family(family), options);
        iterator.seek(from);
        iterator.status().map_err(fault)?;
        Ok(Box::new(RocksScan { iterator }))
    }

    fn property(&self, family: Family, name: &properties::PropName) -> Result<u64, Fault> {
        let value = self
            .db
            .property_int_value_cf(self.family(family), name)
            .map_err(fault)?;
        Ok(value.unwrap_or(0))
    }

    fn sum(&self, families: &[Family], name: &properties::PropName) -> Result<u64, Fault> {
        families
            .iter()
            .try_fold(0, |sum, &family| Ok(sum + self.property(family, name)?))
    }
}

impl Read for Rocks {
    fn get(&self, family: Family, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool, Fault> {
        self.database
            .get(&self.database.read_options, family, key, found)
    }

    fn scan<'a>(
        &'a self,
        family: Family,
        from: &[u8],
        until: Option<&[u8]>,
    ) -> Result<Box<dyn Scan + 'a>, Fault> {
        self.database
            .scan(ReadOptions::default(), family, from, until)
    }
}

/// What a row takes in a memtable beside its key and value, about.
const MEMTABLE_ROW_BYTES: usize = 32;

/// The families whose size counts against the quota.
const DATA: [Family; 3] = [Family::Log, Family::Ver, Family::Meta];

impl Backend for Rocks {
    fn snapshot(&self) -> Arc<dyn Read> {
        Arc::new(RocksSnapshot::new(self.database.clone()))
    }

    fn write(&self, batch: &WriteBatch) -> Result<(), Fault> {
        self.database
            .write(batch, &self.database.write_options)
            .map_err(|error| self.database.fault(error))
    }

    fn try_write(&self, batch: &WriteBatch) -> Result<bool, Fault> {
        let options = &self.database.try_write_options;
        let Err(error) = self.database.write(batch, options) else {
            return Ok(true);
        };
        if error.kind() == ErrorKind::Incomplete {
            return Ok(false);
        }
        match self.database.fault(error) {
            Fault::NoRoom(_) => Ok(false),
            fault => Err(fault),
        }
    }

    fn flush(&self) -> Result<(), Fault> {
        let mut options = FlushOptions::default();
        options.set_wait(true);
        let families = Family::ALL.map(|family| self.database.family(family));
        let families: Vec<&&ColumnFamily> = families.iter().collect();
        let before = self.unflushed_bytes();
        self.database
            .db
            .flush_cfs_opt(&families, &options)
            .map_err(|error| self.database.fault(error))?;
        // What was written meanwhile may be flushed or not. Two flushes at
        // once may take the same bytes off, so it must not go below nothing.
        let less = |bytes: u64| Some(bytes.saturating_sub(before));
        let unflushed_bytes = &self.database.unflushed_bytes;
        let _ = unflushed_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        Ok(())
    }

    fn compact_files(&self) -> Result<(), Fault> {
        let mut options = CompactOptions::default();
        // Without this the bottom level, where most dead rows are, is skipped;
        // not exclusive, so that automatic compactions go on beside it.
        options.set_bottommost_level_compaction(BottommostLevelCompaction::ForceOptimized);
        options.set_exclusive_manual_compaction(false);
        // Counted for the database as a whole, under its default family.
        let db = &self.database.db;
        let failed = || {
            db.property_int_value(properties::BACKGROUND_ERRORS)
                .map_err(fault)
        };
        let failed_before = failed()?;
        for family in Family::ALL {
            let handle = self.database.family(family);
            self.database
                .db
                .compact_range_cf_opt(handle, None::<&[u8]>, None::<&[u8]>, &options);
        }
        // The call itself says nothing.
        if failed()? > failed_before {
            let log = self.database.db.path().join("LOG");
            let text = format!("files can't be rewritten: {} says why", log.display());
            return Err(Fault::Backend(text));
        }
        Ok(())
    }

    fn sizes(&self) -> Result<EngineSizes, Fault> {
        let database = &self.database;
        let memtables = database.sum(&DATA, properties::CUR_SIZE_ALL_MEM_TABLES)?;
        // Not the total of files: that counts those which old views keep.
        let data_bytes = memtables + database.sum(&DATA, properties::LIVE_SST_FILES_SIZE)?;
        let in_use = memtables + database.sum(&DATA, properties::ESTIMATE_LIVE_DATA_SIZE)?;
        Ok(EngineSizes {
            data_bytes,
            data_in_use_bytes: in_use.min(data_bytes),
            current_copy_bytes: database
                .property(Family::Cur, properties::CUR_SIZE_ALL_MEM_TABLES)?
                + database.property(Family::Cur, properties::LIVE_SST_FILES_SIZE)?,
            disk_bytes: database.sum(&Family::ALL, properties::TOTAL_SST_FILES_SIZE)?,
        })
    }

    fn unflushed_bytes(&self) -> u64 {
        self.database.unflushed_bytes.load(Ordering::Relaxed)
    }

    fn write_stalled(&self) -> bool {
        let asks = |name| {
            self.database
                .property(Family::Log, name)
                .is_ok_and(|value| value > 0)
        };
        asks(properties::IS_WRITE_STOPPED) || asks(properties::ACTUAL_DELAYED_WRITE_RATE)
    }

    fn checkpoint(&self, dir: &Path) -> Result<(), Fault> {
        // Without a log of its own the database is in its files only after a flush.
        self.flush()?;
        Checkpoint::new(&self.database.db)
            .and_then(|checkpoint| checkpoint.create_checkpoint(dir))
            .map_err(fault)
    }

    fn snapshots_held(&self) -> usize {
        Arc::strong_count(&self.database) - 1
    }
}

/// A snapshot that keeps its database alive.
struct RocksSnapshot {
    // Fields drop in this order: whatever points into the database goes first.
    read_options: ReadOptions,
    snapshot: Snapshot<'static>,
    database: Arc<Database>,
}

impl RocksSnapshot {
    fn new(database: Arc<Database>) -> Self {
        // SAFETY: the reference points into the allocation that `database`
        // owns. It does not move, and it outlives the snapshot, which is
        // dropped before it and never handed out by value.
        let db: &'static DB = unsafe { &*std::ptr::from_ref(&database.db) };
        let snapshot = db.snapshot();
        let mut read_options = ReadOptions::default();
        read_options.set_snapshot(&snapshot);
        Self {
            read_options,
            snapshot,
            database,
        }
    }
}

impl Read for RocksSnapshot {
    fn get(&self, family: Family, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool, Fault> {
        self.database.get(&self.read_options, family, key, found)
    }

    fn scan<'a>(
        &'a self,
        family: Family,
        from: &[u8],
        until: Option<&[u8]>,
    ) -> Result<Box<dyn Scan + 'a>, Fault> {
        let mut options = ReadOptions::default();
        options.set_snapshot(&self.snapshot);
        self.database.scan(options, family, from, until)
    }
}

struct RocksScan<'a> {
    iterator: DBRawIterator<'a>,
}

impl RocksScan<'_> {
    /// An iterator ends both at its end and at an error.
    fn check(&self) -> Result<(), Fault> {
        if self.iterator.valid() {
            Ok(())
        } else {
            self.iterator.status().map_err(fault)
        }
    }
}

impl Scan for RocksScan<'_> {
    fn item(&self) -> Option<(&[u8], &[u8])> {
        self.iterator.item()
    }

    fn advance(&mut self) -> Result<(), Fault> {
        if self.iterator.valid() {
            self.iterator.next();
            self.check()?;
        }
        Ok(())
    }

    fn seek(&mut self, key: &[u8]) -> Result<(), Fault> {
        self.iterator.seek(key);
        self.check()
    }
}
