//! Blocks whose pages are on their way to an initiator, uncopied.
//!
//! A read that was answered with a store's own pages ([`crate::backstore::lent`]) leaves the task set only
//! when the initiator has acknowledged its status: until then a write would change what it receives. Its
//! blocks stay, as those of an aborted write do, and its place in the order does not.
//!
//! Only where no other I_T nexus uses the unit: an initiator that takes its time holds up nobody but itself,
//! and one that joins while it does so. That one waits no longer than until a reset or another abort of what
//! the first has out, the end of its session, or a limit in time ([`crate::server`]): what is written then,
//! the first may find in what it has not received.

use std::sync::Arc;

use crate::backstore::Capabilities;
use crate::backstore::gate::Gate;
use crate::backstore::lent::{LARGEST, SMALLEST};
use crate::scsi::claim::Blocks;
use crate::scsi::device::Device;
use crate::scsi::task::Task;
use crate::scsi::task_set::TaskId;

/// Blocks of a unit that are lent, until it is dropped: not with a lock held that answering takes.
#[derive(Debug)]
pub struct Loan(#[expect(dead_code, reason = "held, never looked at")] Blocks);

impl Loan {
    /// Takes charge of a task that [`crate::scsi::task_set::TaskSet::lend`] has kept.
    pub(crate) fn new(device: &Arc<Device>, id: TaskId) -> Self {
        Loan(Blocks::new(device, id))
    }
}

/// Whether a read of `length` bytes may be answered with pages of the store.
pub(crate) fn may_lend(task: &Task, gate: &Gate, length: usize) -> bool {
    (SMALLEST..=LARGEST).contains(&length)
        && gate.capabilities().contains(Capabilities::LENDS)
        && task.id.is_some()
        && u64::from(task.expected_in) == length as u64
        && !task.itl.device.is_shared(task.nexus.id)
        // What erases the unit in the background is no task that would wait.
        && task.itl.device.state().background.is_none()
        && task.nexus.buffers.pipes().has_room()
        && task.reply.takes_pages()
}
