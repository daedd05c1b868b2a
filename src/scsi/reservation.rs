//! Reservations: RESERVE and RELEASE (SPC-2), with room for persistent ones.

use crate::scsi::opcode::{Allow, OpCode};

/// What is reserved, and by whom.
#[derive(Debug, Default)]
pub(crate) struct Reservations {
    holder: Option<u64>,
}

impl Reservations {
    /// RESERVE: `false` is RESERVATION CONFLICT.
    pub(crate) fn reserve(&mut self, nexus: u64) -> bool {
        match self.holder {
            Some(holder) if holder != nexus => false,
            _ => {
                self.holder = Some(nexus);
                true
            }
        }
    }

    /// RELEASE: without effect when another nexus, or nobody, holds it.
    pub(crate) fn release(&mut self, nexus: u64) {
        if self.holder == Some(nexus) {
            self.holder = None;
        }
    }

    /// Logical unit reset, or the end of a nexus: its SPC-2 reservation goes.
    pub(crate) fn nexus_lost(&mut self, nexus: u64) {
        self.release(nexus);
    }

    /// Logical unit reset: every SPC-2 reservation goes.
    pub(crate) fn reset(&mut self) {
        self.holder = None;
    }

    /// Whether a reservation of another nexus forbids this command.
    pub(crate) fn conflicts(&self, nexus: u64, row: &OpCode) -> bool {
        self.holder.is_some_and(|holder| holder != nexus) && !row.allow.has(Allow::RESERVED)
    }
}
