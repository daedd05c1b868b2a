//! Commands that have come with all their data: short writes.

use std::ops::Range;
use std::time::Instant;

use crate::iscsi::action::Action;
use crate::iscsi::command::command;
use crate::iscsi::receive::Receiver;
use crate::iscsi::session::Arrival;
use crate::scsi::task::Command;
use crate::wire::bhs::{Bhs, RESERVED_TAG};
use crate::wire::request::ScsiCommand;

/// What is at the front of the bytes received.
pub enum Front {
    /// A command and its data.
    Whole {
        /// The command; it needs no [`Receiver::accept`].
        command: Command,
        /// Where its data segment is in what was received: as long as the command announces.
        data: Range<usize>,
        /// Bytes of the PDU. Nothing more becomes of them.
        length: usize,
    },
    /// As much as has come of the PDU of such a command. Nothing was taken.
    Part {
        /// Bytes of the PDU.
        length: usize,
    },
    /// Something that takes [`Receiver::want`] and [`Receiver::got`]. Nothing was taken.
    Other,
}

impl<T> Receiver<T> {
    /// Takes the SCSI command at the front of `received` in one step, when its turn has come, nothing else
    /// waits for one, and its PDU has all its data. What becomes of the data is the caller's business.
    ///
    /// What is wrong with a PDU, [`Receiver::got`] says: such a one is left to it.
    pub fn whole_command(&mut self, received: &[u8], now: Instant, actions: &mut Vec<Action<T>>) -> Front {
        let Some((pdu, exp_stat_sn, data_length)) = self.whole_header(received) else { return Front::Other };
        let Some(full) = &mut self.full else { return Front::Other };
        // Who sends part of a command is there.
        if full.silence.input(now) {
            full.stamp = full.tags.stamp(now);
        }
        let length = self.frame.whole_length(data_length);
        if received.len() < length {
            return Front::Part { length };
        }
        if !self.frame.is_whole_intact(received, data_length) {
            return Front::Other;
        }
        if full.tags.take(pdu.initiator_task_tag, false, full.stamp).is_err() {
            return Front::Other;
        }
        self.pdus = self.pdus.wrapping_add(1);
        self.exp_stat_sn = exp_stat_sn;
        self.take_number(actions);
        let start = self.frame.plain_length();
        Front::Whole { command: command(&pdu), data: start..start + data_length, length }
    }

    /// The command of the header at the front of `received`, if it may be taken with its data; its ExpStatSN
    /// and the length of the data.
    fn whole_header(&self, received: &[u8]) -> Option<(ScsiCommand, u32, usize)> {
        let full = self.full.as_ref()?;
        // Most headers are none of such a command, and need no digest.
        let pdu = ScsiCommand::whole(&Bhs(*received.first_chunk()?))?;
        let bhs = self.frame.plain_header(received)?;
        let parameters = &full.parameters;
        let most = parameters.max_recv_data_segment_length.min(parameters.first_burst_length) as usize;
        let is_free = self.awaited.is_none() && self.turns.is_empty();
        let is_valid = !parameters.is_discovery && pdu.initiator_task_tag != RESERVED_TAG;
        let is_allowed = parameters.immediate_data && bhs.data_length() <= most;
        let is_next = full.window.judge(pdu.cmd_sn) == Arrival::Now;
        (is_free && is_valid && is_allowed && is_next).then(|| (pdu, bhs.exp_stat_sn(), bhs.data_length()))
    }
}
