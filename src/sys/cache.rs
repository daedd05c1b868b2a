//! Hints to the processor's cache: memory that is needed soon comes while something else is done.

use std::ptr;

/// Bytes of a line of the cache.
pub const LINE: usize = 64;

/// Has the lines fetched that the first `bytes` bytes of `value`, and the `before` bytes in front of them,
/// are in. Nothing but time depends on it, and it waits for nothing; where the processor has no such
/// instruction, or this does not know it, nothing is done.
#[inline]
pub fn fetch<T>(value: &T, before: usize, bytes: usize) {
    let first = ptr::from_ref(value).cast::<u8>().wrapping_sub(before);
    // The last byte may be in a line more than there are whole ones from the first on.
    for offset in (0..before + bytes).step_by(LINE).chain([(before + bytes).saturating_sub(1)]) {
        fetch_line(first.wrapping_add(offset));
    }
}

#[inline]
fn fetch_line(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing that the program can tell and faults at no address; SSE is part of
    // x86-64.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
