//! The task set of a logical unit (SAM-5, clause 8): which task may run now, and what an abort leaves behind.
//!
//! A pure state machine, generic over what waits in it. Two rules order tasks:
//! * task attributes: ORDERED waits for everything older, everything waits for an older ORDERED or HEAD OF
//!   QUEUE task (within one nexus when TST is 1); of tasks that change the reservations, one at a time runs;
//! * blocks: of two tasks that touch the same blocks, one of them writing, the younger waits. That makes
//!   COMPARE AND WRITE atomic, keeps overlapping writes in the order they were sent, and is the fence
//!   around a write that was aborted but is still out: it holds its blocks until it comes back.
//!
//! Edges go from older to younger, so no cycle can form; but for tasks that others pass ([`passing`]).

mod abort;
mod extent;
mod order;
mod passing;

use std::sync::Arc;

use crate::backstore::io::Ticket;
use crate::scsi::TaskAttribute;
use crate::scsi::claim::{Signal, Standing};
use crate::scsi::management::PendingFunction;
pub(crate) use crate::scsi::task_set::extent::Extent;
use crate::scsi::task_set::order::is_barrier;
use crate::scsi::task_set::passing::NOT_YET;

/// Names a task in its set; the generation makes a stale one harmless.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TaskId {
    slot: u32,
    generation: u32,
}

/// Place of a task among the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// By its task attribute.
    Attribute(TaskAttribute),
    /// By its task attribute, none for a fence; and of these one at a time, whatever the nexus.
    Exclusive(Option<TaskAttribute>),
    /// Neither waits for attributes nor makes others wait.
    AtOnce,
}

impl Place {
    fn attribute(self) -> Option<TaskAttribute> {
        match self {
            Place::Attribute(attribute) => Some(attribute),
            Place::Exclusive(attribute) => attribute,
            Place::AtOnce => None,
        }
    }

    fn is_exclusive(self) -> bool {
        matches!(self, Place::Exclusive(_))
    }
}

/// What the set must know of a task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// I_T nexus.
    pub(crate) nexus: u64,
    /// Initiator task tag.
    pub(crate) tag: u32,
    /// Place among the others.
    pub(crate) place: Place,
    /// Blocks touched.
    pub(crate) extent: Extent,
    /// Whether the medium, or the unit, may change; an aborted task of this kind is waited for, but for those
    /// that outlive.
    pub(crate) writes: bool,
    /// What it has begun goes on when it is aborted: nobody waits for the task.
    pub(crate) outlives: bool,
    /// Bytes of Data-Out that it holds in memory until it goes.
    pub(crate) bytes: u64,
}

impl Entry {
    /// What it changes cannot be called back: when it is aborted while it runs, it is waited for.
    fn is_fenced(&self) -> bool {
        (self.writes && !self.outlives) || self.place.is_exclusive()
    }
}

/// Who waits for a task that was aborted but is still out.
#[derive(Clone)]
pub(crate) enum Waiter {
    /// A task management function.
    Function(Arc<PendingFunction>),
    /// A task that runs: [`TaskSet::start`] will keep it until the last of those has come back.
    Task(TaskId),
}

/// Where a task is.
enum Stage<T> {
    /// Its Data-Out is arriving.
    Receiving,
    /// Complete, waiting for older tasks; boxed, so that the slots of those that need not wait stay small.
    Waiting(Box<T>),
    /// Free to run, waiting for a thread: nothing of it is being done.
    Queued,
    /// Being carried out.
    Running,
    /// Aborted while being carried out: it only holds its blocks; and who waits for it.
    Fenced(Vec<Waiter>),
    /// No task: blocks that a copy claims; the signal says whether it has them.
    Claimed(Arc<Signal>),
    /// Answered, with pages of the store that the initiator may not have received yet: it only holds its
    /// blocks.
    Lent,
}

struct Slot<T> {
    generation: u32,
    entry: Entry,
    sequence: u64,
    /// It has passed tasks that were receiving.
    passes: bool,
    /// Since when it has all it needs, by the same clock as `sequence`; [`NOT_YET`].
    begun: u64,
    /// Nothing was left to wait for once it had begun.
    is_free: bool,
    /// When it last looked whether it is free.
    looked: u64,
    blockers: u32,
    stage: Stage<T>,
    /// Names the command at the backstore that has it, if one does.
    ticket: Option<Ticket>,
    /// How far the task is there.
    progress: u64,
}

/// Which tasks an abort hits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Selector {
    /// One task of one nexus.
    Tag {
        /// I_T nexus.
        nexus: u64,
        /// Initiator task tag.
        tag: u32,
    },
    /// All tasks of one nexus.
    Nexus(u64),
    /// All tasks.
    All,
}

impl Selector {
    fn hits(self, entry: &Entry) -> bool {
        match self {
            Selector::Tag { nexus, tag } => entry.nexus == nexus && entry.tag == tag,
            Selector::Nexus(nexus) => entry.nexus == nexus,
            Selector::All => true,
        }
    }
}

/// An abort.
#[derive(Clone)]
pub(crate) struct Abort {
    /// Which tasks.
    pub(crate) selector: Selector,
    /// Who waits for those that are still out.
    pub(crate) waiter: Option<Waiter>,
    /// With TAS, the nexus that asked: tasks of others end with TASK ABORTED instead of silence.
    pub(crate) told_by: Option<u64>,
}

/// What is owed to the initiator of a task that has come out of the set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owed {
    /// Its outcome.
    Answer,
    /// TASK ABORTED status.
    TaskAborted,
    /// Nothing: it was aborted.
    Nothing,
}

/// What an abort did.
pub(crate) struct Aborted<T> {
    /// Tasks hit, whatever their stage.
    pub(crate) hit: Vec<(u64, u32)>,
    /// Tasks that were waiting, and what is owed for them; they are the caller's to end.
    pub(crate) waiting: Vec<(T, Owed)>,
    /// Tasks of others that may run now.
    pub(crate) enabled: Vec<T>,
    /// Commands that backstores have, to be told that nobody waits for them.
    pub(crate) cancelled: Vec<Ticket>,
    /// Whether tasks were hit that wait for a thread: whoever has them is to be told.
    pub(crate) any_queued: bool,
}

/// Tasks of a logical unit that are not finished. What is asked of an empty set comes first.
#[repr(C)]
pub(crate) struct TaskSet<T> {
    count: u32,
    writers: u32,
    barriers: u32,
    /// Tasks and claims that others hold up.
    held_up: u32,
    /// Those that have passed others.
    passing: u32,
    bytes: u64,
    slots: Vec<Option<Slot<T>>>,
    /// Slots below `fresh` that hold no task; none from there on does. An empty set begins anew, with slot 0:
    /// where commands go to very many units, those of each stay in the same few lines of the processor's
    /// cache.
    free: Vec<u32>,
    fresh: u32,
    generation: u32,
    sequence: u64,
    per_nexus: bool,
    /// Aborted tasks that have not come back and end with TASK ABORTED.
    told: Vec<TaskId>,
}

impl<T> TaskSet<T> {
    /// An empty set; `per_nexus` as TST = 001b says.
    pub(crate) fn new(per_nexus: bool) -> Self {
        TaskSet {
            slots: Vec::new(),
            free: Vec::new(),
            fresh: 0,
            generation: 0,
            sequence: 0,
            count: 0,
            writers: 0,
            barriers: 0,
            held_up: 0,
            passing: 0,
            bytes: 0,
            per_nexus,
            told: Vec::new(),
        }
    }

    /// Claims blocks for work that is no task of this set. `signal` is granted when no older task touches
    /// them, and refused when an abort hits the claim first; [`TaskSet::remove`] gives the blocks back.
    pub(crate) fn claim(&mut self, entry: Entry, signal: &Arc<Signal>) -> TaskId {
        // A copy holds one claim while it waits for the next, so none passes anybody: there could be a cycle.
        let older = self.count_blockers(&entry);
        let (id, _) = self.enter(entry, false, (older.0 + older.1, 0));
        self.note_begun(id);
        if let Some(slot) = self.slot_mut(id) {
            slot.stage = Stage::Claimed(Arc::clone(signal));
            if slot.blockers == 0 {
                signal.set(Standing::Granted);
            }
        }
        id
    }

    /// Number of tasks, fenced ones and claims included.
    pub(crate) fn len(&self) -> usize {
        self.count as usize
    }

    /// Bytes of Data-Out that the tasks hold, fenced ones included.
    #[inline]
    pub(crate) fn bytes(&self) -> u64 {
        // An empty set is told by the line of the cache that is looked at anyway.
        if self.count == 0 { 0 } else { self.bytes }
    }

    /// Whether a task would run at once, were it put into the set.
    #[inline]
    pub(crate) fn lets_run(&self, entry: &Entry) -> bool {
        self.count_blockers(entry).0 == 0
    }

    /// Puts a task into the set. It may run when [`TaskSet::start`] says so.
    #[cfg(test)]
    pub(crate) fn insert(&mut self, entry: Entry) -> TaskId {
        self.put(entry, false).0
    }

    /// Puts a task into the set. It may run when [`TaskSet::start`] says so; one that `begins` has all it
    /// needs and runs at once, if it may: whether it does.
    #[inline]
    pub(crate) fn put(&mut self, entry: Entry, begins: bool) -> (TaskId, bool) {
        let older = self.count_blockers(&entry);
        self.enter(entry, begins, older)
    }

    /// `older` are how many hold it up, and how many it passes.
    #[inline]
    fn enter(&mut self, entry: Entry, begins: bool, older: (u32, u32)) -> (TaskId, bool) {
        self.generation = self.generation.wrapping_add(1);
        self.sequence += 1;
        let (blockers, passes) = (older.0, older.1 > 0);
        let begins = begins && blockers == 0;
        let slot = Slot {
            generation: self.generation,
            entry,
            sequence: self.sequence,
            passes,
            begun: if begins { self.sequence } else { NOT_YET },
            is_free: begins,
            looked: self.sequence,
            blockers,
            stage: if begins { Stage::Running } else { Stage::Receiving },
            ticket: None,
            progress: 0,
        };
        self.count += 1;
        self.bytes += entry.bytes;
        self.writers += u32::from(entry.writes);
        self.barriers += u32::from(is_barrier(&entry));
        self.held_up += u32::from(blockers > 0);
        self.passing += u32::from(passes);
        let index = self.free.pop().unwrap_or_else(|| {
            self.fresh += 1;
            self.fresh - 1
        });
        match self.slots.get_mut(index as usize) {
            Some(place) => *place = Some(slot),
            None => self.slots.push(Some(slot)),
        }
        (TaskId { slot: index, generation: self.generation }, begins)
    }

    /// How many hold the newcomer up, and how many it passes. Hits only when something in the set can
    /// hold it up; the common case costs two compares.
    fn count_blockers(&self, newer: &Entry) -> (u32, u32) {
        let ordered = newer.place.attribute() == Some(TaskAttribute::Ordered);
        let by_blocks = newer.extent.blocks > 0 && (newer.writes || self.writers > 0);
        let by_order = self.barriers > 0 || ordered || newer.place.is_exclusive();
        if self.count == 0 || !(by_order || by_blocks) {
            return (0, 0);
        }
        let per_nexus = self.per_nexus;
        let (mut blockers, mut passed) = (0, 0);
        for older in self.slots.iter().flatten().filter(|older| order::blocks(&older.entry, newer, per_nexus))
        {
            blockers += 1;
            passed += u32::from(older.is_passed_by(newer, per_nexus));
        }
        (blockers - passed, passed)
    }

    /// The task has all it needs, and runs from now on or, if it `queues`, waits for a thread; unless others
    /// come first: `Some(false)`. `None` when it was aborted meanwhile.
    pub(crate) fn begin(&mut self, id: TaskId, queues: bool) -> Option<bool> {
        self.note_begun(id);
        let slot = self.slot_mut(id).filter(|slot| !matches!(slot.stage, Stage::Fenced(_)))?;
        if slot.blockers == 0 {
            slot.stage = if queues { Stage::Queued } else { Stage::Running };
        }
        Some(slot.blockers == 0)
    }

    /// As [`TaskSet::begin`]. Gives the task back, queued, or keeps it until older tasks are done.
    /// `Err` when it was aborted meanwhile. A task that has run and waits for tasks it aborted is started a
    /// second time, and is given back when they have come back.
    pub(crate) fn start(&mut self, id: TaskId, task: T) -> Result<Option<T>, T> {
        match self.begin(id, true) {
            None => return Err(task),
            Some(true) => return Ok(Some(task)),
            Some(false) => {}
        }
        if let Some(slot) = self.slot_mut(id) {
            slot.stage = Stage::Waiting(Box::new(task));
        }
        Ok(None)
    }

    /// A thread takes the task up. `false` when it was aborted before anything of it was done.
    pub(crate) fn take_up(&mut self, id: TaskId) -> bool {
        let Some(slot) = self.slot_mut(id) else { return false };
        match slot.stage {
            Stage::Queued => slot.stage = Stage::Running,
            Stage::Running => {}
            _ => return false,
        }
        true
    }

    /// Remembers which command a running task is at its backstore, if that is as far as it is still.
    /// `false` when the task has ended, or was aborted, meanwhile.
    pub(crate) fn attach(&mut self, id: TaskId, progress: u64, ticket: &Ticket) -> bool {
        let Some(slot) = self.slot_mut(id) else { return false };
        if slot.progress != progress {
            return true;
        }
        if !matches!(slot.stage, Stage::Running) {
            return false;
        }
        slot.ticket = Some(ticket.clone());
        true
    }

    /// The backstore has answered a running task, which goes on from `progress` and waits for a thread.
    /// `false` when it was aborted meanwhile.
    pub(crate) fn rest(&mut self, id: TaskId, progress: u64) -> bool {
        let Some(slot) = self.slot_mut(id) else { return false };
        if !matches!(slot.stage, Stage::Running) {
            return false;
        }
        slot.stage = Stage::Queued;
        slot.ticket = None;
        slot.progress = progress;
        true
    }

    /// Takes a task out. Answers what its initiator is owed, and which tasks may run now.
    pub(crate) fn remove(&mut self, id: TaskId, enabled: &mut Vec<T>) -> Owed {
        if self.forget(id) {
            return Owed::Answer;
        }
        let told = self.told.iter().position(|told| *told == id).map(|at| self.told.swap_remove(at));
        let aborted = if told.is_some() { Owed::TaskAborted } else { Owed::Nothing };
        if self.slot_mut(id).is_none() {
            return aborted;
        }
        let Some(slot) = self.take(id.slot) else { return aborted };
        self.release(&slot, self.sequence, enabled);
        let Stage::Fenced(waiters) = slot.stage else { return Owed::Answer };
        for waiter in waiters {
            match waiter {
                Waiter::Function(function) => function.one_done(),
                Waiter::Task(id) => self.one_back(id, enabled),
            }
        }
        aborted
    }

    /// As [`TaskSet::remove`] of a task that is answered with pages of the store: it keeps its blocks until
    /// [`TaskSet::remove`], unless it was aborted.
    pub(crate) fn lend(&mut self, id: TaskId, enabled: &mut Vec<T>) -> Owed {
        match self.slot_mut(id) {
            Some(slot) if matches!(slot.stage, Stage::Running) => slot.stage = Stage::Lent,
            _ => return self.remove(id, enabled),
        }
        self.fence(id.slot as usize, enabled);
        Owed::Answer
    }

    /// As [`TaskSet::remove`] for a task that holds nobody up and that nobody has aborted, which is nearly
    /// every one: it ends in its place. `false`, and nothing done, for any other.
    #[inline]
    fn forget(&mut self, id: TaskId) -> bool {
        let Some(Some(slot)) = self.slots.get_mut(id.slot as usize) else { return false };
        let is_running = matches!(slot.stage, Stage::Running);
        if !is_running || slot.generation != id.generation || self.held_up > 0 {
            return false;
        }
        let (entry, passes) = (slot.entry, slot.passes);
        self.slots[id.slot as usize] = None;
        self.vacated(id.slot, &entry, passes);
        true
    }

    /// A slot has become free.
    #[inline]
    fn vacated(&mut self, index: u32, entry: &Entry, passes: bool) {
        self.count -= 1;
        self.passing -= u32::from(passes);
        if self.count == 0 {
            self.free.clear();
            self.fresh = 0;
        } else {
            self.free.push(index);
        }
        self.bytes -= entry.bytes;
        self.writers -= u32::from(entry.writes);
        self.barriers -= u32::from(is_barrier(entry));
    }

    fn one_back(&mut self, id: TaskId, enabled: &mut Vec<T>) {
        if let Some(slot) = self.slot_mut(id) {
            slot.blockers -= 1;
            self.enable(id.slot, enabled);
        }
    }

    /// Whether a task with this tag is still to be answered.
    pub(crate) fn contains(&self, selector: Selector) -> bool {
        let is_task =
            |slot: &Slot<T>| !matches!(slot.stage, Stage::Fenced(_) | Stage::Claimed(_) | Stage::Lent);
        self.slots.iter().flatten().any(|slot| selector.hits(&slot.entry) && is_task(slot))
    }

    /// Whether the task is in the set and its initiator waits for it.
    pub(crate) fn is_wanted(&self, id: TaskId) -> bool {
        let slot = self.slots.get(id.slot as usize).and_then(Option::as_ref);
        slot.is_some_and(|slot| slot.generation == id.generation && !matches!(slot.stage, Stage::Fenced(_)))
    }

    /// Whether the task is in the set, even if only as a fence.
    pub(crate) fn holds(&self, id: TaskId) -> bool {
        let slot = self.slots.get(id.slot as usize).and_then(Option::as_ref);
        slot.is_some_and(|slot| slot.generation == id.generation)
    }

    fn slot_mut(&mut self, id: TaskId) -> Option<&mut Slot<T>> {
        let slot = self.slots.get_mut(id.slot as usize)?.as_mut()?;
        (slot.generation == id.generation).then_some(slot)
    }

    fn take(&mut self, index: u32) -> Option<Slot<T>> {
        let slot = self.slots[index as usize].take()?;
        self.vacated(index, &slot.entry, slot.passes);
        self.held_up -= u32::from(slot.blockers > 0);
        Some(slot)
    }

    /// Those that waited for a task that has left the set at `left`.
    fn release(&mut self, gone: &Slot<T>, left: u64, enabled: &mut Vec<T>) {
        let per_nexus = self.per_nexus;
        self.unblock(enabled, |other| other.waits_for(gone, left, per_nexus));
    }

    fn unblock(&mut self, enabled: &mut Vec<T>, held_up: impl Fn(&Slot<T>) -> bool) {
        if self.held_up == 0 {
            return;
        }
        for index in 0..self.slots.len() {
            let Some(slot) = &mut self.slots[index] else { continue };
            if slot.blockers == 0 || !held_up(slot) {
                continue;
            }
            slot.blockers -= 1;
            self.enable(u32::try_from(index).unwrap_or(u32::MAX), enabled);
        }
    }

    /// One less holds a task up: gives it out if it has all it needs and nothing left to wait for.
    fn enable(&mut self, index: u32, enabled: &mut Vec<T>) {
        let Some(Some(slot)) = self.slots.get_mut(index as usize) else { return };
        if slot.blockers > 0 {
            return;
        }
        self.held_up -= 1;
        if slot.begun != NOT_YET && !slot.is_free {
            self.look(index);
        }
        let Some(slot) = self.slots[index as usize].as_mut().filter(|slot| slot.blockers == 0) else {
            return;
        };
        if let Stage::Claimed(signal) = &slot.stage {
            signal.set(Standing::Granted);
        }
        if !matches!(slot.stage, Stage::Waiting(_)) {
            return;
        }
        if let Stage::Waiting(task) = std::mem::replace(&mut slot.stage, Stage::Queued) {
            enabled.push(*task);
        }
    }
}

impl<T> Slot<T> {
    /// Whether it may be touching the medium.
    fn is_out(&self) -> bool {
        match self.stage {
            Stage::Running => true,
            Stage::Claimed(_) => self.blockers == 0,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
