//! What one command may ask for; VPD page B0h and the checks both read it here.

/// MAXIMUM TRANSFER LENGTH in bytes: what one buffer holds.
pub const MAX_TRANSFER_BYTES: u64 = 32 << 20;
/// MAXIMUM COMPARE AND WRITE LENGTH in blocks.
pub const MAX_COMPARE_BLOCKS: u64 = 255;
/// MAXIMUM WRITE SAME LENGTH in bytes; fewer on a unit that is not larger, so that it stays below its size.
pub const MAX_WRITE_SAME_BYTES: u64 = 32 << 20;
/// MAXIMUM UNMAP LBA COUNT in blocks, all descriptors together.
pub const MAX_UNMAP_BLOCKS: u64 = 1 << 20;
/// MAXIMUM UNMAP BLOCK DESCRIPTOR COUNT.
pub const MAX_UNMAP_DESCRIPTORS: usize = 4096;
/// MAXIMUM ATOMIC TRANSFER LENGTH in blocks.
pub const MAX_ATOMIC_BLOCKS: u64 = 4096;
/// ATOMIC ALIGNMENT and ATOMIC TRANSFER LENGTH GRANULARITY in blocks.
pub const ATOMIC_UNIT_BLOCKS: u64 = 2;
/// Bytes that VERIFY, WRITE SAME and SANITIZE touch at once.
pub const PIECE_BYTES: u64 = 1 << 20;
/// Descriptors that GET LBA STATUS gives at most.
pub const MAX_STATUS_DESCRIPTORS: usize = 1024;

/// MAXIMUM WRITE SAME LENGTH of a unit, in blocks: below its size, as the conformance suite wants it.
pub fn max_write_same_blocks(blocks: u64, block_size: u32) -> u64 {
    (MAX_WRITE_SAME_BYTES / u64::from(block_size)).min(blocks.saturating_sub(1)).max(1)
}
