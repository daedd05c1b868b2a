//! A FORMAT UNIT or SANITIZE that goes on after its command was answered.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::scsi::sense::Sense;

/// Progress of a background operation. Other commands meanwhile get its sense data (SPC-4, 5.11).
#[derive(Debug)]
pub struct Background {
    sense: Sense,
    progress: AtomicU32,
}

impl Background {
    /// An operation at its beginning; `sense` is what other commands are told.
    pub fn new(sense: Sense) -> Self {
        Background { sense, progress: AtomicU32::new(0) }
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
