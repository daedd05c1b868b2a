//! The copy operations of an I_T_L nexus, by list identifier (SPC-4, 5.17.4.3). A pure state machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};

use crate::scsi::background::percent;
use crate::scsi::copy::{MAX_COPIES, MAX_REMEMBERED};
use crate::scsi::sense::Sense;

/// How far an operation is. Written by the thread that copies, read by whoever asks.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// SEGMENTS PROCESSED.
    pub(crate) segments: AtomicU16,
    /// TRANSFER COUNT in bytes.
    pub(crate) bytes: AtomicU64,
    /// OPERATION COUNTER: changes while the operation lives.
    pub(crate) pieces: AtomicU16,
    /// Bytes to copy in all.
    total: u64,
    cancelled: AtomicBool,
}

impl Progress {
    /// Asks the operation to end.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }

    /// Whether it has been asked to end.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Another piece of `bytes` bytes is copied.
    pub(crate) fn advance(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.pieces.fetch_add(1, Ordering::Relaxed);
    }
}

/// Where an operation stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// Bytes are moving; in the background when the command was answered at once.
    Running {
        /// The command was answered at once.
        in_background: bool,
    },
    /// Everything was copied.
    Done,
    /// It ended with this sense data.
    Failed(Sense),
    /// It was told to end: COPY OPERATION ABORT, a reset, the end of a nexus.
    Terminated,
}

/// A copy operation.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    identifier: Option<u32>,
    is_remembered: bool,
    /// Where it stands.
    pub(crate) stage: Stage,
    /// How far it is.
    pub(crate) progress: Arc<Progress>,
}

/// Why an operation cannot begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// One with this list identifier is running.
    InProgress,
    /// As many are running as may.
    TooMany,
}

/// The operations of one I_T_L nexus, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    operations: Vec<Operation>,
}

impl Operation {
    fn is_running(&self) -> bool {
        matches!(self.stage, Stage::Running { .. })
    }
}

impl Lists {
    /// Begins an operation of `total` bytes. An ended one with the same identifier is forgotten.
    pub(crate) fn begin(
        &mut self,
        identifier: Option<u32>,
        is_remembered: bool,
        in_background: bool,
        total: u64,
    ) -> Result<Arc<Progress>, Refusal> {
        if self.operations.iter().filter(|operation| operation.is_running()).count() >= MAX_COPIES {
            return Err(Refusal::TooMany);
        }
        if identifier.is_some() {
            let same = self.operations.iter().position(|operation| operation.identifier == identifier);
            if let Some(index) = same {
                if self.operations[index].is_running() {
                    return Err(Refusal::InProgress);
                }
                self.operations.remove(index);
            }
        }
        let progress = Arc::new(Progress { total, ..Progress::default() });
        self.operations.push(Operation {
            identifier,
            is_remembered,
            stage: Stage::Running { in_background },
            progress: Arc::clone(&progress),
        });
        Ok(progress)
    }

    /// Percent done of each operation that runs.
    pub(crate) fn running(&self) -> Vec<u8> {
        let running = self.operations.iter().filter(|operation| operation.is_running());
        let done = |progress: &Progress| percent(progress.bytes.load(Ordering::Relaxed), progress.total);
        running.map(|operation| done(&operation.progress)).collect()
    }

    /// The operation is over. It stays known when that was asked for, the oldest making room.
    pub(crate) fn end(&mut self, progress: &Arc<Progress>, stage: Stage) {
        let mine = |operation: &Operation| Arc::ptr_eq(&operation.progress, progress);
        let Some(index) = self.operations.iter().position(mine) else { return };
        if !self.operations[index].is_remembered {
            self.operations.remove(index);
            return;
        }
        self.operations[index].stage = stage;
        let ended = self.operations.iter().filter(|operation| !operation.is_running()).count();
        if ended > MAX_REMEMBERED {
            if let Some(oldest) = self.operations.iter().position(|operation| !operation.is_running()) {
                self.operations.remove(oldest);
            }
        }
    }

    /// The operation with this identifier, running or remembered.
    pub(crate) fn find(&self, identifier: u32) -> Option<&Operation> {
        self.operations.iter().find(|operation| operation.identifier == Some(identifier))
    }

    /// Asks every running operation to end, and forgets the others.
    pub(crate) fn reset(&mut self) {
        self.operations.retain(Operation::is_running);
        for operation in &self.operations {
            operation.progress.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spc_an_identifier_in_use_is_refused_and_an_ended_one_replaced() {
        let mut lists = Lists::default();
        let first = lists.begin(Some(1), true, false, 1000).unwrap();
        assert_eq!(lists.begin(Some(1), true, false, 1000).unwrap_err(), Refusal::InProgress);
        assert!(lists.begin(Some(2), true, true, 1000).is_ok());
        lists.end(&first, Stage::Failed(Sense::COPY_ABORTED));
        assert_eq!(lists.find(1).unwrap().stage, Stage::Failed(Sense::COPY_ABORTED));
        let again = lists.begin(Some(1), true, false, 1000).unwrap();
        lists.end(&first, Stage::Done);
        assert_eq!(lists.find(1).unwrap().stage, Stage::Running { in_background: false });
        lists.end(&again, Stage::Done);
        assert_eq!(lists.find(1).unwrap().stage, Stage::Done);
        assert!(lists.find(3).is_none());
    }

    #[test]
    fn what_nobody_asks_for_is_not_kept() {
        let mut lists = Lists::default();
        let discarded = lists.begin(Some(1), false, false, 1000).unwrap();
        assert!(lists.find(1).is_some());
        lists.end(&discarded, Stage::Done);
        assert!(lists.find(1).is_none());
        let nameless = lists.begin(None, false, false, 1000).unwrap();
        lists.begin(None, false, false, 1000).unwrap();
        lists.end(&nameless, Stage::Done);
        assert_eq!(lists.operations.len(), 1);
        lists.reset();
        assert!(lists.operations[0].progress.is_cancelled());
    }

    #[test]
    fn percent_are_told_of_what_runs_and_100_of_nothing() {
        let mut lists = Lists::default();
        let (first, second) =
            (lists.begin(Some(1), true, false, 1000).unwrap(), lists.begin(None, false, true, 3).unwrap());
        assert_eq!(lists.running(), [0, 0]);
        first.advance(999);
        second.advance(1);
        assert_eq!(lists.running(), [99, 33]);
        lists.end(&first, Stage::Done);
        assert_eq!(lists.running(), [33]);
        lists.end(&second, Stage::Terminated);
        assert!(lists.running().is_empty());
    }

    #[test]
    fn the_limits_hold() {
        let mut lists = Lists::default();
        let running: Vec<_> =
            (0..16).map(|number| lists.begin(Some(number), true, false, 1000).unwrap()).collect();
        assert_eq!(lists.begin(Some(99), true, false, 1000).unwrap_err(), Refusal::TooMany);
        for progress in &running {
            lists.end(progress, Stage::Done);
        }
        for number in 100..200 {
            let progress = lists.begin(Some(number), true, false, 1000).unwrap();
            lists.end(&progress, Stage::Done);
        }
        assert_eq!(lists.operations.len(), MAX_REMEMBERED);
        assert!(lists.find(199).is_some() && lists.find(100).is_none());
    }
}
