//! Big-endian numbers in byte slices, and a reader that never panics.
//!
//! Every wire format of this crate (RFC 7143, SPC, SBC) is big-endian. `get_*` and `put_*` index with
//! literal offsets into buffers whose length the caller has fixed; anything whose length a peer chose is
//! read through [`Take`].

pub mod number_map;

/// Reads two bytes at `at`. Panics when the slice is too short: for buffers of fixed size only.
#[inline]
pub fn get_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Reads three bytes at `at` (DataSegmentLength and friends).
#[inline]
pub fn get_u24(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([0, bytes[at], bytes[at + 1], bytes[at + 2]])
}

/// Reads four bytes at `at`.
#[inline]
pub fn get_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Reads eight bytes at `at`.
#[inline]
pub fn get_u64(bytes: &[u8], at: usize) -> u64 {
    (u64::from(get_u32(bytes, at)) << 32) | u64::from(get_u32(bytes, at + 4))
}

/// Writes two bytes at `at`.
#[inline]
pub fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// Writes the low three bytes of `value` at `at`.
#[inline]
pub fn put_u24(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 3].copy_from_slice(&value.to_be_bytes()[1..]);
}

/// Writes four bytes at `at`.
#[inline]
pub fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

/// Writes eight bytes at `at`.
#[inline]
pub fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_be_bytes());
}

/// A reader over bytes that a peer sent: every call answers `None` past the end.
#[derive(Clone, Copy, Debug)]
pub struct Take<'a> {
    rest: &'a [u8],
}

impl<'a> Take<'a> {
    /// A reader over all of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Take { rest: bytes }
    }

    /// Bytes not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(count)?;
        self.rest = tail;
        Some(head)
    }

    /// The next byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.bytes(1).map(|b| b[0])
    }

    /// The next two bytes as a number.
    pub fn u16(&mut self) -> Option<u16> {
        self.bytes(2).map(|b| get_u16(b, 0))
    }

    /// The next four bytes as a number.
    pub fn u32(&mut self) -> Option<u32> {
        self.bytes(4).map(|b| get_u32(b, 0))
    }

    /// The next eight bytes as a number.
    pub fn u64(&mut self) -> Option<u64> {
        self.bytes(8).map(|b| get_u64(b, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_a_round_trip() {
        let mut buffer = [0u8; 8];
        put_u64(&mut buffer, 0, 0x0102_0304_0506_0708);
        assert_eq!(buffer, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(get_u64(&buffer, 0), 0x0102_0304_0506_0708);
        assert_eq!(get_u16(&buffer, 3), 0x0405);
        put_u24(&mut buffer, 1, 0xff00_a0b0);
        assert_eq!(get_u24(&buffer, 1), 0x00a0b0);
    }

    #[test]
    fn take_stops_at_the_end() {
        let mut take = Take::new(&[1, 2, 3]);
        assert_eq!(take.u16(), Some(0x0102));
        assert_eq!(take.u16(), None);
        assert_eq!(take.rest(), &[3]);
        assert_eq!(take.u8(), Some(3));
        assert_eq!(take.u8(), None);
    }
}
