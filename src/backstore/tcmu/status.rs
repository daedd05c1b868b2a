//! What a handler's answer means to an initiator: the statuses of tcmu-runner 1.5.4, a row each.

use std::ffi::c_int;

use crate::backstore::tcmu::abi::SENSE_BYTES;
use crate::backstore::tcmu::abi::status::{NOT_HANDLED, PASSTHROUGH_ERR};
use crate::backstore::{BlockError, Reported};

/// What becomes of a status.
#[derive(Clone, Copy)]
enum Meaning {
    /// An error of the backstores that the SCSI layer knows already.
    Is(BlockError),
    /// SENSE KEY, and ADDITIONAL SENSE CODE with its qualifier.
    Sense(u8, u16),
    /// The same, with INFORMATION and SENSE KEY SPECIFIC as the handler has left them in the sense buffer.
    Kept(u8, u16),
    /// The sense buffer as it is.
    Buffer,
}

use Meaning::{Buffer, Is, Kept, Sense};

const ROWS: &[(c_int, Meaning)] = &[
    (NOT_HANDLED, Is(BlockError::Unsupported)),
    (1, Is(BlockError::Full)),
    (PASSTHROUGH_ERR, Buffer),
    (3, Is(BlockError::Busy)),
    // WR_ERR and RD_ERR.
    (4, Sense(0x3, 0x0c00)),
    (5, Sense(0x3, 0x1100)),
    // MISCOMPARE.
    (6, Kept(0xe, 0x1d00)),
    // INVALID_CMD, INVALID_CDB, INVALID_PARAM_LIST and INVALID_PARAM_LIST_LEN.
    (7, Is(BlockError::Unsupported)),
    (8, Sense(0x5, 0x2400)),
    (9, Sense(0x5, 0x2600)),
    (10, Sense(0x5, 0x1a00)),
    // TIMEOUT: it may be tried again.
    (11, Is(BlockError::Busy)),
    // FENCED.
    (12, Sense(0x2, 0x040b)),
    (13, Sense(0x4, 0x4400)),
    (14, Is(BlockError::OutOfRange)),
    // FRMT_IN_PROGRESS.
    (15, Kept(0x2, 0x0404)),
    // CAPACITY_CHANGED, NOTSUPP_SAVE_PARAMS, WR_ERR_INCOMPAT_FRMT.
    (16, Sense(0x6, 0x2a09)),
    (17, Sense(0x5, 0x3900)),
    (18, Sense(0x5, 0x3005)),
    // TRANSITION, IMPL_TRANSITION_ERR, EXPL_TRANSITION_ERR.
    (19, Sense(0x2, 0x040a)),
    (20, Sense(0x6, 0x2a07)),
    (21, Sense(0x4, 0x670a)),
    // NO_LOCK_HOLDERS, 22, is none of a command. The others are of third-party copies.
    (23, Sense(0x5, 0x2609)),
    (24, Sense(0x5, 0x2607)),
    (25, Sense(0xa, 0x0d02)),
    (26, Sense(0xa, 0x0d03)),
    (27, Sense(0x5, 0x2608)),
    (28, Sense(0x5, 0x2606)),
];

/// The error that a status other than OK stands for. One that is not known is CHECK CONDITION without sense
/// data, as in tcmu-runner.
pub(super) fn error(status: c_int, sense: &[u8; SENSE_BYTES]) -> BlockError {
    let row = ROWS.iter().find(|(known, _)| *known == status);
    match row.map_or(Sense(0, 0), |(_, meaning)| *meaning) {
        Is(error) => error,
        Sense(key, code) => BlockError::Reported(Reported { key, code, ..Reported::default() }),
        Kept(key, code) => BlockError::Reported(Reported { key, code, ..decoded(sense) }),
        Buffer => BlockError::Reported(decoded(sense)),
    }
}

/// Sense data in fixed format (SPC-4, 4.5.3) or descriptor format, of the latter key and code only.
pub(super) fn decoded(sense: &[u8; SENSE_BYTES]) -> Reported {
    if matches!(sense[0] & 0x7f, 0x72 | 0x73) {
        let code = u16::from_be_bytes([sense[2], sense[3]]);
        return Reported { key: sense[1] & 0x0f, code, ..Reported::default() };
    }
    let information = u32::from_be_bytes([sense[3], sense[4], sense[5], sense[6]]);
    Reported {
        key: sense[2] & 0x0f,
        code: u16::from_be_bytes([sense[12], sense[13]]),
        information: (sense[0] & 0x80 != 0).then_some(information),
        specific: (sense[15] & 0x80 != 0).then_some([sense[15], sense[16], sense[17]]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spc_4_fixed_sense_is_read_with_what_the_handler_has_left() {
        let mut sense = [0; SENSE_BYTES];
        sense[0] = 0x80;
        sense[3..7].copy_from_slice(&[0, 0, 1, 2]);
        let miscompare = Reported { key: 0xe, code: 0x1d00, information: Some(258), specific: None };
        assert_eq!(error(6, &sense), BlockError::Reported(miscompare));
        sense = [0; SENSE_BYTES];
        sense[15..18].copy_from_slice(&[0x80, 0x12, 0x34]);
        let formatting =
            Reported { key: 2, code: 0x0404, information: None, specific: Some([0x80, 0x12, 0x34]) };
        assert_eq!(error(15, &sense), BlockError::Reported(formatting));
        sense = [0; SENSE_BYTES];
        (sense[0], sense[2], sense[12], sense[13]) = (0x70, 0x25, 0x21, 0x04);
        let buffer = Reported { key: 5, code: 0x2104, ..Reported::default() };
        assert_eq!(error(PASSTHROUGH_ERR, &sense), BlockError::Reported(buffer));
        (sense[0], sense[1], sense[2], sense[3]) = (0x72, 0x05, 0x24, 0x00);
        assert_eq!(decoded(&sense), Reported { key: 5, code: 0x2400, ..Reported::default() });
    }

    #[test]
    fn every_status_has_one_row_and_a_strange_one_has_no_sense() {
        let none = [0; SENSE_BYTES];
        for (status, _) in ROWS {
            assert_eq!(ROWS.iter().filter(|(other, _)| other == status).count(), 1, "{status}");
        }
        assert_eq!(ROWS.len(), 28, "-1 to 28 without OK and NO_LOCK_HOLDERS");
        assert_eq!(error(99, &none), BlockError::Reported(Reported::default()));
        assert_eq!(error(1, &none), BlockError::Full);
        assert_eq!(error(11, &none), BlockError::Busy);
    }
}
