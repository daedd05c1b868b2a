//! CRC32C by carry-less multiplication, 256 bits at a time, and by the instruction of SSE4.2 at the same
//! time: the processor has units for each of the two, and either takes about eight bytes a cycle.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_clmulepi64_si128, _mm_crc32_u64, _mm_cvtsi32_si128, _mm_cvtsi64_si128,
    _mm_cvtsi128_si64, _mm_set_epi64x, _mm_unpackhi_epi64, _mm_xor_si128, _mm256_castsi256_si128,
    _mm256_clmulepi64_epi128, _mm256_extracti128_si256, _mm256_loadu_si256, _mm256_set_epi64x,
    _mm256_setzero_si256, _mm256_xor_si256, _mm256_zextsi128_si256,
};
use std::hint::black_box;

use crate::sys::crc::sse42;
use crate::sys::crc::weight::{factor_of_remainder, factors};

/// What is multiplied at once, in bytes, and how many such are under way.
const LANES: usize = 32;
const STREAMS: usize = 4;
/// What one round multiplies.
const GROUP: usize = STREAMS * LANES;
/// What one round gives the instruction from each of three parts: it takes three cycles, and begins in each.
const STRIDE: usize = 32;
const ROUNDS: usize = 18;
/// Each of the three parts.
const PART: usize = ROUNDS * STRIDE;
/// A block: what is multiplied, and the three parts. One and 64 bytes more are 4 KiB.
const BLOCK: usize = ROUNDS * GROUP + 3 * PART;
/// Shorter runs are quicker otherwise.
pub(super) const LEAST: usize = 2 * GROUP;

/// The factors for what stands one group, two vectors, one vector or one lane before another: in one line of
/// the processor's cache.
#[repr(align(64))]
struct Factors {
    group: [i64; 2],
    two: [i64; 2],
    one: [i64; 2],
    lane: [i64; 2],
}

static FACTORS: Factors = Factors {
    group: factors(8 * GROUP),
    two: factors(16 * LANES),
    one: factors(8 * LANES),
    lane: factors(128),
};

/// Whether the processor, and the operating system, can.
#[inline]
pub(super) fn is_possible() -> bool {
    use std::arch::is_x86_feature_detected as has;
    has!("avx2") && has!("vpclmulqdq") && has!("pclmulqdq") && has!("sse4.2")
}

/// Continues a CRC32C.
#[target_feature(enable = "avx2,vpclmulqdq,pclmulqdq,sse4.2")]
pub(super) fn append(crc: u32, bytes: &[u8]) -> u32 {
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    // Otherwise the compiler scatters them, each into a cache line of its own.
    let factors = black_box(&FACTORS);
    let mut remainder = !crc;
    for block in blocks {
        remainder = whole_block(remainder, block, factors);
    }
    let (groups, rest) = rest.as_chunks::<GROUP>();
    if let Some((first, groups)) = groups.split_first() {
        let mut streams = begin(remainder, first);
        for group in groups {
            multiply(&mut streams, group, factors);
        }
        remainder = end(streams, factors);
    }
    // SAFETY: this processor has SSE4.2.
    unsafe { sse42(!remainder, rest) }
}

#[inline]
#[target_feature(enable = "avx2,vpclmulqdq,pclmulqdq,sse4.2")]
fn whole_block(remainder: u32, block: &[u8; BLOCK], factors: &Factors) -> u32 {
    let (multiplied, parts) = block.split_at(ROUNDS * GROUP);
    let (first, others) = parts.split_at(PART);
    let (second, third) = others.split_at(PART);
    let (rounds, _) = multiplied.as_chunks::<GROUP>();
    let (first, second) = (first.as_chunks::<STRIDE>().0, second.as_chunks::<STRIDE>().0);
    let strides = first.iter().zip(second).zip(third.as_chunks::<STRIDE>().0);
    let (mut streams, mut sums) = (begin(remainder, &rounds[0]), (0, 0, 0));
    for (round, ((first, second), third)) in strides.enumerate() {
        if round > 0 {
            multiply(&mut streams, &rounds[round], factors);
        }
        sums = (words(sums.0, first), words(sums.1, second), words(sums.2, third));
    }
    moved(end(streams, factors), const { factor_of_remainder(3 * PART) })
        ^ moved(low(sums.0), const { factor_of_remainder(2 * PART) })
        ^ moved(low(sums.1), const { factor_of_remainder(PART) })
        ^ low(sums.2)
}

/// Goes on with what one round gives the instruction.
#[inline]
#[target_feature(enable = "sse4.2")]
fn words(remainder: u64, stride: &[u8; STRIDE]) -> u64 {
    let words = stride.as_chunks().0.iter();
    words.fold(remainder, |remainder, word| _mm_crc32_u64(remainder, u64::from_le_bytes(*word)))
}

/// The instruction leaves the upper half zero.
#[inline]
fn low(remainder: u64) -> u32 {
    u32::try_from(remainder).unwrap_or(0)
}

/// The remainder of what stands before as many bytes as the factor is for.
#[inline]
#[target_feature(enable = "pclmulqdq,sse4.2")]
fn moved(remainder: u32, factor: i64) -> u32 {
    let product =
        _mm_clmulepi64_si128::<0x00>(_mm_cvtsi32_si128(remainder.cast_signed()), _mm_cvtsi64_si128(factor));
    low(_mm_crc32_u64(0, _mm_cvtsi128_si64(product).cast_unsigned()))
}

/// The first group. What went before is a remainder that stands where the next four bytes do.
#[inline]
#[target_feature(enable = "avx2")]
fn begin(remainder: u32, group: &[u8; GROUP]) -> [__m256i; STREAMS] {
    let mut streams = [_mm256_setzero_si256(); STREAMS];
    for (stream, lanes) in streams.iter_mut().zip(group.as_chunks().0) {
        *stream = load(lanes);
    }
    let before = _mm256_zextsi128_si256(_mm_cvtsi32_si128(remainder.cast_signed()));
    streams[0] = _mm256_xor_si256(streams[0], before);
    streams
}

/// What was there, each stream where it stands in the next group, and that group.
#[inline]
#[target_feature(enable = "avx2,vpclmulqdq")]
fn multiply(streams: &mut [__m256i; STREAMS], group: &[u8; GROUP], factors: &Factors) {
    let over_group = in_both_lanes(factors.group);
    for (stream, lanes) in streams.iter_mut().zip(group.as_chunks().0) {
        *stream = fold(*stream, over_group, load(lanes));
    }
}

/// The remainder of all streams.
#[inline]
#[target_feature(enable = "avx2,vpclmulqdq,pclmulqdq,sse4.2")]
fn end(streams: [__m256i; STREAMS], factors: &Factors) -> u32 {
    let over_one = in_both_lanes(factors.one);
    let over_two = in_both_lanes(factors.two);
    let [first, second, third, fourth] = streams;
    let whole = fold(fold(first, over_two, third), over_one, fold(second, over_two, fourth));
    let (front, back) = (_mm256_castsi256_si128(whole), _mm256_extracti128_si256::<1>(whole));
    let [a, b] = factors.lane;
    let lane = fold_lane(front, _mm_set_epi64x(b, a), back);
    let words = (_mm_cvtsi128_si64(lane), _mm_cvtsi128_si64(_mm_unpackhi_epi64(lane, lane)));
    low(_mm_crc32_u64(_mm_crc32_u64(0, words.0.cast_unsigned()), words.1.cast_unsigned()))
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(lanes: &[u8; LANES]) -> __m256i {
    // SAFETY: these are 32 bytes that can be read; the instruction needs no alignment.
    unsafe { _mm256_loadu_si256(lanes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn in_both_lanes([first, second]: [i64; 2]) -> __m256i {
    _mm256_set_epi64x(second, first, second, first)
}

/// Both lanes of `before` times their factors, added to `onto`.
#[inline]
#[target_feature(enable = "avx2,vpclmulqdq")]
fn fold(before: __m256i, factors: __m256i, onto: __m256i) -> __m256i {
    let first = _mm256_clmulepi64_epi128::<0x00>(before, factors);
    let second = _mm256_clmulepi64_epi128::<0x11>(before, factors);
    _mm256_xor_si256(_mm256_xor_si256(first, second), onto)
}

#[inline]
#[target_feature(enable = "pclmulqdq,sse4.2")]
fn fold_lane(before: __m128i, factors: __m128i, onto: __m128i) -> __m128i {
    let first = _mm_clmulepi64_si128::<0x00>(before, factors);
    let second = _mm_clmulepi64_si128::<0x11>(before, factors);
    _mm_xor_si128(_mm_xor_si128(first, second), onto)
}
