//! What handlers call: lists of buffers, CDBs and sense data, under tcmu-runner's names.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::slice;

use libc::{iovec, off_t, size_t};

use crate::backstore::tcmu::abi::SENSE_BYTES;
use crate::backstore::tcmu::abi::status::PASSTHROUGH_ERR;
use crate::backstore::tcmu::device::Device;
use crate::backstore::tcmu::host::tcmu_lba_to_byte;

/// A list of buffers.
///
/// # Safety
/// `iov` is NULL, or has `count` entries that nobody else uses.
unsafe fn list<'a>(iov: *mut iovec, count: size_t) -> &'a mut [iovec] {
    if iov.is_null() || count == 0 {
        return &mut [];
    }
    // SAFETY: the handler vouches for it.
    unsafe { slice::from_raw_parts_mut(iov, count) }
}

/// The first `at_most` bytes of a buffer as memory.
///
/// # Safety
/// The buffer is one that its list's maker vouches for.
unsafe fn memory<'a>(buffer: &iovec, at_most: usize) -> &'a mut [u8] {
    let length = buffer.iov_len.min(at_most);
    if length == 0 {
        return &mut [];
    }
    // SAFETY: the handler vouches for it.
    unsafe { slice::from_raw_parts_mut(buffer.iov_base.cast(), length) }
}

fn consume(buffer: &mut iovec, bytes: usize) {
    buffer.iov_base = buffer.iov_base.wrapping_byte_add(bytes);
    buffer.iov_len -= bytes;
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn tcmu_iovec_length(iov: *mut iovec, count: size_t) -> size_t {
    // SAFETY: the handler vouches for its list.
    let list = unsafe { list(iov, count) };
    list.iter().map(|buffer| buffer.iov_len).sum()
}

/// A buffer of a list that comes without a count; `None` behind the last one of a command's own list, which
/// ends with one that has no memory. A list that a handler has made has no such end.
///
/// # Safety
/// `iov` has more than `at` entries, that with no memory among them, which nobody else uses.
unsafe fn next<'a>(iov: *mut iovec, at: usize) -> Option<&'a mut iovec> {
    // SAFETY: the caller vouches for it.
    let buffer = unsafe { iov.wrapping_add(at).as_mut() }?;
    (!buffer.iov_base.is_null()).then_some(buffer)
}

/// Consumes bytes from the front, as many as there are. Answers how many buffers are used up.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn tcmu_iovec_seek(iov: *mut iovec, bytes: size_t) -> size_t {
    let (mut left, mut used) = (bytes, 0);
    while left > 0 {
        // SAFETY: the handler vouches for enough buffers, or for a command's list.
        let Some(buffer) = (unsafe { next(iov, used) }) else { break };
        let part = left.min(buffer.iov_len);
        consume(buffer, part);
        left -= part;
        used += usize::from(buffer.iov_len == 0);
    }
    used
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn tcmu_cmd_seek(
    command: *mut crate::backstore::tcmu::abi::tcmulib_cmd,
    bytes: size_t,
) {
    // SAFETY: the handler vouches for its command.
    let Some(command) = (unsafe { command.as_mut() }) else { return };
    // SAFETY: the list is the command's own.
    let used = unsafe { tcmu_iovec_seek(command.iovec, bytes) };
    command.iovec = command.iovec.wrapping_add(used);
    command.iov_cnt = command.iov_cnt.saturating_sub(used);
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn tcmu_iovec_zero(iov: *mut iovec, count: size_t) {
    // SAFETY: the handler vouches for its list.
    for buffer in unsafe { list(iov, count) } {
        // SAFETY: and for its buffers.
        unsafe { memory(buffer, usize::MAX) }.fill(0);
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn tcmu_iovec_zeroed(iov: *mut iovec, count: size_t) -> bool {
    // SAFETY: the handler vouches for its list.
    unsafe { list(iov, count) }.iter().all(|buffer| {
        // SAFETY: and for its buffers.
        unsafe { memory(buffer, usize::MAX) }.iter().all(|byte| *byte == 0)
    })
}

/// Compares memory with the buffers: -1 when they are the same, else the first byte that differs, or that the
/// buffers do not have.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn tcmu_iovec_compare(
    memory_with: *mut c_void,
    iov: *mut iovec,
    size: size_t,
) -> off_t {
    let (mut done, mut at) = (0, 0);
    while done < size {
        // SAFETY: the handler vouches for buffers of `size` bytes together, or for a command's list.
        let Some(buffer) = (unsafe { next(iov, at) }) else {
            return off_t::try_from(done).unwrap_or(off_t::MAX);
        };
        // SAFETY: as above.
        let part: &[u8] = unsafe { memory(buffer, size - done) };
        // SAFETY: the handler vouches for `size` bytes.
        let with = unsafe { slice::from_raw_parts(memory_with.cast::<u8>().wrapping_add(done), part.len()) };
        if let Some(place) = part.iter().zip(with).position(|(a, b)| a != b) {
            return off_t::try_from(done + place).unwrap_or(off_t::MAX);
        }
        done += part.len();
        at += 1;
    }
    -1
}

/// Copies into the buffers and consumes them. Answers how much there was room for.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn tcmu_memcpy_into_iovec(
    iov: *mut iovec,
    count: size_t,
    from: *mut c_void,
    length: size_t,
) -> size_t {
    let mut done = 0;
    // SAFETY: the handler vouches for its list.
    for buffer in unsafe { list(iov, count) } {
        let part = buffer.iov_len.min(length - done);
        let source = from.cast::<u8>().wrapping_add(done);
        // SAFETY: both have `part` bytes; handlers also copy within one buffer.
        unsafe { ptr::copy(source, buffer.iov_base.cast(), part) };
        consume(buffer, part);
        done += part;
    }
    done
}

/// Copies out of the buffers and consumes them. Answers how much there was.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn tcmu_memcpy_from_iovec(
    into: *mut c_void,
    length: size_t,
    iov: *mut iovec,
    count: size_t,
) -> size_t {
    let mut done = 0;
    // SAFETY: the handler vouches for its list.
    for buffer in unsafe { list(iov, count) } {
        let part = buffer.iov_len.min(length - done);
        let target = into.cast::<u8>().wrapping_add(done);
        // SAFETY: both have `part` bytes.
        unsafe { ptr::copy(buffer.iov_base.cast::<u8>(), target, part) };
        consume(buffer, part);
        done += part;
    }
    done
}

/// The bytes of a CDB from `at` on, as a number.
///
/// # Safety
/// The CDB has them.
unsafe fn number<const N: usize>(cdb: *const u8, at: usize) -> u64 {
    // SAFETY: the handler vouches for its CDB.
    let bytes = unsafe { cdb.wrapping_add(at).cast::<[u8; N]>().read() };
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// LOGICAL BLOCK ADDRESS by the group of the operation code (SPC-4, 4.2.5.1).
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn tcmu_cdb_get_lba(cdb: *mut u8) -> u64 {
    // SAFETY: the handler vouches for its CDB.
    let opcode = unsafe { cdb.read() };
    match opcode >> 5 {
        // SAFETY: as above.
        0 => unsafe { number::<3>(cdb, 1) & 0x1f_ffff },
        // SAFETY: as above.
        1 | 2 | 5 => unsafe { number::<4>(cdb, 2) },
        // SAFETY: as above.
        4 => unsafe { number::<8>(cdb, 2) },
        _ => 0,
    }
}

/// TRANSFER LENGTH by the group of the operation code.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn tcmu_cdb_get_xfer_length(cdb: *mut u8) -> u32 {
    // SAFETY: the handler vouches for its CDB.
    let opcode = unsafe { cdb.read() };
    let length = match opcode >> 5 {
        // SAFETY: as above.
        0 => unsafe { number::<1>(cdb, 4) },
        // SAFETY: as above.
        1 | 2 => unsafe { number::<2>(cdb, 7) },
        // SAFETY: as above.
        5 => unsafe { number::<4>(cdb, 6) },
        // SAFETY: as above.
        4 => unsafe { number::<4>(cdb, 10) },
        _ => 0,
    };
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Length of a CDB in bytes, or -EINVAL.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn tcmu_cdb_get_length(cdb: *mut u8) -> c_int {
    // SAFETY: the handler vouches for its CDB.
    let opcode = unsafe { cdb.read() };
    match opcode {
        // SAFETY: as above. Behind the ADDITIONAL CDB LENGTH of a variable length CDB.
        0x7f => 8 + c_int::from(unsafe { cdb.wrapping_add(7).read() }),
        0x00..=0x1f => 6,
        0x20..=0x5f => 10,
        0x80..=0x9f => 16,
        0xa0..=0xbf => 12,
        _ => -libc::EINVAL,
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn tcmu_cdb_to_byte(dev: *mut Device, cdb: *mut u8) -> u64 {
    // SAFETY: the handler vouches for its CDB.
    let lba = unsafe { tcmu_cdb_get_lba(cdb) };
    // SAFETY: and for its device.
    unsafe { tcmu_lba_to_byte(dev, lba) }
}

/// Sense data in fixed format. Answers the status that says where it is.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn tcmu_sense_set_data(sense: *mut u8, key: u8, code: u16) -> c_int {
    if !sense.is_null() {
        // SAFETY: the handler vouches for a whole sense buffer.
        let sense = unsafe { &mut *sense.cast::<[u8; SENSE_BYTES]>() };
        sense.fill(0);
        sense[0] = 0x70;
        sense[2] = key;
        sense[7] = 0x0a;
        sense[12..14].copy_from_slice(&code.to_be_bytes());
    }
    PASSTHROUGH_ERR
}

/// INFORMATION (SPC-4, 4.5.3), with VALID.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn tcmu_sense_set_info(sense: *mut u8, information: u32) {
    if sense.is_null() {
        return;
    }
    // SAFETY: the handler vouches for a whole sense buffer.
    let sense = unsafe { &mut *sense.cast::<[u8; 18]>() };
    sense.fill(0);
    sense[0] = 0x80;
    sense[3..7].copy_from_slice(&information.to_be_bytes());
}

/// SENSE KEY SPECIFIC (SPC-4, 4.5.2.4), with SKSV.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn tcmu_sense_set_key_specific_info(sense: *mut u8, information: u16) {
    if sense.is_null() {
        return;
    }
    // SAFETY: the handler vouches for a whole sense buffer.
    let sense = unsafe { &mut *sense.cast::<[u8; 18]>() };
    sense.fill(0);
    sense[15] = 0x80;
    sense[16..18].copy_from_slice(&information.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffers<'a>(parts: impl IntoIterator<Item = &'a mut [u8]>) -> Vec<iovec> {
        let buffer = |part: &mut [u8]| iovec { iov_base: part.as_mut_ptr().cast(), iov_len: part.len() };
        parts.into_iter().map(buffer).collect()
    }

    #[test]
    fn copying_consumes_and_stops_where_the_room_ends() {
        let mut memory = [0u8; 6];
        let mut list = buffers(memory.chunks_mut(4));
        let mut from = *b"abcdefgh";
        // SAFETY: the list has two buffers, six bytes together.
        let copied = unsafe { tcmu_memcpy_into_iovec(list.as_mut_ptr(), 2, from.as_mut_ptr().cast(), 5) };
        assert_eq!((copied, list[0].iov_len, list[1].iov_len), (5, 0, 1));
        // SAFETY: as above.
        let copied = unsafe { tcmu_memcpy_into_iovec(list.as_mut_ptr(), 2, from.as_mut_ptr().cast(), 5) };
        assert_eq!(copied, 1, "one byte was left");
        assert_eq!(&memory, b"abcdea");
        let mut list = buffers(memory.chunks_mut(4));
        let mut into = [0u8; 8];
        // SAFETY: as above.
        let copied = unsafe { tcmu_memcpy_from_iovec(into.as_mut_ptr().cast(), 8, list.as_mut_ptr(), 2) };
        assert_eq!((copied, &into[..6]), (6, &b"abcdea"[..]));
    }

    #[test]
    fn seeking_counts_the_buffers_that_are_used_up() {
        let mut memory = [0u8; 9];
        let mut list = buffers(memory.chunks_mut(3));
        // SAFETY: three buffers of three bytes.
        assert_eq!(unsafe { tcmu_iovec_seek(list.as_mut_ptr(), 0) }, 0);
        // SAFETY: as above.
        assert_eq!(unsafe { tcmu_iovec_seek(list.as_mut_ptr(), 4) }, 1);
        assert_eq!(list.iter().map(|buffer| buffer.iov_len).collect::<Vec<_>>(), [0, 2, 3]);
        // SAFETY: as above; two bytes are left in the second.
        assert_eq!(unsafe { tcmu_iovec_seek(list[1..].as_mut_ptr(), 2) }, 1);
        // SAFETY: as above.
        assert_eq!(unsafe { tcmu_iovec_length(list.as_mut_ptr(), 3) }, 3);
    }

    #[test]
    fn the_first_difference_is_told_across_buffers() {
        let (mut memory, mut other) = (*b"abcdef", *b"abcdXf");
        let mut list = buffers(memory.chunks_mut(4));
        let compare = |with: &mut [u8], size, list: &mut Vec<iovec>| {
            // SAFETY: both have six bytes.
            unsafe { tcmu_iovec_compare(with.as_mut_ptr().cast(), list.as_mut_ptr(), size) }
        };
        assert_eq!(compare(&mut other, 6, &mut list), 4);
        assert_eq!(compare(&mut other, 4, &mut list), -1);
    }

    #[test]
    fn a_commands_list_ends_where_there_is_no_memory() {
        let (mut memory, mut beyond, mut with) = (*b"ab", *b"cdef", *b"abcdef");
        let end = iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        let mut list = buffers([&mut memory[..]]);
        list.push(end);
        list.extend(buffers([&mut beyond[..]]));
        // SAFETY: the list ends before its last buffer; the memory has six bytes.
        let compared = unsafe { tcmu_iovec_compare(with.as_mut_ptr().cast(), list.as_mut_ptr(), 6) };
        assert_eq!(compared, 2);
        // SAFETY: as above.
        assert_eq!(unsafe { tcmu_iovec_seek(list.as_mut_ptr(), 6) }, 1);
        assert_eq!((list[0].iov_len, list[2].iov_len), (0, 4));
    }

    #[test]
    fn spc_4_cdbs_of_every_group() {
        let mut read_6 = [0x08, 0xff, 2, 3, 4, 0];
        let mut read_10 = [0x28, 0, 0, 1, 0, 0, 0, 2, 1, 0];
        let mut read_12 = [0xa8, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0];
        let mut read_16 = [0x88, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0];
        let cases: [(&mut [u8], u64, u32, c_int); 4] = [
            (&mut read_6, 0x1f_0203, 4, 6),
            (&mut read_10, 0x1_0000, 0x201, 10),
            (&mut read_12, 0x1_0000, 0x1_0000, 12),
            (&mut read_16, 0x1_0000_0000, 9, 16),
        ];
        for (cdb, lba, length, bytes) in cases {
            let cdb = cdb.as_mut_ptr();
            // SAFETY: each is as long as its operation code says.
            assert_eq!(unsafe { tcmu_cdb_get_lba(cdb) }, lba);
            // SAFETY: as above.
            assert_eq!(unsafe { tcmu_cdb_get_xfer_length(cdb) }, length);
            // SAFETY: as above.
            assert_eq!(unsafe { tcmu_cdb_get_length(cdb) }, bytes);
        }
    }
}
