//! Header and data digests (RFC 7143 11.2.3): CRC32C, sent least significant byte first.

use crate::sys::crc;

/// Length of a digest in bytes.
pub const LENGTH: usize = 4;

/// The digest of the parts in turn, as it goes on the wire.
pub fn digest(parts: &[&[u8]]) -> [u8; LENGTH] {
    let crc = parts.iter().fold(0, |crc, part| append(crc, part));
    crc.to_le_bytes()
}

/// Continues a CRC over `part`; begin with 0.
pub fn append(crc: u32, part: &[u8]) -> u32 {
    let short = if part.len() <= crc::SHORT { crc::append(crc, part) } else { None };
    short.unwrap_or_else(|| crc32c::crc32c_append(crc, part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc7143_a_4_examples() {
        let ascending: Vec<u8> = (0..32).collect();
        let descending: Vec<u8> = (0..32).rev().collect();
        let read: [u8; 48] = [
            0x01, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0, 0x04, 0, 0, 0, 0,
            0x14, 0, 0, 0, 0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(digest(&[&[0; 32]]), [0xaa, 0x36, 0x91, 0x8a]);
        assert_eq!(digest(&[&[0xff; 32]]), [0x43, 0xab, 0xa8, 0x62]);
        assert_eq!(digest(&[&ascending]), [0x4e, 0x79, 0xdd, 0x46]);
        assert_eq!(digest(&[&descending]), [0x5c, 0xdb, 0x3f, 0x11]);
        assert_eq!(digest(&[&read[..7], &read[7..]]), [0x56, 0x3a, 0x96, 0xd9]);
    }
}
