//! Running a task and ending it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::backstore::buffer::Buffer;
use crate::backstore::gate::Gate;
use crate::backstore::io::{Io, Operation, Owner};
use crate::backstore::{BlockError, Capabilities};
use crate::notice::Notice;
use crate::scsi::Status;
use crate::scsi::counters::add;
use crate::scsi::device::{Device, State};
use crate::scsi::loan::Loan;
use crate::scsi::opcode::{Allow, Memory, OpCode, Order, Request, Run, Step, Transfer};
use crate::scsi::sense::{Sense, SenseKey};
use crate::scsi::task::{Completion, Context, Failure, SenseData, Task};
use crate::scsi::task_set::{Extent, Owed};

/// Bytes whose multiples are aligned, for the counters.
const ALIGNED_BYTES: u64 = 4096;

/// What became of a task that has all its data.
#[must_use]
pub enum Started {
    /// It may run now: [`execute`] it, or hand it to a worker.
    Run(Task),
    /// It waits for older tasks and will be dispatched, or was aborted and needs nothing more.
    Settled,
}

/// The task's data has arrived (or it has none): runs it as soon as the task set lets it. A reservation made
/// since it was admitted is looked at again (SPC-4, 5.13.1: when the task is enabled for the first time).
pub fn start(mut task: Task) -> Started {
    let Some(id) = task.id.filter(|_| !task.has_begun) else { return Started::Run(task) };
    let mut state = task.itl.device.state();
    if state.reservations.conflicts(task.nexus.id, task.row, &task.cdb) {
        drop(state);
        finish(task, Err(Failure::Status(Status::RESERVATION_CONFLICT)));
        return Started::Settled;
    }
    if let Some(sense) = in_progress(&state, task.row) {
        drop(state);
        finish(task, Err(Failure::Sense(sense)));
        return Started::Settled;
    }
    let queues = inline(&task) == Inline::No;
    let may_run = state.tasks.begin(id, queues);
    drop(state);
    task.is_queued = queues;
    if may_run == Some(true) {
        return Started::Run(task);
    }
    // It is queued once it may run.
    task.is_queued = true;
    let device = Arc::clone(&task.itl.device);
    let outcome = device.state().tasks.start(id, task);
    match outcome {
        Ok(Some(task)) => return Started::Run(task),
        Ok(None) => {}
        Err(task) => finish(task, Err(Failure::Status(Status::BUSY))),
    }
    Started::Settled
}

/// As [`start`] for a task that runs on the thread that received it, without moving it: `false`, and nothing
/// done, where only [`start`] will do.
pub fn starts(task: &Task) -> bool {
    let Some(id) = task.id.filter(|_| !task.has_begun) else { return true };
    let mut state = task.itl.device.state();
    !state.reservations.conflicts(task.nexus.id, task.row, &task.cdb)
        && in_progress(&state, task.row).is_none()
        && state.tasks.begin(id, false) == Some(true)
}

/// What a command is told that was admitted before a job of the whole medium began.
fn in_progress(state: &State, row: &OpCode) -> Option<Sense> {
    let background = state.background.as_ref().filter(|_| !row.allow.has(Allow::BACKGROUND))?;
    Some(background.sense())
}

/// Ends a queued task that was aborted. Gives any other back, and one whose beginning cannot be undone.
pub fn end_if_aborted(task: Task) -> Option<Task> {
    if task.is_aborted() && task.row.order != Order::Outlives {
        finish(task, Err(Failure::Status(Status::TASK_ABORTED)));
        None
    } else {
        Some(task)
    }
}

/// How a thread that must not wait for a medium may run a task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inline {
    /// Freely: the backstore never blocks.
    Freely,
    /// It may be tried; it comes back undone when it would have to wait.
    Try,
    /// Not at all.
    No,
}

/// How the calling thread may run the task although it must not wait for a medium.
pub fn inline(task: &Task) -> Inline {
    place(task.row, task.gate.as_deref(), task.transfer.data_in)
}

/// As [`inline`], for a command that is no task yet and moves `data_in` bytes to the initiator.
#[inline]
pub(crate) fn place(row: &OpCode, gate: Option<&Gate>, data_in: u64) -> Inline {
    if row.run == Run::Apart {
        return Inline::No;
    }
    let capabilities = gate.map_or(Capabilities::NONE, |gate| gate.capabilities());
    let is_submitted = row.submit.is_some() && capabilities.contains(Capabilities::ASYNCHRONOUS);
    let is_handed_over = is_submitted && !capabilities.contains(Capabilities::SUBMIT_WAITS);
    if row.run == Run::Inline || is_handed_over {
        Inline::Try
    } else if capabilities.contains(Capabilities::NEVER_BLOCKS) {
        Inline::Freely
    } else if data_in > 0 && capabilities.contains(Capabilities::TRY_READ) {
        Inline::Try
    } else {
        Inline::No
    }
}

/// Carries the task out and answers it. With `may_block` false, a task that would have to wait for the
/// medium comes back undone.
///
/// A command that takes long leaves the calling thread at once. A task that was queued and has been aborted
/// is not carried out at all.
pub fn execute(mut task: Task, may_block: bool) -> Option<Task> {
    if let Some(id) = task.id.filter(|_| std::mem::take(&mut task.is_queued)) {
        let mut state = task.itl.device.state();
        let is_alive = state.tasks.take_up(id);
        let sense = in_progress(&state, task.row).filter(|_| !task.is_carried_out);
        drop(state);
        if !is_alive {
            finish(task, Err(Failure::Status(Status::TASK_ABORTED)));
            return None;
        }
        // What was before it may have begun to format the unit, and be answered.
        if let Some(sense) = sense {
            finish(task, Err(Failure::Sense(sense)));
            return None;
        }
    }
    if task.row.run == Run::Apart {
        let device = Arc::clone(task.device());
        device.dispatcher().background(Box::new(move || drop(carry_out(task, true))));
        return None;
    }
    carry_out(task, may_block)
}

/// A panic in a command is our bug: it costs that command (HARDWARE ERROR), and the unit is marked.
fn carry_out(mut task: Task, may_block: bool) -> Option<Task> {
    if task.is_carried_out {
        finish(task, Ok(()));
        return None;
    }
    if let Some(next) = task.row.submit.filter(|_| is_submitted(&task)) {
        match guarded(&mut task, (may_block, &[]), next) {
            Ok(Step::Ask(request)) => {
                submit(task, request);
                return None;
            }
            Ok(Step::Wait) if may_block => {}
            Ok(Step::Wait) => return Some(task),
            Ok(Step::Done) => {
                finish(task, Ok(()));
                return None;
            }
            Err(failure) => {
                finish(task, Err(failure));
                return None;
            }
        }
    }
    match carry_out_here(&mut task, (may_block, &[])) {
        Carried::Out => {}
        Carried::Back => return Some(task),
        Carried::Waits => await_aborted(task),
    }
    None
}

/// What became of a task that was carried out where it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Carried {
    /// It is answered.
    Out,
    /// It would have to wait for the medium.
    Back,
    /// It waits for tasks that it aborted.
    Waits,
}

/// `sent` is Data-Out that is not in the task, or empty.
fn carry_out_here(task: &mut Task, (may_block, sent): (bool, &[u8])) -> Carried {
    let run = task.row.execute;
    let outcome = guarded(task, (may_block, sent), run);
    if outcome == Err(Failure::WouldBlock) && !may_block {
        return Carried::Back;
    }
    if task.is_carried_out {
        return Carried::Waits;
    }
    finish_here(task, outcome);
    Carried::Out
}

/// What became of a task in [`execute_here`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Here {
    /// It is answered.
    Done,
    /// It would have to wait for the medium.
    Undone,
    /// Nothing was tried: [`execute`] it.
    Elsewhere,
}

/// As [`execute`] for a plain task of the thread that received it, where it lies: a task is large, and is not
/// moved where it need not be.
///
/// `sent` is the task's Data-Out, unless the task has that itself: it is used where it lies, and not after
/// the call. A task that is not done is to be given it ([`Task::set_data_out`]).
#[inline]
pub fn execute_here(task: &mut Task, may_block: bool, sent: &[u8]) -> Here {
    let is_plain = !task.is_queued && task.row.run == Run::Worker && !is_submitted(task);
    // What was received lies anywhere.
    let is_usable = sent.is_empty()
        || task.gate.as_ref().is_none_or(|gate| !gate.capabilities().contains(Capabilities::ALIGNED));
    // What aborts others (PERSISTENT RESERVE OUT) may have to wait for them.
    if !is_plain || !is_usable || task.is_carried_out || task.row.order == Order::Exclusive {
        return Here::Elsewhere;
    }
    if !sent.is_empty() {
        task.data_out_length = sent.len();
    }
    match carry_out_here(task, (may_block, sent)) {
        Carried::Back => Here::Undone,
        Carried::Out | Carried::Waits => Here::Done,
    }
}

/// The task has aborted others and ends when they have come back: the task set keeps it until then.
fn await_aborted(mut task: Task) {
    let Some(id) = task.id else { return finish(task, Ok(())) };
    let device = Arc::clone(&task.itl.device);
    task.is_queued = true;
    let outcome = device.state().tasks.start(id, task);
    match outcome {
        Ok(None) => {}
        Ok(Some(task)) | Err(task) => finish(task, Ok(())),
    }
}

/// Runs `work` on the task; a panic is INTERNAL TARGET FAILURE.
fn guarded<T>(
    task: &mut Task,
    (may_block, sent): (bool, &[u8]),
    work: fn(&mut Context<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut context = Context { task, may_block, sent };
    let outcome = catch_unwind(AssertUnwindSafe(|| work(&mut context)));
    outcome.unwrap_or_else(|_| {
        task.itl.device.faulted.store(true, Ordering::Relaxed);
        Err(Failure::Sense(Sense::INTERNAL_TARGET_FAILURE))
    })
}

/// Whether the task goes to a backstore that answers later, so that no thread waits for it.
fn is_submitted(task: &Task) -> bool {
    task.row.submit.is_some()
        && task.gate.as_ref().is_some_and(|gate| gate.capabilities().contains(Capabilities::ASYNCHRONOUS))
}

/// A task that a backstore has: it ends, or goes on, on the thread that completes it.
struct Submitted {
    task: Task,
    request: Request,
}

impl Owner for Submitted {
    fn done(self: Box<Self>, buffer: Buffer, result: Result<(), BlockError>) {
        let Submitted { mut task, request } = *self;
        let Request { operation, offset, length, .. } = request;
        let result = task.gate.as_ref().map_or(result, |gate| gate.settle(operation, length, result));
        match request.memory {
            Memory::None => {}
            Memory::In => task.data_in = buffer,
            Memory::Out => task.data_out = buffer,
        }
        match (result, request.next) {
            (Ok(()), Some(next)) => go_on(task, next),
            (Ok(()), None) => finish(task, Ok(())),
            (Err(error), _) if operation == Operation::Read => {
                let lba = offset / u64::from(task.block_size.max(1));
                finish(task, Err(Failure::from_read(error, lba)));
            }
            (Err(error), _) => finish(task, Err(error.into())),
        }
    }
}

/// The next step is not taken here: the thread is the backstore's own, and may hold what submitting takes.
fn go_on(mut task: Task, next: u64) {
    if task.id.is_some_and(|id| !task.itl.device.state().tasks.rest(id, next)) {
        return finish(task, Err(Failure::Status(Status::TASK_ABORTED)));
    }
    task.progress = next;
    task.is_queued = true;
    let device = Arc::clone(&task.itl.device);
    device.dispatcher().dispatch(task);
}

/// Hands a task over. It may have ended, or may have been aborted, before the backstore has taken it.
fn submit(mut task: Task, request: Request) {
    let Some(gate) = task.gate.clone() else {
        return finish(task, Err(Failure::Sense(Sense::MEDIUM_NOT_PRESENT)));
    };
    if let Err(error) = gate.admits(request.offset, request.length) {
        return finish(task, Err(error.into()));
    }
    let (id, progress, device) = (task.id, task.progress, Arc::clone(&task.itl.device));
    let buffer = match request.memory {
        Memory::None => Buffer::empty(),
        Memory::In => std::mem::replace(&mut task.data_in, Buffer::empty()),
        Memory::Out => std::mem::replace(&mut task.data_out, Buffer::empty()),
    };
    let what = (request.operation, request.offset, request.length);
    let ticket = gate.submit(Io::new(what, buffer, Box::new(Submitted { task, request })));
    if let (Some(id), Some(ticket)) = (id, ticket) {
        if !device.state().tasks.attach(id, progress, &ticket) {
            ticket.cancel();
        }
    }
}

/// Ends a task with the outcome given: takes it out of the task set, answers it unless it was aborted, and
/// dispatches tasks that waited for it.
pub fn finish(mut task: Task, outcome: Result<(), Failure>) {
    finish_here(&mut task, outcome);
}

fn finish_here(task: &mut Task, outcome: Result<(), Failure>) {
    let mut enabled = Vec::new();
    end(task, outcome, &mut enabled);
    if !enabled.is_empty() {
        dispatch(&task.itl.device, enabled);
    }
}

fn end(task: &mut Task, outcome: Result<(), Failure>, enabled: &mut Vec<Task>) {
    let (id, is_counted) = (task.id.take(), std::mem::take(&mut task.is_counted));
    let owed = {
        let mut state = task.itl.device.state();
        add(&task.itl.device.leaving, 1);
        if is_counted {
            task.itl.over();
        }
        count(task, outcome.is_ok());
        match id {
            None => Owed::Answer,
            Some(id) if task.lent.is_some() && outcome.is_ok() => state.tasks.lend(id, enabled),
            Some(id) => state.tasks.remove(id, enabled),
        }
    };
    match (id, owed) {
        (Some(id), Owed::Answer) if outcome.is_ok() => {
            task.loan = task.lent.is_some().then(|| Loan::new(&task.itl.device, id));
        }
        _ => task.lent = None,
    }
    if let Err(Failure::Sense(sense)) = &outcome {
        tell(&task.itl.device, sense);
    }
    settle(task, owed, outcome);
    task.itl.device.answered.fetch_add(1, Ordering::Release);
}

/// Gives the initiator what it is owed for a task that is out of the task set.
pub(crate) fn settle(task: &mut Task, owed: Owed, outcome: Result<(), Failure>) {
    match owed {
        Owed::Answer => answer(task, outcome),
        Owed::TaskAborted => answer(task, Err(Failure::Status(Status::TASK_ABORTED))),
        Owed::Nothing => {
            if !std::mem::replace(&mut task.is_answered, true) {
                task.reply.task_dropped(task.tag, task.is_immediate);
            }
        }
    }
}

/// Dispatches tasks that older ones have held up; those that a reservation made meanwhile forbids end here,
/// and may enable others.
pub(crate) fn dispatch(device: &Device, mut enabled: Vec<Task>) {
    while !enabled.is_empty() {
        let mut more = Vec::new();
        for mut task in enabled {
            let nexus = task.nexus.id;
            let conflicts =
                !task.is_carried_out && device.state().reservations.conflicts(nexus, task.row, &task.cdb);
            if conflicts {
                end(&mut task, Err(Failure::Status(Status::RESERVATION_CONFLICT)), &mut more);
            } else {
                device.dispatcher().dispatch(task);
            }
        }
        enabled = more;
    }
}

/// Says that the medium has failed; what the initiator did wrong is nobody else's business.
fn tell(device: &Device, sense: &Sense) {
    if matches!(sense.key, SenseKey::MediumError | SenseKey::HardwareError) {
        device.dispatcher().notice(&Notice::BackstoreFailed { device: device.name(), error: sense });
    }
}

/// Under the lock of the unit's state, as [`Counters`] has it.
fn count(task: &Task, good: bool) {
    let bytes = match task.transfer {
        Transfer { data_in: 1.., .. } if good => u64::from(task.data_in_length),
        Transfer { data_in: 1.., .. } => 0,
        _ => task.data_out_length as u64,
    };
    task.itl.counters.count(task.transfer, bytes, is_aligned(&task.extent, task.block_size));
}

/// Whether the blocks begin and end at multiples of 4 KiB, where most media need not read a piece to write
/// part of it.
#[inline]
pub(crate) fn is_aligned(extent: &Extent, block_size: u32) -> bool {
    let Extent { lba, blocks } = *extent;
    let (start, length) = (lba.wrapping_mul(block_size.into()), blocks.wrapping_mul(block_size.into()));
    *extent == Extent::WHOLE || (start | length) % ALIGNED_BYTES == 0
}

/// Answers a task that was carried out where it was admitted.
#[inline]
pub(crate) fn answer_at_once(task: &mut Task) {
    task.is_answered = true;
    reply(task, Status::GOOD, SenseData::NONE);
    task.itl.device.answered.fetch_add(1, Ordering::Release);
}

fn answer(task: &mut Task, outcome: Result<(), Failure>) {
    if std::mem::replace(&mut task.is_answered, true) {
        return;
    }
    if let Err(failure) = &outcome {
        task.itl.counters.failed(failure);
    }
    let (status, sense) = match outcome {
        Ok(()) => (Status::GOOD, SenseData::NONE),
        Err(Failure::Status(status)) => (status, SenseData::NONE),
        Err(Failure::Sense(sense)) => {
            (Status::CHECK_CONDITION, SenseData::new(&sense, task.itl.device.descriptor_sense()))
        }
        Err(Failure::WouldBlock) => (Status::BUSY, SenseData::NONE),
    };
    reply(task, status, sense);
}

#[inline(always)]
fn reply(task: &mut Task, status: Status, sense: SenseData) {
    let good = status == Status::GOOD;
    let data_in = std::mem::replace(&mut task.data_in, Buffer::empty());
    let mut done = Completion {
        tag: task.tag,
        status,
        sense,
        data_in: if good { data_in } else { Buffer::empty() },
        data_in_length: if good { task.data_in_length } else { 0 },
        lent: if good { task.lent.take().zip(task.loan.take()) } else { None },
        transfer: task.transfer,
        expected_in: task.expected_in,
        expected_out: task.expected_out,
        is_immediate: task.is_immediate,
        times: task.times.map(|times| (times, Arc::clone(&task.itl))),
    };
    task.reply.task_done(&mut done);
    // What was copied on its way out is memory that the next command may have.
    task.data_in = done.data_in;
}

/// What every task does when it goes. One that was not answered and not aborted is a bug of ours: the
/// initiator still gets an answer.
pub(crate) fn gone(task: &mut Task) {
    if task.is_over() {
        return;
    }
    let is_answered = task.is_answered && task.id.is_none();
    let device = Arc::clone(&task.itl.device);
    let mut enabled = Vec::new();
    let owed = {
        let mut state = device.state();
        if std::mem::take(&mut task.is_counted) {
            task.itl.over();
        }
        task.id.take().map_or(Owed::Answer, |id| state.tasks.remove(id, &mut enabled))
    };
    if is_answered {
        return;
    }
    settle(task, owed, Err(Failure::Sense(Sense::INTERNAL_TARGET_FAILURE)));
    dispatch(&device, enabled);
}
