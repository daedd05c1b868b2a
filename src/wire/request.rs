//! PDUs that an initiator sends, parsed from their header segments (RFC 7143 11.3 to 11.19).
//!
//! Parsing checks form, not meaning; no accessor can fail afterwards.

use crate::wire::ahs::{self, AdditionalHeaders};
use crate::wire::bhs::{Bhs, PduOpcode};

/// SCSI Command (11.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScsiCommand {
    /// The I bit.
    pub is_immediate: bool,
    /// The F bit: no unsolicited Data-Out PDUs follow.
    pub is_final: bool,
    /// The R bit.
    pub is_read: bool,
    /// The W bit.
    pub is_write: bool,
    /// ATTR: 0 untagged, 1 simple, 2 ordered, 3 head of queue, 4 ACA.
    pub attribute: u8,
    /// LUN field.
    pub lun: [u8; 8],
    /// Initiator task tag.
    pub initiator_task_tag: u32,
    /// Expected Data Transfer Length in bytes.
    pub expected_data_transfer_length: u32,
    /// CmdSN.
    pub cmd_sn: u32,
    /// The CDB's first 16 bytes.
    pub cdb: [u8; 16],
    /// What the additional header segments added.
    pub additional: AdditionalHeaders,
}

/// Task Management Function Request (11.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskManagementRequest {
    /// The I bit.
    pub is_immediate: bool,
    /// Function, 7 bits.
    pub function: u8,
    /// LUN field.
    pub lun: [u8; 8],
    /// Initiator task tag.
    pub initiator_task_tag: u32,
    /// Referenced task tag.
    pub referenced_task_tag: u32,
    /// CmdSN.
    pub cmd_sn: u32,
    /// RefCmdSN.
    pub ref_cmd_sn: u32,
}

/// Login Request (11.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginRequest {
    /// The I bit, which must be set.
    pub is_immediate: bool,
    /// T: ready to leave the stage.
    pub transit: bool,
    /// C: the text goes on in the next request.
    pub continues: bool,
    /// CSG, current stage.
    pub current_stage: u8,
    /// NSG, next stage.
    pub next_stage: u8,
    /// Version-max.
    pub version_max: u8,
    /// Version-min.
    pub version_min: u8,
    /// ISID.
    pub isid: [u8; 6],
    /// TSIH.
    pub tsih: u16,
    /// Initiator task tag.
    pub initiator_task_tag: u32,
    /// CID.
    pub cid: u16,
    /// CmdSN.
    pub cmd_sn: u32,
    /// ExpStatSN.
    pub exp_stat_sn: u32,
}

/// Text Request (11.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextRequest {
    /// The I bit.
    pub is_immediate: bool,
    /// The F bit.
    pub is_final: bool,
    /// C: the text goes on in the next request.
    pub continues: bool,
    /// LUN field, echoed with a valid target transfer tag.
    pub lun: [u8; 8],
    /// Initiator task tag.
    pub initiator_task_tag: u32,
    /// Target transfer tag.
    pub target_transfer_tag: u32,
    /// CmdSN.
    pub cmd_sn: u32,
}

/// SCSI Data-Out (11.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataOut {
    /// The F bit: last of its sequence.
    pub is_final: bool,
    /// LUN field.
    pub lun: [u8; 8],
    /// Initiator task tag.
    pub initiator_task_tag: u32,
    /// Target transfer tag; reserved for unsolicited data.
    pub target_transfer_tag: u32,
    /// DataSN.
    pub data_sn: u32,
    /// Buffer Offset in bytes.
    pub buffer_offset: u32,
}

/// Logout Request (11.14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogoutRequest {
    /// The I bit.
    pub is_immediate: bool,
    /// Reason code, 7 bits.
    pub reason: u8,
    /// Initiator task tag.
    pub initiator_task_tag: u32,
    /// CID.
    pub cid: u16,
    /// CmdSN.
    pub cmd_sn: u32,
}

/// NOP-Out (11.18).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NopOut {
    /// The I bit.
    pub is_immediate: bool,
    /// LUN field.
    pub lun: [u8; 8],
    /// Initiator task tag; reserved when no answer is wanted.
    pub initiator_task_tag: u32,
    /// Target transfer tag; valid when it answers a NOP-In of ours.
    pub target_transfer_tag: u32,
    /// CmdSN.
    pub cmd_sn: u32,
}

/// Any request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // Each variant is documented at its struct.
pub enum Request {
    NopOut(NopOut),
    ScsiCommand(ScsiCommand),
    TaskManagement(TaskManagementRequest),
    Login(LoginRequest),
    Text(TextRequest),
    DataOut(DataOut),
    Logout(LogoutRequest),
    /// SNACK Request (11.16): refused at ErrorRecoveryLevel 0, so nothing of it is read.
    Snack,
    /// An operation code that no initiator may send.
    Unknown(PduOpcode),
}

impl Request {
    /// Parses header segments; `ahs` holds TotalAHSLength words.
    #[inline]
    pub fn parse(bhs: &Bhs, ahs: &[u8]) -> Result<Self, ahs::BadSegments> {
        Ok(match bhs.opcode() {
            PduOpcode::NOP_OUT => Request::NopOut(NopOut {
                is_immediate: bhs.is_immediate(),
                lun: bhs.lun(),
                initiator_task_tag: bhs.initiator_task_tag(),
                target_transfer_tag: bhs.u32(20),
                cmd_sn: bhs.cmd_sn(),
            }),
            PduOpcode::SCSI_COMMAND => Request::ScsiCommand(scsi_command(bhs, ahs)?),
            PduOpcode::TASK_MANAGEMENT_REQUEST => Request::TaskManagement(TaskManagementRequest {
                is_immediate: bhs.is_immediate(),
                function: bhs.0[1] & 0x7f,
                lun: bhs.lun(),
                initiator_task_tag: bhs.initiator_task_tag(),
                referenced_task_tag: bhs.u32(20),
                cmd_sn: bhs.cmd_sn(),
                ref_cmd_sn: bhs.u32(32),
            }),
            PduOpcode::LOGIN_REQUEST => Request::Login(login(bhs)),
            PduOpcode::TEXT_REQUEST => Request::Text(TextRequest {
                is_immediate: bhs.is_immediate(),
                is_final: bhs.is_final(),
                continues: bhs.0[1] & 0x40 != 0,
                lun: bhs.lun(),
                initiator_task_tag: bhs.initiator_task_tag(),
                target_transfer_tag: bhs.u32(20),
                cmd_sn: bhs.cmd_sn(),
            }),
            PduOpcode::DATA_OUT => Request::DataOut(DataOut {
                is_final: bhs.is_final(),
                lun: bhs.lun(),
                initiator_task_tag: bhs.initiator_task_tag(),
                target_transfer_tag: bhs.u32(20),
                data_sn: bhs.u32(36),
                buffer_offset: bhs.u32(40),
            }),
            PduOpcode::LOGOUT_REQUEST => Request::Logout(LogoutRequest {
                is_immediate: bhs.is_immediate(),
                reason: bhs.0[1] & 0x7f,
                initiator_task_tag: bhs.initiator_task_tag(),
                cid: bhs.u16(20),
                cmd_sn: bhs.cmd_sn(),
            }),
            PduOpcode::SNACK_REQUEST => Request::Snack,
            other => Request::Unknown(other),
        })
    }
}

impl ScsiCommand {
    /// What is in the basic header segment.
    #[inline]
    fn basic(bhs: &Bhs) -> Self {
        let mut cdb = [0; 16];
        cdb.copy_from_slice(&bhs.0[32..48]);
        ScsiCommand {
            is_immediate: bhs.is_immediate(),
            is_final: bhs.is_final(),
            is_read: bhs.0[1] & 0x40 != 0,
            is_write: bhs.0[1] & 0x20 != 0,
            attribute: bhs.0[1] & 0x07,
            lun: bhs.lun(),
            initiator_task_tag: bhs.initiator_task_tag(),
            expected_data_transfer_length: bhs.u32(20),
            cmd_sn: bhs.cmd_sn(),
            cdb,
            additional: AdditionalHeaders::default(),
        }
    }

    /// The command of a PDU that is nothing but its basic header segment, is numbered, and has no data that
    /// follows it. `None` for any other PDU.
    #[inline]
    pub fn plain(bhs: &Bhs) -> Option<Self> {
        let has_segments = bhs.ahs_length() > 0 || bhs.data_length() > 0;
        if bhs.opcode() != PduOpcode::SCSI_COMMAND || bhs.is_immediate() || has_segments {
            return None;
        }
        let command = ScsiCommand::basic(bhs);
        (command.is_final && !command.is_write).then_some(command)
    }

    /// The command of a PDU that is its basic header segment and a data segment with all the data that it
    /// announces, and is numbered. `None` for any other PDU.
    #[inline]
    pub fn whole(bhs: &Bhs) -> Option<Self> {
        let has_other = bhs.is_immediate() || bhs.ahs_length() > 0 || bhs.data_length() == 0;
        if bhs.opcode() != PduOpcode::SCSI_COMMAND || has_other {
            return None;
        }
        let command = ScsiCommand::basic(bhs);
        let is_all = command.expected_data_transfer_length as usize == bhs.data_length();
        (command.is_final && command.is_write && !command.is_read && is_all).then_some(command)
    }
}

#[inline]
fn scsi_command(bhs: &Bhs, ahs: &[u8]) -> Result<ScsiCommand, ahs::BadSegments> {
    let mut command = ScsiCommand::basic(bhs);
    if !ahs.is_empty() {
        command.additional = ahs::parse(ahs)?;
    }
    Ok(command)
}

fn login(bhs: &Bhs) -> LoginRequest {
    let mut isid = [0; 6];
    isid.copy_from_slice(&bhs.0[8..14]);
    LoginRequest {
        is_immediate: bhs.is_immediate(),
        transit: bhs.0[1] & 0x80 != 0,
        continues: bhs.0[1] & 0x40 != 0,
        current_stage: bhs.0[1] >> 2 & 3,
        next_stage: bhs.0[1] & 3,
        version_max: bhs.0[2],
        version_min: bhs.0[3],
        isid,
        tsih: bhs.u16(14),
        initiator_task_tag: bhs.initiator_task_tag(),
        cid: bhs.u16(20),
        cmd_sn: bhs.cmd_sn(),
        exp_stat_sn: bhs.exp_stat_sn(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every byte differs, so that a field read from the wrong place shows.
    fn header(opcode: u8, flags: u8) -> Bhs {
        let mut bytes: [u8; 48] = std::array::from_fn(|i| u8::try_from(i).unwrap_or(0) | 0x80);
        (bytes[0], bytes[1]) = (opcode, flags);
        Bhs(bytes)
    }

    fn parse(opcode: u8, flags: u8) -> Request {
        Request::parse(&header(opcode, flags), &[]).unwrap()
    }

    const LUN: [u8; 8] = [0x88, 0x89, 0x8a, 0x8b, 0x8c, 0x8d, 0x8e, 0x8f];
    const ITT: u32 = 0x9091_9293;
    const CMD_SN: u32 = 0x9899_9a9b;

    #[test]
    fn rfc7143_11_2_1_lengths_in_the_header() {
        let bhs = header(0x41, 0x80);
        assert_eq!((bhs.ahs_length(), bhs.data_length()), (0x84 * 4, 0x85_8687));
        assert_eq!((bhs.is_immediate(), bhs.is_final(), bhs.exp_stat_sn()), (true, true, 0x9c9d_9e9f));
    }

    #[test]
    fn rfc7143_11_3_scsi_command() {
        let Request::ScsiCommand(command) = parse(0x41, 0xc3) else { panic!() };
        assert!(command.is_immediate && command.is_final && command.is_read && !command.is_write);
        assert_eq!((command.attribute, command.lun, command.initiator_task_tag), (3, LUN, ITT));
        assert_eq!((command.expected_data_transfer_length, command.cmd_sn), (0x9495_9697, CMD_SN));
        assert_eq!((command.cdb[0], command.cdb[15]), (0xa0, 0xaf));
        let Request::ScsiCommand(command) = parse(0x01, 0x20) else { panic!() };
        assert!(!command.is_immediate && !command.is_final && !command.is_read && command.is_write);
    }

    #[test]
    fn a_plain_command_is_whole_with_its_header() {
        let with = |opcode, flags, lengths: [u8; 4]| {
            let mut bhs = header(opcode, flags);
            bhs.0[4..8].copy_from_slice(&lengths);
            (ScsiCommand::plain(&bhs), Request::parse(&bhs, &[]).unwrap())
        };
        let (plain, parsed) = with(0x01, 0xc3, [0; 4]);
        assert_eq!(plain.map(Request::ScsiCommand), Some(parsed));
        assert!(with(0x01, 0x80, [0; 4]).0.is_some(), "no data at all");
        for (opcode, flags, lengths) in [
            (0x41, 0xc3, [0; 4]),
            (0x01, 0x43, [0; 4]),
            (0x01, 0xa3, [0; 4]),
            (0x01, 0xe3, [0; 4]),
            (0x00, 0xc3, [0; 4]),
            (0x01, 0xc3, [1, 0, 0, 0]),
            (0x01, 0xc3, [0, 1, 0, 0]),
            (0x01, 0xc3, [0, 0, 0, 1]),
        ] {
            assert_eq!(with(opcode, flags, lengths).0, None, "{opcode:x} {flags:x} {lengths:?}");
        }
    }

    #[test]
    fn rfc7143_11_5_task_management_function_request() {
        let expected = TaskManagementRequest {
            is_immediate: true,
            function: 5,
            lun: LUN,
            initiator_task_tag: ITT,
            referenced_task_tag: 0x9495_9697,
            cmd_sn: CMD_SN,
            ref_cmd_sn: 0xa0a1_a2a3,
        };
        assert_eq!(parse(0x42, 0x85), Request::TaskManagement(expected));
    }

    #[test]
    fn rfc7143_11_7_data_out() {
        let expected = DataOut {
            is_final: true,
            lun: LUN,
            initiator_task_tag: ITT,
            target_transfer_tag: 0x9495_9697,
            data_sn: 0xa4a5_a6a7,
            buffer_offset: 0xa8a9_aaab,
        };
        assert_eq!(parse(0x05, 0x80), Request::DataOut(expected));
    }

    #[test]
    fn rfc7143_11_10_text_request() {
        let Request::Text(text) = parse(0x04, 0x40) else { panic!() };
        assert!(!text.is_immediate && !text.is_final && text.continues);
        assert_eq!((text.lun, text.initiator_task_tag), (LUN, ITT));
        assert_eq!((text.target_transfer_tag, text.cmd_sn), (0x9495_9697, CMD_SN));
    }

    #[test]
    fn rfc7143_11_12_login_request() {
        let Request::Login(login) = parse(0x43, 0x87) else { panic!() };
        assert!(login.is_immediate && login.transit && !login.continues);
        assert_eq!((login.current_stage, login.next_stage), (1, 3));
        assert_eq!((login.version_max, login.version_min), (0x82, 0x83));
        assert_eq!((login.isid, login.tsih), ([0x88, 0x89, 0x8a, 0x8b, 0x8c, 0x8d], 0x8e8f));
        assert_eq!((login.initiator_task_tag, login.cid), (ITT, 0x9495));
        assert_eq!((login.cmd_sn, login.exp_stat_sn), (CMD_SN, 0x9c9d_9e9f));
    }

    #[test]
    fn rfc7143_11_14_logout_request() {
        let expected = LogoutRequest {
            is_immediate: false,
            reason: 1,
            initiator_task_tag: ITT,
            cid: 0x9495,
            cmd_sn: CMD_SN,
        };
        assert_eq!(parse(0x06, 0x81), Request::Logout(expected));
    }

    #[test]
    fn rfc7143_11_18_nop_out() {
        let expected = NopOut {
            is_immediate: true,
            lun: LUN,
            initiator_task_tag: ITT,
            target_transfer_tag: 0x9495_9697,
            cmd_sn: CMD_SN,
        };
        assert_eq!(parse(0x40, 0x80), Request::NopOut(expected));
    }

    #[test]
    fn rfc7143_11_2_1_2_opcodes_of_initiators() {
        assert_eq!(parse(0x10, 0x80), Request::Snack);
        for opcode in (0x07..0x10).chain(0x11..0x40) {
            assert_eq!(parse(opcode, 0x80), Request::Unknown(PduOpcode(opcode)));
        }
    }
}
