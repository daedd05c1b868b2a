//! The tasks of one unit that wait for a worker, how quickly they have been carried out, and the answers that
//! a worker holds back for a moment.
//!
//! A write that the page cache takes is done before another thread would have woken. A lane whose last tasks
//! were all that quick is therefore left to one worker, which sends the answers of several tasks together. A
//! medium that makes its tasks wait, however shortly, gets as many workers as the lane's share allows: a fast
//! one is only fast with many requests at once. What a lane will be is not known before, so the watcher looks
//! every [`CLOSE_LOOK`] at a quick lane that has something to lose.

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
/// So many quick tasks must follow one that has waited shortly: writers of one file also wait for each other,
/// now and then.
const WAITED_TASKS: u32 = 2;
/// Of the tasks of a quick lane, whether they wait is looked at once in so many.
const LOOK_AT: u32 = 16;
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
    /// It was done soon, but has waited.
    Waited,
    Slow,
    /// Nothing: the worker had to leave its processor to others.
    Unknown,
}

/// Measures the tasks of one worker.
pub struct Stopwatch {
    /// When the last task ended, or the worker began.
    now: Instant,
    switches: Switches,
    /// Whether the next lap tells of short waits.
    looks: bool,
    tasks: u32,
}

impl Stopwatch {
    /// The calling thread begins.
    pub fn start() -> Self {
        Stopwatch { now: Instant::now(), switches: Switches::of_this_thread(), looks: true, tasks: 0 }
    }

    /// When the last task ended.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// A task of a lane begins. Costs a system call, and one at its end, where the lane is not a quick one.
    pub fn begin(&mut self, is_quick: bool) {
        self.tasks = self.tasks.wrapping_add(1);
        self.looks = !is_quick || self.tasks % LOOK_AT == 0;
        if self.looks {
            self.switches = Switches::of_this_thread();
        }
    }

    /// The task has ended.
    pub fn lap(&mut self) -> Pace {
        let started = std::mem::replace(&mut self.now, Instant::now());
        let is_quick = self.now.duration_since(started) <= QUICK;
        if is_quick && !self.looks {
            return Pace::Quick;
        }
        let before = std::mem::replace(&mut self.switches, Switches::of_this_thread());
        match is_quick {
            true if self.switches.voluntary == before.voluntary => Pace::Quick,
            true => Pace::Waited,
            false if self.switches.only_preempted_since(before) => Pace::Unknown,
            false => Pace::Slow,
        }
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
            Pace::Waited => self.owed = QUICK_TASKS.min(self.owed + WAITED_TASKS),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_whose_tasks_wait_shortly_is_not_left_to_one_worker() {
        let mut lane = Lane::new("disk");
        for turn in 0..100 {
            lane.took(if turn % 2 == 0 { Pace::Waited } else { Pace::Quick });
            assert!(!lane.is_quick(), "after {turn} tasks");
        }
        (0..QUICK_TASKS).for_each(|_| lane.took(Pace::Quick));
        assert!(lane.is_quick());
        lane.took(Pace::Waited);
        assert!(!lane.is_quick());
        (0..WAITED_TASKS).for_each(|_| lane.took(Pace::Quick));
        assert!(lane.is_quick(), "one that has waited is not a medium that makes all of them wait");
    }

    #[test]
    fn a_short_wait_is_seen_in_a_lane_of_either_kind() {
        let wait = || std::thread::sleep(Duration::from_micros(1));
        let mut watch = Stopwatch::start();
        watch.begin(false);
        wait();
        assert!(matches!(watch.lap(), Pace::Waited | Pace::Slow));
        let mut paces = (0..LOOK_AT).map(|_| {
            watch.begin(true);
            wait();
            watch.lap()
        });
        assert!(paces.any(|pace| matches!(pace, Pace::Waited | Pace::Slow)));
    }
}
