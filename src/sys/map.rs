//! A file mapped into memory and shared with every other process that maps it.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

use crate::sys::ALIGNMENT;

/// A shared, writable mapping of the beginning of a file.
///
/// Whoever makes the file shorter, or lets its file system run out of space, ends this process (SIGBUS): the
/// caller allocates the blocks first and keeps others away.
pub struct SharedMap {
    start: NonNull<u8>,
    length: usize,
}

fn last_error() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

impl SharedMap {
    /// Maps the first `length` bytes, which must not be none. Errors are errno.
    pub fn new(file: &File, length: usize) -> Result<Self, i32> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let start = unsafe {
            libc::mmap(std::ptr::null_mut(), length, protection, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        if start == libc::MAP_FAILED {
            return Err(last_error());
        }
        let start = NonNull::new(start.cast()).ok_or(libc::ENOMEM)?;
        Ok(SharedMap { start, length })
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether it has no bytes; it never has none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Where `length` bytes from `at` on begin, if they are all inside.
    fn place(&self, at: usize, length: usize) -> Result<*mut u8, i32> {
        match at.checked_add(length) {
            Some(end) if end <= self.length => Ok(self.start.as_ptr().wrapping_add(at)),
            _ => Err(libc::EINVAL),
        }
    }

    /// Fills `into` from `at`.
    pub fn read(&self, at: usize, into: &mut [u8]) -> Result<(), i32> {
        let from = self.place(at, into.len())?;
        // SAFETY: both are `into.len()` bytes, and `into` is memory of its own. The task set lets nobody
        // write bytes that another thread reads.
        unsafe { std::ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) };
        Ok(())
    }

    /// Writes `from` at `at`.
    pub fn write(&self, at: usize, from: &[u8]) -> Result<(), i32> {
        let into = self.place(at, from.len())?;
        // SAFETY: as in `read`, the other way round.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), into, from.len()) };
        Ok(())
    }

    /// Makes the range zeros.
    pub fn clear(&self, at: usize, length: usize) -> Result<(), i32> {
        let into = self.place(at, length)?;
        // SAFETY: `length` bytes of the mapping, which nobody else touches meanwhile.
        unsafe { std::ptr::write_bytes(into, 0, length) };
        Ok(())
    }

    /// Makes the range durable, widened to whole pages.
    pub fn sync(&self, at: usize, length: usize) -> Result<(), i32> {
        let first = at - at % ALIGNMENT;
        let from = self.place(first, (at - first).saturating_add(length))?;
        // SAFETY: the range is inside the mapping and begins at a page.
        let result = unsafe { libc::msync(from.cast(), at - first + length, libc::MS_SYNC) };
        if result == 0 { Ok(()) } else { Err(last_error()) }
    }
}

impl Drop for SharedMap {
    fn drop(&mut self) {
        // SAFETY: this mapping, whole; nobody has a pointer into it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

// SAFETY: the mapping is owned and stays until it is dropped, on whatever thread.
unsafe impl Send for SharedMap {}
// SAFETY: all access is by copies; see `read`.
unsafe impl Sync for SharedMap {}

/// Allocates the first `length` bytes of a file, whose content stays, so that writing them cannot run out of
/// space. Errors are errno.
pub fn reserve(file: &File, length: u64) -> Result<(), i32> {
    let length = libc::off_t::try_from(length).map_err(|_| libc::EFBIG)?;
    // SAFETY: posix_fallocate takes no pointers.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, length) } {
        0 => Ok(()),
        errno => Err(errno),
    }
}

/// Locks a file for this process alone, until it is closed. EWOULDBLOCK when another has it.
pub fn lock_alone(file: &File) -> Result<(), i32> {
    // SAFETY: flock takes no pointers.
    let result = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
    if result == 0 { Ok(()) } else { Err(last_error()) }
}

/// A file with [`lock_alone`], until this is dropped.
pub struct Alone(File);

impl Alone {
    /// Locks it.
    pub fn lock(file: File) -> Result<Self, i32> {
        lock_alone(&file).map(|()| Alone(file))
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.0
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        unlock(&self.0);
    }
}

/// Ends [`lock_alone`] also where a child of this process has the file open still.
pub fn unlock(file: &File) {
    // SAFETY: flock takes no pointers.
    unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_UN) };
}
