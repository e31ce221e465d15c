//! The directories beside the state machine's store, and which store counts.
//!
//! The first store is `state`; each installed one is placed beside it under
//! the next number (`state.1`, `state.2`, ...). It gets that name only once it
//! is complete and durable, so the highest number counts, and lower ones are
//! left over. A crash at any point leaves a store to go on with.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};
use sternpost_storage::failpoint;

/// Nobody but the owner looks into the data.
const PRIVATE: u32 = 0o700;

/// What is being received.
const INCOMING: &str = "incoming";

/// Copies that are being sent, each in a directory of its own.
const OUTGOING: &str = "outgoing";

/// The stores of one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stores {
    base: PathBuf,
}

impl Stores {
    /// The stores of the member whose first one is (or was) at `base`.
    pub fn new(base: impl Into<PathBuf>) -> Self {
        Self { base: base.into() }
    }

    /// The directory they are in.
    pub fn parent(&self) -> &Path {
        match self.base.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    /// Where the store is that counts: it may not exist yet.
    pub fn newest(&self) -> io::Result<PathBuf> {
        Ok(self.path(self.numbers()?.last().copied().unwrap_or(0)))
    }

    /// Removes what an earlier run has left: lower stores, copies on their way.
    pub fn tidy(&self) -> io::Result<()> {
        let mut numbers = self.numbers()?;
        numbers.pop();
        let lower = numbers.into_iter().map(|number| self.path(number));
        for dir in lower.chain([self.incoming(), self.outgoing()]) {
            remove(&dir)?;
        }
        Ok(())
    }

    /// Where a copy is received.
    pub(crate) fn incoming(&self) -> PathBuf {
        self.parent().join(INCOMING)
    }

    /// Where copies are that are being sent.
    pub(crate) fn outgoing(&self) -> PathBuf {
        self.parent().join(OUTGOING)
    }

    /// Makes a complete and durable copy the store that counts. Durable when
    /// this returns.
    pub(crate) fn place(&self, copy: &Path) -> io::Result<PathBuf> {
        let next = self.numbers()?.last().map_or(0, |highest| highest + 1);
        let path = self.path(next);
        failpoint!("snapBeforeRename");
        fs::rename(copy, &path)?;
        failpoint!("snapAfterRename");
        File::open(self.parent())?.sync_all()?;
        Ok(path)
    }

    fn path(&self, number: u64) -> PathBuf {
        match number {
            0 => self.base.clone(),
            number => {
                let mut name = self.base.clone().into_os_string();
                name.push(format!(".{number}"));
                name.into()
            }
        }
    }

    /// The numbers of the stores that are there, upwards.
    fn numbers(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        let entries = match fs::read_dir(self.parent()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(numbers),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                continue;
            }
            let name = entry.file_name();
            let base = self.base.file_name().and_then(|base| base.to_str());
            let names = name.to_str().zip(base);
            numbers.extend(names.and_then(|(name, base)| number(name, base)));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }
}

/// The number in a store's name. Only the way we write it counts.
fn number(name: &str, base: &str) -> Option<u64> {
    if name == base {
        return Some(0);
    }
    let digits = name.strip_prefix(base)?.strip_prefix('.')?;
    let number: u64 = digits.parse().ok()?;
    (number > 0 && number.to_string() == digits).then_some(number)
}

/// Makes a private directory, if it is not there.
pub(crate) fn make(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(PRIVATE).create(dir)
}

/// Removes a directory with all that is in it, if it is there.
pub(crate) fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_highest_number_counts_and_the_rest_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let stores = Stores::new(dir.path().join("state"));
        assert_eq!(stores.newest().unwrap(), dir.path().join("state"));
        for name in [
            "state",
            "state.2",
            "state.10",
            "state.010",
            "state.x",
            "state.",
            "stately.11",
            "incoming",
            "outgoing/3",
            "wal",
        ] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("state.99"), "a file").unwrap();
        assert_eq!(stores.newest().unwrap(), dir.path().join("state.10"));
        stores.tidy().unwrap();
        assert_eq!(
            names(dir.path()),
            [
                "state.",
                "state.010",
                "state.10",
                "state.99",
                "state.x",
                "stately.11",
                "wal"
            ]
        );
        stores.tidy().unwrap();
        assert_eq!(stores.newest().unwrap(), dir.path().join("state.10"));
    }

    #[test]
    fn a_copy_is_placed_above_all_others() {
        let dir = tempfile::tempdir().unwrap();
        let stores = Stores::new(dir.path().join("state"));
        make(&dir.path().join("state")).unwrap();
        for number in 1..=2 {
            make(&stores.incoming()).unwrap();
            fs::write(stores.incoming().join("CURRENT"), number.to_string()).unwrap();
            let placed = stores.place(&stores.incoming()).unwrap();
            assert_eq!(placed, dir.path().join(format!("state.{number}")));
            assert_eq!(stores.newest().unwrap(), placed);
        }
        stores.tidy().unwrap();
        assert_eq!(names(dir.path()), ["state.2"]);
    }
}
