//! CRC32C by carry-less multiplication, 512 bits at a time.

use std::arch::x86_64::{
    __m128i, __m512i, _mm_crc32_u64, _mm_cvtsi32_si128, _mm_cvtsi128_si64, _mm_unpackhi_epi64, _mm_xor_si128,
    _mm512_clmulepi64_epi128, _mm512_extracti32x4_epi32, _mm512_loadu_si512, _mm512_set_epi64,
    _mm512_setzero_si512, _mm512_ternarylogic_epi64, _mm512_xor_si512, _mm512_zextsi128_si512,
};

use crate::sys::crc::weight;

/// What is folded at once, in bytes.
const BLOCK: usize = 64;
/// Blocks under way at once: so many hide how long a multiplication takes.
const STREAMS: usize = 4;
/// Shorter runs are not folded.
pub(super) const LEAST: usize = STREAMS * BLOCK;

/// The factors of both halves of a lane that stands `blocks` blocks and `lanes` lanes of 128 bits before
/// another.
const fn factors(blocks: usize, lanes: usize) -> [i64; 2] {
    weight::factors(blocks * BLOCK * 8 + lanes * 128)
}

/// Whether the processor, and the operating system, can.
#[inline]
pub(super) fn is_possible() -> bool {
    use std::arch::is_x86_feature_detected as has;
    has!("avx512f") && has!("vpclmulqdq") && has!("sse4.2")
}

/// Whole blocks, and what is left.
#[inline]
pub(super) fn blocks(bytes: &[u8]) -> (&[[u8; BLOCK]], &[u8]) {
    bytes.as_chunks()
}

/// Continues a CRC32C over `blocks`; over none, if they are fewer than [`LEAST`] bytes.
#[target_feature(enable = "avx512f,vpclmulqdq,sse4.2")]
pub(super) fn append(crc: u32, blocks: &[[u8; BLOCK]]) -> u32 {
    let (groups, single) = blocks.as_chunks::<STREAMS>();
    let Some((first, groups)) = groups.split_first() else { return crc };
    let mut streams = [_mm512_setzero_si512(); STREAMS];
    for (stream, block) in streams.iter_mut().zip(first) {
        *stream = load(block);
    }
    // What went before is a remainder that stands where the next four bytes do.
    let begin = _mm512_zextsi128_si512(_mm_cvtsi32_si128((!crc).cast_signed()));
    streams[0] = _mm512_xor_si512(streams[0], begin);
    let over_group = in_every_lane(const { factors(STREAMS, 0) });
    for group in groups {
        for (stream, block) in streams.iter_mut().zip(group) {
            *stream = fold(*stream, over_group, load(block));
        }
    }
    let over_one = in_every_lane(const { factors(1, 0) });
    let over_two = in_every_lane(const { factors(2, 0) });
    let [first, second, third, fourth] = streams;
    let mut whole = fold(fold(first, over_two, third), over_one, fold(second, over_two, fourth));
    for block in single {
        whole = fold(whole, over_one, load(block));
    }
    remainder(last_lane(whole))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(block: &[u8; BLOCK]) -> __m512i {
    // SAFETY: the block is 64 bytes that can be read; the instruction needs no alignment.
    unsafe { _mm512_loadu_si512(block.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn in_every_lane([first, second]: [i64; 2]) -> __m512i {
    _mm512_set_epi64(second, first, second, first, second, first, second, first)
}

/// Each lane of `before` times its factors, added to `onto`.
#[inline]
#[target_feature(enable = "avx512f,vpclmulqdq")]
fn fold(before: __m512i, factors: __m512i, onto: __m512i) -> __m512i {
    let first = _mm512_clmulepi64_epi128::<0x00>(before, factors);
    let second = _mm512_clmulepi64_epi128::<0x11>(before, factors);
    // 0x96: the sum without carry of three.
    _mm512_ternarylogic_epi64::<0x96>(first, second, onto)
}

/// The first three lanes folded onto the last.
#[inline]
#[target_feature(enable = "avx512f,vpclmulqdq")]
fn last_lane(whole: __m512i) -> __m128i {
    const OVER: [[i64; 2]; 3] = [factors(0, 3), factors(0, 2), factors(0, 1)];
    let [[a, b], [c, d], [e, f]] = OVER;
    let folded = fold(whole, _mm512_set_epi64(0, 0, f, e, d, c, b, a), _mm512_setzero_si512());
    let front = _mm_xor_si128(_mm512_extracti32x4_epi32::<0>(folded), _mm512_extracti32x4_epi32::<1>(folded));
    let back = _mm_xor_si128(_mm512_extracti32x4_epi32::<2>(folded), _mm512_extracti32x4_epi32::<3>(whole));
    _mm_xor_si128(front, back)
}

/// A lane is bytes whose CRC, begun with a remainder of nothing, is that of all.
#[inline]
#[target_feature(enable = "sse4.2")]
fn remainder(lane: __m128i) -> u32 {
    let first = _mm_cvtsi128_si64(lane).cast_unsigned();
    let second = _mm_cvtsi128_si64(_mm_unpackhi_epi64(lane, lane)).cast_unsigned();
    // The instruction leaves the upper half zero.
    !u32::try_from(_mm_crc32_u64(_mm_crc32_u64(0, first), second)).unwrap_or(0)
}
