//! Commands that are all in the receive buffer are taken from there in one step, short writes with their
//! data.

use crate::iscsi::receive::whole::Front;
use crate::scsi::Status;
use crate::scsi::target;
use crate::scsi::task::Failure;
use crate::server::serving::{End, Ran, Serving, run_here};
use crate::server::waiting::TICK;

/// While the thread looks for input instead of sleeping, answers leave when those of so many commands have
/// gathered, though more requests are here: the initiator works on them meanwhile, and need not be woken.
const AT_ONCE: u32 = 16;

/// What became of the bytes at the front of the receive buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Taken {
    /// They were a command.
    Command,
    /// They are part of one, whose rest is to come behind them.
    Part,
    /// The receiver is to be given them piece by piece.
    Other,
}

impl Serving<'_> {
    /// Takes the command that comes next, if it is here with all that belongs to it.
    #[inline]
    pub(super) fn take_front(&mut self) -> Result<Taken, End> {
        // Settings of `nagle` other than `coalesce` count requests.
        if self.nagle.is_some() {
            return Ok(Taken::Other);
        }
        let received = self.input.front();
        let Some(command) = self.receiver.plain_command(received, self.now, &mut self.actions) else {
            return self.take_whole_command();
        };
        self.look_ahead();
        self.acknowledge();
        self.input.skip(self.receiver.plain_length());
        // Nothing waits for its turn: there is no more to do than what the receiver has said.
        if !self.actions.is_empty() {
            self.perform_all()?;
        }
        self.command(&command)?;
        self.count_gathered();
        Ok(Taken::Command)
    }

    fn take_whole_command(&mut self) -> Result<Taken, End> {
        let received = self.input.front();
        let front = self.receiver.whole_command(received, self.now, &mut self.actions);
        if let Front::Part { length } = front {
            self.part_since.get_or_insert(self.now);
            let is_in_time = self.rest().is_some_and(|left| left > TICK);
            if self.input.awaits(length) && is_in_time {
                return Ok(Taken::Part);
            }
        }
        self.part_since = None;
        let Front::Whole { command, data, length } = front else { return Ok(Taken::Other) };
        self.acknowledge();
        if !self.actions.is_empty() {
            self.perform_all()?;
        }
        if self.admit(&command, true)? {
            self.start_with(data);
        }
        self.input.skip(length);
        self.count_gathered();
        Ok(Taken::Command)
    }

    /// A command has been taken; its answer may have been given.
    #[inline]
    fn count_gathered(&mut self) {
        self.gathered += 1;
        if self.gathered >= AT_ONCE && self.spin.is_trusted() {
            self.gathered = 0;
            if let Some(full) = self.connection.full() {
                full.outbox.flush();
            }
        }
    }

    /// Starts the task just admitted, whose data lies in the receive buffer: a task that ends here uses it
    /// there, any other gets memory of its own.
    fn start_with(&mut self, data: std::ops::Range<usize>) {
        let Some(task) = self.entrance.task() else { return };
        let sent = self.input.front().get(data).unwrap_or_default();
        // As long as the command announces, which is no less than what is wanted.
        let sent = &sent[..task.data_out_length().min(sent.len())];
        let ran = run_here(task, &mut self.now, sent);
        if ran == Ran::Done {
            return self.entrance.clear();
        }
        let buffer = task.memory(sent.len());
        let Some(mut task) = self.entrance.take() else { return };
        let Some(mut buffer) = buffer else { return target::fail(task, Failure::Status(Status::BUSY)) };
        buffer.copy_from_slice(sent);
        task.set_data_out(buffer, sent.len());
        self.go_on(task, ran);
    }

    /// Before a plain command is admitted: the units of those behind it come nearer meanwhile.
    #[inline]
    fn look_ahead(&mut self) {
        if self.ahead > 0 {
            self.ahead -= 1;
            return;
        }
        let Some(nexus) = self.established.as_ref().and_then(|e| e.nexus.as_ref()) else { return };
        let fields = self.receiver.fields_ahead(self.input.front());
        self.ahead = nexus.look_ahead(fields).saturating_sub(1);
    }

    /// Before a command is admitted: what its initiator has received is no longer in its way.
    #[inline]
    pub(super) fn acknowledge(&self) {
        if let Some(full) = self.connection.full().filter(|full| full.outbox.has_loans()) {
            full.outbox.acknowledge(self.receiver.exp_stat_sn());
        }
    }
}
