//! CRC32C with what the processor has for it: long runs are folded where it multiplies without carry in 512
//! bits (`fold`) or, with the instruction of SSE4.2 beside, in 256 (`fused`). Of short ones that instruction
//! takes three cycles for eight bytes, without the set-up that interleaved streams need, which is most of the
//! time for a header.

#[cfg(all(target_arch = "x86_64", scstu_wide))]
#[allow(clippy::incompatible_msrv)] // `build.rs` asks for the compiler that has them.
mod fold;
#[cfg(all(target_arch = "x86_64", scstu_wide))]
#[allow(clippy::incompatible_msrv)]
mod fused;
#[cfg(all(target_arch = "x86_64", scstu_wide))]
mod weight;

/// Runs up to this length are quicker with the instruction than in interleaved streams.
#[cfg(target_arch = "x86_64")]
const SHORT: usize = 1024;

/// Continues a CRC32C over `bytes`, where this processor has something better for so many than interleaved
/// streams; begin with 0.
#[inline]
pub fn append(crc: u32, bytes: &[u8]) -> Option<u32> {
    #[cfg(all(target_arch = "x86_64", scstu_wide))]
    if bytes.len() >= fold::LEAST && fold::is_possible() {
        let (blocks, rest) = fold::blocks(bytes);
        // SAFETY: `is_possible` has found the instructions.
        let crc = unsafe { fold::append(crc, blocks) };
        // SAFETY: SSE4.2 is one of them.
        return Some(unsafe { sse42(crc, rest) });
    }
    #[cfg(all(target_arch = "x86_64", scstu_wide))]
    if bytes.len() >= fused::LEAST && fused::is_possible() {
        // SAFETY: `is_possible` has found the instructions.
        return Some(unsafe { fused::append(crc, bytes) });
    }
    #[cfg(target_arch = "x86_64")]
    if bytes.len() <= SHORT && std::arch::is_x86_feature_detected!("sse4.2") {
        // SAFETY: the processor has SSE4.2.
        return Some(unsafe { sse42(crc, bytes) });
    }
    let _ = (crc, bytes);
    None
}

/// The CRC32C of a few bytes, of which the compiler knows how many, where this processor has an instruction
/// for it.
#[inline]
pub fn of_few<const LENGTH: usize>(bytes: &[u8; LENGTH]) -> Option<u32> {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("sse4.2") {
        // SAFETY: the processor has SSE4.2.
        return Some(unsafe { sse42_of_few(bytes) });
    }
    let _ = bytes;
    None
}

/// As [`sse42`], without loops.
///
/// # Safety
/// The processor must have SSE4.2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
#[allow(unused_unsafe)]
unsafe fn sse42_of_few<const LENGTH: usize>(bytes: &[u8; LENGTH]) -> u32 {
    // SAFETY: the caller has made sure of SSE4.2.
    unsafe { sse42(0, bytes) }
}

/// # Safety
/// The processor must have SSE4.2.
#[cfg(target_arch = "x86_64")]
#[inline]
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

#[cfg(all(test, target_arch = "x86_64", scstu_wide))]
mod tests {
    use super::*;

    /// On a processor that folds in 512 bits nothing else would come this way.
    #[test]
    fn what_is_fused_gives_what_the_crate_gives() {
        if !fused::is_possible() {
            return println!("not tested: this processor has no carry-less multiplication in 256 bits");
        }
        let bytes: Vec<u8> = (0u32..20_000).map(|at| at.wrapping_mul(0x9e37_79b9).to_be_bytes()[1]).collect();
        for length in (0..600).chain(3900..4300).chain([8063, 8064, 8065, 12_345, 20_000]) {
            for begin in [0, 0xdead_beef] {
                let part = &bytes[..length];
                // SAFETY: `is_possible` has found the instructions.
                let crc = unsafe { fused::append(begin, part) };
                assert_eq!(crc, crc32c::crc32c_append(begin, part), "{length} bytes");
            }
        }
    }
}
