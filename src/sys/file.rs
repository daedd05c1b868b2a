//! Calls on files and block devices that std lacks or does only halfway.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

fn offset(at: u64) -> Result<libc::off_t, i32> {
    libc::off_t::try_from(at).map_err(|_| libc::EFBIG)
}

/// Reads all of `into` from `at`; what lies beyond the end of the file is EIO.
pub fn read_at(file: &File, into: &mut [u8], at: u64) -> Result<(), i32> {
    use std::os::unix::fs::FileExt;
    file.read_exact_at(into, at).map_err(|error| errno(&error))
}

/// Reads once, what there is from `at` on; answers how many bytes.
pub fn read_at_most(file: &File, into: &mut [u8], at: u64) -> Result<usize, i32> {
    use std::os::unix::fs::FileExt;
    file.read_at(into, at).map_err(|error| errno(&error))
}

/// Of what offsets and lengths, and memory, must be multiples with O_DIRECT (statx(2), STATX_DIOALIGN);
/// `None` where the kernel or the file system does not say, or says that it cannot.
pub fn direct_alignment(file: &File) -> Option<(u32, u32)> {
    // SAFETY: statx is plain data for which all zeros is valid.
    let mut found: libc::statx = unsafe { std::mem::zeroed() };
    let (flags, mask) = (libc::AT_EMPTY_PATH, libc::STATX_DIOALIGN);
    // SAFETY: the path is an empty string, and `found` is a statx to fill.
    let result = unsafe { libc::statx(file.as_raw_fd(), c"".as_ptr(), flags, mask, &raw mut found) };
    let is_told = result == 0 && found.stx_mask & mask != 0 && found.stx_dio_offset_align != 0;
    is_told.then_some((found.stx_dio_offset_align, found.stx_dio_mem_align))
}

/// Reads all of `into` from what is in memory; `false` when a device would have to be waited for, or the
/// file system cannot tell.
pub fn read_cached(file: &File, into: &mut [u8], at: u64) -> Result<bool, i32> {
    let slice = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    // SAFETY: the slice is writable memory of the length given and outlives the call.
    let count =
        unsafe { libc::preadv2(file.as_raw_fd(), &raw const slice, 1, offset(at)?, libc::RWF_NOWAIT) };
    match usize::try_from(count) {
        Ok(count) => Ok(count == into.len()),
        Err(_) => match errno(&io::Error::last_os_error()) {
            libc::EAGAIN | libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL => Ok(false),
            other => Err(other),
        },
    }
}

/// Writes all of `from` at `at`; with `durable` it is on stable storage on return.
pub fn write_at(file: &File, mut from: &[u8], mut at: u64, durable: bool) -> Result<(), i32> {
    let flags = if durable { libc::RWF_DSYNC } else { 0 };
    while !from.is_empty() {
        let slice = libc::iovec { iov_base: from.as_ptr().cast_mut().cast(), iov_len: from.len() };
        // SAFETY: pwritev2 only reads through the slice, which outlives the call.
        let count = unsafe { libc::pwritev2(file.as_raw_fd(), &raw const slice, 1, offset(at)?, flags) };
        match usize::try_from(count) {
            Ok(0) => return Err(libc::EIO),
            Ok(count) => {
                from = &from[count..];
                at += count as u64;
            }
            Err(_) => match errno(&io::Error::last_os_error()) {
                libc::EINTR => {}
                libc::EOPNOTSUPP | libc::ENOSYS if durable => {
                    write_at(file, from, at, false)?;
                    return file.sync_data().map_err(|error| errno(&error));
                }
                other => return Err(other),
            },
        }
    }
    Ok(())
}

/// Makes data and size durable.
pub fn sync(file: &File) -> Result<(), i32> {
    file.sync_data().map_err(|error| errno(&error))
}

/// What [`allocate`] does to a range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Allocate {
    /// Frees it; it reads as zeros.
    Punch,
    /// Makes it read as zeros and keeps it allocated.
    Zero,
}

/// fallocate(2) on a file or block device; the size stays.
pub fn allocate(file: &File, what: Allocate, at: u64, length: u64) -> Result<(), i32> {
    let mode = libc::FALLOC_FL_KEEP_SIZE
        | match what {
            Allocate::Punch => libc::FALLOC_FL_PUNCH_HOLE,
            Allocate::Zero => libc::FALLOC_FL_ZERO_RANGE,
        };
    loop {
        // SAFETY: fallocate takes no pointers.
        let result = unsafe { libc::fallocate(file.as_raw_fd(), mode, offset(at)?, offset(length)?) };
        if result == 0 {
            return Ok(());
        }
        match errno(&io::Error::last_os_error()) {
            libc::EINTR => {}
            other => return Err(other),
        }
    }
}

/// Whether the bytes from `at` on are data, and where that changes (lseek(2) SEEK_DATA, SEEK_HOLE).
pub fn next_change(file: &File, at: u64) -> Result<(bool, u64), i32> {
    let seek = |whence| {
        // SAFETY: lseek takes no pointers; nothing uses the file position.
        let found = unsafe { libc::lseek(file.as_raw_fd(), offset(at)?, whence) };
        u64::try_from(found).map_err(|_| errno(&io::Error::last_os_error()))
    };
    match seek(libc::SEEK_DATA) {
        Ok(data) if data > at => Ok((false, data)),
        Ok(_) => Ok((true, seek(libc::SEEK_HOLE)?)),
        Err(libc::ENXIO) => Ok((false, u64::MAX)),
        Err(other) => Err(other),
    }
}

/// copy_file_range(2), whole: `false` when the kernel cannot copy between these files, or not all of it.
pub fn copy_range(source: &File, from: u64, target: &File, to: u64, length: u64) -> bool {
    let (Ok(mut from), Ok(mut to)) = (offset(from), offset(to)) else { return false };
    let Ok(mut left) = usize::try_from(length) else { return false };
    while left > 0 {
        let (source, target) = (source.as_raw_fd(), target.as_raw_fd());
        // SAFETY: both offsets are numbers of this frame, which the kernel advances.
        let count = unsafe { libc::copy_file_range(source, &raw mut from, target, &raw mut to, left, 0) };
        match usize::try_from(count) {
            Ok(0) => return false,
            Ok(count) => left -= count.min(left),
            Err(_) if errno(&io::Error::last_os_error()) == libc::EINTR => {}
            Err(_) => return false,
        }
    }
    true
}

/// Whether this process may open `path` for reading, and for writing (faccessat(2)). Nothing is opened.
pub fn may_open(path: &Path, write: bool) -> Result<(), i32> {
    may(path, if write { libc::R_OK | libc::W_OK } else { libc::R_OK })
}

/// Whether this process may make files in a directory.
pub fn may_make(folder: &Path) -> Result<(), i32> {
    may(folder, libc::W_OK | libc::X_OK)
}

fn may(path: &Path, mode: i32) -> Result<(), i32> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| libc::EINVAL)?;
    // SAFETY: the path is a string that outlives the call.
    let result = unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), mode, libc::AT_EACCESS) };
    if result == 0 { Ok(()) } else { Err(errno(&io::Error::last_os_error())) }
}

/// Whether the file's blocks are memory of this machine (tmpfs, ramfs): nothing on it waits for a device,
/// but for swap, as any memory may.
pub fn is_memory(file: &File) -> bool {
    // SAFETY: statfs is plain data for which all zeros is valid.
    let mut found: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `found` is a statfs to fill.
    let result = unsafe { libc::fstatfs(file.as_raw_fd(), &raw mut found) };
    const RAMFS: u64 = 0x8584_58f6;
    let kind = u64::try_from(found.f_type).unwrap_or(0);
    result == 0 && (kind == u64::try_from(libc::TMPFS_MAGIC).unwrap_or(0) || kind == RAMFS)
}

/// What a block device says of freeing its blocks, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Discard {
    /// What is freed together.
    pub granularity: u32,
    /// Where the first such unit begins.
    pub alignment: u32,
}

/// How the device frees blocks, from what the kernel shows of its queue; `None` when it cannot.
pub fn discard_limits(file: &File) -> Option<Discard> {
    use std::os::unix::fs::MetadataExt;
    let number = file.metadata().ok()?.rdev();
    let (major, minor) = (libc::major(number), libc::minor(number));
    queue_limits(&std::path::PathBuf::from(format!("/sys/dev/block/{major}:{minor}")))
}

/// The same of a device's directory in sysfs. The queue of a partition is its disk's.
fn queue_limits(device: &std::path::Path) -> Option<Discard> {
    let number =
        |path: &str| -> Option<u64> { std::fs::read_to_string(device.join(path)).ok()?.trim().parse().ok() };
    let queue = if device.join("partition").exists() { "../queue" } else { "queue" };
    let most = number(&format!("{queue}/discard_max_bytes"))?;
    let granularity = u32::try_from(number(&format!("{queue}/discard_granularity"))?).ok()?;
    let alignment = number("discard_alignment").and_then(|bytes| u32::try_from(bytes).ok()).unwrap_or(0);
    (most > 0 && granularity > 0).then_some(Discard { granularity, alignment })
}

/// Frees a range of a block device; what it reads as afterwards is the device's business.
pub fn discard(file: &File, at: u64, length: u64) -> Result<(), i32> {
    const BLKDISCARD: libc::Ioctl = 0x1277;
    let range = [at, length];
    // SAFETY: the request reads two numbers of eight bytes from `range`.
    if unsafe { libc::ioctl(file.as_raw_fd(), BLKDISCARD, range.as_ptr()) } < 0 {
        return Err(errno(&io::Error::last_os_error()));
    }
    Ok(())
}

/// Bytes that the file system of `file` has left for an ordinary user.
pub fn free_space(file: &File) -> Result<u64, i32> {
    let mut answer = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: the call writes a whole structure to `answer`.
    if unsafe { libc::fstatvfs(file.as_raw_fd(), answer.as_mut_ptr()) } < 0 {
        return Err(errno(&io::Error::last_os_error()));
    }
    // SAFETY: zeroed is a value of this structure of numbers, and the call has filled it.
    let answer = unsafe { answer.assume_init() };
    Ok(answer.f_bavail.saturating_mul(answer.f_frsize))
}

const BLKGETSIZE64: libc::Ioctl = 0x8008_1272u32 as libc::Ioctl;
const BLKSSZGET: libc::Ioctl = 0x1268;
const BLKPBSZGET: libc::Ioctl = 0x127b;

/// Size in bytes, logical and physical block length of a block device.
pub fn block_device(file: &File) -> Result<(u64, u32, u32), i32> {
    let descriptor = file.as_raw_fd();
    let mut size = 0u64;
    // SAFETY: the request writes eight bytes to `size`.
    if unsafe { libc::ioctl(descriptor, BLKGETSIZE64, &raw mut size) } < 0 {
        return Err(errno(&io::Error::last_os_error()));
    }
    let mut logical: libc::c_int = 512;
    // SAFETY: the request writes an int to `logical`.
    if unsafe { libc::ioctl(descriptor, BLKSSZGET, &raw mut logical) } < 0 {
        return Err(errno(&io::Error::last_os_error()));
    }
    let mut physical: libc::c_uint = 512;
    // SAFETY: the request writes an unsigned int to `physical`.
    if unsafe { libc::ioctl(descriptor, BLKPBSZGET, &raw mut physical) } < 0 {
        return Err(errno(&io::Error::last_os_error()));
    }
    Ok((size, u32::try_from(logical).unwrap_or(512), physical))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_of_a_partition_is_its_disks() {
        let disk = std::env::temp_dir().join(format!("scstu-sysfs-{}", std::process::id()));
        std::fs::create_dir_all(disk.join("queue")).unwrap();
        std::fs::create_dir_all(disk.join("part")).unwrap();
        let write = |path: &str, text: &str| std::fs::write(disk.join(path), text).unwrap();
        assert_eq!(queue_limits(&disk), None);
        write("queue/discard_max_bytes", "0\n");
        write("queue/discard_granularity", "65536\n");
        assert_eq!(queue_limits(&disk), None);
        write("queue/discard_max_bytes", "4294966784\n");
        assert_eq!(queue_limits(&disk), Some(Discard { granularity: 65536, alignment: 0 }));
        write("part/partition", "1\n");
        write("part/discard_alignment", "512\n");
        assert_eq!(queue_limits(&disk.join("part")), Some(Discard { granularity: 65536, alignment: 512 }));
        std::fs::remove_dir_all(disk).unwrap();
    }
}
