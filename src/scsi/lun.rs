//! Logical unit numbers and their addressing methods (SAM-5, 4.7).

use std::fmt;

/// The eight bytes of a LUN field as the transport carried them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct LunField(pub [u8; 8]);

/// What a LUN field addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Address {
    /// A logical unit: 0 to 16383, or up to 2^24 - 1 with extended flat space addressing.
    Unit(u32),
    /// The REPORT LUNS well known logical unit (C1 01).
    ReportLuns,
    /// A form this target does not have: second levels, other well known units, logical unit addressing.
    Unsupported,
}

/// How LUNs are written in REPORT LUNS (SCST attribute `addr_method`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AddressingMethod {
    /// Peripheral device addressing below 256, flat space above.
    #[default]
    Peripheral,
    /// Flat space addressing for every LUN.
    Flat,
    /// Logical unit addressing: written as flat space, as no bus or target number exists.
    Lun,
}

/// Largest LUN that has a single-level two-byte form.
pub const MAX_LUN: u32 = 16383;

impl LunField {
    /// The field that addresses `lun` with the method given. `lun` must not be above [`MAX_LUN`].
    pub fn new(lun: u16, method: AddressingMethod) -> Self {
        let [high, low] = lun.to_be_bytes();
        let flat = method != AddressingMethod::Peripheral || lun > 0xff;
        let first = if flat { 0x40 | (high & 0x3f) } else { 0 };
        LunField([first, low, 0, 0, 0, 0, 0, 0])
    }

    /// What the field addresses.
    pub fn address(self) -> Address {
        let b = self.0;
        let single_level = b[2..].iter().all(|&x| x == 0);
        match b[0] >> 6 {
            0 if b[0] == 0 && single_level => Address::Unit(u32::from(b[1])),
            1 if single_level => Address::Unit(u32::from(b[0] & 0x3f) << 8 | u32::from(b[1])),
            3 => Self::extended(b),
            _ => Address::Unsupported,
        }
    }

    /// Extended logical unit addressing (SAM-5, 4.7.7.5): well known units and extended flat space.
    fn extended(b: [u8; 8]) -> Address {
        match b[0] {
            0xc1 if b[1] == 0x01 && b[2..].iter().all(|&x| x == 0) => Address::ReportLuns,
            0xd2 if b[4..].iter().all(|&x| x == 0) => {
                Address::Unit(u32::from(b[1]) << 16 | u32::from(b[2]) << 8 | u32::from(b[3]))
            }
            _ => Address::Unsupported,
        }
    }
}

impl fmt::Display for LunField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address() {
            Address::Unit(lun) => write!(f, "{lun}"),
            Address::ReportLuns => f.write_str("REPORT LUNS"),
            Address::Unsupported => write!(f, "{:016x}", u64::from_be_bytes(self.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sam_4_7_every_method_round_trips() {
        for lun in [0u16, 1, 255, 256, 16383] {
            for method in [AddressingMethod::Peripheral, AddressingMethod::Flat, AddressingMethod::Lun] {
                assert_eq!(LunField::new(lun, method).address(), Address::Unit(u32::from(lun)));
            }
        }
    }

    #[test]
    fn sam_4_7_odd_forms() {
        assert_eq!(LunField([0xc1, 1, 0, 0, 0, 0, 0, 0]).address(), Address::ReportLuns);
        assert_eq!(LunField([0xd2, 0, 1, 2, 0, 0, 0, 0]).address(), Address::Unit(258));
        assert_eq!(LunField([1, 0, 0, 0, 0, 0, 0, 0]).address(), Address::Unsupported);
        assert_eq!(LunField([0, 0, 0, 1, 0, 0, 0, 0]).address(), Address::Unsupported);
        assert_eq!(LunField([0x80, 0, 0, 0, 0, 0, 0, 0]).address(), Address::Unsupported);
        assert_eq!(LunField([0xff; 8]).address(), Address::Unsupported);
    }
}
