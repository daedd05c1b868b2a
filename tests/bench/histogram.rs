//! Latencies in buckets of about one percent, so that any percentile of millions costs a few kilobytes.

const SUB: u32 = 6;
const BUCKETS: usize = (64 - SUB as usize) << SUB;

/// Counts of nanoseconds.
#[derive(Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    sum: u128,
    max: u64,
}

fn bucket(value: u64) -> usize {
    let value = value.max(1);
    let exponent = value.ilog2();
    if exponent < SUB {
        return usize::try_from(value).unwrap_or(0);
    }
    let shift = exponent - SUB;
    let fraction = usize::try_from((value >> shift) - (1 << SUB)).unwrap_or(0);
    (((shift + 1) as usize) << SUB) + fraction
}

fn middle(bucket: usize) -> u64 {
    if bucket < 1 << SUB {
        return bucket as u64;
    }
    let shift = (bucket >> SUB) - 1;
    let fraction = (bucket & ((1 << SUB) - 1)) as u64;
    (((1 << SUB) + fraction) << shift) + (1 << shift >> 1)
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: vec![0; BUCKETS], total: 0, sum: 0, max: 0 }
    }
}

impl Histogram {
    pub fn add(&mut self, nanoseconds: u64) {
        self.counts[bucket(nanoseconds)] += 1;
        self.total += 1;
        self.sum += u128::from(nanoseconds);
        self.max = self.max.max(nanoseconds);
    }

    pub fn merge(&mut self, other: &Histogram) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    /// Microseconds below which `share` (0 to 1) of the values are.
    pub fn percentile(&self, share: f64) -> f64 {
        let mut left = (self.total as f64 * share).ceil();
        for (bucket, count) in self.counts.iter().enumerate() {
            left -= *count as f64;
            if *count > 0 && left <= 0.0 {
                return middle(bucket).min(self.max) as f64 / 1000.0;
            }
        }
        0.0
    }

    /// Mean in microseconds.
    pub fn mean(&self) -> f64 {
        if self.total == 0 { 0.0 } else { self.sum as f64 / self.total as f64 / 1000.0 }
    }

    /// Largest value in microseconds.
    pub fn max(&self) -> f64 {
        self.max as f64 / 1000.0
    }
}
