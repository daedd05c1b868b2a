//! Who runs this process, whether it has forked, who is at the other end of a Unix socket, and taking a mount
//! away.

use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering};

/// Bytes of the mapping of a [`Birthmark`]: the kernel makes a whole page of it.
const MARK_BYTES: usize = 4096;

/// Tells a process from its children by fork(). It takes no lock and, where the kernel wipes memory for
/// children (Linux 4.14), no system call: a process number costs one, and can come back.
pub struct Birthmark {
    /// Not 0 in the process that made it, 0 in its children.
    page: Option<NonNull<AtomicU8>>,
    process: u32,
}

// SAFETY: the page is an atomic, written once before anybody else has it.
unsafe impl Send for Birthmark {}
// SAFETY: as above.
unsafe impl Sync for Birthmark {}

impl Birthmark {
    /// That of the calling process.
    pub fn new() -> Self {
        Birthmark { page: wiped_in_children(), process: std::process::id() }
    }

    /// Whether the calling process is the one that made it.
    pub fn is_own(&self) -> bool {
        match self.page {
            // SAFETY: the page is mapped until this is dropped.
            Some(page) => unsafe { page.as_ref() }.load(Ordering::Relaxed) != 0,
            None => self.process == std::process::id(),
        }
    }
}

impl Default for Birthmark {
    fn default() -> Self {
        Birthmark::new()
    }
}

impl Drop for Birthmark {
    fn drop(&mut self) {
        if let Some(page) = self.page {
            // SAFETY: mapped by `wiped_in_children`, and nobody has a reference any more.
            unsafe { libc::munmap(page.as_ptr().cast(), MARK_BYTES) };
        }
    }
}

fn wiped_in_children() -> Option<NonNull<AtomicU8>> {
    let (protection, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), MARK_BYTES, protection, kind, -1, 0) };
    if start == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: the mapping is our own.
    if unsafe { libc::madvise(start, MARK_BYTES, libc::MADV_WIPEONFORK) } != 0 {
        // SAFETY: as above, and nobody else knows it.
        unsafe { libc::munmap(start, MARK_BYTES) };
        return None;
    }
    let page = NonNull::new(start.cast::<AtomicU8>())?;
    // SAFETY: mapped, writable, and zero, which an AtomicU8 can be.
    unsafe { page.as_ref() }.store(1, Ordering::Relaxed);
    Some(page)
}

/// Effective user of this process.
pub fn effective_user() -> u32 {
    // SAFETY: geteuid takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// Effective group of this process.
pub fn effective_group() -> u32 {
    // SAFETY: getegid takes nothing and cannot fail.
    unsafe { libc::getegid() }
}

/// The effective user that a peer had when it connected (SO_PEERCRED).
pub fn peer_user(socket: &UnixStream) -> io::Result<u32> {
    let mut peer = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut length = libc::socklen_t::try_from(size_of::<libc::ucred>()).unwrap_or(0);
    let (level, name) = (libc::SOL_SOCKET, libc::SO_PEERCRED);
    // SAFETY: `peer` is a ucred, `length` its size, and both outlive the call.
    let result =
        unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, (&raw mut peer).cast(), &raw mut length) };
    if result == 0 { Ok(peer.uid) } else { Err(io::Error::last_os_error()) }
}

/// Takes the mount at `path` away, also while files of it are open.
pub fn detach_mount(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: `path` is a C string that outlives the call.
    let result = unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_another_process() {
        let wiped = Birthmark::new();
        let by_number = Birthmark { page: None, process: std::process::id() };
        assert!(wiped.page.is_some(), "this kernel wipes no memory for children");
        assert!(wiped.is_own() && by_number.is_own());
        // SAFETY: the child does nothing but look at the two and end.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let strangers = !wiped.is_own() && !by_number.is_own();
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(i32::from(!strangers)) };
        }
        let mut status = -1;
        // SAFETY: `status` can be written.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0, "the child takes itself for its parent");
        assert!(wiped.is_own() && by_number.is_own());
    }

    #[test]
    fn the_peer_of_a_pair_is_oneself() {
        let (one, _other) = UnixStream::pair().unwrap();
        assert_eq!(peer_user(&one).unwrap(), effective_user());
    }

    #[test]
    fn what_is_no_mount_cannot_be_taken_away() {
        assert!(detach_mount(Path::new("/nowhere/at/all")).is_err());
        assert!(detach_mount(Path::new("with\0nul")).is_err());
    }
}
