//! The raw calls: memory, files, block devices, sockets. One of the corners where `unsafe` lives.
//!
//! Everything here returns safe types; no policy, no names, no configuration.
#![allow(unsafe_code)] // Raw system calls and aligned memory have no safe spelling in std.

pub mod cache;
pub mod crc;
pub mod file;
pub mod given;
pub(crate) mod interleave;
pub mod lock;
pub mod map;
pub mod pages;
pub mod pipe;
pub mod process;
pub mod socket;
pub mod thread;

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Page-aligned, initialised memory. Large requests come from fresh zero pages of the kernel and cost
/// resident memory only once they are touched.
pub struct AlignedMemory {
    start: NonNull<u8>,
    length: usize,
}

/// Alignment of [`AlignedMemory`] in bytes: enough for O_DIRECT on any device.
pub const ALIGNMENT: usize = 4096;

impl AlignedMemory {
    /// `length` zero bytes, rounded up to a multiple of [`ALIGNMENT`]; `length` must not be 0.
    pub fn zeroed(length: usize) -> Self {
        let length = length.max(1).next_multiple_of(ALIGNMENT);
        let layout = Self::layout(length);
        // SAFETY: the layout's size is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        AlignedMemory { start, length }
    }

    fn layout(length: usize) -> Layout {
        Layout::from_size_align(length, ALIGNMENT).unwrap_or_else(|_| Layout::new::<u8>())
    }
}

impl Deref for AlignedMemory {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: `start` is the beginning of `length` bytes that this value owns and that were zeroed.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl DerefMut for AlignedMemory {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` excludes every other reference.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl Drop for AlignedMemory {
    fn drop(&mut self) {
        // SAFETY: `start` came from `alloc_zeroed` with this very layout and is freed once.
        unsafe { dealloc(self.start.as_ptr(), Self::layout(self.length)) }
    }
}

// SAFETY: the memory is owned, not shared with any thread.
unsafe impl Send for AlignedMemory {}
// SAFETY: a shared reference gives read access only.
unsafe impl Sync for AlignedMemory {}

/// The calling thread, as the operating system knows it.
pub fn thread_id() -> u32 {
    // SAFETY: the call has no arguments and cannot fail.
    let id = unsafe { libc::gettid() };
    u32::try_from(id).unwrap_or(0)
}
