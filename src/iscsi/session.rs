//! What the receiving and the sending side of a session share: the command window and the live tags.
//!
//! Kept apart from the connection, so that a session may have several.

use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::bytes::number_map::NumberMap;
use crate::limits::MAX_IMMEDIATE_COMMANDS;
use crate::wire::serial::{is_before, is_within};

/// ExpCmdSN and MaxCmdSN (RFC 7143 4.2.2.1). Every non-immediate command takes a place when it is accepted
/// and gives it back with [`CommandWindow::release`] when it is finished; MaxCmdSN never moves backwards.
#[derive(Debug)]
pub struct CommandWindow {
    exp_cmd_sn: AtomicU32,
    max_cmd_sn: AtomicU32,
    /// MaxCmdSN as the initiator knows it.
    told_max_cmd_sn: AtomicU32,
    /// MaxCmdSN has moved without a PDU that says so.
    has_moved_silently: AtomicBool,
    depth: AtomicU32,
    /// Places that are not given back, because the window has become smaller.
    surplus: AtomicU32,
}

/// What to do with a numbered PDU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// It is the expected one.
    Now,
    /// It is inside the window, but others must come first.
    Early,
    /// Outside the window or seen before: silently dropped.
    Ignored,
}

impl CommandWindow {
    /// A window of `depth` commands that begins at `exp_cmd_sn`.
    pub fn new(exp_cmd_sn: u32, depth: u32) -> Self {
        let last = exp_cmd_sn.wrapping_add(depth).wrapping_sub(1);
        CommandWindow {
            exp_cmd_sn: AtomicU32::new(exp_cmd_sn),
            max_cmd_sn: AtomicU32::new(last),
            told_max_cmd_sn: AtomicU32::new(last),
            has_moved_silently: AtomicBool::new(false),
            depth: AtomicU32::new(depth),
            surplus: AtomicU32::new(0),
        }
    }

    /// ExpCmdSN.
    pub fn exp_cmd_sn(&self) -> u32 {
        self.exp_cmd_sn.load(Ordering::Acquire)
    }

    /// MaxCmdSN.
    pub fn max_cmd_sn(&self) -> u32 {
        self.max_cmd_sn.load(Ordering::Acquire)
    }

    /// Judges a number without taking it.
    pub fn judge(&self, cmd_sn: u32) -> Arrival {
        let expected = self.exp_cmd_sn();
        if cmd_sn == expected && is_within(cmd_sn, expected, self.max_cmd_sn()) {
            Arrival::Now
        } else if is_within(cmd_sn, expected, self.max_cmd_sn()) {
            Arrival::Early
        } else {
            Arrival::Ignored
        }
    }

    /// The expected number has come. Only the receiving side calls it, so there is nothing to add atomically.
    pub fn accept(&self) {
        let next = self.exp_cmd_sn.load(Ordering::Relaxed).wrapping_add(1);
        self.exp_cmd_sn.store(next, Ordering::Release);
    }

    /// A numbered command is finished: one more may be sent, as its answer will say.
    pub fn release(&self) {
        if self.surplus.load(Ordering::Relaxed) > 0 && self.swallow() {
            return;
        }
        self.max_cmd_sn.fetch_add(1, Ordering::AcqRel);
    }

    fn swallow(&self) -> bool {
        let less = |surplus: u32| surplus.checked_sub(1);
        self.surplus.fetch_update(Ordering::AcqRel, Ordering::Acquire, less).is_ok()
    }

    /// Gives the window another depth. One that becomes smaller does so as commands finish, since MaxCmdSN
    /// never moves backwards. Calls must come one after the other.
    pub fn resize(&self, depth: u32) {
        let before = self.depth.swap(depth, Ordering::AcqRel);
        for _ in depth..before {
            self.surplus.fetch_add(1, Ordering::AcqRel);
        }
        for _ in before..depth {
            if !self.swallow() {
                self.max_cmd_sn.fetch_add(1, Ordering::AcqRel);
                self.has_moved_silently.store(true, Ordering::Release);
            }
        }
    }

    /// A numbered command ended without an answer: one more may be sent, if the initiator learns of it.
    pub fn release_unanswered(&self) {
        self.release();
        self.has_moved_silently.store(true, Ordering::Release);
    }

    /// ExpCmdSN and MaxCmdSN for a PDU that is about to tell the initiator.
    pub fn announce(&self) -> (u32, u32) {
        // First, so that a release meanwhile is at worst told twice.
        self.has_moved_silently.store(false, Ordering::Release);
        let max_cmd_sn = self.max_cmd_sn();
        self.told_max_cmd_sn.store(max_cmd_sn, Ordering::Release);
        (self.exp_cmd_sn(), max_cmd_sn)
    }

    /// Whether the initiator believes the window closed although it is open, and no answer is due that would
    /// say so (RFC 7143 4.2.2.1): it must be told, or it waits for ever.
    pub fn owes_update(&self) -> bool {
        self.has_moved_silently.load(Ordering::Acquire)
            && self.told_max_cmd_sn.load(Ordering::Acquire).wrapping_add(1) == self.exp_cmd_sn()
    }

    /// Whether `cmd_sn` is in the window and was sent before `than`.
    pub fn covers_before(&self, cmd_sn: u32, than: u32) -> bool {
        is_within(cmd_sn, self.exp_cmd_sn(), self.max_cmd_sn()) && is_before(cmd_sn, than)
    }
}

/// Initiator task tags in use (RFC 7143 11.2.1.8: unique in the session while the task lives).
#[derive(Debug, Default)]
pub struct LiveTags {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    tags: NumberMap<u32, Live>,
    immediate: u32,
}

#[derive(Clone, Copy, Debug)]
struct Live {
    is_immediate: bool,
    since: Instant,
}

/// Why a tag was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TagError {
    /// A task with it is in progress: Reject 07h.
    InUse,
    /// Too many immediate commands: Reject 06h.
    TooManyImmediate,
}

impl LiveTags {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a tag for a new task that came at `now`.
    pub fn take(&self, tag: u32, is_immediate: bool, now: Instant) -> Result<(), TagError> {
        let mut table = self.table();
        if is_immediate && table.immediate >= MAX_IMMEDIATE_COMMANDS {
            return Err(TagError::TooManyImmediate);
        }
        match table.tags.entry(tag) {
            Entry::Occupied(_) => return Err(TagError::InUse),
            Entry::Vacant(vacant) => vacant.insert(Live { is_immediate, since: now }),
        };
        table.immediate += u32::from(is_immediate);
        Ok(())
    }

    /// The task is over.
    pub fn free(&self, tag: u32) {
        let mut table = self.table();
        if table.tags.remove(&tag).is_some_and(|live| live.is_immediate) {
            table.immediate -= 1;
        }
    }

    /// Whether a task with this tag is in progress.
    pub fn contains(&self, tag: u32) -> bool {
        self.table().tags.contains_key(&tag)
    }

    /// Tag and time of the oldest task in progress.
    pub fn oldest(&self) -> Option<(u32, Instant)> {
        self.table().tags.iter().map(|(tag, live)| (*tag, live.since)).min_by_key(|(_, since)| *since)
    }

    /// Number of tasks in progress.
    pub fn len(&self) -> usize {
        self.table().tags.len()
    }

    /// Whether no task is in progress.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc7143_4_2_2_window_in_order() {
        let window = CommandWindow::new(0xffff_ffff, 2);
        assert_eq!(window.judge(0xffff_ffff), Arrival::Now);
        assert_eq!(window.judge(0), Arrival::Early);
        assert_eq!(window.judge(1), Arrival::Ignored);
        assert_eq!(window.judge(0xffff_fffe), Arrival::Ignored);
        window.accept();
        window.accept();
        assert_eq!(window.judge(1), Arrival::Ignored, "the window is closed");
        window.release();
        assert_eq!(window.judge(1), Arrival::Now);
    }

    #[test]
    fn rfc7143_4_2_2_a_window_that_opens_silently_is_announced_when_it_matters() {
        let window = CommandWindow::new(1, 2);
        window.accept();
        window.release_unanswered();
        assert!(!window.owes_update(), "the initiator knows of one more place");
        window.accept();
        assert!(window.owes_update(), "now it believes the window closed");
        assert_eq!(window.announce(), (3, 3));
        assert!(!window.owes_update());
        window.accept();
        window.release();
        assert!(!window.owes_update(), "an answer is due");
    }

    #[test]
    fn rfc7143_tags_are_unique_while_they_live() {
        let tags = LiveTags::default();
        let now = Instant::now();
        assert_eq!(tags.take(7, false, now), Ok(()));
        assert_eq!(tags.take(7, false, now), Err(TagError::InUse));
        assert_eq!(tags.oldest(), Some((7, now)));
        tags.free(7);
        assert_eq!(tags.take(7, true, now), Ok(()));
        for tag in 100..100 + MAX_IMMEDIATE_COMMANDS - 1 {
            assert_eq!(tags.take(tag, true, now), Ok(()));
        }
        assert_eq!(tags.take(1, true, now), Err(TagError::TooManyImmediate));
        assert_eq!(tags.take(1, false, now), Ok(()));
    }
}
