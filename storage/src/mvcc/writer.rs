//! The writer's side of the store: the state as the running chunk has made
//! it, and the one way to write it.

use super::{
    count::{CountTable, Counts},
    overlay::{Overlay, Pending},
    range::Source,
};
use crate::{
    backend::{Backend, WriteBatch, get_owned},
    cluster::ClusterState,
    error::Fault,
    failpoint,
    schema::{
        self, Family, corrupt,
        meta::{self, StateRow},
    },
};
use std::sync::Arc;

/// The state with the changes that are not written yet.
pub(crate) struct Writer {
    pub backend: Arc<dyn Backend>,
    pub overlay: Overlay,
    pub counts: Counts,
    pub state: StateRow,
    pub cluster: ClusterState,
    /// Whether to try again on a full disk.
    pub wait_for_room: WaitForRoom,
}

/// Asked when the disk is full: waits, and says whether to try again.
pub(crate) type WaitForRoom = Box<dyn FnMut(&Fault) -> bool + Send>;

impl Writer {
    /// Loads what the store keeps at hand; a new store gets its format.
    pub(crate) fn open(backend: Arc<dyn Backend>) -> Result<Self, Fault> {
        let read = &*backend;
        match get_owned(read, Family::Meta, meta::FORMAT)? {
            Some(format) => check_format(&format)?,
            None => create(read)?,
        }
        let state = match get_owned(read, Family::Meta, meta::STATE)? {
            Some(row) => StateRow::decode(&row)?,
            None => StateRow::default(),
        };
        let counts = Counts::new(CountTable::load(read)?);
        let cluster = ClusterState::load(read)?;
        Ok(Self {
            backend,
            overlay: Overlay::default(),
            counts,
            state,
            cluster,
            wait_for_room: Box::new(|_| false),
        })
    }

    /// The state, changes included.
    pub(crate) fn pending(&self) -> Pending<'_> {
        self.overlay.over(&*self.backend)
    }

    /// What has been written, as of its revision. Only right to ask while the
    /// overlay holds no more than the running entry.
    pub(crate) fn written(&self) -> Source<'_> {
        Source {
            read: &*self.backend,
            revision: self.state.revision,
            compact_revision: self.state.compact_revision,
            counts: None,
        }
    }

    /// Writes the changes with the state they lead to. Call it between
    /// entries only: the applied mark then names the last whole one.
    pub(crate) fn write_out(&mut self) -> Result<(), Fault> {
        self.gather()?;
        loop {
            match self.backend.write(self.overlay.changes()) {
                Ok(()) => break,
                Err(full @ Fault::NoRoom(_)) if (self.wait_for_room)(&full) => {}
                Err(fault) => return Err(fault),
            }
        }
        self.written_out()
    }

    /// The same without waiting: false, and the changes stay for the next
    /// call, if the engine would make it wait.
    pub(crate) fn try_write_out(&mut self) -> Result<bool, Fault> {
        self.gather()?;
        if !self.backend.try_write(self.overlay.changes())? {
            return Ok(false);
        }
        self.written_out().map(|()| true)
    }

    /// Adds to the changes what they lead to.
    fn gather(&mut self) -> Result<(), Fault> {
        self.counts.store(&mut self.overlay, &*self.backend)?;
        let state = self.state;
        self.overlay.batch().put_with(
            Family::Meta,
            |key| key.extend_from_slice(meta::STATE),
            |value| state.encode(value),
        );
        failpoint!("beforeCommit", Fault::Backend);
        Ok(())
    }

    fn written_out(&mut self) -> Result<(), Fault> {
        failpoint!("afterCommit");
        self.overlay.clear();
        Ok(())
    }
}

fn check_format(row: &[u8]) -> Result<(), Fault> {
    let Ok(found) = row.try_into().map(u32::from_be_bytes) else {
        return Err(corrupt(
            Family::Meta,
            meta::FORMAT,
            "format is not a number",
        ));
    };
    if found > schema::FORMAT {
        return Err(Fault::Format {
            found,
            supported: schema::FORMAT,
        });
    }
    if found == 0 {
        return Err(corrupt(Family::Meta, meta::FORMAT, "format 0 never was"));
    }
    Ok(())
}

/// Writes the format into an empty store; a store with rows but no format is
/// not ours to write to.
fn create(backend: &dyn Backend) -> Result<(), Fault> {
    for family in Family::ALL {
        if let Some((key, _)) = backend.scan(family, &[], None)?.item() {
            return Err(corrupt(family, key, "rows without a format number"));
        }
    }
    let mut batch = WriteBatch::default();
    batch.put(Family::Meta, meta::FORMAT, &schema::FORMAT.to_be_bytes());
    backend.write(&batch)
}
