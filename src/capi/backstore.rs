//! Kinds of backstore written in C: what they fill in, and how they are registered.

use std::ffi::{c_char, c_int, c_void};
use std::path::Path;
use std::sync::Arc;

use libc::iovec;

use crate::backstore::registry::{Handler, InUse, OpenError, OpenRequest, Opened};
use crate::capi::attribute::{Values, declared, scstu_attribute};
use crate::capi::commands;
use crate::capi::disk::{Caching, Disk, Kind};
use crate::capi::error::{Callback, From, call, within};
use crate::capi::handle::{self, Opening, scstu};
use crate::capi::lifecycle::scstu_free_fn;
use crate::capi::log::Context;
use crate::capi::process;
use crate::capi::sized::{Growing, take};
use crate::capi::text::{owned, required};
use crate::model::Error;

/// The version of struct scstu_backstore_ops that this header describes. @since 0.1
pub const SCSTU_BACKSTORE_VERSION: u32 = 1;

/// scstu_disk.flags: unmap frees blocks. @since 0.1
pub const SCSTU_DISK_UNMAP: u32 = 1;
/// scstu_disk.flags: unmapped blocks read as zeros, always. @since 0.1
pub const SCSTU_DISK_UNMAP_READS_ZERO: u32 = 1 << 1;
/// scstu_disk.flags: no function ever waits: they run on the thread that has received the command, which
/// saves two changes of threads. Data to be written may then begin at any address. Not together with submit.
/// @since 0.1
pub const SCSTU_DISK_NEVER_BLOCKS: u32 = 1 << 2;
/// scstu_disk.flags: every write fails; write may be NULL. The attribute read_only of the device goes on to
/// tell what the administrator has asked for. @since 0.1
pub const SCSTU_DISK_READ_ONLY: u32 = 1 << 3;
/// scstu_disk.flags: what was written may be lost with the power until flush returns. Initiators are told
/// (WCE). @since 0.1
pub const SCSTU_DISK_VOLATILE_CACHE: u32 = 1 << 4;
/// scstu_disk.flags: the functions may be called several at once. Without it the library calls them one after
/// the other. @since 0.1
pub const SCSTU_DISK_CONCURRENT: u32 = 1 << 5;
/// scstu_disk.flags: buffers come in three pieces of odd lengths instead of one, to see whether the handler
/// minds. It is for tests of handlers, and costs nothing but what they make of it. @since 0.1
pub const SCSTU_DISK_SPLIT_BUFFERS: u32 = 1 << 6;
/// scstu_disk.flags: read of up to 4 KiB is no more than a copy out of memory: it makes no system call, and
/// takes no lock that anybody keeps for longer than such a copy. It may then be called with the device locked
/// inside the library, which spares short reads a fifth of their instructions. Only with
/// SCSTU_DISK_NEVER_BLOCKS, and with read. @since 0.1
pub const SCSTU_DISK_AT_HAND: u32 = 1 << 7;

/// scstu_open.flags: the device was asked to refuse writes. @since 0.1
pub const SCSTU_OPEN_READ_ONLY: u32 = 1;
/// scstu_open.flags: every write is to be on stable storage before it is answered, and comes with
/// SCSTU_WRITE_DURABLE. @since 0.1
pub const SCSTU_OPEN_WRITE_THROUGH: u32 = 1 << 1;
/// scstu_open.flags: the cache counts as non-volatile; nothing is flushed, and no write comes with
/// SCSTU_WRITE_DURABLE. @since 0.1
pub const SCSTU_OPEN_NV_CACHE: u32 = 1 << 2;
/// scstu_open.flags: the device was asked to free blocks. @since 0.1
pub const SCSTU_OPEN_THIN: u32 = 1 << 3;

/// Write flag: the data is on stable storage when the write is done (FUA). @since 0.1
pub const SCSTU_WRITE_DURABLE: u32 = 1;

/// compare_and_write: the medium differs, nothing was written. @since 0.1
pub const SCSTU_MISCOMPARE: i32 = 1;

/// scstu_request.operation: fill the buffers from the medium. @since 0.1
pub const SCSTU_READ: u32 = 1;
/// scstu_request.operation: write the buffers to the medium. @since 0.1
pub const SCSTU_WRITE: u32 = 2;
/// scstu_request.operation: make stable what was completed before. @since 0.1
pub const SCSTU_FLUSH: u32 = 3;
/// scstu_request.operation: free the range. @since 0.1
pub const SCSTU_UNMAP: u32 = 4;

/// What a device that is to be opened was given.
///
/// The library sets `size`; a program that was built with a newer header must not look beyond it.
///
/// @since 0.1
#[repr(C)]
#[derive(Clone, Copy)]
pub struct scstu_open {
    /// Bytes of this struct that the library knows.
    pub size: usize,
    /// Name of the device; valid during the call, as all strings here.
    pub device: *const c_char,
    /// Parameter filename, an absolute path; NULL when it was not given.
    pub filename: *const c_char,
    /// Parameter options: text that only the handler knows the meaning of; empty when it was not given.
    pub options: *const c_char,
    /// Parameter size in bytes; 0 when it was not given.
    pub bytes: u64,
    /// Parameter blocksize in bytes; 0 when it was not given.
    pub block_size: u32,
    /// SCSTU_OPEN_... together.
    pub flags: u32,
    /// Values of what the handler declares, in the order of scstu_backstore_ops.attributes: what was given,
    /// or the default; NULL for what the device tells. NULL when it declares nothing.
    pub values: *const *const c_char,
    /// The same as numbers, as scstu_attribute.set has them.
    pub numbers: *const u64,
    /// Number of both: scstu_backstore_ops.attribute_count.
    pub value_count: usize,
}

/// A device that open has opened. The library sets everything to zero, and `size`; open fills the rest.
///
/// @since 0.1
#[repr(C)]
#[derive(Clone, Copy)]
pub struct scstu_disk {
    /// Bytes of this struct that the library knows: do not write beyond it.
    pub size: usize,
    /// The handler's own; passed to all other functions.
    pub device: *mut c_void,
    /// Size in bytes, a positive multiple of block_size.
    pub bytes: u64,
    /// Logical block length in bytes: 512, 1024, 2048 or 4096; 0 for scstu_open.block_size, or 512 where that
    /// is 0 too. Another than was asked for is refused (-EINVAL).
    pub block_size: u32,
    /// SCSTU_DISK_... together.
    pub flags: u32,
    /// A physical block is 2 to this power logical ones, 0 to 15.
    pub physical_block_exponent: u32,
    /// Bytes that are best moved at once, at most 32 MiB; 0 when unknown. Initiators see it, in whole blocks,
    /// as OPTIMAL TRANSFER LENGTH (SBC-3, 6.6.4), unless the device is given another `opt_trans_len`.
    pub optimal_transfer_bytes: u32,
    /// Bytes that are freed at once; 0 for a block.
    pub unmap_granularity_bytes: u32,
    /// Where the first such piece begins, in bytes.
    pub unmap_alignment_bytes: u32,
}

// SAFETY: repr(C), `size` first; numbers and pointers may all be zero.
unsafe impl Growing for scstu_disk {
    const NAME: &'static str = "scstu_disk";
    const FIRST: usize = size_of::<scstu_disk>();
}

/// A command of an asynchronous handler. It stays as it is until it is completed, its buffers too.
///
/// The library sets `size`; a program that was built with a newer header must not look beyond it.
///
/// @since 0.1
#[repr(C)]
#[derive(Clone, Copy)]
pub struct scstu_request {
    /// Bytes of this struct that the library knows.
    pub size: usize,
    /// Names the command in scstu_complete(); never 0, never used again.
    pub token: u64,
    /// SCSTU_READ, SCSTU_WRITE, SCSTU_FLUSH or SCSTU_UNMAP.
    pub operation: u32,
    /// For a write: 0 or SCSTU_WRITE_DURABLE.
    pub flags: u32,
    /// First byte, a multiple of the block size.
    pub offset: u64,
    /// Number of bytes, a multiple of the block size, inside the medium.
    pub length: u64,
    /// The buffers, `length` bytes in all; NULL for a flush and an unmap. A read fills them, a write must not
    /// change them.
    pub iov: *const iovec,
    /// Number of buffers.
    pub iov_count: usize,
}

/// A kind of backstore. Set everything to zero, then `size` to sizeof, `version` to SCSTU_BACKSTORE_VERSION,
/// then the functions.
///
/// Functions answer 0 or a negative errno. -ENOSPC and -EDQUOT (no space left), -EROFS (read-only),
/// -EOPNOTSUPP, -EAGAIN and -ENOMEM (busy: it may try again) have a meaning to the initiator, all others are
/// medium errors. Offsets and lengths are bytes, multiples of the block size, inside the medium: they need
/// no check. Buffers come as iovecs, are the library's, are not copied, and are valid until the function
/// returns. Today there is one iovec a command, later there may be more: take any number of any lengths,
/// none of them 0; SCSTU_DISK_SPLIT_BUFFERS shows whether that is so.
///
/// Functions are called on threads of the instance with all signals blocked, several at once for different
/// devices, and for one device if SCSTU_DISK_CONCURRENT says so. They may block, unless they promise not to.
/// They must not call the library, except scstu_complete(), scstu_error(), scstu_error_call() and
/// scstu_version(); must not throw C++ exceptions, longjmp() out or end the thread.
///
/// A handler has read, write and what else it can (blocking), or submit (asynchronous), or both.
///
/// With submit, what initiators ask comes through it, and no thread of the library waits for the answer:
/// READ, WRITE and WRITE ATOMIC as one request, SYNCHRONIZE CACHE and START STOP UNIT as a flush; UNMAP as
/// one for each run of blocks; WRITE SAME as an unmap, or as writes of at most 1 MiB; VERIFY as reads of at
/// most 1 MiB; COMPARE AND WRITE and ORWRITE as a read and a write; WRITE AND VERIFY as a write, a flush and
/// reads. Where an initiator sends only a part of the last block, that block is read and written by itself;
/// FUA with READ adds a flush before, and UNMAP or WRITE SAME after, where writes are to be durable although
/// the device has a volatile cache. Requests of one command come one after the other, and commands that
/// touch the same blocks are held back until it is over; an error ends it, and so does an abort, after the
/// request that is out. 16777216 requests may be out in a process; commands beyond them are answered with
/// BUSY.
///
/// Two functions come before submit where they are there, called on a worker that waits: write_same, unless
/// blocks are to be freed, and compare_and_write. What is not a plain command of an initiator waits too, on
/// threads of its own: third-party copies, FORMAT UNIT, SANITIZE, and the flush at the end (scstu_stop()).
/// It calls read, write, flush and unmap where they are there, and else submits and waits.
///
/// @since 0.1
#[repr(C)]
#[derive(Clone, Copy)]
pub struct scstu_backstore_ops {
    /// sizeof(struct scstu_backstore_ops).
    pub size: usize,
    /// SCSTU_BACKSTORE_VERSION.
    pub version: u32,
    /// 0.
    pub reserved: u32,
    /// Name of the handler: 1 to 223 printable characters without blanks and /. Copied.
    pub name: *const c_char,
    /// What it is, in one line; may be NULL. Copied.
    pub help: *const c_char,
    /// Passed to open.
    pub context: *mut c_void,
    /// Releases context when the last device of the handler is closed and the handler is gone; also when
    /// registering fails. May be NULL.
    pub free_context: scstu_free_fn,
    /// Opens a device. Called on the thread that adds or activates the device, several at once for different
    /// ones; may block. A device that scstu_load() makes anew is closed before, and opened as it was if the
    /// text is refused; one that gets another file in one step is closed when the new one is open. Needed.
    ///
    /// @param context the handler's own, as context says
    /// @param open what the device was given; valid during the call
    /// @param disk to be filled; valid during the call. A device that makes no sense is closed again
    /// @return 0, or a negative errno, with which adding the device fails
    pub open: Option<
        unsafe extern "C" fn(context: *mut c_void, open: *const scstu_open, disk: *mut scstu_disk) -> c_int,
    >,
    /// Closes a device, on a thread of the library or one that calls it, but never from within
    /// scstu_complete(): it may wait for the threads that complete. No other function of the device is
    /// running, none will be called. May be NULL.
    ///
    /// @param device the handler's own, as scstu_disk.device says
    pub close: Option<unsafe extern "C" fn(device: *mut c_void)>,
    /// Fills the buffers from offset. May be NULL if there is submit.
    ///
    /// @param device the handler's own, as scstu_disk.device says
    /// @param offset first byte, a multiple of the block size
    /// @param iov the buffers, a multiple of the block size in all; valid until this returns
    /// @param iov_count number of buffers, at least 1
    /// @return 0, or a negative errno; the buffers then do not matter
    pub read: Option<
        unsafe extern "C" fn(device: *mut c_void, offset: u64, iov: *const iovec, iov_count: usize) -> c_int,
    >,
    /// Writes the buffers at offset. May be NULL if there is submit, or every device is SCSTU_DISK_READ_ONLY.
    ///
    /// @param device the handler's own, as scstu_disk.device says
    /// @param offset first byte, a multiple of the block size
    /// @param iov the buffers, a multiple of the block size in all; not to be changed; valid until this
    /// returns
    /// @param iov_count number of buffers, at least 1
    /// @param flags 0 or SCSTU_WRITE_DURABLE
    /// @return 0, or a negative errno; the blocks may then hold the old or the new
    pub write: Option<
        unsafe extern "C" fn(
            device: *mut c_void,
            offset: u64,
            iov: *const iovec,
            iov_count: usize,
            flags: u32,
        ) -> c_int,
    >,
    /// Makes stable what was written before. NULL when everything is at once.
    ///
    /// @param device the handler's own, as scstu_disk.device says
    /// @return 0, or a negative errno: what was written since the last flush counts as lost
    pub flush: Option<unsafe extern "C" fn(device: *mut c_void) -> c_int>,
    /// Frees a range. NULL when it cannot.
    ///
    /// @param device the handler's own, as scstu_disk.device says
    /// @param offset first byte, a multiple of the block size
    /// @param length bytes, a multiple of the block size
    /// @return 0, or a negative errno
    pub unmap: Option<unsafe extern "C" fn(device: *mut c_void, offset: u64, length: u64) -> c_int>,
    /// Writes one block over and over. NULL to have it done by write.
    ///
    /// @param device the handler's own, as scstu_disk.device says
    /// @param offset first byte, a multiple of the block size
    /// @param length bytes to be written, a multiple of the block size
    /// @param iov the block; not to be changed; valid until this returns
    /// @param iov_count number of buffers that it is in, at least 1
    /// @param flags 0 or SCSTU_WRITE_DURABLE
    /// @return 0, or a negative errno; the blocks may then hold the old or the new
    pub write_same: Option<
        unsafe extern "C" fn(
            device: *mut c_void,
            offset: u64,
            length: u64,
            iov: *const iovec,
            iov_count: usize,
            flags: u32,
        ) -> c_int,
    >,
    /// In one step for everybody: if the medium from offset holds what compare holds, writes what write
    /// holds, as long. NULL to have it done by read and write, with commands to the same blocks held back.
    ///
    /// @param device the handler's own, as scstu_disk.device says
    /// @param offset first byte, a multiple of the block size
    /// @param compare what the medium must hold; not to be changed; valid until this returns
    /// @param compare_count number of buffers of it, at least 1
    /// @param write what is written then; not to be changed; valid until this returns
    /// @param write_count number of buffers of it, at least 1
    /// @param flags 0 or SCSTU_WRITE_DURABLE
    /// @param difference gets the first byte that differs, counted from offset, with SCSTU_MISCOMPARE
    /// @return 0, SCSTU_MISCOMPARE, or a negative errno
    pub compare_and_write: Option<
        unsafe extern "C" fn(
            device: *mut c_void,
            offset: u64,
            compare: *const iovec,
            compare_count: usize,
            write: *const iovec,
            write_count: usize,
            flags: u32,
            difference: *mut u64,
        ) -> c_int,
    >,
    /// Tells the size as it is now. NULL when it does not change by itself.
    ///
    /// @param device the handler's own, as scstu_disk.device says
    /// @param bytes gets the size in bytes, a positive multiple of the block size
    /// @return 0, or a negative errno: the size stays what it was
    pub get_size: Option<unsafe extern "C" fn(device: *mut c_void, bytes: *mut u64) -> c_int>,
    /// Makes the device longer or shorter. NULL when it cannot.
    ///
    /// @param device the handler's own, as scstu_disk.device says
    /// @param bytes the new size in bytes, a positive multiple of the block size
    /// @return 0, or a negative errno, with which the change fails
    pub resize: Option<unsafe extern "C" fn(device: *mut c_void, bytes: u64) -> c_int>,
    /// Takes a command and returns at once. Must not block. Called on any thread of the instance, also on
    /// one that is in scstu_complete(). NULL for a handler without asynchronous commands.
    ///
    /// @param device the handler's own, as scstu_disk.device says
    /// @param request the command; it and its buffers stay until it is completed
    /// @return 0 when it was taken, and then scstu_complete() must be called exactly once, by any thread,
    /// before or after this returns; a negative errno when it was not
    pub submit: Option<unsafe extern "C" fn(device: *mut c_void, request: *const scstu_request) -> c_int>,
    /// Nobody waits for this command any more (it was aborted, its session is over). It must still be
    /// completed, with any result; until then its buffers stay valid, and if it writes, its blocks stay
    /// reserved. It may have been completed a moment ago. Must not block; may call scstu_complete(). Called
    /// on any thread of the instance, at once with other functions of the device. May be NULL.
    ///
    /// @param device the handler's own, as scstu_disk.device says
    /// @param token the command, as scstu_request.token says it
    pub cancel: Option<unsafe extern "C" fn(device: *mut c_void, token: u64)>,
    /// Parameters and attributes that devices have beside those of all devices; NULL for none. Copied.
    pub attributes: *const *const scstu_attribute,
    /// Number of attributes, 0 to SCSTU_ATTRIBUTE_LIMIT.
    pub attribute_count: usize,
}

// SAFETY: repr(C), `size` first; numbers, pointers and optional functions may all be zero.
unsafe impl Growing for scstu_backstore_ops {
    const NAME: &'static str = "scstu_backstore_ops";
    const FIRST: usize = std::mem::offset_of!(scstu_backstore_ops, flush);
}

fn invalid(text: impl Into<String>) -> Error {
    Error::new(libc::EINVAL, text)
}

fn check(ops: &scstu_backstore_ops) -> Result<(), Error> {
    if ops.version != SCSTU_BACKSTORE_VERSION {
        let text = format!("version is {}; this library has {SCSTU_BACKSTORE_VERSION}", ops.version);
        return Err(Error::new(libc::ENOTSUP, text));
    }
    if ops.reserved != 0 {
        return Err(invalid(format!("reserved is {} and not 0", ops.reserved)));
    }
    if ops.open.is_none() {
        return Err(invalid("open is NULL"));
    }
    if ops.read.is_none() && ops.submit.is_none() {
        return Err(invalid("read and submit are NULL; one of them is needed"));
    }
    if ops.cancel.is_some() && ops.submit.is_none() {
        return Err(invalid("cancel without submit"));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), Error> {
    let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'/';
    if (1..=223).contains(&name.len()) && name.bytes().all(fits) && name != "." && name != ".." {
        return Ok(());
    }
    Err(invalid(format!(
        "\"{name}\" is no name of a handler: 1 to 223 printable characters without blanks and /, \
         not \".\" or \"..\""
    )))
}

fn refused(text: impl Into<String>) -> OpenError {
    OpenError::new(libc::EINVAL, text)
}

/// Opens a device: asks the program's function, and believes it only as far as it makes sense.
fn open(kind: &Arc<Kind>, request: &OpenRequest) -> Opened {
    let device = owned(&request.device);
    let filename = request.filename.as_ref().map(|path| owned(&path.to_string_lossy()));
    let options = owned(&request.options);
    let mut flags = 0;
    for (is_set, flag) in [
        (request.read_only, SCSTU_OPEN_READ_ONLY),
        (request.write_through, SCSTU_OPEN_WRITE_THROUGH),
        (request.nv_cache, SCSTU_OPEN_NV_CACHE),
        (request.thin_provisioned == Some(true), SCSTU_OPEN_THIN),
    ] {
        flags |= if is_set { flag } else { 0 };
    }
    let values = Values::new(kind.attributes.rows, &request.declared);
    let count = values.pointers.len();
    let open = scstu_open {
        size: size_of::<scstu_open>(),
        device: device.as_ptr(),
        filename: filename.as_ref().map_or(std::ptr::null(), |path| path.as_ptr()),
        options: options.as_ptr(),
        bytes: request.size.unwrap_or(0),
        block_size: request.blocksize.unwrap_or(0),
        flags,
        values: if count == 0 { std::ptr::null() } else { values.pointers.as_ptr() },
        numbers: if count == 0 { std::ptr::null() } else { values.numbers.as_ptr() },
        value_count: count,
    };
    // SAFETY: all zeros are valid, as `Growing` says.
    let mut disk: scstu_disk = unsafe { std::mem::zeroed() };
    disk.size = size_of::<scstu_disk>();
    let function = kind.ops.open.ok_or_else(|| refused("open is NULL"))?;
    let context = kind.context.pointer;
    // SAFETY: the program gave both; what is passed lives until the call returns.
    let result = within(Callback::Backstore, || unsafe { function(context, &raw const open, &raw mut disk) });
    if result != 0 {
        let errno = if result < 0 { result.saturating_neg() } else { libc::EIO };
        let reason = std::io::Error::from_raw_os_error(errno);
        return Err(OpenError::new(errno, format!("handler {} does not open: {reason}", kind.name)));
    }
    let mut opened = Disk::new(kind, &disk, request.blocksize)?.caching(Caching::of(request));
    if request.thin_provisioned == Some(false) {
        opened = opened.thick();
    }
    Ok(Some(opened.shared()))
}

/// Registers a kind of backstore. Devices of it can then be added, with the parameters filename, size,
/// blocksize, read_only, nv_cache, write_through, thin_provisioned, rotational, removable, tst, active and
/// options, and those that the handler declares; it appears in the tree as handlers/NAME.
///
/// @param handle the instance
/// @param ops the functions. Copied. Its context is released also when this fails, unless it could not be
/// read because of its size, or the handle is wrong
/// @return 0, or
/// -EEXIST there is a handler of this name, or it declares an attribute that all devices have;
/// -EINVAL a NULL pointer, a size that cannot be, a name that cannot be, functions that do not go together,
/// an attribute that cannot be;
/// -ENOTSUP another version;
/// -E2BIG the struct is longer than the library's and not zero there;
/// -ENOSPC there are 1024 handlers, or the process has declared 1024 different lists of attributes;
/// -EBADF, -ECHILD, -EDEADLK as scstu_start()
///
/// Thread-safe.
///
/// @since 0.1
///
/// # Safety
/// `ops` is NULL or has as many bytes as its size says; its functions may be called as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scstu_backstore_register(
    handle: *mut scstu,
    ops: *const scstu_backstore_ops,
) -> c_int {
    call(c"scstu_backstore_register", From::Event, || {
        handle::with(handle, |host| {
            // SAFETY: the program vouches for as many bytes as it says.
            let ops = unsafe { take(ops) }?;
            let opening: Opening = host.opening.clone();
            let context = Context::new(ops.context, ops.free_context, Some(opening));
            check(&ops)?;
            // SAFETY: the program vouches for its strings.
            let name = unsafe { required(ops.name, "name") }?;
            check_name(name)?;
            // SAFETY: as above.
            let help = unsafe { crate::capi::text::optional(ops.help, "help") }?.unwrap_or("");
            // SAFETY: the program vouches for what it declares.
            let attributes = unsafe { declared(process::own_or_new(), &ops) }?;
            let rows = attributes.rows;
            let kind = Arc::new(Kind { name: name.to_owned(), ops, attributes, context });
            let handler = Handler::registered(name, help, move |request| open(&kind, request));
            let handler = handler.declaring(rows);
            host.instance.register(handler).map(|()| 0)
        })
    })
}

/// Loads the handlers of tcmu-runner 1.5 in a directory, all files `handler_*.so` of it. Each becomes a kind
/// of backstore named tcmu_ and its subtype, such as tcmu_qcow, whose devices take the parameter cfgstring:
/// what tcmu-runner's own has behind the subtype and the /.
///
/// Their code runs in this process with all that it may do, and stays until the process ends; a handler that
/// crashes ends it. A handler finds the library's tcmu_ and tcmur_ functions by their names, so link with
/// libscstu.so (not opened with RTLD_LOCAL), or with the static library and -rdynamic. Libraries that cannot
/// be loaded are logged.
///
/// @param handle the instance
/// @param directory such as "/usr/lib/x86_64-linux-gnu/tcmu-runner"
/// @return the number of handlers that are in it and can be used now, at least 1, or
/// -ENOENT there is no such directory, or no handler in it;
/// -ECHILD some were loaded before fork(): their threads and locks did not come along;
/// -ENOEXEC nothing in it could be loaded; scstu_error() tells of the first, the log of all;
/// -EPERM the same, because others may write to it;
/// -EINVAL a NULL pointer;
/// -EBADF, -ECHILD, -EDEADLK as scstu_start();
/// another negative errno of the directory
///
/// Thread-safe.
///
/// @since 0.1
///
/// # Safety
/// `directory` is NULL or a string. The libraries in it are what they seem.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scstu_load_tcmu_handlers(handle: *mut scstu, directory: *const c_char) -> c_int {
    call(c"scstu_load_tcmu_handlers", From::Event, || {
        handle::with(handle, |host| {
            // SAFETY: the program vouches for its string.
            let directory = unsafe { required(directory, "directory") }?;
            process::loads_code()?;
            // scstu_free() waits for their devices as for those of the program's own handlers.
            let in_use: InUse = Arc::new(host.opening.clone());
            let names = host.instance.load_tcmu_handlers(Path::new(directory), Some(&in_use))?;
            Ok(c_int::try_from(names.len()).unwrap_or(c_int::MAX))
        })
    })
}

/// Takes a kind of backstore out again.
///
/// @param handle the instance
/// @param name name of the handler
/// @return 0, or
/// -ENOENT there is no such handler;
/// -EBUSY there are devices of it, or it is one of the library's own;
/// -EINVAL a NULL pointer;
/// -EBADF, -ECHILD, -EDEADLK as scstu_start()
///
/// Thread-safe.
///
/// @since 0.1
///
/// # Safety
/// `name` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scstu_backstore_unregister(handle: *mut scstu, name: *const c_char) -> c_int {
    call(c"scstu_backstore_unregister", From::Event, || {
        handle::with(handle, |host| {
            // SAFETY: the program vouches for its string.
            let name = unsafe { required(name, "name") }?;
            host.instance.unregister(name).map(|()| 0)
        })
    })
}

/// Completes a command of an asynchronous backstore: its answer leaves at once, on this thread. The request
/// and its buffers must not be touched any more.
///
/// @param token the command, as scstu_request says it
/// @param result 0, or a negative errno as the functions of struct scstu_backstore_ops answer it
/// @return 0, or
/// -ENOENT there is no such command: it is completed already, or never was one;
/// -EINVAL result is positive; the command is still to be completed;
/// -ECHILD the command was submitted before fork(): the parent is to complete it;
/// -EDEADLK called from within the log callback or one that releases a context; the command is still to be
/// completed
///
/// Thread-safe; from any thread, also from within the functions of a backstore.
///
/// @since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn scstu_complete(token: u64, result: c_int) -> c_int {
    call(c"scstu_complete", From::Backstore, || commands::complete(token, result).map(|()| 0))
}
