//! Commands held back by the administrator: `block` of a device, `suspend` of all (SCST 1.0.5, 1.1, 1.4.1).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::attr::Error;
use crate::scsi::claim::Hold;
use crate::scsi::device::Device;

/// Most levels; each is undone once.
pub const LEVEL_LIMIT: usize = 1024;
/// How long commands that have begun may take to finish, unless somebody says less.
pub const LIMIT: Duration = Duration::from_secs(90);

/// The levels at which commands are held back. Copies are the same.
#[derive(Clone, Default)]
pub struct Holds {
    levels: Arc<Mutex<Vec<Arc<Vec<Hold>>>>>,
    pending: Arc<Mutex<usize>>,
}

impl Holds {
    fn levels(&self) -> MutexGuard<'_, Vec<Arc<Vec<Hold>>>> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of levels.
    pub fn count(&self) -> usize {
        self.levels().len()
    }

    /// Number of levels whose commands have not finished yet.
    pub fn pending(&self) -> usize {
        *self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds back the commands of these devices.
    pub(super) fn add(&self, devices: &[Arc<Device>]) -> Result<Arc<Vec<Hold>>, Error> {
        let mut levels = self.levels();
        if levels.len() >= LEVEL_LIMIT {
            return Err(Error::new(
                libc::EBUSY,
                format!("commands are held back {LEVEL_LIMIT} times already"),
            ));
        }
        let level = Arc::new(devices.iter().map(Hold::new).collect::<Vec<Hold>>());
        levels.push(Arc::clone(&level));
        Ok(level)
    }

    /// Waits until the commands of a level are done; if they are not in time, the level goes: EBUSY.
    pub(super) fn wait(&self, level: &Arc<Vec<Hold>>, limit: Duration) -> Result<(), Error> {
        let until = Instant::now() + limit;
        *self.pending.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        let done = level.iter().all(|hold| hold.wait(|| Instant::now() < until));
        *self.pending.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        if done {
            return Ok(());
        }
        self.levels().retain(|own| !Arc::ptr_eq(own, level));
        Err(Error::new(libc::EBUSY, format!("commands have not finished in {} s", limit.as_secs())))
    }

    /// Undoes a level.
    pub(super) fn remove(&self) -> Result<(), Error> {
        let level = self.levels().pop();
        level.map(drop).ok_or_else(|| Error::invalid("commands are not held back"))
    }
}
