//! What an I_T_L nexus counts. Written on the data path: relaxed atomics, no memory.
//!
//! Those of every command are written under the lock of the unit's state, which a command holds anyway: so
//! they need no atomic additions, of which each costs as much as ten plain ones.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::scsi::latency::Latencies;
use crate::scsi::opcode::Transfer;
use crate::scsi::task::Failure;

/// Buckets of a [`Histogram`]: bucket `n` holds what took at most 2^n microseconds, the last one the rest.
pub const BUCKETS: usize = 26;

/// Adds to a counter whose writers all hold the same lock; readers need none.
pub(crate) fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

/// Commands finished that move data one way, or none. Written under the lock of the unit's state.
#[derive(Debug, Default)]
#[repr(C)]
struct Moved {
    commands: AtomicU64,
    bytes: AtomicU64,
    /// Commands whose blocks begin or end at no multiple of 4 KiB.
    unaligned: AtomicU64,
}

/// What was moved, at one moment: commands by direction of data, none, to the initiator and from the
/// initiator; bytes, and commands whose blocks begin or end at no multiple of 4 KiB, to and from it.
pub type MovedFigures = ([u64; 3], [u64; 2], [u64; 2]);

/// Counters of one I_T_L nexus. All values only grow.
#[derive(Debug, Default)]
#[repr(C)] // What a read writes comes first, what a write writes next.
pub struct Counters {
    to_initiator: Moved,
    from_initiator: Moved,
    without_data: Moved,
    /// Commands that ended with CHECK CONDITION, by sense key.
    pub sense_keys: [AtomicU64; 16],
    /// Commands that ended with a status that is neither GOOD nor CHECK CONDITION.
    pub other_statuses: AtomicU64,
    /// Made when the first command is measured: larger than all the rest together.
    measured: OnceLock<Box<Measured>>,
}

/// How long commands took; only of those during which the server measured.
#[derive(Debug, Default)]
pub struct Measured {
    /// From the arrival of a command until it runs: its data has come and a thread is free.
    pub queue_time: Histogram,
    /// Running: what the backstore takes.
    pub backend_time: Histogram,
    /// Both, command by command.
    pub response_time: Histogram,
    /// Both, by direction and size.
    pub latencies: Latencies,
}

impl Counters {
    /// Commands finished, and what they moved.
    pub fn moved(&self) -> MovedFigures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { to_initiator: to, from_initiator: from, without_data: none, .. } = self;
        let with_data = [to, from];
        (
            [none, to, from].map(|moved| read(&moved.commands)),
            with_data.map(|moved| read(&moved.bytes)),
            with_data.map(|moved| read(&moved.unaligned)),
        )
    }

    /// What they are now, of an I_T_L nexus with `in_flight` commands.
    pub(crate) fn snapshot(&self, in_flight: u32) -> Figures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let times = |of: fn(&Measured) -> &Histogram| {
            self.measured().map_or_else(Times::default, |measured| of(measured).snapshot())
        };
        let (commands, bytes, _) = self.moved();
        Figures {
            commands,
            bytes,
            in_flight: u64::from(in_flight),
            sense_keys: self.sense_keys.each_ref().map(read),
            other_statuses: read(&self.other_statuses),
            queue_time: times(|measured| &measured.queue_time),
            backend_time: times(|measured| &measured.backend_time),
            response_time: times(|measured| &measured.response_time),
        }
    }

    /// What was measured, if anything was.
    pub fn measured(&self) -> Option<&Measured> {
        self.measured.get().map(Box::as_ref)
    }

    /// A command was measured: for how long it was queued, and ran. `expected` are the bytes that its
    /// initiator has room for, and has.
    pub fn measure(&self, queued: Duration, running: Duration, expected: (u32, u32)) {
        let measured = self.measured.get_or_init(Box::default);
        measured.queue_time.record(queued);
        measured.backend_time.record(running);
        measured.response_time.record(queued + running);
        measured.latencies.record(expected.0, expected.1, [queued, running]);
    }

    /// A command is over that has moved so many bytes in the direction of `transfer`. Under the lock of the
    /// unit's state.
    #[inline]
    pub(crate) fn count(&self, transfer: Transfer, bytes: u64, is_aligned: bool) {
        let moved = match transfer {
            Transfer { data_in: 1.., .. } => &self.to_initiator,
            Transfer { data_out: 1.., .. } => &self.from_initiator,
            _ => return add(&self.without_data.commands, 1),
        };
        add(&moved.commands, 1);
        add(&moved.bytes, bytes);
        if !is_aligned {
            add(&moved.unaligned, 1);
        }
    }

    /// A command has failed.
    pub(crate) fn failed(&self, failure: &Failure) {
        match failure {
            Failure::Sense(sense) => &self.sense_keys[usize::from(sense.key as u8 & 0x0f)],
            _ => &self.other_statuses,
        }
        .fetch_add(1, Ordering::Relaxed);
    }
}

/// The values of an I_T_L nexus's [`Counters`] at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Commands finished, by direction of data: none, to the initiator, from the initiator.
    pub commands: [u64; 3],
    /// Bytes to and from the initiator.
    pub bytes: [u64; 2],
    /// Commands admitted and not finished.
    pub in_flight: u64,
    /// As in [`Counters`].
    pub sense_keys: [u64; 16],
    /// As in [`Counters`].
    pub other_statuses: u64,
    /// As in [`Counters`].
    pub queue_time: Times,
    /// As in [`Counters`].
    pub backend_time: Times,
    /// As in [`Counters`].
    pub response_time: Times,
}

impl Figures {
    /// Both together.
    pub fn add(&mut self, other: &Figures) {
        let pairs = self.commands.iter_mut().zip(other.commands);
        let pairs = pairs.chain(self.bytes.iter_mut().zip(other.bytes));
        pairs.chain(self.sense_keys.iter_mut().zip(other.sense_keys)).for_each(|(sum, more)| *sum += more);
        self.in_flight += other.in_flight;
        self.other_statuses += other.other_statuses;
        self.queue_time.add(&other.queue_time);
        self.backend_time.add(&other.backend_time);
        self.response_time.add(&other.response_time);
    }
}

/// Times by powers of two of a microsecond.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    nanoseconds: AtomicU64,
}

impl Histogram {
    /// One more.
    pub fn record(&self, time: Duration) {
        let micros = time.as_nanos().div_ceil(1000);
        let bits = u128::BITS - micros.saturating_sub(1).leading_zeros();
        let bucket = usize::try_from(bits).unwrap_or(BUCKETS).min(BUCKETS - 1);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// What it holds now.
    pub fn snapshot(&self) -> Times {
        let mut counts = [0; BUCKETS];
        for (count, bucket) in counts.iter_mut().zip(&self.buckets) {
            *count = bucket.load(Ordering::Relaxed);
        }
        Times { counts, nanoseconds: self.nanoseconds.load(Ordering::Relaxed) }
    }
}

/// The contents of a [`Histogram`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// How many took at most 2^index microseconds and more than half of that; the last: how many took more.
    pub counts: [u64; BUCKETS],
    /// All of them together.
    pub nanoseconds: u64,
}

impl Times {
    /// How many.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Both together.
    pub fn add(&mut self, other: &Times) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.nanoseconds += other.nanoseconds;
    }

    /// What came since `before`, a snapshot of the same histogram.
    pub fn since(&self, before: &Times) -> Times {
        let mut since = *self;
        for (count, old) in since.counts.iter_mut().zip(before.counts) {
            *count = count.saturating_sub(old);
        }
        since.nanoseconds = self.nanoseconds.saturating_sub(before.nanoseconds);
        since
    }

    /// The time that `share` (0 to 1) of them did not exceed, in microseconds, rounded up to a power of two.
    /// `None` without any, or if it is beyond the last bucket.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        #[allow(clippy::cast_precision_loss)] // A share of a count need not be exact.
        let wanted = share * self.count() as f64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate().take(BUCKETS - 1) {
            seen += count;
            #[allow(clippy::cast_precision_loss)]
            if seen > 0 && seen as f64 >= wanted {
                return Some(1 << bucket);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_lands_in_the_smallest_bucket_that_holds_it() {
        for (nanoseconds, bucket) in
            [(0, 0), (1000, 0), (1001, 1), (2000, 1), (2001, 2), (4000, 2), (1_000_000, 10), (u64::MAX, 25)]
        {
            let histogram = Histogram::default();
            histogram.record(Duration::from_nanos(nanoseconds));
            let times = histogram.snapshot();
            assert_eq!(times.counts[bucket], 1, "{nanoseconds} ns: {times:?}");
            assert_eq!(times.nanoseconds, nanoseconds);
        }
    }

    #[test]
    fn quantiles_are_upper_bounds() {
        let histogram = Histogram::default();
        assert_eq!(histogram.snapshot().quantile(0.5), None);
        for _ in 0..99 {
            histogram.record(Duration::from_micros(3));
        }
        let before = histogram.snapshot();
        histogram.record(Duration::from_millis(1));
        assert_eq!(histogram.snapshot().quantile(0.5), Some(4));
        assert_eq!(histogram.snapshot().quantile(0.99), Some(4));
        assert_eq!(histogram.snapshot().quantile(1.0), Some(1024));
        assert_eq!(histogram.snapshot().since(&before).count(), 1);
    }
}
