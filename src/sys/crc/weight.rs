//! What a part of a run of bytes weighs that stands before another.
//!
//! A run of bytes is a polynomial over GF(2), its first bit the highest power; the CRC is a remainder modulo
//! P. A part that stands n bits before another has the weight x^n, of which only the remainder counts.
//!
//! Bits are reflected: bit i of 128 is the power 127 - i, of a factor 63 - i. A product of two factors ends
//! at bit 126 and is so x times what it is read as; the constants have one power less for it.

/// The polynomial of CRC32C but for its highest power, reflected.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// x^`exponent` mod P, reflected.
const fn power(exponent: usize) -> u32 {
    // x^0.
    let mut remainder: u32 = 1 << 31;
    let mut left = exponent;
    while left > 0 {
        let carry = if remainder & 1 == 1 { POLYNOMIAL } else { 0 };
        remainder = remainder >> 1 ^ carry;
        left -= 1;
    }
    remainder
}

/// The factors of both halves of 128 bits that stand `bits` before others: the first 128 bits, A x^64 + B,
/// can be replaced by A (x^(n+64) mod P) + B (x^n mod P), which has fewer than 128 bits, added to those that
/// stand n behind them.
pub(super) const fn factors(bits: usize) -> [i64; 2] {
    [(power(bits + 64 - 1) as i64) << 32, (power(bits - 1) as i64) << 32]
}

/// The factor of a remainder that stands `bytes` bytes before the end, for a product of 64 bits that
/// `_mm_crc32_u64` brings down to a remainder, at which it gains 32 powers.
pub(super) const fn factor_of_remainder(bytes: usize) -> i64 {
    power(bytes * 8 - 33) as i64
}
