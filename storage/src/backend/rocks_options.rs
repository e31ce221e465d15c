//! How RocksDB is set up: small memory whatever the number of keys, no log of
//! its own, all families flushed together.

use crate::{options::StorageOptions, schema::Family};
use librocksdb_sys as ffi;
use rocksdb::{
    AsRawPtr as _, BlockBasedIndexType, BlockBasedOptions, BlockBasedTablePinningTier, Cache,
    ColumnFamilyDescriptor, DBCompressionType, Env, LogLevel, Options, WriteBufferManager,
};

/// Memtables of all families together; charged to the block cache. Flushes
/// start earlier by the raft crate's own rule, so this only catches bursts.
const MEMTABLE_BYTES_MAX: usize = 64 << 20;
/// Smaller memtables for the families with small rows.
const VER_BUFFER_SHARE: usize = 2;
const META_BUFFER_SHARE: usize = 4;
/// Memtables grow in steps of this. It is the smallest RocksDB takes: dbSize
/// counts memtables, and a new member under a quota of a few pages (which
/// exist in the field's tests) must have room for its first keys.
const ARENA_BLOCK_BYTES: usize = 4 << 10;
/// `cur` is not in dbSize, so its memtable may grow in larger steps.
const CUR_ARENA_BLOCK_BYTES: usize = 64 << 10;
/// Blocks of the history are read in order, so they may be large.
const LOG_BLOCK_BYTES: usize = 32 << 10;
/// Those of the other families for single keys.
const BLOCK_BYTES: usize = 4 << 10;
const METADATA_BLOCK_BYTES: usize = 4 << 10;
const BLOOM_BITS_PER_KEY: f64 = 10.0;
/// Part of a memtable of `cur`.
const MEMTABLE_BLOOM_SHARE: f64 = 0.02;
/// Keys of leases and events leave runs of tombstones inside hot prefixes,
/// scrubs leave them in the history: a file with this many in one window is
/// compacted soon, which gives their space back without a defragment.
const DELETION_WINDOW: usize = 128;
const DELETION_TRIGGER: usize = 64;
const DELETION_RATIO: f64 = 0.5;
/// Not larger: a file system takes long to give the space of a large file back.
const TARGET_FILE_BYTES: u64 = 16 << 20;
/// Files that a compaction has replaced are deleted at this rate. All at once
/// they would keep the disk busy for some hundred milliseconds, above all
/// where it is told of free space (RocksDB's wiki, "Slow Deletion").
const DELETED_BYTES_PER_SEC: i64 = 64 << 20;
/// Parts of the store that may wait to be deleted: a defragment replaces all of it.
const DELETED_SHARE_MAX: f64 = 2.0;
const LEVEL_BASE_BYTES: u64 = 128 << 20;
const OPEN_FILES_MAX: i32 = 1000;
const BYTES_PER_SYNC: u64 = 1 << 20;
/// What flushes and compactions may write. Fixed: a limiter that tunes itself
/// starts at a twentieth and grows by a twentieth in ten seconds, so that a
/// defragment crawls and a burst of puts runs into a stall.
const COMPACTION_BYTES_PER_SEC: i64 = 64 << 20;
/// Small portions, so that the disk is never taken for long.
const COMPACTION_REFILL_US: i64 = 10_000;
const COMPACTION_FAIRNESS: i32 = 10;
const INFO_LOG_BYTES_MAX: usize = 1 << 20;
const INFO_LOGS_KEPT: usize = 2;

/// Options of the database.
pub(super) fn database(cache: &Cache) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // Without a log of its own, only this makes a flush of one family a flush
    // of all: a crash then goes back to one state, not to four.
    options.set_atomic_flush(true);
    options.set_paranoid_checks(true);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_max_background_jobs(2);
    options.set_max_subcompactions(1);
    options.set_bytes_per_sync(BYTES_PER_SYNC);
    options.set_ratelimiter(
        COMPACTION_BYTES_PER_SEC,
        COMPACTION_REFILL_US,
        COMPACTION_FAIRNESS,
    );
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_log_level(LogLevel::Warn);
    options.set_max_log_file_size(INFO_LOG_BYTES_MAX);
    options.set_keep_log_file_num(INFO_LOGS_KEPT);
    // Dropping a view or an iterator must not delete files on a reader's thread.
    options.set_avoid_unnecessary_blocking_io(true);
    delete_slowly(&mut options);
    options.set_write_buffer_manager(&WriteBufferManager::new_write_buffer_manager_with_cache(
        MEMTABLE_BYTES_MAX,
        false,
        cache.clone(),
    ));
    options
}

/// Sets the rate at which files are deleted; the crate has no method for it.
fn delete_slowly(options: &mut Options) {
    let Ok(env) = Env::new() else {
        // There is a default one always; without it files go at once.
        return;
    };
    // SAFETY: options and environment live until the end of this function; the
    // options keep a share of the manager, and this one is given back.
    unsafe {
        let manager = ffi::rocksdb_sst_file_manager_create(env.as_raw_ptr());
        ffi::rocksdb_sst_file_manager_set_delete_rate_bytes_per_second(
            manager,
            DELETED_BYTES_PER_SEC,
        );
        ffi::rocksdb_sst_file_manager_set_max_trash_db_ratio(manager, DELETED_SHARE_MAX);
        ffi::rocksdb_options_set_sst_file_manager(options.as_raw_ptr(), manager);
        ffi::rocksdb_sst_file_manager_destroy(manager);
    }
}

/// All families with their options.
pub(super) fn families(options: &StorageOptions, cache: &Cache) -> Vec<ColumnFamilyDescriptor> {
    let mut all: Vec<_> = Family::ALL
        .into_iter()
        .map(|family| {
            ColumnFamilyDescriptor::new(family.name(), one_family(family, options, cache))
        })
        .collect();
    // RocksDB insists on a family of this name; it stays empty.
    all.push(ColumnFamilyDescriptor::new(
        rocksdb::DEFAULT_COLUMN_FAMILY_NAME,
        Options::default(),
    ));
    all
}

fn one_family(family: Family, options: &StorageOptions, cache: &Cache) -> Options {
    let mut family_options = Options::default();
    family_options.set_block_based_table_factory(&table(family, cache));
    family_options.set_write_buffer_size(match family {
        Family::Cur | Family::Log => options.write_buffer_bytes,
        Family::Ver => options.write_buffer_bytes / VER_BUFFER_SHARE,
        Family::Meta => options.write_buffer_bytes / META_BUFFER_SHARE,
    });
    family_options.set_max_write_buffer_number(3);
    family_options.set_arena_block_size(match family {
        Family::Cur => CUR_ARENA_BLOCK_BYTES,
        Family::Log | Family::Ver | Family::Meta => ARENA_BLOCK_BYTES,
    });
    family_options.set_level_compaction_dynamic_level_bytes(true);
    family_options.set_max_bytes_for_level_base(LEVEL_BASE_BYTES);
    family_options.set_target_file_size_base(TARGET_FILE_BYTES);
    family_options.set_compression_type(DBCompressionType::Lz4);
    family_options.add_compact_on_deletion_collector_factory(
        DELETION_WINDOW,
        DELETION_TRIGGER,
        DELETION_RATIO,
    );
    match family {
        Family::Log => family_options.set_bottommost_compression_type(DBCompressionType::Zstd),
        Family::Cur => {
            // Every put asks for its key, and most keys are not in memtables.
            family_options.set_memtable_prefix_bloom_ratio(MEMTABLE_BLOOM_SHARE);
            family_options.set_memtable_whole_key_filtering(true);
        }
        Family::Ver | Family::Meta => {}
    }
    family_options
}

fn table(family: Family, cache: &Cache) -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_block_size(if family == Family::Log {
        LOG_BLOCK_BYTES
    } else {
        BLOCK_BYTES
    });
    table.set_format_version(6);
    // Index and filter live in the cache by parts: memory does not grow with
    // the data.
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_metadata_block_size(METADATA_BLOCK_BYTES);
    table.set_cache_index_and_filter_blocks(true);
    table.set_cache_index_and_filter_blocks_with_high_priority(true);
    table.set_top_level_index_pinning_tier(BlockBasedTablePinningTier::FlushAndSimilar);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    // Only `cur` is asked for keys that may not exist.
    if family == Family::Cur {
        table.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
        table.set_partition_filters(true);
        table.set_optimize_filters_for_memory(true);
    }
    table
}
