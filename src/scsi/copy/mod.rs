//! Third-party copy (SPC-4, 5.17 and 6.4 to 6.20): what EXTENDED COPY and its companions work with.
//!
//! * [`parameters`]: the parameter list, checked whole before anything else looks at it;
//! * [`plan`]: its descriptors resolved to units that the asking nexus sees, and every segment checked;
//! * [`carry`]: the bytes moved, piece by piece, with both ends claimed;
//! * [`lists`]: the copy operations of an I_T_L nexus, by list identifier.
//!
//! An end of a copy is found only in the LUN map of the nexus that asks: what it cannot read and write
//! itself it cannot have copied either.

pub(crate) mod carry;
pub(crate) mod lists;
pub(crate) mod parameters;
pub(crate) mod plan;

/// MAXIMUM CSCD DESCRIPTOR COUNT.
pub(crate) const MAX_CSCDS: usize = 16;
/// MAXIMUM SEGMENT DESCRIPTOR COUNT.
pub(crate) const MAX_SEGMENTS: usize = 256;
/// MAXIMUM DESCRIPTOR LIST LENGTH: both lists together, in bytes.
pub(crate) const MAX_DESCRIPTOR_BYTES: usize = MAX_CSCDS * 32 + MAX_SEGMENTS * 32;
/// MAXIMUM SEGMENT LENGTH in bytes: what a host may wait for without giving the command up.
pub(crate) const MAX_SEGMENT_BYTES: u64 = 256 << 20;
/// MAXIMUM CONCURRENT COPIES: running operations of one I_T_L nexus.
pub(crate) const MAX_COPIES: usize = 16;
/// Ended operations of one I_T_L nexus that are remembered.
pub(crate) const MAX_REMEMBERED: usize = 32;
/// DATA SEGMENT GRANULARITY: the logarithm of a block of 512 bytes.
pub(crate) const GRANULARITY: u8 = 9;
/// Bytes copied with their blocks claimed, before other commands get a turn and the copy looks whether it is
/// still wanted.
pub(crate) const PIECE_BYTES: u64 = 8 << 20;

/// Identification descriptor CSCD descriptor (SPC-4, 6.4.5.2).
pub(crate) const IDENTIFICATION: u8 = 0xe4;
/// Block to block segment descriptor (SPC-4, 6.4.6.4).
pub(crate) const BLOCK_TO_BLOCK: u8 = 0x02;
/// Block to block with offsets in bytes (SPC-4, 6.4.6.12).
pub(crate) const BLOCK_TO_BLOCK_OFFSET: u8 = 0x0a;
/// IMPLEMENTED DESCRIPTOR TYPE CODES, ascending.
pub(crate) const DESCRIPTOR_TYPES: [u8; 3] = [BLOCK_TO_BLOCK, BLOCK_TO_BLOCK_OFFSET, IDENTIFICATION];
/// CSCD descriptor ID of the unit that got the command.
pub(crate) const OWN_UNIT: u16 = 0xffff;
