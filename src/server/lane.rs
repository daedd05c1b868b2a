//! The tasks of one unit that wait for a worker, how quickly they have been carried out, and the answers that
//! a worker holds back for a moment.
//!
//! A write that the page cache takes is done before another thread would have woken. A lane whose last tasks
//! were all that quick is therefore left to one worker, which sends the answers of several tasks together. A
//! medium that makes its tasks wait gets as many workers as the lane's share allows. What a lane will be is
//! not known before, so the watcher looks every [`CLOSE_LOOK`] at a quick lane that has something to lose.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::scsi::task::{Reply, Task};
use crate::sys::thread::Switches;

/// A task that has taken longer has waited for the medium, or has moved so much that answers should not wait
/// for each other.
const QUICK: Duration = Duration::from_micros(150);
/// So many quick tasks must follow a slow one.
const QUICK_TASKS: u32 = 16;
/// Longest that an answer is held back while its worker goes on.
const HOLD: Duration = Duration::from_micros(100);
/// How often the watcher looks at quick lanes, while there are some that it must look at. A worker found in
/// one task for this long gives up what it holds, and another serves its lane as well.
pub const CLOSE_LOOK: Duration = Duration::from_millis(1);
/// Connections whose answers a worker holds back at once.
const HELD: usize = 4;

/// What the time that a task took says of the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    Quick,
    Slow,
    /// Nothing: the worker had to leave its processor to others.
    Unknown,
}

/// Measures the tasks of one worker.
pub struct Stopwatch {
    /// When the last task ended, or the worker began.
    now: Instant,
    switches: Switches,
}

impl Stopwatch {
    /// The calling thread begins.
    pub fn start() -> Self {
        Stopwatch { now: Instant::now(), switches: Switches::of_this_thread() }
    }

    /// When the last task ended.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// A task has ended. It costs a system call only where the time alone does not tell.
    pub fn lap(&mut self) -> Pace {
        let started = std::mem::replace(&mut self.now, Instant::now());
        if self.now.duration_since(started) <= QUICK {
            return Pace::Quick;
        }
        let before = std::mem::replace(&mut self.switches, Switches::of_this_thread());
        if self.switches.only_preempted_since(before) { Pace::Unknown } else { Pace::Slow }
    }
}

/// Tasks of one unit.
#[derive(Default)]
pub struct Lane {
    /// The unit's name.
    pub name: String,
    /// What waits for a worker, oldest first.
    pub queue: VecDeque<Task>,
    /// Workers that carry out a task of it.
    pub running: usize,
    /// It waits for a worker.
    pub is_ready: bool,
    /// Of these, such as were found in one task for [`CLOSE_LOOK`].
    pub late: usize,
    /// Quick tasks that it takes until the lane is a quick one.
    owed: u32,
}

impl Lane {
    /// A lane without tasks, taken for slow at first.
    pub fn new(name: &str) -> Self {
        Lane { name: name.to_owned(), owed: QUICK_TASKS, ..Lane::default() }
    }

    /// Whether one worker does for all of its tasks.
    pub fn is_quick(&self) -> bool {
        self.owed == 0
    }

    /// A task has been carried out.
    pub fn took(&mut self, pace: Pace) {
        match pace {
            Pace::Quick => self.owed = self.owed.saturating_sub(1),
            Pace::Slow => self.owed = QUICK_TASKS,
            Pace::Unknown => {}
        }
    }

    /// Whether a worker is about to take what is queued, and is enough.
    pub fn is_in_hand(&self) -> bool {
        self.is_quick() && self.running > self.late
    }

    /// Whether it would be served by another worker as well.
    pub fn wants_worker(&self, share: usize) -> bool {
        !self.queue.is_empty() && !self.is_ready && self.running < share && !self.is_in_hand()
    }
}

/// Connections whose answers a worker holds back.
#[derive(Default)]
pub struct Held {
    replies: [Option<Arc<dyn Reply>>; HELD],
    since: Option<Instant>,
}

impl Held {
    pub fn is_empty(&self) -> bool {
        self.since.is_none()
    }

    /// Whether the first of the answers has been held for long enough.
    pub fn is_due(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now.duration_since(since) >= HOLD)
    }

    /// Holds a connection's answers, unless it does so already or holds too many.
    pub fn hold(&mut self, reply: &Arc<dyn Reply>, now: Instant) {
        for place in &mut self.replies {
            match place {
                Some(held) if Arc::ptr_eq(held, reply) => return,
                Some(_) => {}
                None => {
                    reply.hold();
                    *place = Some(Arc::clone(reply));
                    self.since.get_or_insert(now);
                    return;
                }
            }
        }
    }

    /// Lets go of all of them. Sends: no lock may be held.
    pub fn release(self) {
        self.replies.into_iter().flatten().for_each(|reply| reply.release());
    }
}
