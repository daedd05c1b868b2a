//! CRC32C of short runs with the processor's own instruction: three cycles for eight bytes, without the
//! set-up that interleaved streams need, which is most of the time for a header.

/// Runs up to this length are quicker this way than in interleaved streams.
pub const SHORT: usize = 1024;

/// Continues a CRC32C over `bytes`, if the processor has the instruction.
#[inline]
pub fn append(crc: u32, bytes: &[u8]) -> Option<u32> {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("sse4.2") {
        // SAFETY: the processor has SSE4.2.
        return Some(unsafe { sse42(crc, bytes) });
    }
    let _ = (crc, bytes);
    None
}

/// # Safety
/// The processor must have SSE4.2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
#[allow(unused_unsafe)] // The intrinsics are safe to call here from Rust 1.87 on.
unsafe fn sse42(crc: u32, bytes: &[u8]) -> u32 {
    use std::arch::x86_64::{_mm_crc32_u8, _mm_crc32_u64};
    let words = bytes.chunks_exact(8);
    let rest = words.remainder();
    let mut long = u64::from(!crc);
    for word in words {
        let word = u64::from_le_bytes(word.try_into().unwrap_or([0; 8]));
        // SAFETY: the caller has made sure of SSE4.2.
        long = unsafe { _mm_crc32_u64(long, word) };
    }
    // The instruction leaves the upper half zero.
    let mut short = u32::try_from(long).unwrap_or(0);
    for byte in rest {
        // SAFETY: as above.
        short = unsafe { _mm_crc32_u8(short, *byte) };
    }
    !short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_and_start_gives_what_the_streams_give() {
        let bytes: Vec<u8> = (0u32..1100).map(|n| u8::try_from(n * 7 % 251).unwrap()).collect();
        for length in (0..70).chain([511, 512, 1023, SHORT, 1099]) {
            for start in [0, 1, 5] {
                let part = &bytes[start..(start + length).min(bytes.len())];
                for crc in [0, 0xdead_beef] {
                    if let Some(own) = append(crc, part) {
                        assert_eq!(own, crc32c::crc32c_append(crc, part), "{length} bytes from {start}");
                    }
                }
            }
        }
    }
}
