//! Tasks that pass others of which nobody knows when their data comes.
//!
//! Where each nexus has a task set of its own, nobody waits for the blocks, or the turn, of a task of another
//! nexus that is still receiving: an initiator that was asked for data may never send it, and its writes may
//! have come again on another path. A task that has begun, and has nothing older to wait for, *looks*: of
//! those that it has passed and that have passed it, it waits for the ones that are free. Else it is free
//! itself, and waits for nobody any more; so no cycle goes through such an edge.

use crate::scsi::task_set::{Entry, Slot, TaskId, TaskSet, order};

/// Of a task that is still receiving.
pub(super) const NOT_YET: u64 = u64::MAX;

impl<T> TaskSet<T> {
    /// The task has all it needs.
    pub(super) fn note_begun(&mut self, id: TaskId) {
        let now = self.sequence + 1;
        let Some(slot) = self.slot_mut(id).filter(|slot| slot.begun == NOT_YET) else { return };
        slot.begun = now;
        let is_first = slot.blockers == 0;
        self.sequence = now;
        if is_first {
            self.look(id.slot);
        }
    }

    /// The task has begun and has nothing older to wait for.
    pub(super) fn look(&mut self, index: u32) {
        self.sequence += 1;
        let (now, blockers) = (self.sequence, if self.passing > 0 { self.count_passed(index) } else { 0 });
        let Some(Some(slot)) = self.slots.get_mut(index as usize) else { return };
        (slot.looked, slot.is_free, slot.blockers) = (now, blockers == 0, blockers);
        self.held_up += u32::from(blockers > 0);
    }

    #[cold]
    fn count_passed(&self, index: u32) -> u32 {
        let Some(Some(own)) = self.slots.get(index as usize) else { return 0 };
        let others = self.slots.iter().flatten().filter(|other| other.generation != own.generation);
        let count = others.filter(|other| other.is_free && own.is_past(other)).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}

impl<T> Slot<T> {
    /// Whether a newcomer that it would hold up passes it.
    pub(super) fn is_passed_by(&self, newer: &Entry, per_nexus: bool) -> bool {
        per_nexus && self.begun == NOT_YET && self.entry.nexus != newer.nexus
    }

    /// Whether one of the two has passed the other, so that none waits for the other by its age.
    fn is_past(&self, other: &Slot<T>) -> bool {
        let (older, newer) = if self.sequence < other.sequence { (self, other) } else { (other, self) };
        newer.passes
            && older.begun > newer.sequence
            && older.entry.nexus != newer.entry.nexus
            && order::keeps(&older.entry, &newer.entry)
    }

    /// Whether `gone`, which has left the set at `left`, counts among what holds it up.
    pub(super) fn waits_for(&self, gone: &Slot<T>, left: u64, per_nexus: bool) -> bool {
        if self.is_past(gone) {
            let has_seen = gone.is_free && gone.looked < self.looked && self.looked <= left;
            return has_seen && self.begun != NOT_YET && !self.is_free;
        }
        gone.sequence < self.sequence && order::blocks(&gone.entry, &self.entry, per_nexus)
    }
}

#[cfg(test)]
mod tests;
