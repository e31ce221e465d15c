//! A store in memory that can lose power.

use crate::{backend::Memory, error::Fault, state_machine::StateMachine};
use std::sync::Arc;

/// What a member's state is kept on in a simulation.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    memory: Arc<Memory>,
}

impl MemoryDisk {
    /// Opens the store; at most once for each disk.
    pub fn open(&self) -> Result<StateMachine, Fault> {
        StateMachine::on(self.memory.clone())
    }

    /// Whether whoever writes has to wait for a moment that does not pass in
    /// the simulation; who may not wait writes nothing then.
    pub fn set_busy(&self, busy: bool) {
        self.memory.set_busy(busy);
    }

    /// The disk after a power cut: of what was not flushed, all has arrived or
    /// nothing. Whoever has the old disk writes to the old disk alone.
    pub fn power_cut(&self, all: bool) -> Self {
        Self {
            memory: Arc::new(self.memory.after_power_cut(all)),
        }
    }
}
