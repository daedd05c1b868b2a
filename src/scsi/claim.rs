//! Blocks of units claimed for work that is no task of theirs: the ends of a third-party copy.
//!
//! A claim takes part in the order of its unit's task set like a command of the same blocks. Claims on
//! several units are taken in one order, that of the units' addresses, so that two copies never wait for
//! each other.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::scsi::device::Device;
use crate::scsi::execute;
use crate::scsi::task_set::{Entry, Extent, Place, TaskId};

/// How often a claim that waits looks whether it is still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What became of a claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// Older tasks have the blocks.
    Waiting,
    /// The blocks are the claimant's.
    Granted,
    /// An abort hit it before it had them.
    Refused,
}

/// Tells a claimant when it has its blocks. A lock of its own, taken last.
#[derive(Debug)]
pub(crate) struct Signal {
    standing: Mutex<Standing>,
    changed: Condvar,
}

impl Signal {
    /// One that waits.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Signal { standing: Mutex::new(Standing::Waiting), changed: Condvar::new() })
    }

    /// Tells the claimant.
    pub(crate) fn set(&self, standing: Standing) {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = standing;
        self.changed.notify_all();
    }

    /// What it was told last.
    #[cfg(test)]
    pub(crate) fn standing(&self) -> Standing {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the claim is decided, or `is_wanted` says no. Answers whether it was granted.
    pub(crate) fn wait(&self, is_wanted: impl Fn() -> bool) -> bool {
        loop {
            {
                let standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
                let undecided = |standing: &mut Standing| *standing == Standing::Waiting;
                let waited = self.changed.wait_timeout_while(standing, LOOK_EVERY, undecided);
                match *waited.unwrap_or_else(PoisonError::into_inner).0 {
                    Standing::Granted => return true,
                    Standing::Refused => return false,
                    Standing::Waiting => {}
                }
            }
            // Without the lock: whoever decides holds the unit's state.
            if !is_wanted() {
                return false;
            }
        }
    }
}

/// Blocks in the task set of a unit that no task has; dropping it gives them back, and lets go on what waited
/// for them. Not to be dropped with a lock held that answering takes.
pub(crate) struct Blocks {
    device: Arc<Device>,
    id: TaskId,
}

impl Blocks {
    /// Takes charge of an entry of the device's task set.
    pub(crate) fn new(device: &Arc<Device>, id: TaskId) -> Self {
        Blocks { device: Arc::clone(device), id }
    }
}

impl fmt::Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blocks({}, {:?})", self.device.name(), self.id)
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        let mut enabled = Vec::new();
        self.device.state().tasks.remove(self.id, &mut enabled);
        execute::dispatch(&self.device, enabled);
    }
}

/// Claimed blocks of one unit.
pub(crate) struct Claim {
    blocks: Blocks,
    signal: Arc<Signal>,
}

impl Claim {
    /// Takes charge of a claim that was put into the device's task set.
    pub(crate) fn new(device: &Arc<Device>, id: TaskId, signal: Arc<Signal>) -> Self {
        Claim { blocks: Blocks::new(device, id), signal }
    }

    /// As [`Signal::wait`].
    pub(crate) fn wait(&self, is_wanted: impl Fn() -> bool) -> bool {
        self.signal.wait(is_wanted)
    }

    /// Whether no abort has hit it.
    pub(crate) fn stands(&self) -> bool {
        let Blocks { device, id } = &self.blocks;
        device.state().tasks.is_wanted(*id)
    }
}

/// Holds back the commands of a unit that touch blocks: older ones finish, newer ones wait until this is
/// dropped (SCST's `block` and `suspend`).
pub struct Hold {
    /// That of the unit's other holds, if there are any: behind it nothing begins that a second would have
    /// to wait for, and what waits there must not make the second wait.
    claim: Arc<Claim>,
}

impl Hold {
    /// Begins to hold. Commands that have begun go on.
    pub fn new(device: &Arc<Device>) -> Self {
        let mut held = device.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(claim) = held.upgrade().filter(|claim| claim.stands()) {
            return Hold { claim };
        }
        let signal = Signal::new();
        let entry = Entry {
            nexus: 0,
            tag: 0,
            place: Place::AtOnce,
            extent: Extent::WHOLE,
            writes: true,
            outlives: false,
            bytes: 0,
        };
        let id = device.state().tasks.claim(entry, &signal);
        let claim = Arc::new(Claim::new(device, id, signal));
        *held = Arc::downgrade(&claim);
        Hold { claim }
    }

    /// Waits until the commands that had begun are done, as long as `is_wanted` says so. Answers whether
    /// they are.
    pub fn wait(&self, is_wanted: impl Fn() -> bool) -> bool {
        self.claim.wait(is_wanted)
    }
}
