//! Waits for room on the disk that the state is on.
//!
//! Nothing is lost meanwhile: what is to be written is in the log. The storage
//! engine takes up its work by itself once there is room; if it does not, the
//! process ends, because a start is what brings it back for certain.

use crate::flow::Flow;
use std::{
    ffi::CString,
    mem::MaybeUninit,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use sternpost_storage::Fault;

/// How long to wait before a full disk is tried again. Reads go on meanwhile; proposals
/// wait, and are refused once too many do.
pub(crate) const FULL_DISK_RETRY: Duration = Duration::from_secs(1);

/// With this much room a flush of all memtables fits.
const ROOM_BYTES: u64 = 128 << 20;

/// The engine looks for room every five seconds.
const ENGINE_PATIENCE: Duration = Duration::from_secs(20);

/// The wait of one state.
pub(crate) struct Room {
    dir: PathBuf,
    flow: Arc<Flow>,
    /// Since when there has been room, and yet none for the engine.
    roomy_since: Option<Instant>,
    /// The last wait: one much later is about another full disk.
    waited: Option<Instant>,
}

impl Room {
    pub(crate) fn new(dir: PathBuf, flow: Arc<Flow>) -> Self {
        Self {
            dir,
            flow,
            roomy_since: None,
            waited: None,
        }
    }

    /// Waits a moment; whether to try again.
    pub(crate) fn wait(&mut self, full: &Fault) -> bool {
        tracing::warn!(error = %full, "the state can't grow: writes wait until there is room");
        std::thread::sleep(FULL_DISK_RETRY);
        let free = free_bytes(&self.dir);
        self.flow.is_running() && self.is_patient(free, Instant::now())
    }

    /// Whether it may still be for lack of room, or the engine may still notice.
    fn is_patient(&mut self, free: Option<u64>, now: Instant) -> bool {
        let again = 3 * FULL_DISK_RETRY;
        if self
            .waited
            .is_none_or(|waited| now.duration_since(waited) > again)
        {
            self.roomy_since = None;
        }
        self.waited = Some(now);
        if free.is_some_and(|free| free < ROOM_BYTES) {
            self.roomy_since = None;
            return true;
        }
        let since = *self.roomy_since.get_or_insert(now);
        now.duration_since(since) < ENGINE_PATIENCE
    }
}

/// What the file system of a directory has left for us.
pub(crate) fn free_bytes(dir: &Path) -> Option<u64> {
    let path = CString::new(dir.as_os_str().as_bytes()).ok()?;
    let mut stat = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends in a zero, and the call fills what it returns 0 for.
    let stat = unsafe {
        if libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) != 0 {
            return None;
        }
        stat.assume_init()
    };
    Some(stat.f_bavail * stat.f_frsize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_waited_for_but_not_an_engine_that_does_not_come_back() {
        let mut room = Room::new("/".into(), Arc::new(Flow::default()));
        let begun = Instant::now();
        let at = |secs| begun + Duration::from_secs(secs);
        assert!((0..600).all(|second| room.is_patient(Some(5), at(second))));
        // Room at last: the engine has some time to see it.
        let patience = (600..).position(|second| !room.is_patient(Some(ROOM_BYTES), at(second)));
        assert_eq!(patience, Some(20));
        // Another time is another matter.
        assert!(room.is_patient(Some(ROOM_BYTES), at(700)));
        assert!((701..719).all(|second| room.is_patient(Some(ROOM_BYTES), at(second))));
        assert!(room.is_patient(Some(0), at(719)));
        assert!(room.is_patient(Some(ROOM_BYTES), at(720)));
        assert!(free_bytes(Path::new("/")).is_some());
        assert_eq!(free_bytes(Path::new("/no/such")), None);
    }
}
