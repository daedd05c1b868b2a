//! Looking for input for a short while before the thread sleeps (attribute `poll_us`).
//!
//! To put a thread to sleep and to wake it takes processor time on both sides, in a virtual machine more than
//! all of a small command, and while both sides sleep in turn a command takes longest. Looking pays while
//! requests come close behind one another: that is learned by trials, and an idle connection never looks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::iscsi::key::WORD;

/// Waits in a row that must have paid before looking begins.
const TRUST: u8 = 4;
/// Most trust that can be earned: so many waits in vain end it.
const MOST_TRUST: u8 = 8;
/// Sleeps from one trial in vain to the next: at first, and at most.
const PAUSES: (u32, u32) = (16, 1024);
/// A sleep that is longer tells of an initiator that is idle: it brings no trial nearer.
const IDLE: Duration = Duration::from_millis(1);
/// So many times the processor time of a sleep may a frugal look take: it mostly finds something sooner, and
/// who sleeps must be woken by a thread of the other side, which costs as much again there.
const PRICES: u32 = 3;
/// Most that a frugal look may take, whatever sleeping costs.
const FRUGAL_LIMIT: Duration = Duration::from_micros(100);
/// Sleeps from one whose price is measured to the next.
const MEASURED_OF: u32 = 64;

/// What one connection has learned.
#[derive(Debug, Default)]
pub struct Spin {
    limit: Duration,
    /// Looking must not cost much more than sleeping does.
    is_frugal: bool,
    trust: u8,
    /// Sleeps until looking is tried without trust, and how many there will be after a trial in vain.
    until_trial: u32,
    pause: u32,
    /// Processor time of a sleep.
    price: Option<Duration>,
    until_measured: u32,
    /// The wait that goes on began with a look in vain.
    was_in_vain: bool,
}

impl Spin {
    /// By the value of `poll_us`: looks for at most so many microseconds, never when that is 0; with
    /// [`WORD`] for no longer than about what a sleep costs, which it measures.
    pub fn of(poll_us: u32) -> Self {
        let is_frugal = poll_us == WORD;
        let microseconds = Duration::from_micros(u64::from(poll_us));
        Spin {
            limit: if is_frugal { FRUGAL_LIMIT } else { microseconds },
            is_frugal,
            pause: PAUSES.0,
            until_trial: PAUSES.0,
            ..Spin::default()
        }
    }

    /// How long it may look.
    pub fn limit(&self) -> Duration {
        if !self.is_frugal {
            return self.limit;
        }
        self.price.map_or(Duration::ZERO, |price| self.limit.min(price * PRICES))
    }

    /// Whether it may look at all.
    pub fn is_on(&self) -> bool {
        !self.limit.is_zero()
    }

    /// Whether looking has been paying.
    pub fn is_trusted(&self) -> bool {
        self.is_on() && self.trust >= TRUST
    }

    /// Whether to look before the next sleep: because that has been paying, or to learn whether it would. A
    /// wait that is slept through takes longer than a look would have, as somebody must be woken, so that
    /// sleeping alone does not tell.
    pub fn looks(&self) -> bool {
        !self.limit().is_zero() && (self.is_trusted() || self.until_trial == 0)
    }

    /// A look has found something.
    pub fn found(&mut self) {
        self.pause = PAUSES.0;
        self.trust = (self.trust + 1).min(MOST_TRUST);
    }

    /// A look has found nothing.
    pub fn found_nothing(&mut self) {
        self.was_in_vain = true;
        self.trust = self.trust.saturating_sub(2);
        if !self.is_trusted() {
            self.until_trial = self.pause;
            self.pause = (self.pause * 2).min(PAUSES.1);
        }
    }

    /// Whether the price of the next sleep is wanted.
    pub fn measures(&self) -> bool {
        self.is_frugal && self.until_measured == 0
    }

    /// A sleep is over that took this long, and so much processor time if that was measured.
    pub fn slept(&mut self, time: Duration, price: Option<Duration>) {
        self.until_measured = self.until_measured.saturating_sub(1);
        if let Some(price) = price {
            self.until_measured = MEASURED_OF;
            self.price = Some(self.price.map_or(price, |before| (before * 3 + price) / 4));
        }
        if time <= IDLE {
            self.until_trial = self.until_trial.saturating_sub(1);
        }
        if std::mem::take(&mut self.was_in_vain) {
            return;
        }
        let would_have_paid = time <= self.limit();
        self.trust =
            if would_have_paid { (self.trust + 1).min(MOST_TRUST) } else { self.trust.saturating_sub(2) };
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

    const SHORT: Duration = Duration::from_micros(40);
    /// Too long for a look of 50 us, too short for idleness.
    const MIDDLING: Duration = Duration::from_micros(90);

    fn sleeps(spin: &mut Spin, count: u32, time: Duration) {
        for _ in 0..count {
            spin.slept(time, None);
        }
    }

    #[test]
    fn looking_begins_when_waits_are_short_and_ends_when_they_are_long() {
        let mut spin = Spin::of(50);
        assert!(!spin.looks());
        sleeps(&mut spin, u32::from(TRUST), SHORT);
        assert!(spin.looks() && spin.is_trusted());
        spin.slept(Duration::from_secs(1), None);
        assert!(!spin.looks());
        sleeps(&mut spin, 100, SHORT);
        for _ in 0..2 {
            spin.found_nothing();
            spin.slept(SHORT, None);
            assert!(spin.is_trusted(), "one pause is no idleness");
        }
        spin.found_nothing();
        assert!(!spin.is_trusted(), "however short the sleeps behind looks in vain were");
    }

    #[test]
    fn what_sleeping_cannot_tell_a_trial_does() {
        let mut spin = Spin::of(50);
        sleeps(&mut spin, PAUSES.0 - 1, MIDDLING);
        assert!(!spin.looks());
        spin.slept(MIDDLING, None);
        for _ in 0..TRUST {
            assert!(spin.looks(), "it goes on while it finds something");
            assert!(!spin.is_trusted());
            spin.found();
        }
        assert!(spin.is_trusted());
    }

    #[test]
    fn trials_in_vain_become_rare() {
        let mut spin = Spin::of(50);
        let mut looks = Vec::new();
        for wait in 0..5000 {
            if spin.looks() {
                looks.push(wait);
                spin.found_nothing();
            }
            spin.slept(MIDDLING, None);
        }
        assert_eq!(looks, [16, 32, 64, 128, 256, 512, 1024, 2048, 3072, 4096]);
    }

    #[test]
    fn an_idle_connection_never_looks() {
        for poll_us in [50, WORD] {
            let mut spin = Spin::of(poll_us);
            for _ in 0..5000 {
                assert!(!spin.looks());
                spin.slept(Duration::from_millis(2), Some(Duration::from_micros(20)));
            }
        }
    }

    #[test]
    fn without_the_attribute_nothing_is_looked_for() {
        let mut spin = Spin::of(0);
        sleeps(&mut spin, 100, Duration::ZERO);
        assert!(!spin.is_on() && !spin.looks() && !spin.is_trusted() && !spin.measures());
    }

    #[test]
    fn a_frugal_look_takes_what_a_sleep_costs() {
        let mut spin = Spin::of(WORD);
        assert!(spin.is_on() && spin.measures() && !Spin::of(50).measures());
        sleeps(&mut spin, PAUSES.0, MIDDLING);
        assert!(!spin.looks(), "nothing is known of the price");
        spin.slept(MIDDLING, Some(Duration::from_micros(4)));
        assert!(!spin.measures() && spin.looks());
        assert_eq!(spin.limit(), Duration::from_micros(12));
        sleeps(&mut spin, MEASURED_OF, MIDDLING);
        assert!(spin.measures());
        spin.slept(MIDDLING, Some(Duration::from_micros(8)));
        assert_eq!(spin.limit(), Duration::from_micros(15), "a quarter of what is new");
        spin.slept(MIDDLING, Some(Duration::from_secs(1)));
        assert_eq!(spin.limit(), FRUGAL_LIMIT);
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
