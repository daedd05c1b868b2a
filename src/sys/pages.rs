//! Memory that goes back to the system at once.
//!
//! What the C library frees may stay resident for good, where something newer lies behind it: of thousands of
//! connections that are idle most of the time nearly all would keep the buffer that they gave back.

use std::io;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};

/// Zeroed pages of this value's own. They cost resident memory once they are touched.
#[derive(Debug)]
pub struct Pages {
    start: NonNull<u8>,
    length: usize,
}

impl Pages {
    /// None.
    pub const fn none() -> Self {
        Pages { start: NonNull::dangling(), length: 0 }
    }

    /// `length` bytes, of whole pages; none for 0. Errors are those of mmap(2).
    pub fn new(length: usize) -> io::Result<Self> {
        if length == 0 {
            return Ok(Pages::none());
        }
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let start = unsafe { libc::mmap(ptr::null_mut(), length, protection, kind, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Pages { start, length })
    }
}

impl Default for Pages {
    fn default() -> Self {
        Pages::none()
    }
}

impl Deref for Pages {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: `length` bytes of the mapping, which are initialised and this value's own; or none.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl DerefMut for Pages {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` excludes every other reference.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        if self.length > 0 {
            // SAFETY: this mapping, whole; nobody has a pointer into it any more.
            unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
        }
    }
}

// SAFETY: the mapping is owned and stays until it is dropped, on whatever thread.
unsafe impl Send for Pages {}
// SAFETY: as of any owned bytes: shared references only read.
unsafe impl Sync for Pages {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_zeros_that_can_be_written() {
        let mut pages = Pages::new(100_000).unwrap();
        assert!(pages.len() == 100_000 && pages.iter().all(|byte| *byte == 0));
        pages[99_999] = 7;
        assert_eq!(pages.iter().map(|byte| u32::from(*byte)).sum::<u32>(), 7);
        assert!(Pages::new(0).unwrap().is_empty() && Pages::default().is_empty());
        assert!(Pages::new(usize::MAX).is_err());
    }
}
