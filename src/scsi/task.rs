//! A command as received, and the task: the duty to answer it exactly once.

use std::sync::Arc;
use std::time::Instant;

use crate::backstore::BlockError;
use crate::backstore::buffer::Buffer;
use crate::backstore::gate::Gate;
use crate::backstore::lent::Lent;
use crate::scsi::cdb::Cdb;
use crate::scsi::device::Device;
use crate::scsi::itl::Itl;
use crate::scsi::loan::{self, Loan};
use crate::scsi::lun::LunField;
use crate::scsi::nexus::Nexus;
use crate::scsi::opcode::{OpCode, Transfer};
use crate::scsi::sense::{MAX_LENGTH, Sense};
use crate::scsi::task_set::{Extent, TaskId};
use crate::scsi::{FunctionResult, Status, TaskAttribute};

/// Where answers go. Implemented by the connection; called from any thread, and must not block.
pub trait Reply: Send + Sync {
    /// The command with this tag is finished. Who answers may take the data out of it; what is left is used
    /// again.
    fn task_done(&self, done: &mut Completion);
    /// The command with this tag was aborted and gets no answer; what it held may be released.
    fn task_dropped(&self, tag: u32, is_immediate: bool);
    /// The task management function with this tag is finished.
    fn function_done(&self, tag: u32, result: FunctionResult);
    /// Whether a store's own pages can go to the initiator ([`Completion::lent`]).
    fn takes_pages(&self) -> bool {
        false
    }
    /// More answers are about to come: what is finished may gather until [`Reply::release`] has been called
    /// as often as this.
    fn hold(&self) {}
    /// What has gathered is to leave.
    fn release(&self) {}
}

/// A command as the transport received it.
pub struct Command {
    /// Initiator task tag.
    pub tag: u32,
    /// LUN field.
    pub lun: LunField,
    /// Task attribute.
    pub attribute: TaskAttribute,
    /// CDB.
    pub cdb: Cdb,
    /// Bytes that the initiator has room for.
    pub expected_in: u32,
    /// Bytes that the initiator will send.
    pub expected_out: u32,
    /// Sent for immediate delivery: it takes no place in the transport's command window.
    pub is_immediate: bool,
}

/// Sense data in its wire format; no heap.
#[derive(Clone, Copy)]
pub struct SenseData {
    bytes: [u8; MAX_LENGTH],
    length: u8,
}

impl SenseData {
    /// No sense data.
    pub const NONE: SenseData = SenseData { bytes: [0; MAX_LENGTH], length: 0 };

    /// `sense` in fixed or descriptor format.
    pub fn new(sense: &Sense, descriptor_format: bool) -> Self {
        let mut bytes = [0; MAX_LENGTH];
        let length = sense.encode(descriptor_format, &mut bytes);
        SenseData { bytes, length: u8::try_from(length).unwrap_or(0) }
    }
}

impl std::ops::Deref for SenseData {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// When a command came and when it ran, in the words of a clock that this layer does not have.
#[derive(Clone, Copy, Debug)]
pub struct TaskTimes {
    /// The command came.
    pub received: Instant,
    /// It ran.
    pub started: Instant,
}

/// How a command ended.
pub struct Completion {
    /// Initiator task tag.
    pub tag: u32,
    /// Status.
    pub status: Status,
    /// Sense data, with CHECK CONDITION.
    pub sense: SenseData,
    /// Data for the initiator; the first `data_in_length` bytes of it.
    pub data_in: Buffer,
    /// Valid bytes of `data_in`; never above what the initiator has room for.
    pub data_in_length: u32,
    /// Pages in the place of `data_in`; and what to drop when the initiator has acknowledged the status. Only
    /// where [`Reply::takes_pages`] has said so.
    pub lent: Option<(Lent, Loan)>,
    /// Bytes that the command would have moved, for the residual counts.
    pub transfer: Transfer,
    /// Bytes that the initiator had room for.
    pub expected_in: u32,
    /// Bytes that the initiator announced.
    pub expected_out: u32,
    /// As in [`Command::is_immediate`].
    pub is_immediate: bool,
    /// Its times, and whose counters they belong to, if they are measured.
    pub times: Option<(TaskTimes, Arc<Itl>)>,
}

/// Why a command cannot succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// CHECK CONDITION with this sense data.
    Sense(Sense),
    /// Another status, without sense data.
    Status(Status),
    /// It would have to wait for the medium: run it again on a thread that may.
    WouldBlock,
}

impl From<Sense> for Failure {
    fn from(sense: Sense) -> Self {
        Failure::Sense(sense)
    }
}

/// A medium error as a *write* reports it; reads use [`Failure::from_read`].
impl From<BlockError> for Failure {
    fn from(error: BlockError) -> Self {
        Failure::Sense(match error {
            // Not now, says the system: the initiator tries again (SCST 5.6).
            BlockError::Io(libc::EAGAIN | libc::ENOMEM) => return Failure::Status(Status::BUSY),
            BlockError::Io(_) => Sense::PERIPHERAL_DEVICE_WRITE_FAULT,
            BlockError::NoSpace => Sense::SPACE_ALLOCATION_FAILED_WRITE_PROTECT,
            BlockError::ReadOnly => Sense::WRITE_PROTECTED,
            BlockError::Unsupported => Sense::INVALID_COMMAND_OPERATION_CODE,
            BlockError::Gone => Sense::INTERNAL_TARGET_FAILURE,
            BlockError::OutOfRange => Sense::LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE,
            BlockError::Busy => return Failure::Status(Status::BUSY),
            BlockError::Full => return Failure::Status(Status::TASK_SET_FULL),
            BlockError::Reported(reported) => Sense::reported(&reported),
        })
    }
}

impl Failure {
    /// A medium error as a read reports it, `lba` being the first block asked for.
    pub fn from_read(error: BlockError, lba: u64) -> Self {
        match error {
            BlockError::Io(libc::EAGAIN | libc::ENOMEM) => error.into(),
            BlockError::Io(_) => Sense::UNRECOVERED_READ_ERROR.with_information(lba).into(),
            other => other.into(),
        }
    }
}

/// A command that was admitted: it is answered exactly once, even if it is dropped.
pub struct Task {
    pub(crate) nexus: Arc<Nexus>,
    pub(crate) itl: Arc<Itl>,
    pub(crate) row: &'static OpCode,
    pub(crate) cdb: Cdb,
    pub(crate) tag: u32,
    pub(crate) expected_in: u32,
    pub(crate) expected_out: u32,
    pub(crate) is_immediate: bool,
    pub(crate) transfer: Transfer,
    pub(crate) extent: Extent,
    pub(crate) id: Option<TaskId>,
    /// It waits for a thread, and may be aborted before one takes it up.
    pub(crate) is_queued: bool,
    pub(crate) gate: Option<Arc<Gate>>,
    pub(crate) block_size: u32,
    pub(crate) data_out: Buffer,
    pub(crate) data_out_length: usize,
    pub(crate) data_in: Buffer,
    pub(crate) data_in_length: u32,
    /// Pages in the place of `data_in`.
    pub(crate) lent: Option<Lent>,
    /// Its blocks, from when the task set keeps nothing else of it until it is answered.
    pub(crate) loan: Option<Loan>,
    pub(crate) reply: Arc<dyn Reply>,
    /// The initiator has what it is owed.
    pub(crate) is_answered: bool,
    /// The task set has let it run already, when it was admitted.
    pub(crate) has_begun: bool,
    /// It counts as in flight.
    pub(crate) is_counted: bool,
    /// All is done but to wait for tasks that this one has aborted.
    pub(crate) is_carried_out: bool,
    pub(crate) times: Option<TaskTimes>,
    /// How far it is at a backstore that answers later, as its row counts.
    pub(crate) progress: u64,
}

impl Task {
    /// Initiator task tag.
    pub fn tag(&self) -> u32 {
        self.tag
    }

    /// Bytes of Data-Out to fetch before the task can start: what the CDB wants, as far as it was announced.
    pub fn data_out_length(&self) -> usize {
        let wanted = self.transfer.data_out.min(u64::from(self.expected_out));
        usize::try_from(wanted).unwrap_or(usize::MAX)
    }

    /// Gives the task the data it asked for: the first `length` bytes of `buffer`.
    pub fn set_data_out(&mut self, buffer: Buffer, length: usize) {
        self.data_out_length = length.min(buffer.len());
        self.data_out = buffer;
    }

    /// Memory for `length` bytes of its data, of unspecified content; `None` when there is none now.
    pub fn memory(&self, length: usize) -> Option<Buffer> {
        self.nexus.buffers.get(length)
    }

    /// Whether a task management function has ended the task before its data had come.
    pub fn is_aborted(&self) -> bool {
        self.id.is_some_and(|id| !self.itl.device.state().tasks.holds(id))
    }

    /// The logical unit.
    pub fn device(&self) -> &Arc<Device> {
        &self.itl.device
    }

    /// The I_T_L nexus.
    pub fn itl(&self) -> &Arc<Itl> {
        &self.itl
    }

    /// Says when the command came: its times are measured.
    pub fn set_received(&mut self, at: Instant) {
        self.times = Some(TaskTimes { received: at, started: at });
    }

    /// Whether its times are measured.
    pub fn is_measured(&self) -> bool {
        self.times.is_some()
    }

    /// Says that the task runs now; without meaning unless it is measured.
    pub fn set_started(&mut self, at: Instant) {
        if let Some(times) = &mut self.times {
            times.started = at;
        }
    }

    /// Whether it is out of the task set, and answered.
    pub(crate) fn is_over(&self) -> bool {
        self.is_answered && self.id.is_none() && !self.is_counted
    }

    /// The name of the command, for logs.
    pub fn name(&self) -> &'static str {
        self.row.name
    }

    /// Where the answer goes.
    pub fn reply(&self) -> &Arc<dyn Reply> {
        &self.reply
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        crate::scsi::execute::gone(self);
    }
}

/// What the function of a row works with.
pub struct Context<'a> {
    pub(crate) task: &'a mut Task,
    pub(crate) may_block: bool,
    /// Data-Out that lies elsewhere than in the task; empty if none does.
    pub(crate) sent: &'a [u8],
}

impl Context<'_> {
    /// The CDB.
    #[inline]
    pub fn cdb(&self) -> &Cdb {
        &self.task.cdb
    }

    /// The logical unit.
    #[inline]
    pub fn device(&self) -> &Arc<Device> {
        &self.task.itl.device
    }

    /// The I_T nexus.
    pub fn nexus(&self) -> &Arc<Nexus> {
        &self.task.nexus
    }

    /// The I_T_L nexus.
    pub fn itl(&self) -> &Arc<Itl> {
        &self.task.itl
    }

    /// Whether this thread may wait for the medium. If not, [`Failure::WouldBlock`] brings the command back
    /// on one that may; nothing must have been done by then.
    pub fn may_block(&self) -> bool {
        self.may_block
    }

    /// First block, as the row's `medium` says.
    pub fn lba(&self) -> u64 {
        self.task.extent.lba
    }

    /// Number of blocks, as the row's `medium` says.
    pub fn blocks(&self) -> u64 {
        self.task.extent.blocks
    }

    /// Logical block length in bytes, as it was when the command was admitted.
    pub fn block_size(&self) -> u32 {
        self.task.block_size
    }

    /// Byte offset of the first block.
    pub fn offset(&self) -> u64 {
        self.task.extent.lba.saturating_mul(u64::from(self.task.block_size))
    }

    /// The medium, or NOT READY.
    pub fn gate(&self) -> Result<Arc<Gate>, Failure> {
        self.task.gate.clone().ok_or(Failure::Sense(Sense::MEDIUM_NOT_PRESENT))
    }

    /// As [`Context::gate`], for a while only.
    #[inline]
    pub(crate) fn open_gate(&self) -> Result<&Gate, Failure> {
        self.task.gate.as_deref().ok_or(Failure::Sense(Sense::MEDIUM_NOT_PRESENT))
    }

    /// [`Context::open_gate`], and [`Context::data_in`].
    pub(crate) fn gate_and_data_in(&mut self, length: usize) -> Result<(&Gate, &mut [u8]), Failure> {
        self.data_in(length)?;
        let gate = self.task.gate.as_deref().ok_or(Failure::Sense(Sense::MEDIUM_NOT_PRESENT))?;
        Ok((gate, &mut self.task.data_in))
    }

    /// Data-Out received. Shorter than the CDB says when the initiator announced less.
    #[inline]
    pub fn data_out(&self) -> &[u8] {
        let own = &self.task.data_out;
        if own.is_empty() { self.sent } else { &own[..self.task.data_out_length] }
    }

    /// Bytes that the initiator announced.
    pub fn expected_out(&self) -> u64 {
        u64::from(self.task.expected_out)
    }

    /// Whether the initiator announced fewer bytes of Data-Out than the CDB asks for.
    pub fn is_data_out_short(&self) -> bool {
        (self.task.data_out_length as u64) < self.task.transfer.data_out
    }

    /// Answers with `bytes`, cut to the allocation length and to what the initiator has room for.
    pub fn reply(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let room = self.task.transfer.data_in.min(bytes.len() as u64);
        self.task.transfer.data_in = room;
        let length = usize::try_from(room.min(u64::from(self.task.expected_in))).unwrap_or(0);
        let buffer = self.data_in(length)?;
        buffer.copy_from_slice(&bytes[..length]);
        Ok(())
    }

    /// Makes the answer `length` bytes long and gives them to be written, all of them: what was in the
    /// memory before is unspecified. Bytes beyond what the initiator has room for are not sent.
    pub fn data_in(&mut self, length: usize) -> Result<&mut [u8], Failure> {
        if !self.task.data_in.refit(length) {
            // What is not used goes first: a command may need all the memory there is.
            self.task.data_in = Buffer::empty();
            self.task.data_in = self.scratch(length)?;
        }
        let sent = u64::from(self.task.expected_in).min(length as u64);
        self.task.data_in_length = u32::try_from(sent).unwrap_or(u32::MAX);
        Ok(&mut self.task.data_in)
    }

    /// Whether [`Context::lend`] may be tried for a read of `length` bytes.
    pub(crate) fn may_lend(&self, length: usize) -> bool {
        self.task.gate.as_ref().is_some_and(|gate| loan::may_lend(self.task, gate, length))
    }

    /// Answers with the store's own pages of the blocks named, `length` bytes. `false` where that cannot be,
    /// and they are to be read. Waits for the medium.
    pub(crate) fn lend(&mut self, length: usize) -> Result<bool, BlockError> {
        let (Some(gate), Some(mut lent)) = (&self.task.gate, self.task.nexus.buffers.pipes().take()) else {
            return Ok(false);
        };
        let Some(pipe) = lent.pipe() else { return Ok(false) };
        if !gate.lend(self.offset(), length, pipe)? {
            return Ok(false);
        }
        self.task.data_in_length = u32::try_from(length).unwrap_or(u32::MAX);
        self.task.lent = Some(lent);
        Ok(true)
    }

    /// How far the command is at a backstore that answers later: 0 at first, then what
    /// [`crate::scsi::opcode::Request`] said.
    pub(crate) fn progress(&self) -> u64 {
        self.task.progress
    }

    /// Takes memory that the command has to itself until it is over, and that requests can move data from
    /// and to. The initiator sees nothing of it. Only for a command without Data-In.
    pub(crate) fn keep(&mut self, length: usize) -> Result<&mut [u8], Failure> {
        self.task.data_in = Buffer::empty();
        self.task.data_in = self.scratch(length)?;
        Ok(&mut self.task.data_in)
    }

    /// The memory of [`Context::keep`].
    pub(crate) fn kept(&self) -> &[u8] {
        &self.task.data_in
    }

    /// [`Context::data_out`], and the memory of [`Context::keep`] or [`Context::data_in`] to be written.
    pub(crate) fn out_and_kept(&mut self) -> (&[u8], &mut [u8]) {
        let Task { data_out: own, data_out_length, data_in, .. } = &mut *self.task;
        (if own.is_empty() { self.sent } else { &own[..*data_out_length] }, data_in)
    }

    /// A buffer of the command's own.
    pub fn scratch(&self, length: usize) -> Result<Buffer, Failure> {
        self.task.memory(length).ok_or(Failure::Status(Status::BUSY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scst_5_6_what_may_go_better_next_time_is_busy() {
        for errno in [libc::EAGAIN, libc::ENOMEM] {
            let (read, write) =
                (Failure::from_read(BlockError::Io(errno), 7), Failure::from(BlockError::Io(errno)));
            assert_eq!([read, write], [Failure::Status(Status::BUSY); 2]);
        }
        assert!(matches!(Failure::from_read(BlockError::Io(libc::EIO), 7), Failure::Sense(_)));
        assert!(matches!(Failure::from(BlockError::NoSpace), Failure::Sense(_)));
    }
}
