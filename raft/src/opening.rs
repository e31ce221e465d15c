//! Opens the state that counts, and checks that it belongs to the log.
//!
//! Three ends must fit: the log may begin no later than the state ends, and
//! end no earlier. The one exception is a state that was installed from
//! another member just before a crash: it says so, and the log, which had not
//! been told yet, is purged forward to it.

use crate::{
    error::OpenError, log_store::LogStore, options::NodeOptions, snapshot::Stores, types::log_id,
};
use std::{ops::Range, path::Path};
use sternpost_storage::{LogMark, StateMachine, StorageOptions};

/// The state, and where it is.
pub(crate) struct State {
    pub(crate) machine: StateMachine,
    pub(crate) stores: Stores,
    /// How it was opened.
    pub(crate) storage: StorageOptions,
}

/// Opens the newest store; what else is there has been left over, and goes.
pub(crate) fn open_state(options: &NodeOptions, log: &LogStore) -> Result<State, OpenError> {
    let stores = Stores::new(&options.storage.path);
    let io = |source| OpenError::Io {
        path: options.storage.path.display().to_string(),
        source,
    };
    let storage = StorageOptions {
        path: stores.newest().map_err(io)?,
        ..options.storage.clone()
    };
    let machine = StateMachine::open_snapshot(&storage)?;
    let range = fit(&machine, log, &options.wal_dir, &storage.path)?;
    // Only now that the newest one has turned out to be good.
    stores.tidy().map_err(io)?;
    tracing::info!(
        applied = ?machine.applied(), log = ?range, store = %storage.path.display(),
        "log and state opened"
    );
    Ok(State {
        machine,
        stores,
        storage,
    })
}

/// A state that is open already, and has no files.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn given_state(
    options: &NodeOptions,
    log: &LogStore,
    machine: StateMachine,
) -> Result<State, OpenError> {
    let storage = options.storage.clone();
    fit(&machine, log, &options.wal_dir, &storage.path)?;
    Ok(State {
        machine,
        stores: Stores::new(&storage.path),
        storage,
    })
}

/// Checks that the log and the state belong together; the log's range.
fn fit(
    machine: &StateMachine,
    log: &LogStore,
    wal: &Path,
    store: &Path,
) -> Result<Range<u64>, OpenError> {
    if is_just_installed(machine)? {
        forward(log, machine)?;
    }
    let range = log.range();
    check(machine, &range, wal, store)?;
    Ok(range)
}

/// Whether nothing has been applied since the state was installed. All that is
/// applied later is in the log before, and with it that the log was told.
fn is_just_installed(machine: &StateMachine) -> Result<bool, OpenError> {
    let installed = machine.installed()?;
    Ok(installed.is_some() && installed == machine.applied())
}

/// Tells the log of an installed state, if a crash came before that.
fn forward(log: &LogStore, machine: &StateMachine) -> Result<(), OpenError> {
    let LogMark { term, index } = machine.applied().unwrap_or_default();
    let moved = log.forward(log_id(term, index));
    if moved.map_err(|error| OpenError::Log(error.to_string()))? {
        tracing::warn!(
            term,
            index,
            "the state was installed from another member: the log goes on behind it"
        );
    }
    Ok(())
}

fn check(
    machine: &StateMachine,
    log: &Range<u64>,
    wal: &Path,
    store: &Path,
) -> Result<(), OpenError> {
    let applied = machine.applied().map_or(0, |mark| mark.index + 1);
    let (purged, last) = (log.start, log.end);
    let (wal, store) = (wal.display(), store.display());
    if applied > last {
        return Err(OpenError::Identity(format!(
            "the state in {store} holds {applied} entries, but the log in {wal} ends after {last}: \
             they do not belong together, or the log has been replaced"
        )));
    }
    if applied < purged {
        return Err(OpenError::Identity(format!(
            "the state in {store} holds {applied} entries, but the log in {wal} begins after {purged}: \
             they do not belong together, or the state has been replaced"
        )));
    }
    Ok(())
}
