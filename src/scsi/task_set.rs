//! The task set of a logical unit (SAM-5, clause 8): which task may run now, and what an abort leaves behind.
//!
//! A pure state machine, generic over what waits in it. Two rules order tasks:
//! * task attributes: ORDERED waits for everything older, everything waits for an older ORDERED or HEAD OF
//!   QUEUE task (within one nexus when TST is 1);
//! * blocks: of two tasks that touch the same blocks, one of them writing, the younger waits. That makes
//!   COMPARE AND WRITE atomic, keeps overlapping writes in the order they were sent, and is the fence
//!   around a write that was aborted but is still out: it holds its blocks until it comes back.
//!
//! Edges go from older to younger only, so no cycle can form.

use std::sync::Arc;

use crate::backstore::io::Ticket;
use crate::scsi::TaskAttribute;
use crate::scsi::claim::{Signal, Standing};
use crate::scsi::management::PendingFunction;

/// Names a task in its set; the generation makes a stale one harmless.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TaskId {
    slot: u32,
    generation: u32,
}

/// A run of blocks. Length zero touches nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Extent {
    /// First block.
    pub(crate) lba: u64,
    /// Number of blocks.
    pub(crate) blocks: u64,
}

impl Extent {
    /// The whole medium, whatever its size.
    pub(crate) const WHOLE: Extent = Extent { lba: 0, blocks: u64::MAX };

    /// From the first block of either to the last.
    pub(crate) fn hull(self, other: Extent) -> Extent {
        let lba = self.lba.min(other.lba);
        let end = |extent: Extent| extent.lba.saturating_add(extent.blocks);
        Extent { lba, blocks: end(self).max(end(other)) - lba }
    }

    pub(crate) fn overlaps(self, other: Extent) -> bool {
        self.lba < other.lba.saturating_add(other.blocks) && other.lba < self.lba.saturating_add(self.blocks)
    }
}

/// Place of a task among the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// By its task attribute.
    Attribute(TaskAttribute),
    /// Neither waits for attributes nor makes others wait.
    AtOnce,
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
    /// Whether the medium may change; an aborted task of this kind is waited for.
    pub(crate) writes: bool,
}

/// Where a task is.
#[derive(Debug)]
enum Stage<T> {
    /// Its Data-Out is arriving.
    Receiving,
    /// Complete, waiting for older tasks.
    Waiting(T),
    /// Being carried out.
    Running,
    /// Aborted while being carried out: it only holds its blocks.
    Fenced,
    /// No task: blocks that a copy claims; the signal says whether it has them.
    Claimed(Arc<Signal>),
}

struct Slot<T> {
    generation: u32,
    entry: Entry,
    sequence: u64,
    blockers: u32,
    stage: Stage<T>,
    functions: Vec<Arc<PendingFunction>>,
    /// Names the command at the backstore that has it, if one does.
    ticket: Option<Ticket>,
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

/// What an abort did.
pub(crate) struct Aborted<T> {
    /// Tasks hit, whatever their stage.
    pub(crate) hit: Vec<(u64, u32)>,
    /// Tasks that were waiting; they are the caller's to end without an answer of their own.
    pub(crate) waiting: Vec<T>,
    /// Tasks of others that may run now.
    pub(crate) enabled: Vec<T>,
    /// Commands that backstores have, to be told that nobody waits for them.
    pub(crate) cancelled: Vec<Ticket>,
}

/// The parts of [`Aborted`] that its caller must deal with.
pub(crate) type Rest<T> = (Vec<Ticket>, Vec<T>, Vec<T>);

impl<T> Aborted<T> {
    /// Commands to cancel, tasks to end without an answer, tasks that may run.
    pub(crate) fn rest(self) -> Rest<T> {
        (self.cancelled, self.waiting, self.enabled)
    }
}

/// Tasks of a logical unit that are not finished.
pub(crate) struct TaskSet<T> {
    slots: Vec<Option<Slot<T>>>,
    free: Vec<u32>,
    generation: u32,
    sequence: u64,
    count: u32,
    writers: u32,
    barriers: u32,
    waiting: u32,
    per_nexus: bool,
}

impl<T> TaskSet<T> {
    /// An empty set; `per_nexus` as TST = 001b says.
    pub(crate) fn new(per_nexus: bool) -> Self {
        TaskSet {
            slots: Vec::new(),
            free: Vec::new(),
            generation: 0,
            sequence: 0,
            count: 0,
            writers: 0,
            barriers: 0,
            waiting: 0,
            per_nexus,
        }
    }

    /// Claims blocks for work that is no task of this set. `signal` is granted when no older task touches
    /// them, and refused when an abort hits the claim first; [`TaskSet::remove`] gives the blocks back.
    pub(crate) fn claim(&mut self, entry: Entry, signal: &Arc<Signal>) -> TaskId {
        let id = self.insert(entry);
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

    /// Puts a task into the set. It may run when [`TaskSet::start`] says so.
    pub(crate) fn insert(&mut self, entry: Entry) -> TaskId {
        self.generation = self.generation.wrapping_add(1);
        self.sequence += 1;
        let blockers = self.count_blockers(&entry);
        let slot = Slot {
            generation: self.generation,
            entry,
            sequence: self.sequence,
            blockers,
            stage: Stage::Receiving,
            functions: Vec::new(),
            ticket: None,
        };
        self.count += 1;
        self.writers += u32::from(entry.writes);
        self.barriers += u32::from(is_barrier(&entry));
        let index = match self.free.pop() {
            Some(index) => {
                self.slots[index as usize] = Some(slot);
                index
            }
            None => {
                self.slots.push(Some(slot));
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        TaskId { slot: index, generation: self.generation }
    }

    /// Hits only when something in the set can hold the newcomer up; the common case costs two compares.
    fn count_blockers(&self, newer: &Entry) -> u32 {
        let ordered = newer.place == Place::Attribute(TaskAttribute::Ordered);
        let by_blocks = newer.extent.blocks > 0 && (newer.writes || self.writers > 0);
        if self.count == 0 || (self.barriers == 0 && !ordered && !by_blocks) {
            return 0;
        }
        let per_nexus = self.per_nexus;
        let blockers = self.slots.iter().flatten().filter(|older| blocks(older, newer, per_nexus)).count();
        u32::try_from(blockers).unwrap_or(u32::MAX)
    }

    /// The task has all it needs. Gives it back to be run now, or keeps it until older tasks are done.
    /// `Err` when it was aborted meanwhile: nobody waits for it any more.
    pub(crate) fn start(&mut self, id: TaskId, task: T) -> Result<Option<T>, T> {
        let Some(slot) = self.slot_mut(id) else { return Err(task) };
        if slot.blockers == 0 {
            slot.stage = Stage::Running;
            return Ok(Some(task));
        }
        slot.stage = Stage::Waiting(task);
        self.waiting += 1;
        Ok(None)
    }

    /// Remembers which command a running task is at its backstore. `false` when it has ended, or was aborted,
    /// meanwhile.
    pub(crate) fn attach(&mut self, id: TaskId, ticket: &Ticket) -> bool {
        let Some(slot) = self.slot_mut(id) else { return false };
        if !matches!(slot.stage, Stage::Running) {
            return false;
        }
        slot.ticket = Some(ticket.clone());
        true
    }

    /// Takes a task out. Answers whether its initiator still waits for it, and which tasks may run now.
    pub(crate) fn remove(&mut self, id: TaskId, enabled: &mut Vec<T>) -> bool {
        if self.slot_mut(id).is_none() {
            return false;
        }
        let Some(slot) = self.take(id.slot) else { return false };
        self.release(&slot, enabled);
        for function in &slot.functions {
            function.one_done();
        }
        !matches!(slot.stage, Stage::Fenced)
    }

    /// Aborts what `selector` hits. A task that is running and writes stays as a fence, and `function` is
    /// told when it has come back; every other task is gone when this returns.
    pub(crate) fn abort(
        &mut self,
        selector: Selector,
        function: Option<&Arc<PendingFunction>>,
    ) -> Aborted<T> {
        let mut aborted =
            Aborted { hit: Vec::new(), waiting: Vec::new(), enabled: Vec::new(), cancelled: Vec::new() };
        let mut gone = Vec::new();
        let mut fences = Vec::new();
        for index in 0..self.slots.len() {
            let Some(slot) = &mut self.slots[index] else { continue };
            if !selector.hits(&slot.entry) {
                continue;
            }
            let fenced = matches!(slot.stage, Stage::Fenced);
            if !fenced {
                aborted.hit.push((slot.entry.nexus, slot.entry.tag));
                aborted.cancelled.extend(slot.ticket.take());
            }
            if fenced || (slot.is_out() && slot.entry.writes) {
                if let Some(function) = function {
                    function.one_more();
                    slot.functions.push(Arc::clone(function));
                }
                if !fenced {
                    fences.push(index);
                }
            } else if let Some(slot) = self.take(u32::try_from(index).unwrap_or(u32::MAX)) {
                gone.push(slot);
            }
        }
        // Only now: a task released earlier could itself be one that this abort hits.
        for index in fences {
            self.fence(index, &mut aborted.enabled);
        }
        for slot in gone {
            self.release(&slot, &mut aborted.enabled);
            match slot.stage {
                Stage::Waiting(task) => aborted.waiting.push(task),
                Stage::Claimed(signal) => signal.set(Standing::Refused),
                _ => {}
            }
        }
        aborted
    }

    /// Turns a running task into a fence: it keeps its blocks and gives up its place in the order.
    fn fence(&mut self, index: usize, enabled: &mut Vec<T>) {
        let per_nexus = self.per_nexus;
        let Some(slot) = &mut self.slots[index] else { return };
        let (entry, sequence) = (slot.entry, slot.sequence);
        slot.stage = Stage::Fenced;
        self.barriers -= u32::from(is_barrier(&entry));
        if let Some(slot) = &mut self.slots[index] {
            slot.entry.place = Place::AtOnce;
        }
        self.unblock(enabled, |newer| {
            sequence < newer.sequence
                && by_attribute(&entry, &newer.entry, per_nexus)
                && !by_extent(&entry, &newer.entry)
        });
    }

    /// Whether a task with this tag is still to be answered.
    pub(crate) fn contains(&self, selector: Selector) -> bool {
        let is_task = |slot: &Slot<T>| !matches!(slot.stage, Stage::Fenced | Stage::Claimed(_));
        self.slots.iter().flatten().any(|slot| selector.hits(&slot.entry) && is_task(slot))
    }

    /// Whether the task is in the set and its initiator waits for it.
    pub(crate) fn is_wanted(&self, id: TaskId) -> bool {
        let slot = self.slots.get(id.slot as usize).and_then(Option::as_ref);
        slot.is_some_and(|slot| slot.generation == id.generation && !matches!(slot.stage, Stage::Fenced))
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
        self.free.push(index);
        self.count -= 1;
        self.writers -= u32::from(slot.entry.writes);
        self.barriers -= u32::from(is_barrier(&slot.entry));
        self.waiting -= u32::from(matches!(slot.stage, Stage::Waiting(_)));
        Some(slot)
    }

    fn release(&mut self, gone: &Slot<T>, enabled: &mut Vec<T>) {
        let per_nexus = self.per_nexus;
        self.unblock(enabled, |newer| {
            gone.sequence < newer.sequence && blocks(gone, &newer.entry, per_nexus)
        });
    }

    fn unblock(&mut self, enabled: &mut Vec<T>, held_up: impl Fn(&Slot<T>) -> bool) {
        for slot in self.slots.iter_mut().flatten() {
            if slot.blockers == 0 || !held_up(slot) {
                continue;
            }
            slot.blockers -= 1;
            if slot.blockers > 0 {
                continue;
            }
            if let Stage::Claimed(signal) = &slot.stage {
                signal.set(Standing::Granted);
            }
            if !matches!(slot.stage, Stage::Waiting(_)) {
                continue;
            }
            if let Stage::Waiting(task) = std::mem::replace(&mut slot.stage, Stage::Running) {
                self.waiting -= 1;
                enabled.push(task);
            }
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

fn is_barrier(entry: &Entry) -> bool {
    matches!(entry.place, Place::Attribute(TaskAttribute::Ordered | TaskAttribute::HeadOfQueue))
}

fn blocks<T>(older: &Slot<T>, newer: &Entry, per_nexus: bool) -> bool {
    by_extent(&older.entry, newer) || by_attribute(&older.entry, newer, per_nexus)
}

fn by_extent(older: &Entry, newer: &Entry) -> bool {
    (older.writes || newer.writes) && older.extent.overlaps(newer.extent)
}

fn by_attribute(older: &Entry, newer: &Entry, per_nexus: bool) -> bool {
    if per_nexus && older.nexus != newer.nexus {
        return false;
    }
    match (older.place, newer.place) {
        (Place::AtOnce, _) | (_, Place::AtOnce) => false,
        (_, Place::Attribute(TaskAttribute::HeadOfQueue)) => false,
        (_, Place::Attribute(TaskAttribute::Ordered)) => true,
        (Place::Attribute(older), _) => matches!(older, TaskAttribute::Ordered | TaskAttribute::HeadOfQueue),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(nexus: u64, tag: u32, attribute: TaskAttribute, lba: u64, writes: bool) -> Entry {
        let extent = Extent { lba, blocks: 1 };
        Entry { nexus, tag, place: Place::Attribute(attribute), extent, writes }
    }

    fn simple(tag: u32, lba: u64, writes: bool) -> Entry {
        entry(1, tag, TaskAttribute::Simple, lba, writes)
    }

    fn runs(set: &mut TaskSet<u32>, entry: Entry) -> (TaskId, bool) {
        let id = set.insert(entry);
        let now = set.start(id, entry.tag).unwrap().is_some();
        (id, now)
    }

    fn removed(set: &mut TaskSet<u32>, id: TaskId) -> Vec<u32> {
        let mut enabled = Vec::new();
        assert!(set.remove(id, &mut enabled));
        enabled
    }

    #[test]
    fn sam_8_ordered_waits_for_older_and_holds_up_younger() {
        let mut set = TaskSet::new(true);
        let (first, now) = runs(&mut set, simple(1, 10, false));
        assert!(now);
        let (ordered, now) = runs(&mut set, entry(1, 2, TaskAttribute::Ordered, 20, false));
        assert!(!now);
        let (_, now) = runs(&mut set, simple(3, 30, false));
        assert!(!now);
        let (_, now) = runs(&mut set, entry(1, 4, TaskAttribute::HeadOfQueue, 40, false));
        assert!(now);
        let (_, now) = runs(&mut set, entry(2, 5, TaskAttribute::Simple, 50, false));
        assert!(now, "another nexus has a task set of its own when TST is 1");
        assert_eq!(removed(&mut set, first), [2]);
        assert_eq!(removed(&mut set, ordered), [3]);
    }

    #[test]
    fn overlapping_writes_run_in_the_order_sent() {
        let mut set = TaskSet::new(true);
        let (write, _) = runs(&mut set, simple(1, 7, true));
        let (read, now) = runs(&mut set, entry(9, 2, TaskAttribute::Simple, 7, false));
        assert!(!now);
        let (_, now) = runs(&mut set, simple(3, 8, true));
        assert!(now);
        let (_, now) = runs(&mut set, simple(4, 7, true));
        assert!(!now);
        assert_eq!(removed(&mut set, write), [2]);
        assert_eq!(removed(&mut set, read), [4]);
    }

    #[test]
    fn an_aborted_write_that_is_out_keeps_its_blocks() {
        let mut set = TaskSet::new(true);
        let (write, _) = runs(&mut set, simple(1, 7, true));
        let (ordered, now) = runs(&mut set, entry(1, 2, TaskAttribute::Ordered, 100, false));
        assert!(!now);
        let (_, now) = runs(&mut set, entry(2, 3, TaskAttribute::Simple, 7, true));
        assert!(!now);
        let aborted = set.abort(Selector::Tag { nexus: 1, tag: 1 }, None);
        assert_eq!(aborted.hit, [(1, 1)]);
        assert_eq!(aborted.enabled, [2], "the order no longer waits for it");
        assert!(!set.contains(Selector::Tag { nexus: 1, tag: 1 }));
        let mut enabled = Vec::new();
        assert!(!set.remove(write, &mut enabled), "nobody is to be answered");
        assert_eq!(enabled, [3]);
        assert!(removed(&mut set, ordered).is_empty());
    }

    #[test]
    fn a_claim_waits_for_older_writes_and_holds_up_younger_ones() {
        let claimed = |nexus, lba, writes| Entry {
            place: Place::AtOnce,
            ..entry(nexus, u32::MAX, TaskAttribute::Simple, lba, writes)
        };
        let mut set = TaskSet::new(true);
        let (write, _) = runs(&mut set, simple(1, 7, true));
        let (reading, writing) = (Signal::new(), Signal::new());
        let source = set.claim(claimed(1, 7, false), &reading);
        let destination = set.claim(claimed(1, 8, true), &writing);
        assert_eq!((reading.standing(), writing.standing()), (Standing::Waiting, Standing::Granted));
        let (_, now) = runs(&mut set, simple(2, 8, false));
        assert!(!now);
        assert!(removed(&mut set, write).is_empty());
        assert_eq!(reading.standing(), Standing::Granted);
        assert!(!set.contains(Selector::Tag { nexus: 1, tag: u32::MAX }), "it is no task");
        let aborted = set.abort(Selector::All, None);
        assert_eq!(reading.standing(), Standing::Refused);
        assert!(set.holds(destination) && !set.holds(source), "what writes is a fence until it is back");
        assert!(aborted.waiting.len() == 1 && !set.is_wanted(destination));
        assert!(!set.remove(destination, &mut Vec::new()));
        assert_eq!(set.len(), 0);
    }

    #[test]
    fn an_abort_of_everything_starts_nothing_it_hit() {
        let mut set = TaskSet::new(true);
        let (first, _) = runs(&mut set, simple(1, 7, false));
        runs(&mut set, simple(2, 7, true));
        runs(&mut set, simple(3, 7, true));
        let receiving = set.insert(simple(4, 9, true));
        let aborted = set.abort(Selector::Nexus(1), None);
        assert_eq!(aborted.hit.len(), 4);
        assert_eq!(aborted.waiting, [2, 3]);
        assert!(aborted.enabled.is_empty());
        assert_eq!(set.start(receiving, 4), Err(4));
        assert!(!set.remove(first, &mut Vec::new()));
        assert_eq!(set.len(), 0);
    }
}
