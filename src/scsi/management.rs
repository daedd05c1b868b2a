//! Task management functions in progress: answered when the last task they affect has come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::scsi::FunctionResult;
use crate::scsi::task::Reply;

/// A function that may have to wait for writes that cannot be cancelled.
///
/// "Complete" is never said while such a write can still land; [`PendingFunction::give_up`] answers FUNCTION
/// REJECTED instead when the shell's deadline has passed.
pub struct PendingFunction {
    tag: u32,
    outstanding: AtomicU32,
    /// Somebody answers it, or has.
    claimed: AtomicBool,
    answered: AtomicBool,
    reply: Arc<dyn Reply>,
}

impl PendingFunction {
    /// A function with one part outstanding: its own work, ended by the first [`PendingFunction::one_done`].
    pub(crate) fn new(tag: u32, reply: Arc<dyn Reply>) -> Arc<Self> {
        let outstanding = AtomicU32::new(1);
        Arc::new(PendingFunction {
            tag,
            outstanding,
            claimed: AtomicBool::new(false),
            answered: AtomicBool::new(false),
            reply,
        })
    }

    /// One more task to wait for.
    pub(crate) fn one_more(&self) {
        self.outstanding.fetch_add(1, Ordering::AcqRel);
    }

    /// One part is over; the last one answers FUNCTION COMPLETE.
    pub(crate) fn one_done(&self) {
        if self.outstanding.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.answer(FunctionResult::Complete);
        }
    }

    /// Answers at once with `result`, unless it was answered before.
    pub(crate) fn answer(&self, result: FunctionResult) {
        if !self.claimed.swap(true, Ordering::AcqRel) {
            self.reply.function_done(self.tag, result);
            self.answered.store(true, Ordering::Release);
        }
    }

    /// The deadline has passed: FUNCTION REJECTED, and the tasks stay fenced.
    pub fn give_up(&self) {
        self.answer(FunctionResult::Rejected);
    }

    /// Whether the answer is given to the reply: nothing more comes of the function.
    pub fn is_answered(&self) -> bool {
        self.answered.load(Ordering::Acquire)
    }
}
