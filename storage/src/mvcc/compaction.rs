//! The scrub: deletes the rows that the compact revision made dead.
//!
//! It walks the events up to the compact revision C, not the keys. An event's
//! predecessor is dead, and so is a deletion below C. A deletion at C stays
//! until the next scrub, because a watch may still begin at C; so a scrub
//! begins at the revision where the last one ended, which deletes a few rows
//! twice and harms nothing.

use super::{history, writer::Writer};
use crate::{
    backend::Backend,
    error::Fault,
    failpoint,
    ids::Revision,
    schema::{
        Family,
        meta::StateRow,
        rows::{self, LogChange, LogRow},
    },
    state_machine::ScrubProgress,
};
use std::{ops::ControlFlow, sync::Arc};

/// One event deletes at most this many rows: two each, in `log` and `ver`,
/// for its predecessor and for itself.
const ROWS_PER_EVENT_MAX: usize = 4;

/// What an event makes dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dead {
    pub previous: Option<Revision>,
    pub itself: bool,
}

/// What is dead because of this event, once all up to `compact_revision` is
/// compacted.
pub(crate) fn dead(revision: Revision, row: &LogRow<'_>, compact_revision: i64) -> Dead {
    let itself = row.change == LogChange::Delete && revision.main < compact_revision;
    Dead {
        previous: row.previous,
        itself,
    }
}

/// Moves the compact revision of `state`.
pub(crate) fn compact(state: &mut StateRow, revision: i64) {
    // A scrub in the middle of the old compact revision has passed deletions
    // there that were not dead then, but are now.
    if state.scrub_next.main == state.compact_revision {
        state.scrub_next.sub = 0;
    }
    state.compact_revision = revision;
}

/// Deletes some of the dead rows, in one batch with how far it has come.
pub(crate) fn step(writer: &mut Writer, rows_max: usize) -> Result<ScrubProgress, Fault> {
    let target = writer.state.compact_revision;
    if writer.state.scrubbed_to >= target {
        return Ok(ScrubProgress {
            done: true,
            rows_deleted: 0,
        });
    }
    let backend: Arc<dyn Backend> = writer.backend.clone();
    let batch = writer.overlay.batch();
    let rows_max = rows_max.max(ROWS_PER_EVENT_MAX);
    let (mut visited, mut deleted, mut next) = (0, 0, None);
    history::walk(
        &*backend,
        writer.state.scrub_next,
        target,
        &mut |revision, row| {
            if visited >= rows_max || deleted + ROWS_PER_EVENT_MAX > rows_max {
                next = Some(revision);
                return Ok(ControlFlow::Break(()));
            }
            visited += 1;
            let dead = dead(revision, &row, target);
            for gone in dead
                .previous
                .into_iter()
                .chain(dead.itself.then_some(revision))
            {
                batch.delete(Family::Log, &rows::log_key(gone));
                batch.delete_with(Family::Ver, |out| rows::put_ver_key(out, row.key, gone));
                deleted += 2;
            }
            Ok(ControlFlow::Continue(()))
        },
    )?;
    match next {
        Some(revision) => {
            failpoint!("compactBeforeCommitBatch");
            writer.state.scrub_next = revision;
            writer.write_out()?;
            failpoint!("compactAfterCommitBatch");
        }
        None => {
            failpoint!("compactBeforeSetFinishedCompact");
            writer.state.scrub_next = Revision::new(target.max(0), 0);
            writer.state.scrubbed_to = target;
            writer.write_out()?;
            failpoint!("compactAfterSetFinishedCompact");
        }
    }
    Ok(ScrubProgress {
        done: next.is_none(),
        rows_deleted: deleted as u64,
    })
}
