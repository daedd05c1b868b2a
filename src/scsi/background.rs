//! Work that takes long: FORMAT UNIT and SANITIZE, and how far they and third-party copies are.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::scsi::device::Device;
use crate::scsi::sense::Sense;

/// Progress of a background operation. Other commands meanwhile get its sense data (SPC-4, 5.11).
#[derive(Debug)]
pub struct Background {
    what: &'static str,
    sense: Sense,
    progress: AtomicU32,
}

impl Background {
    /// An operation at its beginning; `what` is its name for people, `sense` what other commands are told.
    pub fn new(what: &'static str, sense: Sense) -> Self {
        Background { what, sense, progress: AtomicU32::new(0) }
    }

    /// Progress so far, of 65536.
    pub fn advance(&self, done: u64, of: u64) {
        let progress = u128::from(done) * 65535 / u128::from(of.max(1));
        self.progress.store(u32::try_from(progress).unwrap_or(65535).min(65535), Ordering::Relaxed);
    }

    /// The sense data to tell, with the progress indication.
    pub fn sense(&self) -> Sense {
        let progress = self.progress.load(Ordering::Relaxed);
        self.sense.with_progress(u16::try_from(progress).unwrap_or(u16::MAX))
    }
}

/// Work that takes long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LongWork {
    /// `format`, `sanitize` or `copy`.
    pub what: &'static str,
    /// Percent of it that are done, 0 to 100.
    pub percent: u8,
}

/// Percent, rounded down: 100 is said of nothing that still goes on.
pub(crate) fn percent(done: u64, of: u64) -> u8 {
    let percent = u128::from(done) * 100 / u128::from(of.max(1));
    u8::try_from(percent).unwrap_or(100).min(100)
}

impl Device {
    /// The long work that goes on: of the unit itself, then copies that it was told to make, whichever units
    /// their ends are.
    pub fn long_work(&self) -> Vec<LongWork> {
        let own = self.state().background.clone();
        let own = own.map(|own| {
            let progress = own.progress.load(Ordering::Relaxed);
            LongWork { what: own.what, percent: percent(u64::from(progress), 65536) }
        });
        let copies = self.itls().into_iter().flat_map(|itl| itl.copies().running());
        let copies = copies.map(|percent| LongWork { what: "copy", percent });
        own.into_iter().chain(copies).collect()
    }
}
