//! Commands that are nothing but a header: most of them.

use std::time::Instant;

use crate::iscsi::action::Action;
use crate::iscsi::command::command;
use crate::iscsi::receive::Receiver;
use crate::iscsi::session::Arrival;
use crate::scsi::lun::LunField;
use crate::scsi::task::Command;
use crate::wire::bhs::{Bhs, RESERVED_TAG};
use crate::wire::request::ScsiCommand;

impl<T> Receiver<T> {
    /// Takes the SCSI command at the front of `received` in one step, when its PDU is all there and has no
    /// data, its turn has come and nothing else waits for one. Nothing more becomes of the PDU's
    /// [`Receiver::plain_length`] bytes; it needs no [`Receiver::accept`].
    ///
    /// `None`, and nothing is taken, where it takes [`Receiver::want`] and [`Receiver::got`].
    #[inline]
    pub fn plain_command(
        &mut self,
        received: &[u8],
        now: Instant,
        actions: &mut Vec<Action<T>>,
    ) -> Option<Command> {
        let full = self.full.as_mut()?;
        let bhs = self.frame.plain_header(received)?;
        let pdu = ScsiCommand::plain(&bhs)?;
        let is_free = self.awaited.is_none() && self.turns.is_empty();
        let is_valid = !full.parameters.is_discovery && pdu.initiator_task_tag != RESERVED_TAG;
        if !is_free || !is_valid || full.window.judge(pdu.cmd_sn) != Arrival::Now {
            return None;
        }
        if full.silence.input(now) {
            full.stamp = full.tags.stamp(now);
        }
        full.tags.take(pdu.initiator_task_tag, false, full.stamp).ok()?;
        self.pdus = self.pdus.wrapping_add(1);
        self.exp_stat_sn = bhs.exp_stat_sn();
        self.take_number(actions);
        Some(command(&pdu))
    }

    /// LUN fields of the commands at the front of `received` that seem to be nothing but a header, in order:
    /// what is likely to come, and nothing more.
    #[inline]
    pub fn fields_ahead<'a>(&self, received: &'a [u8]) -> impl Iterator<Item = LunField> + 'a {
        let headers = received.chunks_exact(self.frame.plain_length());
        let plain = headers.map_while(|header| ScsiCommand::plain(&Bhs(*header.first_chunk()?)));
        plain.map(|pdu| LunField(pdu.lun))
    }

    /// Bytes of a PDU that is nothing but a header.
    #[inline]
    pub fn plain_length(&self) -> usize {
        self.frame.plain_length()
    }
}
