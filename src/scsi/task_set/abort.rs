//! What an abort does to the tasks of a set.

use crate::scsi::claim::Standing;
use crate::scsi::task_set::order::{by_attribute, is_barrier, keeps};
use crate::scsi::task_set::{Abort, Aborted, Owed, Place, Selector, Stage, TaskId, TaskSet, Waiter};

impl<T> TaskSet<T> {
    /// Aborts tasks. One that is running and cannot be called back stays as a fence, and the waiter is told
    /// when it has come back; every other task is gone when this returns. What is lent to who is aborted is
    /// given back, but by an abort of one task, which has been answered.
    pub(crate) fn abort(&mut self, abort: &Abort) -> Aborted<T> {
        let mut aborted = Aborted {
            hit: Vec::new(),
            waiting: Vec::new(),
            enabled: Vec::new(),
            cancelled: Vec::new(),
            any_queued: false,
        };
        let mut gone = Vec::new();
        let mut fences = Vec::new();
        for index in 0..self.slots.len() {
            let Some(slot) = &mut self.slots[index] else { continue };
            if !abort.selector.hits(&slot.entry) {
                continue;
            }
            let number = u32::try_from(index).unwrap_or(u32::MAX);
            if matches!(slot.stage, Stage::Lent) {
                // It is answered, and its tag may be another's. Who is aborted keeps nobody from writing.
                if !matches!(abort.selector, Selector::Tag { .. }) {
                    gone.extend(self.take(number));
                }
                continue;
            }
            let id = TaskId { slot: number, generation: slot.generation };
            let fenced = matches!(slot.stage, Stage::Fenced(_));
            aborted.any_queued |= matches!(slot.stage, Stage::Queued);
            if !fenced {
                aborted.hit.push((slot.entry.nexus, slot.entry.tag));
                aborted.cancelled.extend(slot.ticket.take());
                let waits = matches!(slot.stage, Stage::Waiting(_));
                if !waits && abort.told_by.is_some_and(|by| by != slot.entry.nexus) {
                    self.told.push(id);
                }
            }
            if fenced || (slot.is_out() && slot.entry.is_fenced()) {
                if !fenced {
                    slot.stage = Stage::Fenced(Vec::new());
                    fences.push(index);
                }
                self.wait_for(index, abort.waiter.as_ref());
            } else if let Some(slot) = self.take(number) {
                gone.push(slot);
            }
        }
        let left = self.sequence;
        // Only now: a task released earlier could itself be one that this abort hits.
        for index in fences {
            self.fence(index, &mut aborted.enabled);
        }
        for slot in gone {
            self.release(&slot, left, &mut aborted.enabled);
            match slot.stage {
                Stage::Waiting(task) => {
                    let told = abort.told_by.is_some_and(|by| by != slot.entry.nexus);
                    aborted.waiting.push((*task, if told { Owed::TaskAborted } else { Owed::Nothing }));
                }
                Stage::Claimed(signal) => signal.set(Standing::Refused),
                _ => {}
            }
        }
        aborted
    }

    fn wait_for(&mut self, index: usize, waiter: Option<&Waiter>) {
        let (Some(slot), Some(waiter)) = (&mut self.slots[index], waiter) else { return };
        let Stage::Fenced(waiters) = &mut slot.stage else { return };
        waiters.push(waiter.clone());
        match waiter {
            Waiter::Function(function) => function.one_more(),
            Waiter::Task(id) => {
                let Some(slot) = self.slot_mut(*id) else { return };
                slot.blockers += 1;
                let is_first = slot.blockers == 1;
                self.held_up += u32::from(is_first);
            }
        }
    }

    /// A running task has become a fence, or is lent: it keeps its blocks, stays exclusive if it is, and
    /// gives up its place in the order.
    pub(super) fn fence(&mut self, index: usize, enabled: &mut Vec<T>) {
        let per_nexus = self.per_nexus;
        let Some(slot) = &mut self.slots[index] else { return };
        let (entry, sequence) = (slot.entry, slot.sequence);
        self.barriers -= u32::from(is_barrier(&entry));
        if let Some(slot) = &mut self.slots[index] {
            slot.entry.place =
                if entry.place.is_exclusive() { Place::Exclusive(None) } else { Place::AtOnce };
        }
        self.unblock(enabled, |newer| {
            sequence < newer.sequence
                && by_attribute(&entry, &newer.entry, per_nexus)
                && !keeps(&entry, &newer.entry)
        });
    }
}
