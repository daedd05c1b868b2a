//! PDUs that a target sends (RFC 7143 11.4 to 11.19): each struct writes its basic header segment.
//!
//! Lengths of data segments are set by [`set_data_length`]; sequence numbers common to all are in
//! [`Sequence`].

use crate::bytes::{put_u16, put_u24, put_u32};
use crate::wire::bhs::{FINAL, LENGTH, PduOpcode, RESERVED_TAG};

/// A header under construction.
pub type Header = [u8; LENGTH];

/// StatSN, ExpCmdSN and MaxCmdSN, in bytes 24 to 35 of every PDU of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// StatSN; zero where the PDU carries none.
    pub stat_sn: u32,
    /// ExpCmdSN.
    pub exp_cmd_sn: u32,
    /// MaxCmdSN.
    pub max_cmd_sn: u32,
}

impl Sequence {
    fn write(self, header: &mut Header) {
        put_u32(header, 24, self.stat_sn);
        put_u32(header, 28, self.exp_cmd_sn);
        put_u32(header, 32, self.max_cmd_sn);
    }
}

/// Writes DataSegmentLength, below 2^24.
pub fn set_data_length(header: &mut Header, length: usize) {
    put_u24(header, 5, u32::try_from(length).unwrap_or(u32::MAX));
}

fn start(opcode: PduOpcode, itt: u32, sequence: Sequence) -> Header {
    let mut header = [0; LENGTH];
    header[0] = opcode.0;
    header[1] = FINAL;
    put_u32(&mut header, 16, itt);
    sequence.write(&mut header);
    header
}

/// Residual count of a command (RFC 7143 11.4.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Residual {
    /// What was expected was moved.
    #[default]
    None,
    /// O: this many bytes could not be moved because the initiator expected fewer.
    Overflow(u32),
    /// U: this many bytes fewer than expected were moved.
    Underflow(u32),
}

impl Residual {
    fn write(self, header: &mut Header) {
        let (flag, count) = match self {
            Residual::None => (0, 0),
            Residual::Overflow(count) => (0x04, count),
            Residual::Underflow(count) => (0x02, count),
        };
        header[1] |= flag;
        put_u32(header, 44, count);
    }
}

/// SCSI Response (11.4) with response code "command completed at target".
pub fn scsi_response(
    itt: u32,
    status: u8,
    exp_data_sn: u32,
    residual: Residual,
    sequence: Sequence,
) -> Header {
    let mut header = start(PduOpcode::SCSI_RESPONSE, itt, sequence);
    header[3] = status;
    put_u32(&mut header, 36, exp_data_sn);
    residual.write(&mut header);
    header
}

/// SCSI Data-In (11.7).
#[derive(Clone, Copy, Debug)]
pub struct DataIn {
    /// Initiator task tag.
    pub itt: u32,
    /// F: last of its sequence.
    pub is_final: bool,
    /// Status, when the PDU carries it (S bit); implies `is_final`.
    pub status: Option<(u8, Residual)>,
    /// DataSN.
    pub data_sn: u32,
    /// Buffer Offset in bytes.
    pub buffer_offset: u32,
}

impl DataIn {
    /// The header.
    pub fn header(&self, sequence: Sequence) -> Header {
        let mut header = start(PduOpcode::DATA_IN, self.itt, sequence);
        header[1] = if self.is_final { FINAL } else { 0 };
        if let Some((status, residual)) = self.status {
            header[1] |= 0x01;
            header[3] = status;
            residual.write(&mut header);
        }
        put_u32(&mut header, 20, RESERVED_TAG);
        put_u32(&mut header, 36, self.data_sn);
        put_u32(&mut header, 40, self.buffer_offset);
        header
    }
}

/// Ready To Transfer (11.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadyToTransfer {
    /// LUN field of the command.
    pub lun: [u8; 8],
    /// Initiator task tag.
    pub itt: u32,
    /// Target transfer tag.
    pub ttt: u32,
    /// R2TSN.
    pub r2t_sn: u32,
    /// Buffer Offset in bytes.
    pub offset: u32,
    /// Desired Data Transfer Length in bytes.
    pub length: u32,
}

impl ReadyToTransfer {
    /// The header; StatSN is the next one, not consumed.
    pub fn header(&self, sequence: Sequence) -> Header {
        let mut header = start(PduOpcode::READY_TO_TRANSFER, self.itt, sequence);
        header[8..16].copy_from_slice(&self.lun);
        put_u32(&mut header, 20, self.ttt);
        put_u32(&mut header, 36, self.r2t_sn);
        put_u32(&mut header, 40, self.offset);
        put_u32(&mut header, 44, self.length);
        header
    }
}

/// Task Management Function Response (11.6).
pub fn task_management_response(itt: u32, response: u8, sequence: Sequence) -> Header {
    let mut header = start(PduOpcode::TASK_MANAGEMENT_RESPONSE, itt, sequence);
    header[2] = response;
    header
}

/// NOP-In (11.19): an answer (`itt` valid) or a ping (`ttt` valid, `itt` reserved).
pub fn nop_in(itt: u32, ttt: u32, lun: [u8; 8], sequence: Sequence) -> Header {
    let mut header = start(PduOpcode::NOP_IN, itt, sequence);
    header[8..16].copy_from_slice(&lun);
    put_u32(&mut header, 20, ttt);
    header
}

/// Text Response (11.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextResponse {
    /// Initiator task tag.
    pub itt: u32,
    /// Target transfer tag; reserved in the last response.
    pub ttt: u32,
    /// LUN field, echoed.
    pub lun: [u8; 8],
    /// F bit.
    pub is_final: bool,
    /// C bit.
    pub continues: bool,
}

impl TextResponse {
    /// The header.
    pub fn header(&self, sequence: Sequence) -> Header {
        let mut header = start(PduOpcode::TEXT_RESPONSE, self.itt, sequence);
        header[1] = if self.is_final { FINAL } else { 0 } | if self.continues { 0x40 } else { 0 };
        header[8..16].copy_from_slice(&self.lun);
        put_u32(&mut header, 20, self.ttt);
        header
    }
}

/// Logout Response (11.15), times in seconds.
pub fn logout_response(
    itt: u32,
    response: u8,
    time2wait: u16,
    time2retain: u16,
    sequence: Sequence,
) -> Header {
    let mut header = start(PduOpcode::LOGOUT_RESPONSE, itt, sequence);
    header[2] = response;
    put_u16(&mut header, 40, time2wait);
    put_u16(&mut header, 42, time2retain);
    header
}

/// Reject (11.17); the rejected header follows as data.
pub fn reject(reason: u8, sequence: Sequence) -> Header {
    let mut header = start(PduOpcode::REJECT, RESERVED_TAG, sequence);
    header[2] = reason;
    header
}

/// Asynchronous Message (11.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsyncMessage {
    /// LUN field, for SCSI events.
    pub lun: [u8; 8],
    /// AsyncEvent.
    pub event: u8,
    /// Parameter1 to Parameter3.
    pub parameters: [u16; 3],
}

impl AsyncMessage {
    /// The header.
    pub fn header(&self, sequence: Sequence) -> Header {
        let mut header = start(PduOpcode::ASYNC_MESSAGE, RESERVED_TAG, sequence);
        header[8..16].copy_from_slice(&self.lun);
        header[36] = self.event;
        put_u16(&mut header, 38, self.parameters[0]);
        put_u16(&mut header, 40, self.parameters[1]);
        put_u16(&mut header, 42, self.parameters[2]);
        header
    }
}

/// Login Response (11.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginResponse {
    /// T bit.
    pub transit: bool,
    /// C bit.
    pub continues: bool,
    /// CSG.
    pub current_stage: u8,
    /// NSG.
    pub next_stage: u8,
    /// ISID.
    pub isid: [u8; 6],
    /// TSIH.
    pub tsih: u16,
    /// Initiator task tag.
    pub itt: u32,
    /// Status-Class and Status-Detail.
    pub status: u16,
}

impl LoginResponse {
    /// The header.
    pub fn header(&self, sequence: Sequence) -> Header {
        let mut header = start(PduOpcode::LOGIN_RESPONSE, self.itt, sequence);
        let flags = if self.transit { 0x80 } else { 0 } | if self.continues { 0x40 } else { 0 };
        header[1] = flags | (self.current_stage & 3) << 2 | (self.next_stage & 3);
        header[8..14].copy_from_slice(&self.isid);
        put_u16(&mut header, 14, self.tsih);
        put_u16(&mut header, 36, self.status);
        header
    }
}
