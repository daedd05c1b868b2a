//! A read that ends where it is admitted.
//!
//! While the unit's state is locked no other task begins, and no abort comes in between. A read of blocks
//! that no older task writes, from memory that is at hand, is then a copy that nobody can tell from one that
//! had its place in the task set; to give it one, and to lock the state once more, is work in vain.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use crate::backstore::Capabilities;
use crate::backstore::buffer::Buffer;
use crate::scsi::counters::add;
use crate::scsi::device::State;
use crate::scsi::execute;
use crate::scsi::itl::Itl;
use crate::scsi::nexus::Nexus;
use crate::scsi::target::Admitted;
use crate::scsi::task::Command;
use crate::scsi::task_set::Entry;

/// Reads what a command names into `memory`, and counts it as a task that has left the task set. `false`
/// where the command wants a task: it is no such read, older tasks come first, this thread keeps no memory
/// for it, or the read did not succeed at once; `memory` may have got some then.
///
/// Called with everything checked.
#[inline]
pub(super) fn reads(
    (nexus, itl): (&Nexus, &Itl),
    state: &State,
    (command, entry): (&Command, &Entry),
    admitted: &mut Admitted,
    memory: &mut Buffer,
) -> bool {
    if !admitted.row.is_plain_read {
        return false;
    }
    let Some(gate) = &state.gate else { return false };
    let is_at_hand = gate.capabilities().contains(Capabilities::AT_HAND);
    let length = usize::try_from(admitted.transfer.data_in).unwrap_or(usize::MAX);
    if !is_at_hand || length == 0 || !state.tasks.lets_run(entry) {
        return false;
    }
    if !memory.refit(length) {
        let Some(kept) = nexus.buffers.kept(length) else { return false };
        *memory = kept;
    }
    let offset = admitted.extent.lba.saturating_mul(u64::from(admitted.block_size));
    // What goes wrong, be it a panic, is tried again by the task, which has somebody to tell.
    let read = catch_unwind(AssertUnwindSafe(|| gate.try_read(offset, memory)));
    if read.is_err() {
        itl.device.faulted.store(true, Ordering::Relaxed);
    }
    if !matches!(read, Ok(Ok(true))) {
        return false;
    }
    admitted.is_read = true;
    add(&itl.device.leaving, 1);
    let sent = admitted.sent(command).into();
    itl.counters.count(admitted.transfer, sent, execute::is_aligned(&admitted.extent, admitted.block_size));
    true
}

#[cfg(test)]
mod tests;
