//! The apply thread's part: goes on with the state that has arrived.

use super::Arrival;
use crate::{apply_worker::ApplyWorker, state_machine::Position};
use std::{io, time::Instant};
use sternpost_storage::{Fault, StateMachine, StorageOptions, failpoint};

impl ApplyWorker {
    /// Makes an arrived state the member's own; false after a fault. A crash
    /// before the copy has its place leaves the old state, one after it the
    /// new one: the log is purged up to it later, at the next start at the latest.
    pub(crate) fn install(&mut self, arrival: Arrival) -> bool {
        let begun = Instant::now();
        failpoint!("raftBeforeApplySnap");
        if let Err(fault) = self.switch(arrival) {
            self.faults.raise(&fault.to_string());
            return false;
        }
        self.announce_installed();
        failpoint!("raftAfterApplySnap");
        let view = self.reads.view();
        tracing::info!(
            applied = ?view.applied(),
            revision = view.revision(),
            took = ?begun.elapsed(),
            "a state from the leader is installed"
        );
        true
    }

    fn switch(&mut self, arrival: Arrival) -> Result<(), Fault> {
        if self.machine.applied() >= Some(arrival.state.applied) {
            return Err(Fault::Backend(format!(
                "a state up to {:?} was to be installed, but {:?} has been applied",
                arrival.state.applied,
                self.machine.applied()
            )));
        }
        let at = |error: io::Error| Fault::Backend(format!("{}: {error}", arrival.dir.display()));
        let placed = self.snapshots.stores.place(&arrival.dir).map_err(at)?;
        let options = StorageOptions {
            path: placed,
            ..self.storage.clone()
        };
        failpoint!("applyBeforeOpenSnapshot");
        let machine = StateMachine::open_snapshot(&options)?;
        if machine.describe()? != arrival.state {
            return Err(Fault::Corrupt {
                place: options.path.display().to_string(),
                detail: "it is not the state that was checked".to_owned(),
            });
        }
        let store = self.machine.switch_to(machine);
        let dir = std::mem::replace(&mut self.storage.path, options.path);
        self.snapshots.retire(store, dir);
        Ok(())
    }

    /// In the order of [`ApplyWorker::announce`]: the feed, then what reads
    /// wait for.
    fn announce_installed(&mut self) {
        let view = self.reads.view();
        self.views.note(&view);
        self.feed.skip_to(view.clone());
        let position = Position {
            mark: self.machine.applied(),
            membership: self.machine.membership(),
        };
        // It came from disk, and is durable as a whole.
        *self.positions.flushed.lock() = position.clone();
        *self.positions.applied.lock() = position;
        if let Some(mark) = view.applied() {
            self.flow.set_applied(mark.index);
        }
        // What waited for entries that were skipped may have been among them.
        self.pending.give_up(&self.flow);
        if !view.scrubbed() {
            self.nudge.compacted();
        }
        self.nudge.wake();
    }
}
