//! Sense data (SPC-4, 4.5): keys, additional sense codes, fixed and descriptor format.

use std::fmt;

use crate::backstore::Reported;

/// Sense keys (SPC-4, table 48).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // The names are the standard's own.
#[repr(u8)]
pub enum SenseKey {
    NoSense = 0x0,
    RecoveredError = 0x1,
    NotReady = 0x2,
    MediumError = 0x3,
    HardwareError = 0x4,
    IllegalRequest = 0x5,
    UnitAttention = 0x6,
    DataProtect = 0x7,
    BlankCheck = 0x8,
    VendorSpecific = 0x9,
    CopyAborted = 0xa,
    AbortedCommand = 0xb,
    VolumeOverflow = 0xd,
    Miscompare = 0xe,
    Completed = 0xf,
}

impl SenseKey {
    /// The key of this number; one that the standard has reserved is HARDWARE ERROR.
    pub fn of(number: u8) -> Self {
        const ALL: [SenseKey; 15] = [
            SenseKey::NoSense,
            SenseKey::RecoveredError,
            SenseKey::NotReady,
            SenseKey::MediumError,
            SenseKey::HardwareError,
            SenseKey::IllegalRequest,
            SenseKey::UnitAttention,
            SenseKey::DataProtect,
            SenseKey::BlankCheck,
            SenseKey::VendorSpecific,
            SenseKey::CopyAborted,
            SenseKey::AbortedCommand,
            SenseKey::VolumeOverflow,
            SenseKey::Miscompare,
            SenseKey::Completed,
        ];
        ALL.into_iter().find(|key| *key as u8 == number).unwrap_or(SenseKey::HardwareError)
    }

    /// Its name in SPC-4, 4.5.6.
    pub fn words(self) -> &'static str {
        match self {
            SenseKey::NoSense => "NO SENSE",
            SenseKey::RecoveredError => "RECOVERED ERROR",
            SenseKey::NotReady => "NOT READY",
            SenseKey::MediumError => "MEDIUM ERROR",
            SenseKey::HardwareError => "HARDWARE ERROR",
            SenseKey::IllegalRequest => "ILLEGAL REQUEST",
            SenseKey::UnitAttention => "UNIT ATTENTION",
            SenseKey::DataProtect => "DATA PROTECT",
            SenseKey::BlankCheck => "BLANK CHECK",
            SenseKey::VendorSpecific => "VENDOR SPECIFIC",
            SenseKey::CopyAborted => "COPY ABORTED",
            SenseKey::AbortedCommand => "ABORTED COMMAND",
            SenseKey::VolumeOverflow => "VOLUME OVERFLOW",
            SenseKey::Miscompare => "MISCOMPARE",
            SenseKey::Completed => "COMPLETED",
        }
    }
}

/// ADDITIONAL SENSE CODE and ADDITIONAL SENSE CODE QUALIFIER as one number, 0xAAQQ.
pub type AdditionalSense = u16;

impl fmt::Display for Sense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {:02x}/{:02x}", self.key.words(), self.code >> 8, self.code & 0xff)
    }
}

/// Where in the CDB or the parameter list the wrong field is (SPC-4, 4.5.2.4.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FieldPointer {
    /// In the CDB; otherwise in the parameter list.
    pub in_cdb: bool,
    /// The byte.
    pub byte: u16,
    /// The most significant bit of the field, 0 to 7; `None` when the whole byte is meant.
    pub bit: Option<u8>,
}

/// What the SENSE KEY SPECIFIC field says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeySpecific {
    /// The wrong field, for ILLEGAL REQUEST.
    Field(FieldPointer),
    /// Progress of 65536, for NOT READY and NO SENSE.
    Progress(u16),
    /// Segment number and field, for COPY ABORTED.
    Segment(FieldPointer),
    /// As a backstore has reported it, with SKSV.
    Reported([u8; 3]),
}

/// Sense data before it has a format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub struct Sense {
    /// SENSE KEY.
    pub key: SenseKey,
    /// ADDITIONAL SENSE CODE and its qualifier.
    pub code: AdditionalSense,
    /// INFORMATION: an LBA or an offset; VALID is set when it fits the format.
    pub information: Option<u64>,
    /// COMMAND-SPECIFIC INFORMATION.
    pub command_specific: Option<u64>,
    /// SENSE KEY SPECIFIC.
    pub key_specific: Option<KeySpecific>,
}

/// Longest sense data that [`Sense::encode`] writes.
pub const MAX_LENGTH: usize = 64;

impl Sense {
    /// Sense data with nothing but key and code.
    pub const fn new(key: SenseKey, code: AdditionalSense) -> Self {
        Sense { key, code, information: None, command_specific: None, key_specific: None }
    }

    /// What a backstore reports that speaks SCSI.
    pub fn reported(reported: &Reported) -> Self {
        Sense {
            information: reported.information.map(u64::from),
            key_specific: reported.specific.map(KeySpecific::Reported),
            ..Sense::new(SenseKey::of(reported.key), reported.code)
        }
    }

    /// INVALID FIELD IN CDB pointing at a byte, and a bit when one is meant.
    pub const fn invalid_field_in_cdb(byte: u16, bit: Option<u8>) -> Self {
        Sense::INVALID_FIELD_IN_CDB.pointing(FieldPointer { in_cdb: true, byte, bit })
    }

    /// INVALID FIELD IN PARAMETER LIST pointing at a byte, and a bit when one is meant.
    pub const fn invalid_field_in_parameter_list(byte: u16, bit: Option<u8>) -> Self {
        Sense::INVALID_FIELD_IN_PARAMETER_LIST.pointing(FieldPointer { in_cdb: false, byte, bit })
    }

    /// The same with a field pointer.
    pub const fn pointing(mut self, field: FieldPointer) -> Self {
        self.key_specific = Some(KeySpecific::Field(field));
        self
    }

    /// The same with INFORMATION.
    pub const fn with_information(mut self, information: u64) -> Self {
        self.information = Some(information);
        self
    }

    /// The same, for segment descriptor `number` of a copy: in COMMAND-SPECIFIC INFORMATION, and pointing at
    /// a byte of the descriptor when one is wrong (SPC-4, 6.4.3).
    pub const fn in_segment(mut self, number: u16, byte: Option<u16>) -> Self {
        self.command_specific = Some(number as u64);
        if let Some(byte) = byte {
            self.key_specific = Some(KeySpecific::Segment(FieldPointer { in_cdb: false, byte, bit: None }));
        }
        self
    }

    /// The same with a progress indication of 65536.
    pub const fn with_progress(mut self, progress: u16) -> Self {
        self.key_specific = Some(KeySpecific::Progress(progress));
        self
    }
}

macro_rules! named {
    ($($(#[$doc:meta])* $name:ident = $key:ident $code:literal;)*) => {
        #[allow(missing_docs)] // The names are T10's own.
        impl Sense {
            $($(#[$doc])* pub const $name: Sense = Sense::new(SenseKey::$key, $code);)*
        }
    };
}

named! {
    NO_ADDITIONAL_SENSE_INFORMATION = NoSense 0x0000;
    LOGICAL_UNIT_IN_PROCESS_OF_BECOMING_READY = NotReady 0x0401;
    INITIALIZING_COMMAND_REQUIRED = NotReady 0x0402;
    FORMAT_IN_PROGRESS = NotReady 0x0404;
    ASYMMETRIC_ACCESS_STATE_TRANSITION = NotReady 0x040a;
    TARGET_PORT_IN_STANDBY_STATE = NotReady 0x040b;
    TARGET_PORT_IN_UNAVAILABLE_STATE = NotReady 0x040c;
    SANITIZE_IN_PROGRESS = NotReady 0x041b;
    MEDIUM_NOT_PRESENT = NotReady 0x3a00;
    MEDIUM_NOT_PRESENT_TRAY_CLOSED = NotReady 0x3a01;
    MEDIUM_NOT_PRESENT_TRAY_OPEN = NotReady 0x3a02;
    WRITE_ERROR = MediumError 0x0300;
    PERIPHERAL_DEVICE_WRITE_FAULT = MediumError 0x0303;
    UNRECOVERED_READ_ERROR = MediumError 0x1100;
    SANITIZE_COMMAND_FAILED = MediumError 0x3103;
    INTERNAL_TARGET_FAILURE = HardwareError 0x4400;
    PARAMETER_LIST_LENGTH_ERROR = IllegalRequest 0x1a00;
    INVALID_COMMAND_OPERATION_CODE = IllegalRequest 0x2000;
    LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE = IllegalRequest 0x2100;
    INVALID_FIELD_IN_CDB = IllegalRequest 0x2400;
    LOGICAL_UNIT_NOT_SUPPORTED = IllegalRequest 0x2500;
    INVALID_FIELD_IN_PARAMETER_LIST = IllegalRequest 0x2600;
    PARAMETER_VALUE_INVALID = IllegalRequest 0x2602;
    OPERATION_IN_PROGRESS = IllegalRequest 0x0016;
    TOO_MANY_TARGET_DESCRIPTORS = IllegalRequest 0x2606;
    UNSUPPORTED_TARGET_DESCRIPTOR_TYPE_CODE = IllegalRequest 0x2607;
    TOO_MANY_SEGMENT_DESCRIPTORS = IllegalRequest 0x2608;
    UNSUPPORTED_SEGMENT_DESCRIPTOR_TYPE_CODE = IllegalRequest 0x2609;
    INLINE_DATA_LENGTH_EXCEEDED = IllegalRequest 0x260b;
    INVALID_RELEASE_OF_PERSISTENT_RESERVATION = IllegalRequest 0x2604;
    SAVING_PARAMETERS_NOT_SUPPORTED = IllegalRequest 0x3900;
    MEDIUM_REMOVAL_PREVENTED = IllegalRequest 0x5302;
    INSUFFICIENT_REGISTRATION_RESOURCES = IllegalRequest 0x5504;
    INSUFFICIENT_RESOURCES = IllegalRequest 0x5503;
    INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT = IllegalRequest 0x0e03;
    NOT_READY_TO_READY_CHANGE = UnitAttention 0x2800;
    POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED = UnitAttention 0x2900;
    I_T_NEXUS_LOSS_OCCURRED = UnitAttention 0x2907;
    MODE_PARAMETERS_CHANGED = UnitAttention 0x2a01;
    LOG_PARAMETERS_CHANGED = UnitAttention 0x2a02;
    RESERVATIONS_PREEMPTED = UnitAttention 0x2a03;
    RESERVATIONS_RELEASED = UnitAttention 0x2a04;
    REGISTRATIONS_PREEMPTED = UnitAttention 0x2a05;
    ASYMMETRIC_ACCESS_STATE_CHANGED = UnitAttention 0x2a06;
    CAPACITY_DATA_HAS_CHANGED = UnitAttention 0x2a09;
    COMMANDS_CLEARED_BY_ANOTHER_INITIATOR = UnitAttention 0x2f00;
    THIN_PROVISIONING_SOFT_THRESHOLD_REACHED = UnitAttention 0x3807;
    INQUIRY_DATA_HAS_CHANGED = UnitAttention 0x3f03;
    REPORTED_LUNS_DATA_HAS_CHANGED = UnitAttention 0x3f0e;
    WRITE_PROTECTED = DataProtect 0x2700;
    SPACE_ALLOCATION_FAILED_WRITE_PROTECT = DataProtect 0x2707;
    COPY_ABORTED = CopyAborted 0x0000;
    UNREACHABLE_COPY_TARGET = CopyAborted 0x0804;
    THIRD_PARTY_DEVICE_FAILURE = CopyAborted 0x0d01;
    INCORRECT_COPY_TARGET_DEVICE_TYPE = CopyAborted 0x0d03;
    UNEXPECTED_INEXACT_SEGMENT = CopyAborted 0x260a;
    COPY_COMMANDS_CLEARED_BY_DEVICE_SERVER = CopyAborted 0x2f02;
    COPY_TARGET_DEVICE_NOT_REACHABLE = CopyAborted 0x0d02;
    SET_TARGET_PORT_GROUPS_FAILED = HardwareError 0x670a;
    UNEXPECTED_UNSOLICITED_DATA = AbortedCommand 0x0c0c;
    NOT_ENOUGH_UNSOLICITED_DATA = AbortedCommand 0x0c0d;
    PROTOCOL_SERVICE_CRC_ERROR = AbortedCommand 0x4705;
    DATA_PHASE_ERROR = AbortedCommand 0x4b00;
    MISCOMPARE_DURING_VERIFY_OPERATION = Miscompare 0x1d00;
}

impl Sense {
    /// Writes the sense data in fixed (response code 70h) or descriptor format (72h); returns its length.
    ///
    /// Fixed format cannot carry an INFORMATION above 32 bits: VALID stays 0 then (SPC-4, 4.5.3).
    pub fn encode(&self, descriptor_format: bool, out: &mut [u8; MAX_LENGTH]) -> usize {
        out.fill(0);
        if descriptor_format { self.encode_descriptors(out) } else { self.encode_fixed(out) }
    }

    fn encode_fixed(&self, out: &mut [u8; MAX_LENGTH]) -> usize {
        const LENGTH: u8 = 18;
        out[0] = 0x70;
        out[2] = self.key as u8;
        if let Some(information) = self.information.and_then(|i| u32::try_from(i).ok()) {
            out[0] |= 0x80;
            out[3..7].copy_from_slice(&information.to_be_bytes());
        }
        out[7] = LENGTH - 8;
        if let Some(specific) = self.command_specific.and_then(|i| u32::try_from(i).ok()) {
            out[8..12].copy_from_slice(&specific.to_be_bytes());
        }
        out[12..14].copy_from_slice(&self.code.to_be_bytes());
        if let Some(specific) = self.key_specific {
            out[15..18].copy_from_slice(&specific.encode());
        }
        usize::from(LENGTH)
    }

    fn encode_descriptors(&self, out: &mut [u8; MAX_LENGTH]) -> usize {
        out[0] = 0x72;
        out[1] = self.key as u8;
        out[2..4].copy_from_slice(&self.code.to_be_bytes());
        let mut at = 8;
        if let Some(information) = self.information {
            out[at..at + 4].copy_from_slice(&[0x00, 0x0a, 0x80, 0]);
            out[at + 4..at + 12].copy_from_slice(&information.to_be_bytes());
            at += 12;
        }
        if let Some(specific) = self.command_specific {
            out[at..at + 4].copy_from_slice(&[0x01, 0x0a, 0, 0]);
            out[at + 4..at + 12].copy_from_slice(&specific.to_be_bytes());
            at += 12;
        }
        if let Some(specific) = self.key_specific {
            out[at..at + 2].copy_from_slice(&[0x02, 0x06]);
            out[at + 4..at + 7].copy_from_slice(&specific.encode());
            at += 8;
        }
        out[7] = u8::try_from(at - 8).unwrap_or(0);
        at
    }
}

impl KeySpecific {
    fn encode(self) -> [u8; 3] {
        match self {
            KeySpecific::Reported(bytes) => bytes,
            KeySpecific::Progress(progress) => {
                let [high, low] = progress.to_be_bytes();
                [0x80, high, low]
            }
            KeySpecific::Field(field) | KeySpecific::Segment(field) => {
                let [high, low] = field.byte.to_be_bytes();
                // C/D of a field pointer; SD of a segment pointer.
                let place = match self {
                    KeySpecific::Segment(_) => 0x20,
                    _ if field.in_cdb => 0x40,
                    _ => 0,
                };
                let bit = field.bit.map_or(0, |bit| 0x08 | (bit & 7));
                [0x80 | place | bit, high, low]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spc_fixed_format_with_field_pointer() {
        let mut out = [0; MAX_LENGTH];
        let length = Sense::invalid_field_in_cdb(2, Some(5)).encode(false, &mut out);
        assert_eq!(length, 18);
        assert_eq!(out[..18], [0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x24, 0, 0, 0xcd, 0, 2]);
    }

    #[test]
    fn spc_information_that_fits_only_descriptor_format() {
        let sense = Sense::UNRECOVERED_READ_ERROR.with_information(0x1_0000_0000);
        let mut out = [0; MAX_LENGTH];
        sense.encode(false, &mut out);
        assert_eq!(out[0], 0x70);
        let length = sense.encode(true, &mut out);
        assert_eq!(length, 20);
        assert_eq!(out[..20], [0x72, 3, 0x11, 0, 0, 0, 0, 12, 0, 10, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
    }
}
