//! The command window, which the receiving and the sending side of a session share.
//!
//! Kept apart from the connection, so that a session may have several.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};

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
        // Who releases looks for what was received behind it, who receives for what was released, each after
        // its own step: one of them finds the other's, if not at once, then before the receiver sleeps.
        fence(Ordering::SeqCst);
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

    /// As [`CommandWindow::owes_update`], before the receiving side sleeps.
    pub fn owes_update_at_rest(&self) -> bool {
        fence(Ordering::SeqCst);
        self.owes_update()
    }

    /// Whether `cmd_sn` is in the window and was sent before `than`.
    pub fn covers_before(&self, cmd_sn: u32, than: u32) -> bool {
        is_within(cmd_sn, self.exp_cmd_sn(), self.max_cmd_sn()) && is_before(cmd_sn, than)
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
}
