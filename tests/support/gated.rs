//! A medium in memory whose writes wait for the test.
#![allow(dead_code, clippy::unwrap_used, clippy::cast_possible_truncation)] // Each test uses a part.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use scstu::backstore::{Backstore, BlockError, Capabilities, Geometry};

use super::Memory;

const BYTES: usize = 32 << 20;
const DEADLINE: Duration = Duration::from_secs(30);

/// 32 MiB in blocks of 512 bytes.
pub struct Gated {
    memory: Memory,
    /// Bytes that may still be written, bytes that were, and writes that have come.
    counts: Mutex<(u64, u64, u64)>,
    changed: Condvar,
}

impl Gated {
    pub fn new() -> Arc<Self> {
        let memory = Memory::new(BYTES, 512, false);
        Arc::new(Gated { memory, counts: Mutex::default(), changed: Condvar::new() })
    }

    /// Lets `bytes` more bytes be written.
    pub fn allow(&self, bytes: u64) {
        self.counts.lock().unwrap().0 += bytes;
        self.changed.notify_all();
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.counts.lock().unwrap().1
    }

    /// Waits until so many writes have come.
    pub fn wait_for_writes(&self, count: u64) {
        let counts = self.counts.lock().unwrap();
        let waited = self.changed.wait_timeout_while(counts, DEADLINE, |counts| counts.2 < count).unwrap();
        assert!(!waited.1.timed_out(), "{} of {count} writes have come", waited.0.2);
    }

    /// Waits until so many bytes were written.
    pub fn wait(&self, bytes: u64) {
        let counts = self.counts.lock().unwrap();
        let waited = self.changed.wait_timeout_while(counts, DEADLINE, |counts| counts.1 < bytes).unwrap();
        assert!(!waited.1.timed_out(), "{} of {bytes} bytes are written", waited.0.1);
    }
}

impl Backstore for Gated {
    fn geometry(&self) -> Geometry {
        self.memory.geometry()
    }

    fn capabilities(&self) -> Capabilities {
        self.memory.capabilities()
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        self.memory.read(offset, into)
    }

    fn write(&self, offset: u64, from: &[u8], durable: bool) -> Result<(), BlockError> {
        let length = from.len() as u64;
        let mut counts = self.counts.lock().unwrap();
        counts.2 += 1;
        self.changed.notify_all();
        let mut counts = self.changed.wait_while(counts, |counts| counts.0 < length).unwrap();
        counts.0 -= length;
        drop(counts);
        self.memory.write(offset, from, durable)?;
        self.counts.lock().unwrap().1 += length;
        self.changed.notify_all();
        Ok(())
    }

    fn flush(&self) -> Result<(), BlockError> {
        Ok(())
    }
}
