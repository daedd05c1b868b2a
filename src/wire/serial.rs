//! Serial number arithmetic for CmdSN, StatSN and DataSN (RFC 7143 4.2.2, RFC 1982): 32 bits that wrap.

/// Whether `a` comes before `b`.
#[inline]
pub fn is_before(a: u32, b: u32) -> bool {
    a != b && b.wrapping_sub(a) < 0x8000_0000
}

/// Whether `sn` is one of `first` to `last`, both included; an empty window is `last == first - 1`.
#[inline]
pub fn is_within(sn: u32, first: u32, last: u32) -> bool {
    sn.wrapping_sub(first) < last.wrapping_add(1).wrapping_sub(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc1982_comparison_wraps() {
        assert!(is_before(0xffff_fff0, 5));
        assert!(!is_before(5, 0xffff_fff0));
        assert!(!is_before(7, 7));
        assert!(is_within(1, 0xffff_ffff, 3));
        assert!(!is_within(4, 0xffff_ffff, 3));
        for sn in [10, 9, 11, 10 + 0x8000_0000, 9 + 0x8000_0000] {
            assert!(!is_within(sn, 10, 9), "the closed window holds nothing");
        }
        assert!(!is_within(10 + 0x8000_0000, 10, 10));
    }
}
