//! The basic header segment: 48 bytes that begin every PDU (RFC 7143 11.2.1), and operation codes.

use std::fmt;

use crate::bytes::{get_u16, get_u24, get_u32, get_u64};

/// Length of a basic header segment in bytes.
pub const LENGTH: usize = 48;
/// The reserved value of initiator task tags and target transfer tags.
pub const RESERVED_TAG: u32 = 0xffff_ffff;
/// The F bit, in byte 1.
pub const FINAL: u8 = 0x80;
/// The I bit, in byte 0.
pub const IMMEDIATE: u8 = 0x40;

/// An operation code (RFC 7143 11.2.1.2). Unknown values survive parsing and print in hex.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PduOpcode(pub u8);

#[allow(missing_docs)] // The names are the standard's own.
impl PduOpcode {
    pub const NOP_OUT: Self = PduOpcode(0x00);
    pub const SCSI_COMMAND: Self = PduOpcode(0x01);
    pub const TASK_MANAGEMENT_REQUEST: Self = PduOpcode(0x02);
    pub const LOGIN_REQUEST: Self = PduOpcode(0x03);
    pub const TEXT_REQUEST: Self = PduOpcode(0x04);
    pub const DATA_OUT: Self = PduOpcode(0x05);
    pub const LOGOUT_REQUEST: Self = PduOpcode(0x06);
    pub const SNACK_REQUEST: Self = PduOpcode(0x10);
    pub const NOP_IN: Self = PduOpcode(0x20);
    pub const SCSI_RESPONSE: Self = PduOpcode(0x21);
    pub const TASK_MANAGEMENT_RESPONSE: Self = PduOpcode(0x22);
    pub const LOGIN_RESPONSE: Self = PduOpcode(0x23);
    pub const TEXT_RESPONSE: Self = PduOpcode(0x24);
    pub const DATA_IN: Self = PduOpcode(0x25);
    pub const LOGOUT_RESPONSE: Self = PduOpcode(0x26);
    pub const READY_TO_TRANSFER: Self = PduOpcode(0x31);
    pub const ASYNC_MESSAGE: Self = PduOpcode(0x32);
    pub const REJECT: Self = PduOpcode(0x3f);
}

impl fmt::Debug for PduOpcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#04x}", self.0)
    }
}

/// A basic header segment as received.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bhs(pub [u8; LENGTH]);

impl Bhs {
    /// Operation code, without the I bit.
    pub fn opcode(&self) -> PduOpcode {
        PduOpcode(self.0[0] & 0x3f)
    }

    /// The I bit: immediate delivery.
    pub fn is_immediate(&self) -> bool {
        self.0[0] & IMMEDIATE != 0
    }

    /// The F bit.
    pub fn is_final(&self) -> bool {
        self.0[1] & FINAL != 0
    }

    /// Length of the additional header segments in bytes, padding included (TotalAHSLength counts words).
    pub fn ahs_length(&self) -> usize {
        usize::from(self.0[4]) * 4
    }

    /// DataSegmentLength: bytes, without padding.
    pub fn data_length(&self) -> usize {
        get_u24(&self.0, 5) as usize
    }

    /// The LUN field.
    pub fn lun(&self) -> [u8; 8] {
        get_u64(&self.0, 8).to_be_bytes()
    }

    /// Initiator task tag.
    pub fn initiator_task_tag(&self) -> u32 {
        get_u32(&self.0, 16)
    }

    /// Four bytes at `at`, at most 44.
    pub fn u32(&self, at: usize) -> u32 {
        get_u32(&self.0, at)
    }

    /// Two bytes at `at`, at most 46.
    pub fn u16(&self, at: usize) -> u16 {
        get_u16(&self.0, at)
    }

    /// CmdSN, in the PDUs that carry one.
    pub fn cmd_sn(&self) -> u32 {
        get_u32(&self.0, 24)
    }

    /// ExpStatSN.
    pub fn exp_stat_sn(&self) -> u32 {
        get_u32(&self.0, 28)
    }
}

impl fmt::Debug for Bhs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// Bytes that pad a segment of `length` bytes to a multiple of four (RFC 7143 11.1).
pub const fn padding(length: usize) -> usize {
    length.wrapping_neg() & 3
}
