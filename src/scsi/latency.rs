//! How long the commands of one I_T_L nexus took, by direction and size: SCST's `latency` files (1.9.3).
//! Kept only while somebody measures.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Sizes in bytes that are told apart; a command belongs to the first that is not smaller, or to the last.
pub const SIZES: [u32; 11] = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131_072, 262_144, 524_288];
/// What is measured of a command.
pub const STATES: [&str; 2] = ["QUEUED", "RUNNING"];
/// Directions: no data, to the initiator, from the initiator, both.
const DIRECTIONS: usize = 4;

/// Times of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// How many.
    pub count: u64,
    /// Shortest, in microseconds.
    pub min: f64,
    /// Longest.
    pub max: f64,
    sum: f64,
    squares: f64,
}

impl Spread {
    fn record(&mut self, micros: f64) {
        self.add(&Spread { count: 1, min: micros, max: micros, sum: micros, squares: micros * micros });
    }

    /// Both together.
    pub fn add(&mut self, other: &Spread) {
        if other.count == 0 {
            return;
        }
        self.min = if self.count == 0 { other.min } else { self.min.min(other.min) };
        self.max = self.max.max(other.max);
        self.count += other.count;
        self.sum += other.sum;
        self.squares += other.squares;
    }

    /// Mean.
    pub fn average(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum / self.count as f64 }
    }

    /// Standard deviation.
    pub fn deviation(&self) -> f64 {
        let average = self.average();
        let variance =
            if self.count == 0 { 0.0 } else { self.squares / self.count as f64 - average * average };
        variance.max(0.0).sqrt()
    }
}

type Table = [[[Spread; STATES.len()]; SIZES.len()]; DIRECTIONS];

/// The times of an I_T_L nexus.
#[derive(Debug, Default)]
pub struct Latencies {
    table: Mutex<Option<Box<Table>>>,
}

impl Latencies {
    fn table(&self) -> MutexGuard<'_, Option<Box<Table>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A command with room for `expected_in` bytes and `expected_out` bytes of data is done.
    pub fn record(&self, expected_in: u32, expected_out: u32, times: [Duration; STATES.len()]) {
        let direction = usize::from(expected_in > 0) + 2 * usize::from(expected_out > 0);
        let bytes = expected_in.max(expected_out);
        let size = SIZES.iter().position(|size| bytes <= *size).unwrap_or(SIZES.len() - 1);
        let mut table = self.table();
        let cell = &mut table.get_or_insert_default()[direction][size];
        cell.iter_mut().zip(times).for_each(|(own, time)| own.record(time.as_secs_f64() * 1e6));
    }

    /// What was measured: `direction` 0 no data, 1 to the initiator, 2 from it, 3 both; `size` is an index of
    /// [`SIZES`].
    pub fn spreads(&self, direction: usize, size: usize) -> [Spread; STATES.len()] {
        let table = self.table();
        table.as_ref().and_then(|table| table.get(direction)?.get(size)).copied().unwrap_or_default()
    }

    /// Forgets everything.
    pub fn clear(&self) {
        *self.table() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_apart_by_direction_and_size() {
        let latencies = Latencies::default();
        let micros = |n| Duration::from_micros(n);
        latencies.record(4096, 0, [micros(1), micros(10)]);
        latencies.record(4000, 0, [micros(3), micros(30)]);
        latencies.record(0, 1 << 30, [micros(5), micros(5)]);
        let [queued, running] = latencies.spreads(1, 3);
        assert_eq!((queued.count, running.count), (2, 2));
        let close = |a: f64, b: f64| (a - b).abs() < 1e-6;
        assert!(close(running.min, 10.0) && close(running.max, 30.0));
        assert!(close(running.average(), 20.0) && close(running.deviation(), 10.0));
        assert_eq!(latencies.spreads(2, 10)[0].count, 1);
        assert_eq!(latencies.spreads(0, 0)[0].count, 0);
        latencies.clear();
        assert_eq!(latencies.spreads(1, 3)[0].count, 0);
    }
}
