//! What RocksDB complains of, in words for an operator: which file, and what to do.

use crate::error::Fault;
use std::path::Path;

/// How its texts begin when the system said ENOSPC.
const NO_ROOM: &str = "IO error: No space left on device";
/// The same for bytes that are not what was written.
const CORRUPTION: &str = "Corruption";
/// What it adds to each trouble at the start: its list of files may be at fault, or one of those files is.
const SUSPICION: (&str, &str) = ("  The file ", " may be corrupted.");
/// What to do about a store that can't be trusted.
const ADVICE: &str = "Put the original files back, or restore this member from a snapshot, or remove it \
    from the cluster and add it again with an empty data directory";

/// The fault behind an error.
pub(super) fn fault(error: rocksdb::Error) -> Fault {
    of_text(error.into_string())
}

fn of_text(mut text: String) -> Fault {
    if text.starts_with(NO_ROOM) {
        return Fault::NoRoom(text);
    }
    if text.starts_with(CORRUPTION) {
        if let Some((what, list)) = text.split_once(SUSPICION.0) {
            let list = list.trim_end().trim_end_matches(SUSPICION.1);
            text = match what.contains(".sst") {
                true => what.to_owned(),
                false => format!("{what}, in {list} or in one of the files that it lists"),
            };
        }
        text = format!("{}. {ADVICE}", text.trim_end_matches(['.', ' ']));
    }
    Fault::Backend(text)
}

/// The same for the store in this directory, which is named where the text names no file in it:
/// at the start, and when RocksDB says "a directory".
pub(super) fn fault_in(store: &Path, error: rocksdb::Error) -> Fault {
    of_text(placed(store, error.into_string()))
}

fn placed(store: &Path, text: String) -> String {
    let place = store.display().to_string();
    if text.contains(&place) {
        return text;
    }
    format!("{}, in {place}", text.trim_end_matches(['.', ' ']))
}

/// Without the file that names its list of files RocksDB would take a store for a new one.
pub(super) fn check_current(store: &Path) -> Result<(), Fault> {
    let current = store.join("CURRENT");
    if current.exists() {
        return Ok(());
    }
    let io = |error| Fault::Backend(format!("{}: {error}", store.display()));
    for entry in std::fs::read_dir(store).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        if name.to_string_lossy().ends_with(".sst") {
            return Err(Fault::Corrupt {
                place: current.display().to_string(),
                detail: format!("it is missing, and {} is there. {ADVICE}", name.display()),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_at_fault_is_named_and_what_to_do() {
        let mismatch = "Corruption: block checksum mismatch in /d/000102.sst offset 26240";
        let text = format!("{mismatch}  The file /d/MANIFEST-000116 may be corrupted.");
        assert_eq!(
            of_text(text).to_string(),
            format!("storage engine: {mismatch}. {ADVICE}")
        );
        let text = "Corruption: checksum mismatch  The file /d/MANIFEST-000116 may be corrupted.";
        let told = of_text(text.to_owned()).to_string();
        let expected =
            "checksum mismatch, in /d/MANIFEST-000116 or in one of the files that it lists. Put";
        assert!(told.contains(expected), "{told}");
    }

    #[test]
    fn the_store_is_named_where_no_file_in_it_is() {
        let placed = |text: &str| placed(Path::new("/d"), text.to_owned());
        assert_eq!(
            placed("IO error: While fsync: a directory: Input/output error"),
            "IO error: While fsync: a directory: Input/output error, in /d"
        );
        let named = "IO error: While fdatasync: /d/000011.sst: Input/output error";
        assert_eq!(placed(named), named);
    }

    #[test]
    fn a_full_disk_is_not_damage() {
        let text = "IO error: No space left on device: While appending to file: /d/000011.sst";
        let fault = of_text(text.to_owned());
        assert!(matches!(fault, Fault::NoRoom(_)), "{fault}");
        let fault = of_text("IO error: While fdatasync: /d/000011.sst: Input/output error".into());
        assert!(matches!(fault, Fault::Backend(_)), "{fault}");
    }

    #[test]
    fn a_store_that_has_lost_its_head_is_not_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        check_current(dir.path()).unwrap();
        std::fs::write(dir.path().join("000007.sst"), "").unwrap();
        let told = check_current(dir.path()).unwrap_err().to_string();
        assert!(
            told.contains("CURRENT: it is missing, and 000007.sst is there"),
            "{told}"
        );
        std::fs::write(dir.path().join("CURRENT"), "").unwrap();
        check_current(dir.path()).unwrap();
    }
}
