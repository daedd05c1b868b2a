//! Header and data digests (RFC 7143 11.2.3): CRC32C, sent least significant byte first.

use crate::sys::crc;
use crate::wire::bhs;

/// Length of a digest in bytes.
pub const LENGTH: usize = 4;

/// The digest of the parts in turn, as it goes on the wire.
pub fn digest(parts: &[&[u8]]) -> [u8; LENGTH] {
    let crc = parts.iter().fold(0, |crc, part| append(crc, part));
    crc.to_le_bytes()
}

/// The digest of a basic header segment without additional ones.
#[inline]
pub fn of_header(header: &[u8; bhs::LENGTH]) -> [u8; LENGTH] {
    crc::of_few(header).unwrap_or_else(|| crc32c::crc32c(header)).to_le_bytes()
}

/// Continues a CRC over `part`; begin with 0.
#[inline]
pub fn append(crc: u32, part: &[u8]) -> u32 {
    crc::append(crc, part).unwrap_or_else(|| crc32c::crc32c_append(crc, part))
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
    /// CRC32C from its definition, bit by bit: the register before the final complement.
    fn shift(register: u32, byte: u8) -> u32 {
        (0..8).fold(register ^ u32::from(byte), |register, _| {
            if register & 1 == 1 { register >> 1 ^ 0x82f6_3b78 } else { register >> 1 }
        })
    }

    /// Numbers without a pattern, the same every time.
    fn noise(seed: u64) -> impl FnMut() -> u32 {
        let mut state = seed;
        move || {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            u32::try_from(state >> 32).unwrap()
        }
    }

    fn bytes(count: usize) -> Vec<u8> {
        let mut next = noise(1);
        (0..count).map(|_| next().to_le_bytes()[3]).collect()
    }

    #[test]
    fn every_length_start_and_beginning_gives_what_the_definition_says() {
        let bytes = bytes(66_000);
        let ranges = [0..=1300, 4000..=4200, 8000..=8200, 65_500..=65_700];
        let is_tried = |length| ranges.iter().any(|range| range.contains(&length));
        for start in [0, 1, 3, 8, 31, 63] {
            for begin in [0, 1, 0xdead_beef, u32::MAX] {
                let mut register = !begin;
                for length in 0..=65_700 {
                    if is_tried(length) {
                        let part = &bytes[start..start + length];
                        let crc = append(begin, part);
                        assert_eq!(crc, !register, "{length} bytes from {start}, begun with {begin:x}");
                        assert_eq!(crc, crc32c::crc32c_append(begin, part), "{length} from {start}");
                    }
                    register = shift(register, bytes[start + length]);
                }
            }
        }
    }

    #[test]
    fn parts_in_turn_give_what_the_whole_gives() {
        let bytes = bytes(200_000);
        let whole = crc32c::crc32c(&bytes);
        let mut next = noise(2);
        for largest in [3, 70, 300, 1100, 5000, 70_000] {
            for _ in 0..8 {
                let (mut crc, mut rest) = (0, &bytes[..]);
                while !rest.is_empty() {
                    let count = usize::try_from(next()).unwrap() % largest + 1;
                    let (part, behind) = rest.split_at(count.min(rest.len()));
                    crc = append(crc, part);
                    rest = behind;
                }
                assert_eq!(crc, whole, "parts of up to {largest} bytes");
            }
        }
    }
}
