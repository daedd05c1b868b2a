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

#[inline]
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
    #[inline]
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

#[cfg(test)]
mod tests {
    use super::*;

    const SEQUENCE: Sequence =
        Sequence { stat_sn: 0x0101_0101, exp_cmd_sn: 0x0202_0202, max_cmd_sn: 0x0303_0303 };
    const ITT: u32 = 0x1122_3344;
    const LUN: [u8; 8] = [0, 7, 0, 0, 0, 0, 0, 0];

    /// Compares with a header written as four lines of twelve bytes: hex digits, any spaces.
    fn check(header: Header, expected: &str) {
        let actual: String = header.iter().map(|byte| format!("{byte:02x}")).collect();
        let expected: String = expected.split_whitespace().collect();
        assert_eq!(actual, expected);
    }

    #[test]
    fn rfc7143_11_4_scsi_response() {
        check(
            scsi_response(ITT, 0x02, 5, Residual::Underflow(0x200), SEQUENCE),
            "21820002 00000000 00000000 00000000 11223344 00000000
             01010101 02020202 03030303 00000005 00000000 00000200",
        );
        check(
            scsi_response(ITT, 0, 0, Residual::Overflow(9), SEQUENCE),
            "21840000 00000000 00000000 00000000 11223344 00000000
             01010101 02020202 03030303 00000000 00000000 00000009",
        );
    }

    #[test]
    fn rfc7143_11_6_task_management_function_response() {
        check(
            task_management_response(ITT, 5, SEQUENCE),
            "22800500 00000000 00000000 00000000 11223344 00000000
             01010101 02020202 03030303 00000000 00000000 00000000",
        );
    }

    #[test]
    fn rfc7143_11_7_data_in() {
        let mut data = DataIn { itt: ITT, is_final: false, status: None, data_sn: 3, buffer_offset: 0x600 };
        let mut header = data.header(Sequence { stat_sn: 0, ..SEQUENCE });
        set_data_length(&mut header, 0x01_0203);
        check(
            header,
            "25000000 00010203 00000000 00000000 11223344 ffffffff
             00000000 02020202 03030303 00000003 00000600 00000000",
        );
        (data.is_final, data.status) = (true, Some((0, Residual::Underflow(4))));
        check(
            data.header(SEQUENCE),
            "25830000 00000000 00000000 00000000 11223344 ffffffff
             01010101 02020202 03030303 00000003 00000600 00000004",
        );
    }

    #[test]
    fn rfc7143_11_8_ready_to_transfer() {
        let r2t = ReadyToTransfer { lun: LUN, itt: ITT, ttt: 0x55, r2t_sn: 1, offset: 0x800, length: 0x1000 };
        check(
            r2t.header(SEQUENCE),
            "31800000 00000000 00070000 00000000 11223344 00000055
             01010101 02020202 03030303 00000001 00000800 00001000",
        );
    }

    #[test]
    fn rfc7143_11_9_asynchronous_message() {
        let message = AsyncMessage { lun: LUN, event: 1, parameters: [2, 3, 4] };
        check(
            message.header(SEQUENCE),
            "32800000 00000000 00070000 00000000 ffffffff 00000000
             01010101 02020202 03030303 01000002 00030004 00000000",
        );
    }

    #[test]
    fn rfc7143_11_11_text_response() {
        let text = TextResponse { itt: ITT, ttt: 0x66, lun: LUN, is_final: false, continues: true };
        check(
            text.header(SEQUENCE),
            "24400000 00000000 00070000 00000000 11223344 00000066
             01010101 02020202 03030303 00000000 00000000 00000000",
        );
        let last = TextResponse { ttt: RESERVED_TAG, is_final: true, continues: false, ..text };
        assert_eq!(last.header(SEQUENCE)[1], 0x80);
    }

    #[test]
    fn rfc7143_11_13_login_response() {
        let login = LoginResponse {
            transit: true,
            continues: false,
            current_stage: 1,
            next_stage: 3,
            isid: [1, 2, 3, 4, 5, 6],
            tsih: 0x0708,
            itt: ITT,
            status: 0x0201,
        };
        check(
            login.header(SEQUENCE),
            "23870000 00000000 01020304 05060708 11223344 00000000
             01010101 02020202 03030303 02010000 00000000 00000000",
        );
        let more = LoginResponse { transit: false, continues: true, next_stage: 0, ..login };
        assert_eq!(more.header(SEQUENCE)[1], 0x44);
    }

    #[test]
    fn rfc7143_11_15_logout_response() {
        check(
            logout_response(ITT, 1, 2, 20, SEQUENCE),
            "26800100 00000000 00000000 00000000 11223344 00000000
             01010101 02020202 03030303 00000000 00020014 00000000",
        );
    }

    #[test]
    fn rfc7143_11_17_reject() {
        check(
            reject(0x09, SEQUENCE),
            "3f800900 00000000 00000000 00000000 ffffffff 00000000
             01010101 02020202 03030303 00000000 00000000 00000000",
        );
    }

    #[test]
    fn rfc7143_11_19_nop_in() {
        check(
            nop_in(RESERVED_TAG, 0x77, LUN, SEQUENCE),
            "20800000 00000000 00070000 00000000 ffffffff 00000077
             01010101 02020202 03030303 00000000 00000000 00000000",
        );
    }
}
