//! What has come before its turn (RFC 7143 4.2.2.1): numbered PDUs behind a gap in CmdSN, and task management
//! functions that must see the commands sent before them.
//!
//! An initiator that keeps to the standard never sends ahead on a single connection, so this is kept small:
//! bounded in PDUs by the command window, in bytes by [`MAX_EARLY_BYTES`], in time by [`EARLY_TIMEOUT`].

use std::collections::BTreeMap;
use std::time::Instant;

use crate::limits::{EARLY_TIMEOUT, MAX_DEFERRED_FUNCTIONS, MAX_EARLY_BYTES};
use crate::wire::bhs::{self, Bhs};
use crate::wire::request::{Request, TaskManagementRequest};
use crate::wire::serial::is_before;

/// A PDU kept until its turn.
#[derive(Debug)]
pub enum Early {
    /// All of it.
    Pdu {
        /// What it asks.
        request: Request,
        /// Its header.
        bhs: Bhs,
        /// Its data segment.
        data: Vec<u8>,
    },
    /// It was aborted before it came, or its data was damaged: only its number counts.
    Void,
}

impl Early {
    fn bytes(&self) -> usize {
        match self {
            Early::Pdu { data, .. } => bhs::LENGTH + data.len(),
            Early::Void => bhs::LENGTH,
        }
    }
}

/// PDUs whose turn has not come.
#[derive(Debug, Default)]
pub struct Turns {
    early: BTreeMap<u32, Early>,
    bytes: usize,
    functions: Vec<TaskManagementRequest>,
    since: Option<Instant>,
}

impl Turns {
    /// Whether there is room for a PDU with `data_length` bytes of data.
    pub fn has_room(&self, data_length: usize) -> bool {
        self.bytes + bhs::LENGTH + data_length <= MAX_EARLY_BYTES
    }

    /// Whether nothing waits for its turn.
    pub fn is_empty(&self) -> bool {
        self.early.is_empty() && self.functions.is_empty()
    }

    /// Bytes kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the PDU with this number is here.
    pub fn contains(&self, cmd_sn: u32) -> bool {
        self.early.contains_key(&cmd_sn)
    }

    /// Keeps a PDU; one with the same number stays.
    pub fn keep(&mut self, cmd_sn: u32, early: Early, now: Instant) {
        if !self.contains(cmd_sn) {
            self.bytes += early.bytes();
            self.early.insert(cmd_sn, early);
            self.since.get_or_insert(now);
        }
    }

    /// Takes out the PDU with this number.
    pub fn take(&mut self, cmd_sn: u32) -> Option<Early> {
        let early = self.early.remove(&cmd_sn)?;
        self.bytes -= early.bytes();
        self.settle();
        Some(early)
    }

    /// Keeps a function until all numbers before its own have come; gives it back when there is no room.
    pub fn defer(
        &mut self,
        function: TaskManagementRequest,
        now: Instant,
    ) -> Result<(), TaskManagementRequest> {
        if self.functions.len() >= MAX_DEFERRED_FUNCTIONS {
            return Err(function);
        }
        self.functions.push(function);
        self.since.get_or_insert(now);
        Ok(())
    }

    /// Takes out a function that has waited long enough.
    pub fn take_function(&mut self, exp_cmd_sn: u32) -> Option<TaskManagementRequest> {
        let at = self.functions.iter().position(|function| !is_before(exp_cmd_sn, function.cmd_sn))?;
        let function = self.functions.remove(at);
        self.settle();
        Some(function)
    }

    /// Voids the SCSI command with this tag that was sent before `cmd_sn` and is aborted; `false` when it is
    /// not here.
    pub fn void(&mut self, initiator_task_tag: u32, cmd_sn: u32) -> bool {
        let found = self.early.values_mut().find(|early| match early {
            Early::Pdu { request: Request::ScsiCommand(command), .. } => {
                command.initiator_task_tag == initiator_task_tag && is_before(command.cmd_sn, cmd_sn)
            }
            _ => false,
        });
        let Some(early) = found else { return false };
        self.bytes -= early.bytes() - Early::Void.bytes();
        *early = Early::Void;
        true
    }

    fn settle(&mut self) {
        if self.early.is_empty() && self.functions.is_empty() {
            self.since = None;
        }
    }

    /// When the gap has lasted too long.
    pub fn deadline(&self) -> Option<Instant> {
        self.since.map(|since| since + EARLY_TIMEOUT)
    }
}
