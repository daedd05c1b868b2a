//! Command descriptor blocks and the fields in them.

use std::fmt;

/// Longest CDB that any row describes: the 32-byte variable-length form.
pub const MAX_LENGTH: usize = 32;

/// A CDB as received. Bytes past its length read as zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Cdb {
    bytes: [u8; MAX_LENGTH],
}

/// Where a number lives in a CDB: `length` bytes from byte `at`, the first of them masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// First byte.
    pub at: u8,
    /// Bytes, 1 to 8.
    pub length: u8,
    /// Bits of the first byte that belong to the field.
    pub mask: u8,
}

/// A field of whole bytes.
pub const fn field(at: u8, length: u8) -> Field {
    Field { at, length, mask: 0xff }
}

/// A field whose first byte is shared with something else.
pub const fn masked(at: u8, length: u8, mask: u8) -> Field {
    Field { at, length, mask }
}

impl Cdb {
    /// Takes the first [`MAX_LENGTH`] bytes; what is missing is zero.
    pub fn new(received: &[u8]) -> Self {
        let mut bytes = [0; MAX_LENGTH];
        let length = received.len().min(MAX_LENGTH);
        bytes[..length].copy_from_slice(&received[..length]);
        Cdb { bytes }
    }

    /// All bytes, zero-filled to [`MAX_LENGTH`].
    #[inline]
    pub fn bytes(&self) -> &[u8; MAX_LENGTH] {
        &self.bytes
    }

    /// Byte `at`, below [`MAX_LENGTH`].
    #[inline]
    pub fn byte(&self, at: usize) -> u8 {
        self.bytes[at]
    }

    /// Whether the bits of `mask` in byte `at` are not all zero.
    #[inline]
    pub fn bit(&self, at: usize, mask: u8) -> bool {
        self.bytes[at] & mask != 0
    }

    /// Whether no bit of `bits` is set.
    #[inline]
    pub(crate) fn is_clear_of(&self, bits: &[u8; MAX_LENGTH]) -> bool {
        let words = |bytes: &[u8; MAX_LENGTH]| {
            let (first, second) = bytes.split_at(MAX_LENGTH / 2);
            [first, second].map(|half| half.try_into().map_or(u128::MAX, u128::from_ne_bytes))
        };
        let ([a, b], [c, d]) = (words(&self.bytes), words(bits));
        a & c | b & d == 0
    }

    /// OPERATION CODE.
    #[inline]
    pub fn opcode(&self) -> u8 {
        self.bytes[0]
    }

    /// The number in `field`.
    #[inline]
    pub fn get(&self, field: Field) -> u64 {
        let at = usize::from(field.at);
        if let Some(eight) = self.bytes[at..].first_chunk::<8>() {
            let unused = 64 - u32::from(field.length) * 8;
            let mask = u64::from(field.mask) << 56 | u64::MAX >> 8;
            return (u64::from_be_bytes(*eight) & mask) >> unused;
        }
        let mut value = u64::from(self.bytes[at] & field.mask);
        for byte in &self.bytes[at + 1..at + usize::from(field.length)] {
            value = value << 8 | u64::from(*byte);
        }
        value
    }

    /// SERVICE ACTION for the operation codes that have one (SPC-4, 4.3): byte 1, or bytes 8 and 9 of the
    /// variable-length form.
    pub fn service_action(&self) -> u16 {
        match self.bytes[0] {
            0x7f => u16::from_be_bytes([self.bytes[8], self.bytes[9]]),
            _ => u16::from(self.bytes[1] & 0x1f),
        }
    }
}

impl fmt::Debug for Cdb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in &self.bytes[..16] {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_place() {
        let cdb = Cdb::new(&[0x08, 0xff, 0x12, 0x34, 0x00, 0x00]);
        assert_eq!(cdb.get(masked(1, 3, 0x1f)), 0x1f1234);
        assert_eq!(cdb.get(field(4, 1)), 0);
        let all: Vec<u8> = (0x91..=0xb0).collect();
        for at in 0..32u8 {
            for length in 1..=(32 - at).min(8) {
                let first = at as usize..(at + length) as usize;
                let expected =
                    Cdb::new(&all).bytes[first].iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
                assert_eq!(Cdb::new(&all).get(field(at, length)), expected, "{length} bytes at {at}");
                let top = 0x7fu64 << (8 * (length - 1)) | ((1u64 << (8 * (length - 1))) - 1);
                assert_eq!(
                    Cdb::new(&all).get(masked(at, length, 0x7f)),
                    expected & top,
                    "{length} masked at {at}"
                );
            }
        }
        assert_eq!(Cdb::new(&[0x9e, 0xf0]).service_action(), 0x10);
    }
}
