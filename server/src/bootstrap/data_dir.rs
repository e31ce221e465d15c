//! The data directory: its layout, its permissions, and the lock that keeps a
//! second process out.

use crate::config::Config;
use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};
use sternpost_raft::Stores;

/// Nobody but the owner looks into the data.
const PRIVATE: u32 = 0o700;

/// A data directory in use by this process. Dropping it lets others in.
#[derive(Debug)]
pub struct DataDir {
    /// The raft log.
    pub wal: PathBuf,
    /// The state machine's first store; one that was installed from another
    /// member stands beside it ([`Stores`]).
    pub state: PathBuf,
    /// `<data-dir>/member`.
    pub member: PathBuf,
    /// This start found data of an earlier one.
    pub initialized: bool,
    _lock: File,
}

impl DataDir {
    /// Makes what is missing and takes the lock.
    pub fn open(config: &Config) -> Result<Self, String> {
        let member = config.data_dir.join("member");
        make(&config.data_dir)?;
        make(&member)?;
        let lock = lock(&member)?;
        let state = member.join("state");
        let newest = Stores::new(&state).newest();
        let newest = newest.map_err(|error| at(&member, &error))?;
        if member.join("snap").join("db").exists() && !newest.exists() {
            return Err(format!(
                "{} holds data of etcd, which this version can't read: give another --data-dir",
                config.data_dir.display()
            ));
        }
        let wal = if config.wal_dir.as_os_str().is_empty() {
            member.join("wal")
        } else {
            config.wal_dir.clone()
        };
        let initialized = has_entries(&wal);
        if newest.exists() && has_entries(&newest) && !initialized {
            return Err(format!(
                "{} holds data but {} holds no log for it: was --wal-dir changed?",
                newest.display(),
                wal.display()
            ));
        }
        make(&wal)?;
        make(&newest)?;
        Ok(Self {
            wal,
            state,
            member,
            initialized,
            _lock: lock,
        })
    }
}

fn has_entries(dir: &Path) -> bool {
    fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some())
}

fn at(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}

/// Makes a private directory; tightens the mode of one that is there.
fn make(dir: &Path) -> Result<(), String> {
    DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE)
        .create(dir)
        .map_err(|error| at(dir, &error))?;
    let mode = fs::metadata(dir)
        .map_err(|error| at(dir, &error))?
        .permissions()
        .mode()
        & 0o777;
    if mode != PRIVATE {
        tracing::warn!(
            dir = %dir.display(),
            permission = format!("{mode:o}"),
            "directory exists, but the permission is different. The recommended permission is 0700 to prevent \
             possible unprivileged access to the data"
        );
    }
    Ok(())
}

fn lock(member: &Path) -> Result<File, String> {
    let path = member.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| at(&path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(format!("{} is in use by another process", member.display()))
        }
        Err(TryLockError::Error(error)) => Err(at(&path, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(dir: &Path) -> Config {
        Config {
            data_dir: dir.join("data"),
            ..Config::default()
        }
    }

    #[test]
    fn directories_are_private_and_locked() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let first = DataDir::open(&config).unwrap();
        assert!(!first.initialized);
        for path in [&config.data_dir, &first.wal, &first.state] {
            assert_eq!(
                fs::metadata(path).unwrap().permissions().mode() & 0o777,
                PRIVATE,
                "{}",
                path.display()
            );
        }
        assert!(
            DataDir::open(&config)
                .unwrap_err()
                .contains("is in use by another process")
        );
        fs::write(first.wal.join("segment"), "").unwrap();
        drop(first);
        assert!(DataDir::open(&config).unwrap().initialized);
    }

    #[test]
    fn an_installed_store_takes_the_place_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let first = DataDir::open(&config).unwrap();
        fs::write(first.wal.join("segment"), "").unwrap();
        let installed = first.member.join("state.2");
        fs::rename(&first.state, &installed).unwrap();
        fs::write(installed.join("CURRENT"), "").unwrap();
        // What stands beside a store of ours is not etcd's.
        fs::create_dir_all(first.member.join("snap")).unwrap();
        fs::write(first.member.join("snap/db"), "bolt").unwrap();
        drop(first);
        let again = DataDir::open(&config).unwrap();
        assert!(again.initialized && !again.state.exists());
        fs::remove_file(again.wal.join("segment")).unwrap();
        drop(again);
        let refused = DataDir::open(&config).unwrap_err();
        assert!(refused.contains("state.2 holds data but"), "{refused}");
    }

    #[test]
    fn data_of_etcd_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        fs::create_dir_all(config.data_dir.join("member/snap")).unwrap();
        fs::write(config.data_dir.join("member/snap/db"), "bolt").unwrap();
        assert!(
            DataDir::open(&config)
                .unwrap_err()
                .contains("holds data of etcd")
        );
    }

    #[test]
    fn a_lost_log_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        let first = DataDir::open(&config).unwrap();
        fs::write(first.wal.join("segment"), "").unwrap();
        fs::write(first.state.join("CURRENT"), "").unwrap();
        drop(first);
        config.wal_dir = dir.path().join("elsewhere");
        assert!(
            DataDir::open(&config)
                .unwrap_err()
                .contains("was --wal-dir changed?")
        );
    }
}
