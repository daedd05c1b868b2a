//! Looking for input for a short while before the thread sleeps (attribute `poll_us`).
//!
//! To put a thread to sleep and to wake it takes processor time on both sides, in a virtual machine more than
//! all of a small command, and while both sides sleep in turn a command takes longest. Looking pays while
//! requests come close behind one another; an idle connection never looks.

mod costs;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::iscsi::key::WORD;
use crate::server::spin::costs::Costs;
pub use crate::server::spin::costs::Figures;

/// Waits in a row that must have paid before looking begins.
const TRUST: u8 = 4;
/// Most trust that can be earned; a look in vain costs two.
const MOST_TRUST: u8 = 8;
/// Sleeps from one trial in vain to the next: at first, and at most.
const PAUSES: (u32, u32) = (16, 1024);
/// A sleep that is longer tells of an initiator that is idle.
const IDLE: Duration = Duration::from_millis(1);
/// Most that a look takes where it is to cost no more than sleeping.
const AUTO_LIMIT: Duration = Duration::from_micros(100);

/// What one connection has learned.
#[derive(Debug, Default)]
pub struct Spin {
    limit: Duration,
    by: Learned,
}

#[derive(Debug)]
enum Learned {
    /// From whether looking finds something.
    Hits(Hits),
    /// From what it costs.
    Costs(Costs),
}

impl Default for Learned {
    fn default() -> Self {
        Learned::Hits(Hits::default())
    }
}

impl Spin {
    /// By the value of `poll_us`: looks for at most so many microseconds while that finds something, never
    /// when it is 0; with [`WORD`] while that costs its thread about no more processor time than sleeping.
    pub fn of(poll_us: u32) -> Self {
        if poll_us == WORD {
            return Spin { limit: AUTO_LIMIT, by: Learned::Costs(Costs::default()) };
        }
        Spin { limit: Duration::from_micros(u64::from(poll_us)), by: Learned::default() }
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
        match &self.by {
            Learned::Hits(hits) => self.is_on() && hits.trust >= TRUST,
            Learned::Costs(costs) => costs.looks(),
        }
    }

    /// Whether to look before the next sleep: because that has been paying, or to learn whether it would. A
    /// wait that is slept through takes longer than a look would have, as somebody must be woken, so that
    /// sleeping alone does not tell.
    pub fn looks(&self) -> bool {
        self.is_trusted() || matches!(&self.by, Learned::Hits(hits) if self.is_on() && hits.until_trial == 0)
    }

    /// Whether [`Spin::compare`] wants figures before the next wait.
    pub fn is_due(&self) -> bool {
        matches!(&self.by, Learned::Costs(costs) if costs.is_due())
    }

    /// What the thread has used and received so far.
    pub fn compare(&mut self, now: Figures) {
        if let Learned::Costs(costs) = &mut self.by {
            costs.compare(now);
        }
    }

    /// A look is over.
    pub fn looked(&mut self, has_found: bool) {
        match &mut self.by {
            Learned::Hits(hits) => hits.looked(has_found),
            Learned::Costs(costs) => {
                costs.looked(has_found);
                if has_found {
                    costs.waited();
                }
            }
        }
    }

    /// A sleep is over that took this long.
    pub fn slept(&mut self, time: Duration) {
        match &mut self.by {
            Learned::Hits(hits) => hits.slept(time, self.limit),
            Learned::Costs(costs) if time > IDLE => costs.pause(),
            Learned::Costs(costs) => costs.waited(),
        }
    }

    /// It would look, but something forbids it.
    pub fn pause(&mut self) {
        if let Learned::Costs(costs) = &mut self.by {
            costs.pause();
        }
    }
}

/// Whether looking finds something.
#[derive(Debug)]
struct Hits {
    trust: u8,
    /// Sleeps until looking is tried without trust, and how many there will be after a trial in vain.
    until_trial: u32,
    pause: u32,
    /// The wait that goes on began with a look in vain.
    was_in_vain: bool,
}

impl Default for Hits {
    fn default() -> Self {
        Hits { trust: 0, until_trial: PAUSES.0, pause: PAUSES.0, was_in_vain: false }
    }
}

impl Hits {
    fn looked(&mut self, has_found: bool) {
        if has_found {
            self.pause = PAUSES.0;
            self.trust = (self.trust + 1).min(MOST_TRUST);
            return;
        }
        self.was_in_vain = true;
        self.trust = self.trust.saturating_sub(2);
        if self.trust < TRUST {
            self.until_trial = self.pause;
            self.pause = (self.pause * 2).min(PAUSES.1);
        }
    }

    fn slept(&mut self, time: Duration, limit: Duration) {
        if time <= IDLE {
            self.until_trial = self.until_trial.saturating_sub(1);
        }
        if std::mem::take(&mut self.was_in_vain) {
            return;
        }
        let would_have_found = time <= limit;
        self.trust =
            if would_have_found { (self.trust + 1).min(MOST_TRUST) } else { self.trust.saturating_sub(2) };
    }
}

/// How many connections are busy: when they are more than the processors, looking takes time from others.
///
/// Counted by the millisecond: a connection is busy in each in which it waits for input. The word is the
/// millisecond (32 bits), the count of the one before it (16) and its own (16).
#[derive(Debug)]
pub struct Busy {
    start: Instant,
    word: AtomicU64,
    processors: u64,
}

impl Default for Busy {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from) as u64;
        Busy { start: Instant::now(), word: AtomicU64::new(0), processors }
    }
}

impl Busy {
    /// The millisecond that `now` is in; they come again after 49 days.
    pub fn millisecond(&self, now: Instant) -> u32 {
        let milliseconds = now.saturating_duration_since(self.start).as_millis();
        u32::try_from(milliseconds & u128::from(u32::MAX)).unwrap_or(0)
    }

    /// A connection is busy in this millisecond, in which it has not said so yet.
    pub fn mark(&self, millisecond: u32) {
        let more = |word| {
            let (of, before, own) = counts(word, millisecond);
            Some(u64::from(of) << 32 | before << 16 | (own + 1).min(0xffff))
        };
        let _ = self.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// Whether every busy connection has a processor.
    pub fn has_room(&self, millisecond: u32) -> bool {
        let (_, before, own) = counts(self.word.load(Ordering::Relaxed), millisecond);
        before.max(own) <= self.processors
    }
}

/// A thread is late by so few milliseconds that the difference, which wraps, is at least this; any other
/// comes after a pause, however long.
const LATE: u32 = u32::MAX - 0xffff;

/// The millisecond for which a thread counts that believes it to be this one, and the counts of the one
/// before it and of its own.
fn counts(word: u64, millisecond: u32) -> (u32, u64, u64) {
    let (of, before, own) = ((word >> 32) as u32, word >> 16 & 0xffff, word & 0xffff);
    // A thread that was kept from running counts for the millisecond that others have come to.
    match millisecond.wrapping_sub(of) {
        0 | LATE.. => (of, before, own),
        1 => (millisecond, own, 0),
        _ => (millisecond, 0, 0),
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
            spin.slept(time);
        }
    }

    #[test]
    fn looking_begins_when_waits_are_short_and_ends_when_they_are_long() {
        let mut spin = Spin::of(50);
        assert!(!spin.looks());
        sleeps(&mut spin, u32::from(TRUST), SHORT);
        assert!(spin.looks() && spin.is_trusted());
        spin.slept(Duration::from_secs(1));
        assert!(!spin.looks());
        sleeps(&mut spin, 100, SHORT);
        for _ in 0..2 {
            spin.looked(false);
            spin.slept(SHORT);
            assert!(spin.is_trusted(), "one pause is no idleness");
        }
        spin.looked(false);
        assert!(!spin.is_trusted(), "however short the sleeps behind looks in vain were");
    }

    #[test]
    fn what_sleeping_cannot_tell_a_trial_does() {
        let mut spin = Spin::of(50);
        sleeps(&mut spin, PAUSES.0 - 1, MIDDLING);
        assert!(!spin.looks());
        spin.slept(MIDDLING);
        for _ in 0..TRUST {
            assert!(spin.looks(), "it goes on while it finds something");
            assert!(!spin.is_trusted());
            spin.looked(true);
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
                spin.looked(false);
            }
            spin.slept(MIDDLING);
        }
        assert_eq!(looks, [16, 32, 64, 128, 256, 512, 1024, 2048, 3072, 4096]);
    }

    #[test]
    fn an_idle_connection_never_looks() {
        for poll_us in [50, WORD] {
            let mut spin = Spin::of(poll_us);
            for _ in 0..5000 {
                assert!(!spin.looks() && !spin.is_due());
                spin.slept(Duration::from_millis(2));
            }
        }
    }

    #[test]
    fn with_zero_nothing_is_looked_for() {
        let mut spin = Spin::of(0);
        sleeps(&mut spin, 100, Duration::ZERO);
        assert!(!spin.is_on() && !spin.looks() && !spin.is_trusted() && !spin.is_due());
    }

    #[test]
    fn by_itself_it_finds_out_which_costs_less() {
        for (awake, is_cheaper) in [(15, true), (40, false)] {
            let (mut spin, mut now) = (Spin::of(WORD), Figures::default());
            let mut looks = 0;
            for _ in 0..1000 {
                if spin.is_due() {
                    spin.compare(now);
                }
                now.pdus += 1;
                now.time += Duration::from_micros(if spin.looks() { awake } else { 20 });
                if spin.looks() {
                    looks += 1;
                    spin.looked(true);
                } else {
                    spin.slept(MIDDLING);
                }
            }
            assert_eq!(looks > 500, is_cheaper, "{looks} of 1000");
            assert_eq!(spin.is_trusted(), is_cheaper);
            spin.pause();
            assert!(!spin.looks());
        }
    }

    #[test]
    fn more_connections_than_processors_leave_no_room() {
        let busy = Busy { processors: 2, ..Busy::default() };
        assert!(busy.has_room(7));
        busy.mark(7);
        busy.mark(7);
        assert!(busy.has_room(7));
        busy.mark(7);
        assert!(!busy.has_room(7));
        assert!(!busy.has_room(8), "those of the last millisecond will come again");
        busy.mark(8);
        assert!(!busy.has_room(8) && !busy.has_room(7));
        assert!(busy.has_room(9) && busy.has_room(4000));
        busy.mark(10);
        busy.mark(6);
        busy.mark(6);
        assert!(!busy.has_room(10), "late ones count");
    }

    #[test]
    fn milliseconds_count_from_the_start() {
        let busy = Busy::default();
        let at = |ms| busy.millisecond(busy.start + Duration::from_millis(ms));
        assert_eq!([at(0), at(5), at((1 << 32) + 3)], [0, 5, 3]);
        // After a pause of any length it begins anew.
        for pause in [1 << 20, 0x7fff_ffff, 0x9000_0000_u32, 0xfffe_0000] {
            let busy = Busy { processors: 1, ..Busy::default() };
            for ms in 0..5 {
                busy.mark(pause + ms);
                assert!(busy.has_room(pause + ms), "{pause:x} {ms}");
            }
        }
        [0xfff0_0000, u32::MAX, 0].into_iter().for_each(|ms| busy.mark(ms));
        assert_eq!(counts(busy.word.load(Ordering::Relaxed), 0), (0, 1, 1));
    }
}
