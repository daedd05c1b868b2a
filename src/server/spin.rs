//! Looking for input for a short while before the thread sleeps (attribute `poll_us`).
//!
//! A thread that sleeps must be woken by another processor, which in a virtual machine costs more than all
//! of a small command. Looking pays while requests come close behind one another. A wait that ends by itself
//! tells, free of charge, whether looking would have paid; so an idle connection never looks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Waits in a row that must have paid before looking begins.
const TRUST: u8 = 4;
/// Most trust that can be earned: so many waits in vain end it.
const MOST_TRUST: u8 = 8;

/// What one connection has learned.
#[derive(Debug, Default)]
pub struct Spin {
    limit: Duration,
    trust: u8,
}

impl Spin {
    /// Looks for at most `microseconds`; never when that is 0.
    pub fn new(microseconds: u32) -> Self {
        Spin { limit: Duration::from_micros(u64::from(microseconds)), trust: 0 }
    }

    /// How long it may look.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Whether it may look at all.
    pub fn is_on(&self) -> bool {
        !self.limit.is_zero()
    }

    /// Whether looking has been paying.
    pub fn is_trusted(&self) -> bool {
        self.is_on() && self.trust >= TRUST
    }

    /// A wait is over that took this long.
    pub fn waited(&mut self, time: Duration) {
        self.trust =
            if time <= self.limit { (self.trust + 1).min(MOST_TRUST) } else { self.trust.saturating_sub(2) };
    }
}

/// How many connections are awake: when they are more than the processors, looking takes time from others.
#[derive(Debug)]
pub struct Awake {
    count: AtomicUsize,
    processors: usize,
}

impl Default for Awake {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Awake { count: AtomicUsize::new(0), processors }
    }
}

impl Awake {
    /// A connection has something to do.
    pub fn enter(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// It sleeps again.
    pub fn leave(&self) {
        // Saturating: a thread that panics while it sleeps leaves twice.
        let less = |count: usize| count.checked_sub(1);
        let _ = self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Whether every connection that is awake has a processor.
    pub fn has_room(&self) -> bool {
        self.count.load(Ordering::Relaxed) <= self.processors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_begins_when_waits_are_short_and_ends_when_they_are_long() {
        let short = Duration::from_micros(40);
        let mut spin = Spin::new(50);
        assert!(!spin.is_trusted());
        for _ in 0..TRUST {
            spin.waited(short);
        }
        assert!(spin.is_trusted());
        spin.waited(Duration::from_secs(1));
        assert!(!spin.is_trusted());
        for _ in 0..100 {
            spin.waited(short);
        }
        for _ in 0..2 {
            spin.waited(Duration::from_millis(1));
            assert!(spin.is_trusted(), "one pause is no idleness");
        }
        spin.waited(Duration::from_millis(1));
        assert!(!spin.is_trusted());
    }

    #[test]
    fn without_the_attribute_nothing_is_looked_for() {
        let mut spin = Spin::new(0);
        for _ in 0..10 {
            spin.waited(Duration::ZERO);
        }
        assert!(!spin.is_on() && !spin.is_trusted());
    }

    #[test]
    fn more_connections_than_processors_leave_no_room() {
        let awake = Awake { count: AtomicUsize::new(0), processors: 2 };
        awake.enter();
        awake.enter();
        assert!(awake.has_room());
        awake.enter();
        assert!(!awake.has_room());
        awake.leave();
        assert!(awake.has_room());
    }
}
