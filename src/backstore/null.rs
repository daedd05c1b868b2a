//! Nothing stored, zeros read: for measuring everything but the medium (vdisk_nullio).

use std::sync::atomic::{AtomicU64, Ordering};

use crate::backstore::{Backstore, BlockError, Capabilities, Geometry};

/// Size without a `size` parameter: 2.5 TiB, as SCST has it.
pub const DEFAULT_BYTES: u64 = 2_748_779_069_440;

/// A medium that forgets. It never blocks.
pub struct NullStore {
    block_size: u32,
    blocks: AtomicU64,
}

impl NullStore {
    /// `bytes` must be a multiple of `block_size`.
    pub fn new(block_size: u32, bytes: u64) -> Self {
        NullStore { block_size, blocks: AtomicU64::new(bytes / u64::from(block_size)) }
    }
}

impl Backstore for NullStore {
    fn geometry(&self) -> Geometry {
        Geometry::plain(self.block_size, self.blocks.load(Ordering::Relaxed))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::NEVER_BLOCKS.with(Capabilities::AT_HAND).with(Capabilities::WRITE_ZEROES)
    }

    fn read(&self, _offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        into.fill(0);
        Ok(())
    }

    fn try_read(&self, _offset: u64, into: &mut [u8]) -> Result<bool, BlockError> {
        into.fill(0);
        Ok(true)
    }

    fn write(&self, _offset: u64, _from: &[u8], _durable: bool) -> Result<(), BlockError> {
        Ok(())
    }

    fn flush(&self) -> Result<(), BlockError> {
        Ok(())
    }

    fn write_zeroes(&self, _offset: u64, _length: u64, _may_unmap: bool) -> Result<(), BlockError> {
        Ok(())
    }

    fn resize(&self, bytes: u64) -> Result<(), BlockError> {
        self.blocks.store(bytes / u64::from(self.block_size), Ordering::Relaxed);
        Ok(())
    }
}
