//! How answers share segments: the settings of attribute `nagle`.
//!
//! `coalesce` gathers answers in this process and sends them when the input is used up; that needs nothing
//! from here. The other three send every answer by itself and differ in what TCP does with it: `never` sets
//! TCP_NODELAY for good, `always` takes it back while requests keep coming, `adaptive` does so once a
//! connection has been busy for long. A connection is busy as long as another request is there when one has
//! been dealt with, and idle when the socket has none: TCP_NODELAY is then set, which sends the segment that
//! TCP has kept back. So nothing waits for a timer, or for the initiator's acknowledgement, while the target
//! has nothing else to do.
//!
//! Invariant: no clock and no socket here; [`Nagle`] says when TCP_NODELAY is to change.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The words of attribute `nagle`, in the order of [`Setting`].
pub use crate::iscsi::key::NAGLE as WORDS;

/// A value of attribute `nagle`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Setting {
    /// Answers gather in this process.
    Coalesce,
    /// Every answer is a segment.
    Never,
    /// TCP gathers while the connection has been busy for long.
    Adaptive,
    /// TCP gathers while the connection is busy.
    Always,
}

impl Setting {
    /// The setting that this number of the attribute stands for.
    pub fn of(value: u32) -> Self {
        match value {
            1 => Setting::Never,
            2 => Setting::Adaptive,
            3 => Setting::Always,
            _ => Setting::Coalesce,
        }
    }
}

/// PDUs without an idle moment before `adaptive` turns to TCP, and by how much a cycle must exceed that for
/// the next to begin in that mode.
const THRESHOLD: u32 = 96;
const MARGIN: u32 = 40;

/// What a session counted; reading changes nothing.
#[derive(Debug, Default)]
pub struct Statistics {
    /// PDUs received.
    pub reads: AtomicU64,
    /// Those of them that came while TCP gathered.
    pub reads_in_nagle: AtomicU64,
    /// Times that the socket was found empty.
    pub idles: AtomicU64,
    /// Most PDUs received without an idle moment.
    pub longest: AtomicU64,
    /// Whether TCP gathers now.
    pub is_on: AtomicBool,
    /// Waits that ended while the thread still looked, and waits in which it looked.
    pub poll_hits: AtomicU64,
    /// See `poll_hits`.
    pub polls: AtomicU64,
}

impl Statistics {
    /// For people; nothing of a session that only coalesces and never polls.
    pub fn text(&self) -> String {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (reads, idles) = (get(&self.reads), get(&self.idles));
        let mut text = String::new();
        if reads > 0 {
            let mode = if self.is_on.load(Ordering::Relaxed) { "NAGLE" } else { "NODELAY" };
            let average = reads as f64 / idles.max(1) as f64;
            let share = 100.0 * get(&self.reads_in_nagle) as f64 / reads as f64;
            text = format!(
                ", mode={mode} max_busy={} avg_busy={average:.2} idles={idles} Nagle={share:.3}%",
                get(&self.longest)
            );
        }
        if get(&self.polls) > 0 {
            text += &format!(", poll hits {} of {}", get(&self.poll_hits), get(&self.polls));
        }
        text
    }
}

/// The history of one connection.
#[derive(Debug)]
pub struct Nagle {
    threshold: u32,
    margin: u32,
    /// PDUs of the cycle in progress and of the three before it.
    cycles: [u32; 4],
    is_on: bool,
}

/// What to do with TCP_NODELAY.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Switch {
    /// Leave it.
    None,
    /// Take it back: TCP gathers.
    Gather,
    /// Set it: what TCP has kept back leaves.
    Flush,
    /// Set it and take it back again.
    FlushAndGather,
}

impl Nagle {
    /// The history of a new connection, which has TCP_NODELAY set; none where TCP never gathers.
    pub fn new(setting: Setting) -> Option<Self> {
        let (threshold, margin) = match setting {
            Setting::Coalesce => return None,
            Setting::Never => (u32::MAX, 0),
            Setting::Adaptive => (THRESHOLD, MARGIN),
            Setting::Always => (1, 0),
        };
        Some(Nagle { threshold, margin, cycles: [0; 4], is_on: false })
    }

    /// `pdus` more have been dealt with, and the input is not used up.
    pub fn busy(&mut self, pdus: u32, statistics: &Statistics) -> Switch {
        self.cycles[0] = self.cycles[0].saturating_add(pdus);
        statistics.reads.fetch_add(u64::from(pdus), Ordering::Relaxed);
        statistics.longest.fetch_max(u64::from(self.cycles[0]), Ordering::Relaxed);
        if self.is_on {
            statistics.reads_in_nagle.fetch_add(u64::from(pdus), Ordering::Relaxed);
            return Switch::None;
        }
        let mean = self.cycles.iter().map(|cycle| u64::from(*cycle)).sum::<u64>() / 4;
        let wanted = (u64::from(self.threshold) + u64::from(self.margin)) / 2;
        if self.cycles[0] < self.threshold || (self.threshold > 1 && mean < wanted) {
            return Switch::None;
        }
        self.turn(true, statistics);
        Switch::Gather
    }

    /// The socket has been found empty.
    pub fn idle(&mut self, statistics: &Statistics) -> Switch {
        statistics.idles.fetch_add(1, Ordering::Relaxed);
        let long = self.threshold.saturating_add(self.margin);
        let stays = self.cycles[..3].iter().any(|cycle| *cycle >= long);
        self.cycles = [0, self.cycles[0], self.cycles[1], self.cycles[2]];
        match (self.is_on, stays) {
            (false, _) => Switch::None,
            (true, true) => Switch::FlushAndGather,
            (true, false) => {
                self.turn(false, statistics);
                Switch::Flush
            }
        }
    }

    fn turn(&mut self, on: bool, statistics: &Statistics) {
        self.is_on = on;
        statistics.is_on.store(on, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(nagle: &mut Nagle, pdus: u32) -> Option<u32> {
        let statistics = Statistics::default();
        (1..=pdus).find(|_| nagle.busy(1, &statistics) == Switch::Gather)
    }

    fn idle(nagle: &mut Nagle) -> Switch {
        nagle.idle(&Statistics::default())
    }

    #[test]
    fn a_cold_stream_turns_to_tcp_after_four_times_the_mean_and_a_warm_one_at_the_threshold() {
        let mut nagle = Nagle::new(Setting::Adaptive).unwrap();
        assert_eq!(busy(&mut nagle, 1000), Some(272), "(96 + 40) / 2 on the mean of four cycles");
        let mut nagle = Nagle::new(Setting::Adaptive).unwrap();
        for _ in 0..3 {
            assert_eq!(busy(&mut nagle, 95), None);
            assert_eq!(idle(&mut nagle), Switch::None);
        }
        assert_eq!(busy(&mut nagle, 1000), Some(96));
    }

    #[test]
    fn a_long_cycle_keeps_the_mode_over_the_next_idle_moments() {
        let mut nagle = Nagle::new(Setting::Adaptive).unwrap();
        assert_eq!(busy(&mut nagle, 300), Some(272));
        assert_eq!(idle(&mut nagle), Switch::FlushAndGather);
        assert_eq!(idle(&mut nagle), Switch::FlushAndGather);
        assert_eq!(idle(&mut nagle), Switch::FlushAndGather);
        assert_eq!(idle(&mut nagle), Switch::Flush, "the long cycle is the fourth back");
        assert_eq!(idle(&mut nagle), Switch::None);
    }

    #[test]
    fn short_queues_never_turn_to_tcp_by_themselves() {
        let mut nagle = Nagle::new(Setting::Adaptive).unwrap();
        for _ in 0..1000 {
            assert_eq!(busy(&mut nagle, 17), None);
            assert_eq!(idle(&mut nagle), Switch::None);
        }
    }

    #[test]
    fn never_and_always_are_what_they_say() {
        assert!(Nagle::new(Setting::Coalesce).is_none());
        assert_eq!(busy(&mut Nagle::new(Setting::Never).unwrap(), 100_000), None);
        let mut always = Nagle::new(Setting::Always).unwrap();
        assert_eq!(busy(&mut always, 1), Some(1));
        assert_eq!(idle(&mut always), Switch::FlushAndGather);
    }

    #[test]
    fn every_word_of_the_attribute_is_a_setting() {
        let settings: Vec<_> = (0..).take(WORDS.len()).map(Setting::of).collect();
        assert_eq!(settings, [Setting::Coalesce, Setting::Never, Setting::Adaptive, Setting::Always]);
        assert_eq!(WORDS, ["coalesce", "never", "adaptive", "always"]);
    }

    #[test]
    fn statistics_are_told_and_stay() {
        let statistics = Statistics::default();
        assert_eq!(statistics.text(), "");
        let mut nagle = Nagle::new(Setting::Always).unwrap();
        for _ in 0..4 {
            nagle.busy(1, &statistics);
        }
        nagle.idle(&statistics);
        let text = statistics.text();
        assert_eq!(text, ", mode=NAGLE max_busy=4 avg_busy=4.00 idles=1 Nagle=75.000%");
        assert_eq!(statistics.text(), text);
    }
}
