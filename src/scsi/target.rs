//! What a nexus asks of its units: admitting commands, task management, the end of the nexus.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::backstore::buffer::Buffer;
use crate::backstore::gate::Gate;
use crate::scsi::cdb::Cdb;
use crate::scsi::device::{Device, DeviceType, MediumState, State};
use crate::scsi::execute::{self, Inline};
use crate::scsi::itl::Itl;
use crate::scsi::limits;
use crate::scsi::lun::LunField;
use crate::scsi::management::PendingFunction;
use crate::scsi::nexus::Nexus;
use crate::scsi::opcode::{Allow, Count, Data, Medium, OpCode, Order, Transfer};
use crate::scsi::ops;
use crate::scsi::sense::Sense;
use crate::scsi::task::{Command, Completion, Failure, Reply, SenseData, Task};
use crate::scsi::task_set::{Abort, Entry, Extent, Place, Selector, TaskId, Waiter};
use crate::scsi::{FunctionResult, Status, TaskAttribute, TaskManagementFunction};

/// A command that was refused on admission: the answer is ready.
pub struct Refused(pub Completion);

/// Checks a command in the order of SAM and SPC and puts it into the task set of its unit.
///
/// A refusal costs no data phase. On success fetch [`Task::data_out_length`] bytes, give them to
/// [`Task::set_data_out`], then [`execute::start`] it.
///
/// A thread that admits one command after the other does so by an [`crate::scsi::entrance::Entrance`].
pub fn admit(nexus: &Arc<Nexus>, command: &Command, reply: &Arc<dyn Reply>) -> Result<Task, Refused> {
    let itl = nexus.itl(command.lun);
    let mut gate = None;
    match check(nexus, &itl, (&mut gate, None), (command, false)) {
        Ok(admitted) => Ok(task((nexus, itl, gate, reply), command, admitted)),
        Err(failure) => Err(Refused(refusal(&itl, command, failure))),
    }
}

/// What a task refers to.
type References<'a> = (&'a Arc<Nexus>, Arc<Itl>, Option<Arc<Gate>>, &'a Arc<dyn Reply>);

/// A task of a command that was admitted.
pub(crate) fn task((nexus, itl, gate, reply): References<'_>, command: &Command, admitted: Admitted) -> Task {
    Task {
        nexus: Arc::clone(nexus),
        itl,
        gate,
        reply: Arc::clone(reply),
        row: admitted.row,
        cdb: command.cdb,
        tag: command.tag,
        expected_in: command.expected_in,
        expected_out: command.expected_out,
        is_immediate: command.is_immediate,
        transfer: admitted.transfer,
        extent: admitted.extent,
        id: admitted.id,
        block_size: admitted.block_size,
        data_out: Buffer::empty(),
        data_out_length: 0,
        data_in: Buffer::empty(),
        data_in_length: 0,
        lent: None,
        loan: None,
        is_answered: false,
        has_begun: admitted.has_begun,
        is_counted: true,
        is_carried_out: false,
        is_queued: false,
        times: None,
        progress: 0,
    }
}

/// Makes a task that is over one of another command of the same unit and nexus: what it refers to stays.
#[inline]
pub(crate) fn renew(task: &mut Task, command: &Command, admitted: Admitted) {
    // Each field is named, so that none that is added is forgotten here.
    let Task {
        nexus: _,
        itl: _,
        gate: _,
        reply: _,
        data_out: _,
        data_in: _,
        row,
        cdb,
        tag,
        expected_in,
        expected_out,
        is_immediate,
        transfer,
        extent,
        id,
        block_size,
        data_out_length,
        data_in_length,
        lent,
        loan,
        is_answered,
        has_begun,
        is_counted,
        is_carried_out,
        is_queued,
        times,
        progress,
    } = task;
    *row = admitted.row;
    *cdb = command.cdb;
    *tag = command.tag;
    *expected_in = command.expected_in;
    *expected_out = command.expected_out;
    *is_immediate = command.is_immediate;
    *transfer = admitted.transfer;
    *extent = admitted.extent;
    *id = admitted.id;
    *block_size = admitted.block_size;
    (*data_out_length, *data_in_length) = (0, if admitted.is_read { admitted.sent(command) } else { 0 });
    *has_begun = admitted.has_begun;
    *is_counted = !admitted.is_read;
    (*is_answered, *is_carried_out, *is_queued) = (false, false, false);
    (*times, *lent, *loan) = (None, None, None);
    *progress = 0;
}

/// What admission has found.
pub(crate) struct Admitted {
    row: &'static OpCode,
    extent: Extent,
    transfer: Transfer,
    id: Option<TaskId>,
    has_begun: bool,
    block_size: u32,
    /// It was carried out at once, and only its answer is owed: [`execute::answer_at_once`].
    pub(crate) is_read: bool,
}

impl Admitted {
    /// Bytes that the initiator gets of a read.
    fn sent(&self, command: &Command) -> u32 {
        u32::try_from(self.transfer.data_in)
            .map_or(command.expected_in, |length| length.min(command.expected_in))
    }
}

pub(crate) fn refusal(itl: &Itl, command: &Command, failure: Failure) -> Completion {
    itl.counters.failed(&failure);
    let (status, sense) = match failure {
        Failure::Sense(sense) => {
            (Status::CHECK_CONDITION, SenseData::new(&sense, itl.device.descriptor_sense()))
        }
        Failure::Status(status) => (status, SenseData::NONE),
        Failure::WouldBlock => (Status::BUSY, SenseData::NONE),
    };
    Completion {
        tag: command.tag,
        status,
        sense,
        data_in: Buffer::empty(),
        data_in_length: 0,
        lent: None,
        transfer: Default::default(),
        expected_in: command.expected_in,
        expected_out: command.expected_out,
        is_immediate: command.is_immediate,
        times: None,
    }
}

/// The checks, in order (SAM-5, 5.3.3; SPC-4, 4.5 and 5.9): the unit, the operation code, the reserved bits,
/// the state of the path, reservations, unit attention, readiness, the LBA range, write protection, room in
/// the task set.
///
/// `gate` becomes that of the unit, whatever it was. With `memory`, a read that is no more than a copy into
/// it is carried out; then `gate` becomes that of the unit or none. With `has_data` no Data-Out is to come.
#[inline]
pub(crate) fn check(
    nexus: &Nexus,
    itl: &Itl,
    (gate, memory): (&mut Option<Arc<Gate>>, Option<&mut Buffer>),
    (command, has_data): (&Command, bool),
) -> Result<Admitted, Failure> {
    let device = &itl.device;
    let row = row_of(device, command)?;
    row.check_bits(&command.cdb)?;
    if command.attribute == TaskAttribute::Aca {
        return Err(Sense::INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT.into());
    }
    itl.path.get().check(row)?;
    let mut state = device.state();
    // Whoever ends the nexus marks it, then aborts its tasks under this lock: none comes in behind. A thread
    // may have received commands that it has not looked at when another login takes the nexus over.
    if nexus.is_lost() {
        return Err(Failure::Status(Status::TASK_ABORTED));
    }
    // So it is with a LUN that is taken away: the initiator is to look again what is there now.
    if itl.is_unmapped() {
        return Err(Failure::Status(Status::BUSY));
    }
    if state.reservations.conflicts(itl.nexus, row, &command.cdb) {
        return Err(Failure::Status(Status::RESERVATION_CONFLICT));
    }
    if !row.allow.has(Allow::UNIT_ATTENTION) {
        if let Some(attention) = itl.take_attention() {
            return Err(attention.into());
        }
    }
    check_ready(&state, row)?;
    let extent = extent_of(row, command, &state)?;
    if row.medium.writes() && (itl.read_only || device.is_write_protected(&state)) {
        return Err(Sense::WRITE_PROTECTED.into());
    }
    let limit = device.max_commands.load(Ordering::Relaxed);
    if limit > 0 && itl.in_flight() >= limit {
        return Err(Failure::Status(Status::TASK_SET_FULL));
    }
    let block_size = state.geometry.block_size;
    let transfer = transfer(row, command, &extent, block_size);
    let bytes = transfer.data_out.min(u64::from(command.expected_out));
    // More than there is memory for at once is no matter of waiting.
    if bytes > limits::MAX_TRANSFER_BYTES {
        return Err(Sense::invalid_field_in_cdb(row.length_at(), None).into());
    }
    let held = state.tasks.bytes();
    if held > 0 && held.saturating_add(bytes) > unit_share(nexus.buffers.budget()) {
        return Err(Failure::Status(Status::TASK_SET_FULL));
    }
    let entry = entry(itl, command, row, (extent, bytes));
    let mut admitted =
        Admitted { row, extent, transfer, id: None, has_begun: false, block_size, is_read: false };
    if memory
        .is_some_and(|memory| at_once::reads((nexus, itl), &state, (command, &entry), &mut admitted, memory))
    {
        // A medium that was taken away is not kept.
        gate.take_if(|gate| !state.gate.as_ref().is_some_and(|now| Arc::ptr_eq(gate, now)));
        return Ok(admitted);
    }
    if !is_same(gate, &state.gate) {
        gate.clone_from(&state.gate);
    }
    // What awaits no data and no other thread is begun at once: the next lock would find nothing else.
    let here =
        (bytes == 0 || has_data) && execute::place(row, gate.as_deref(), transfer.data_in) != Inline::No;
    if !matches!(device.device_type(), DeviceType::Absent | DeviceType::WellKnown) {
        let (id, has_begun) = state.tasks.put(entry, here);
        (admitted.id, admitted.has_begun) = (Some(id), has_begun);
    }
    itl.admitted();
    Ok(admitted)
}

/// Whether both are the same gate: to look is cheaper than to count another reference.
fn is_same(one: &Option<Arc<Gate>>, other: &Option<Arc<Gate>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

/// Bytes that the command moves.
fn transfer(row: &OpCode, command: &Command, extent: &Extent, block_size: u32) -> Transfer {
    if matches!(row.data, Data::Announced) {
        let (data_in, data_out) = (command.expected_in.into(), command.expected_out.into());
        return Transfer { data_in, data_out };
    }
    row.transfer(&command.cdb, extent.blocks, block_size)
}

/// Bytes of Data-Out that one unit may hold: a unit that hangs leaves memory for the others.
fn unit_share(budget: usize) -> u64 {
    (budget / 4 * 3) as u64
}

/// Whether the nexus may use the unit now for what `row` does, as the checks of [`admit`] would have it: for
/// work that is no command of the unit. Nothing pending is reported by it.
pub(crate) fn permit(itl: &Itl, state: &State, row: &OpCode) -> Result<(), Failure> {
    itl.path.get().check(row)?;
    if state.reservations.conflicts(itl.nexus, row, &Cdb::new(&[row.opcode])) {
        return Err(Failure::Status(Status::RESERVATION_CONFLICT));
    }
    check_ready(state, row)?;
    if row.medium.writes() && (itl.read_only || itl.device.is_write_protected(state)) {
        return Err(Sense::WRITE_PROTECTED.into());
    }
    Ok(())
}

/// A LUN that is not there knows only what `Allow::NO_LUN` lists; else LOGICAL UNIT NOT SUPPORTED.
fn row_of(device: &Device, command: &Command) -> Result<&'static OpCode, Failure> {
    let found = ops::lookup(device, &command.cdb);
    match device.device_type() {
        DeviceType::Absent => match found {
            Ok(row) if row.allow.has(Allow::NO_LUN) => Ok(row),
            _ => Err(Sense::LOGICAL_UNIT_NOT_SUPPORTED.into()),
        },
        DeviceType::WellKnown => match found {
            Ok(row) if row.allow.has(Allow::NO_LUN) || row.opcode == 0x00 => Ok(row),
            _ => Err(Sense::INVALID_COMMAND_OPERATION_CODE.into()),
        },
        _ => Ok(found?),
    }
}

fn check_ready(state: &State, row: &OpCode) -> Result<(), Failure> {
    if let Some(background) = &state.background {
        if !row.allow.has(Allow::BACKGROUND) {
            return Err(background.sense().into());
        }
    }
    if row.allow.has(Allow::NO_MEDIUM) {
        return Ok(());
    }
    match state.medium {
        MediumState::Present => Ok(()),
        MediumState::TrayClosed => Err(Sense::MEDIUM_NOT_PRESENT_TRAY_CLOSED.into()),
        MediumState::TrayOpen => Err(Sense::MEDIUM_NOT_PRESENT_TRAY_OPEN.into()),
        MediumState::Closed => Err(Sense::MEDIUM_NOT_PRESENT.into()),
    }
}

/// The blocks touched. The range is checked before the zero-length shortcut: no blocks at an address beyond
/// the medium is out of range too (SBC-3, 4.5).
#[inline]
fn extent_of(row: &OpCode, command: &Command, state: &State) -> Result<Extent, Failure> {
    let Medium::Blocks { lba, count, .. } = row.medium else {
        let whole = matches!(row.medium, Medium::Whole(_) | Medium::Unit);
        return Ok(if whole { Extent::WHOLE } else { Extent::default() });
    };
    let capacity = state.geometry.blocks;
    let lba = command.cdb.get(lba);
    let out_of_range = || Failure::Sense(Sense::LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE.with_information(lba));
    let blocks = match count {
        Count::Plain(field) => command.cdb.get(field),
        Count::ZeroIs256(field) => match command.cdb.get(field) {
            0 => 256,
            blocks => blocks,
        },
        Count::ZeroIsRest(field) => match command.cdb.get(field) {
            0 => capacity.checked_sub(lba).ok_or_else(out_of_range)?,
            blocks => blocks,
        },
    };
    match lba.checked_add(blocks) {
        Some(end) if end <= capacity => Ok(Extent { lba, blocks }),
        _ => Err(out_of_range()),
    }
}

/// What the task set must know of a command with `bytes` of Data-Out.
#[inline]
fn entry(itl: &Itl, command: &Command, row: &OpCode, (extent, bytes): (Extent, u64)) -> Entry {
    let place = match row.order {
        Order::AsSent => Place::Attribute(command.attribute),
        Order::AtOnce => Place::AtOnce,
        Order::Exclusive => Place::Exclusive(Some(command.attribute)),
        Order::Ordered | Order::Outlives => Place::Attribute(TaskAttribute::Ordered),
    };
    // Task management does not wait for what it cannot end.
    let outlives = row.order == Order::Outlives;
    let writes = row.medium.changes();
    Entry { nexus: itl.nexus, tag: command.tag, place, extent, writes, outlives, bytes }
}

/// Gives up a task whose Data-Out will not come (a data phase error): ends it with `failure`.
pub fn fail(task: Task, failure: Failure) {
    execute::finish(task, Err(failure));
}

/// Carries out a task management function (SAM-5, clause 7). The answer comes through `reply`, at once or
/// when the last affected write has come back; the value returned lets the shell set a deadline.
pub fn manage(
    nexus: &Arc<Nexus>,
    function: TaskManagementFunction,
    lun: LunField,
    tag: u32,
    reply: &Arc<dyn Reply>,
) -> Arc<PendingFunction> {
    let pending = PendingFunction::new(tag, Arc::clone(reply));
    match function {
        TaskManagementFunction::ClearAca => pending.answer(FunctionResult::NotSupported),
        TaskManagementFunction::QueryAsynchronousEvent => query_event(nexus, lun, &pending),
        TaskManagementFunction::TargetWarmReset | TaskManagementFunction::TargetColdReset => {
            reset::reset_target(nexus, &pending);
        }
        TaskManagementFunction::NexusReset => {
            for unit in nexus.touched_units() {
                abort(&unit, Selector::Nexus(nexus.id), nexus.id, Tell::Nobody, Some(&pending));
                let mut state = unit.state();
                state.reservations.nexus_reset(nexus.id);
                state.prevented.retain(|holder| *holder != nexus.id);
            }
            for itl in nexus.itls() {
                itl.attention(Sense::I_T_NEXUS_LOSS_OCCURRED);
            }
        }
        _ => {
            let itl = nexus.itl(lun);
            if itl.device.device_type() == DeviceType::Absent {
                pending.answer(FunctionResult::IncorrectLun);
            } else {
                manage_unit(nexus, function, &itl, &pending);
            }
        }
    }
    pending.one_done();
    pending
}

fn query_event(nexus: &Arc<Nexus>, lun: LunField, pending: &PendingFunction) {
    let itl = nexus.itl(lun);
    if itl.device.device_type() == DeviceType::Absent {
        pending.answer(FunctionResult::IncorrectLun);
    } else if itl.has_attention() {
        pending.answer(FunctionResult::Succeeded);
    }
}

fn manage_unit(
    nexus: &Arc<Nexus>,
    function: TaskManagementFunction,
    itl: &Arc<Itl>,
    pending: &Arc<PendingFunction>,
) {
    let device = &itl.device;
    match function {
        TaskManagementFunction::AbortTask { tag } => {
            let selector = Selector::Tag { nexus: nexus.id, tag };
            if abort(device, selector, nexus.id, Tell::Nobody, Some(pending)) == 0 {
                pending.answer(FunctionResult::TaskDoesNotExist);
            }
        }
        TaskManagementFunction::AbortTaskSet => {
            abort(device, Selector::Nexus(nexus.id), nexus.id, Tell::Nobody, Some(pending));
        }
        TaskManagementFunction::ClearTaskSet => {
            // With a task set per nexus (TST 001b) there is nobody else's task in it.
            let per_nexus = device.state().mode.task_set_type == 1;
            let selector = if per_nexus { Selector::Nexus(nexus.id) } else { Selector::All };
            abort(device, selector, nexus.id, Tell::Cleared, Some(pending));
        }
        TaskManagementFunction::LogicalUnitReset => reset::reset_unit(device, nexus.id, pending),
        TaskManagementFunction::QueryTask { tag } => {
            query(device, Selector::Tag { nexus: nexus.id, tag }, pending);
        }
        TaskManagementFunction::QueryTaskSet => query(device, Selector::Nexus(nexus.id), pending),
        _ => pending.answer(FunctionResult::NotSupported),
    }
}

fn query(device: &Device, selector: Selector, pending: &PendingFunction) {
    if device.state().tasks.contains(selector) {
        pending.answer(FunctionResult::Succeeded);
    }
}

/// What other nexuses than the one that asked learn of the end of their tasks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tell {
    /// There are none, or the nexus is gone.
    Nobody,
    /// TASK ABORTED status when TAS says so, else COMMANDS CLEARED BY ANOTHER INITIATOR.
    Cleared,
    /// TASK ABORTED status when TAS says so; the unit attention of the reset comes anyway.
    Reset,
}

/// Aborts tasks (SAM-5, 5.6 and 7). Answers how many were hit.
fn abort(
    device: &Arc<Device>,
    selector: Selector,
    by: u64,
    tell: Tell,
    pending: Option<&Arc<PendingFunction>>,
) -> usize {
    let waiter = pending.map(|pending| Waiter::Function(Arc::clone(pending)));
    abort_for(device, selector, by, tell, waiter)
}

fn abort_for(device: &Arc<Device>, selector: Selector, by: u64, tell: Tell, waiter: Option<Waiter>) -> usize {
    let waits = waiter.is_some();
    let aborted = {
        let mut state = device.state();
        let has_status = state.mode.task_aborted_status && tell != Tell::Nobody;
        let told_by = has_status.then_some(by);
        let aborted = state.tasks.abort(&Abort { selector, waiter, told_by });
        if tell == Tell::Cleared && !has_status {
            for itl in device.itls() {
                if itl.nexus != by && aborted.hit.iter().any(|(nexus, _)| *nexus == itl.nexus) {
                    itl.attention(Sense::COMMANDS_CLEARED_BY_ANOTHER_INITIATOR);
                }
            }
        }
        aborted
    };
    for ticket in aborted.cancelled {
        ticket.cancel();
    }
    if aborted.any_queued {
        device.dispatcher().drop_aborted(device);
    }
    for (mut task, owed) in aborted.waiting {
        task.id = None;
        execute::settle(&mut task, owed, Ok(()));
    }
    if waits && !matches!(selector, Selector::Tag { .. }) {
        await_answers(device);
    }
    execute::dispatch(device, aborted.enabled);
    aborted.hit.len()
}

/// A task that was finished just before an abort of many is answered before the abort is (RFC 7143 4.2.3.2):
/// waits, for a bounded time, until nobody is between the two. Answering waits for nothing.
fn await_answers(device: &Device) {
    const LOOKS: u32 = 5000;
    const PAUSE: Duration = Duration::from_micros(20);
    for _ in 0..LOOKS {
        // Read first: it never exceeds the other.
        let answered = device.answered.load(Ordering::Acquire);
        if device.leaving.load(Ordering::Acquire) == answered {
            return;
        }
        device.dispatcher().rest(PAUSE);
    }
}

/// PREEMPT AND ABORT: ends the tasks of a nexus whose registration is gone; `by` ends when those that are
/// out have come back (SPC-4, 5.13.11.5).
pub(crate) fn preempt_tasks(victim: &Itl, by: &mut Task) {
    let waiter = by.id.map(Waiter::Task);
    abort_for(&victim.device, Selector::Nexus(victim.nexus), by.nexus.id, Tell::Cleared, waiter);
    by.is_carried_out = true;
}

/// The nexus no longer sees this unit: its tasks end without an answer, its reservation and PREVENT there
/// are gone.
pub(crate) fn leave_unit(nexus: u64, device: &Arc<Device>) {
    abort(device, Selector::Nexus(nexus), nexus, Tell::Nobody, None);
    lose_nexus_state(nexus, device);
}

/// RESERVE and PREVENT of a nexus that no longer sees this unit are gone.
pub(crate) fn lose_nexus_state(nexus: u64, device: &Device) {
    let mut state = device.state();
    state.reservations.nexus_lost(nexus);
    state.prevented.retain(|holder| *holder != nexus);
}

/// The session has ended: tasks are aborted without an answer, SPC-2 reservations and PREVENT released, and
/// no command is admitted any more.
/// Writes that are out stay fenced until they come back. May be called more than once.
pub fn nexus_lost(nexus: &Arc<Nexus>) {
    if nexus.mark_lost() {
        return;
    }
    for unit in nexus.touched_units() {
        leave_unit(nexus.id, &unit);
    }
}

mod at_once;
mod reset;
#[cfg(test)]
mod tests;
