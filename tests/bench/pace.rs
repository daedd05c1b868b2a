//! When the commands of a paced session are due: evenly spaced, whether or not those before have come back.
//!
//! A command that finds no free place, because all that may be out are, begins as soon as there is one. The
//! times of those behind it stay as they were, and none is left out: a target that was slow for a moment gets
//! what became due meanwhile, with no more than `depth` commands out at a time. The latency of each counts
//! from when it was due, so that its wait for a place is in it; counted from when it was sent, a target that
//! stands still for a second would have one slow command instead of a second's ("coordinated omission").
//! A target that is asked for more than it can do shows latencies that grow for as long as the load lasts.

use std::num::NonZero;
use std::thread;
use std::time::{Duration, Instant};

/// Commands a second that can be asked of a session.
pub const RATES: std::ops::RangeInclusive<u32> = 1..=1_000_000;

/// How long before a command is due a session stops sleeping: what a thread takes to wake up, up to 56 us
/// in 99 of 100 cases on a virtual machine whose time-outs were exact, would be told as the target's latency.
/// It keeps the processor meanwhile, which the load generator has for itself where figures count. From 16,667
/// commands a second on it never sleeps, so answers are seen sooner than at lower rates.
const AWAKE: Duration = Duration::from_micros(60);

/// [`AWAKE`] where each session can have a processor, nothing where they would keep each other from running.
pub fn awake(sessions: usize) -> Duration {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    if sessions <= processors { AWAKE } else { Duration::ZERO }
}

/// The times of one session's commands.
pub struct Pace {
    start: Instant,
    rate: u32,
    begun: u64,
}

/// How long after the first command one is due that has `number` before it; never early by rounding.
fn after(number: u64, rate: u32) -> Duration {
    let (seconds, rest) = (number / u64::from(rate), number % u64::from(rate));
    Duration::from_secs(seconds) + Duration::from_nanos((rest * 1_000_000_000).div_ceil(u64::from(rate)))
}

impl Pace {
    /// `rate` commands a second from `now` on. Session `number` of `sessions` begins by its share of an
    /// interval later, so that they do not all send at once.
    pub fn new(rate: u32, now: Instant, number: usize, sessions: usize) -> Self {
        let share = after(1, rate).as_secs_f64() * number as f64 / sessions as f64;
        Pace { start: now + Duration::from_secs_f64(share), rate, begun: 0 }
    }

    /// When the next command is due.
    pub fn due(&self) -> Instant {
        self.start + after(self.begun, self.rate)
    }

    /// The next command begins; its latency counts from the answer on.
    pub fn begin(&mut self) -> Instant {
        let due = self.due();
        self.begun += 1;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_due_evenly_and_never_early() {
        for rate in [1, 3, 7, 1000, 44_100, 999_983, 1_000_000] {
            let (start, each) = (Instant::now(), 1e9 / f64::from(rate));
            let mut pace = Pace::new(rate, start, 0, 1);
            assert_eq!(pace.due(), start, "{rate}");
            for number in 0..3000_u64 {
                let due = pace.begin().duration_since(start).as_nanos();
                let exact = u128::from(number) * 1_000_000_000;
                let scaled = due * u128::from(rate);
                assert!((exact..exact + u128::from(rate)).contains(&scaled), "{rate}: {number} at {due} ns");
                assert!(
                    (pace.due() - start).as_nanos() as f64 - due as f64 <= each + 1.0,
                    "{rate}: {number}"
                );
            }
        }
        // A day's commands: no error adds up.
        let (start, number) = (Instant::now(), 86_400 * 999_983);
        let pace = Pace { start, rate: 999_983, begun: number };
        assert_eq!(pace.due() - start, Duration::from_secs(86_400));
    }

    #[test]
    fn what_waited_for_a_place_counts_from_when_it_was_due() {
        let start = Instant::now();
        let mut pace = Pace::new(1000, start, 0, 1);
        let first = pace.begin();
        // The only place is taken for 3.5 ms: three more have become due, each at its own time.
        let now = start + Duration::from_micros(3500);
        let mut waited = Vec::new();
        while pace.due() <= now {
            waited.push(now - pace.begin());
        }
        assert_eq!((first, waited), (start, [2500, 1500, 500].map(Duration::from_micros).into()));
        assert_eq!(pace.due(), start + Duration::from_millis(4));
    }

    #[test]
    fn sessions_share_an_interval() {
        let start = Instant::now();
        let first = |number| Pace::new(1000, start, number, 4).due() - start;
        assert_eq!([0, 1, 2, 3].map(first), [0, 250, 500, 750].map(Duration::from_micros));
    }
}
