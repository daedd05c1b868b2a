//! Watching what a thin medium has left to allocate: the soft threshold (SBC-3, 4.7.3.7).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Bytes written between two looks.
const LOOK_EVERY: u64 = 16 << 20;

/// The threshold, and whether it has been passed. While none is set a write costs one load.
#[derive(Debug, Default)]
pub struct Watch {
    threshold: AtomicU64,
    written: AtomicU64,
    is_below: AtomicBool,
    is_news: AtomicBool,
}

impl Watch {
    /// Sets the threshold in bytes; 0 for none.
    pub fn set(&self, threshold: u64) {
        if self.threshold.swap(threshold, Ordering::Relaxed) == threshold {
            return;
        }
        self.is_below.store(false, Ordering::Relaxed);
        // The next write looks.
        self.written.store(LOOK_EVERY - 1, Ordering::Relaxed);
    }

    /// The threshold in bytes; 0 for none.
    pub fn threshold(&self) -> u64 {
        self.threshold.load(Ordering::Relaxed)
    }

    /// Notes a write; answers whether it is time to look.
    pub(crate) fn wrote(&self, length: u64) -> bool {
        if self.threshold() == 0 {
            return false;
        }
        let before = self.written.fetch_add(length, Ordering::Relaxed);
        before / LOOK_EVERY != before.wrapping_add(length) / LOOK_EVERY
    }

    /// Takes in what is left. It is news when it falls below the threshold, once until it has risen again.
    pub(crate) fn look(&self, available: u64) {
        let is_below = available < self.threshold();
        if !self.is_below.swap(is_below, Ordering::Relaxed) && is_below {
            self.is_news.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the threshold has been passed since this was asked last.
    pub fn take_news(&self) -> bool {
        self.is_news.load(Ordering::Relaxed) && self.is_news.swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_is_told_once_each_time_it_is_passed() {
        let watch = Watch::default();
        assert!(!watch.wrote(u64::MAX), "without a threshold nobody looks");
        watch.set(100);
        assert!(watch.wrote(512) && !watch.wrote(512), "at once, and then now and then");
        assert!(watch.wrote(LOOK_EVERY));
        for (available, news) in [(200, false), (99, true), (50, false), (100, false), (99, true)] {
            watch.look(available);
            assert_eq!(watch.take_news(), news, "{available} left");
        }
    }
}
