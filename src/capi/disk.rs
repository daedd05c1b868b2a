//! A device of a handler written in C, as a backstore.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};

use libc::iovec;
use log::warn;

use crate::backstore::io::{Io, Operation, Waiter};
use crate::backstore::registry::{OpenError, OpenRequest};
use crate::backstore::{Backstore, BlockError, Capabilities, Geometry};
use crate::capi::attribute::Attributes;
use crate::capi::backstore::{
    SCSTU_DISK_AT_HAND, SCSTU_DISK_CONCURRENT, SCSTU_DISK_NEVER_BLOCKS, SCSTU_DISK_READ_ONLY,
    SCSTU_DISK_SPLIT_BUFFERS, SCSTU_DISK_UNMAP, SCSTU_DISK_UNMAP_READS_ZERO, SCSTU_DISK_VOLATILE_CACHE,
    SCSTU_MISCOMPARE, SCSTU_WRITE_DURABLE, scstu_backstore_ops, scstu_disk, scstu_request,
};
use crate::capi::commands::{self, Work};
use crate::capi::error::{Callback, within};
use crate::capi::log::Context;
use crate::sys::thread::{owner, spawn};

/// Stack of a thread that closes a device, in bytes.
const CLOSE_STACK_BYTES: usize = 256 << 10;

/// A handler of the program's.
pub(super) struct Kind {
    pub(super) name: String,
    pub(super) ops: scstu_backstore_ops,
    pub(super) attributes: Attributes,
    pub(super) context: Context,
}

// SAFETY: functions, and pointers that the header allows to be used on any thread; the strings that `ops`
// points to are not used after registering.
unsafe impl Send for Kind {}
// SAFETY: as above.
unsafe impl Sync for Kind {}

/// The handler's own pointer to a device.
#[derive(Clone, Copy)]
struct Device(*mut c_void);

// SAFETY: the header allows its use on any thread; Rust only passes it on.
unsafe impl Send for Device {}
// SAFETY: as above; calls at once are the handler's choice (SCSTU_DISK_CONCURRENT).
unsafe impl Sync for Device {}

/// What the administrator says of the cache behind a device, whatever its handler makes of that.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Caching {
    /// What is to be durable says so.
    Back,
    /// Every write is (write_through).
    Through,
    /// It keeps what it has: nothing is flushed (nv_cache).
    NonVolatile,
}

impl Caching {
    /// nv_cache goes before write_through, as with files.
    pub(super) fn of(request: &OpenRequest) -> Self {
        match (request.nv_cache, request.write_through) {
            (true, _) => Caching::NonVolatile,
            (false, true) => Caching::Through,
            (false, false) => Caching::Back,
        }
    }

    fn durable(self, asked: bool) -> bool {
        match self {
            Caching::Back => asked,
            Caching::Through => true,
            Caching::NonVolatile => false,
        }
    }
}

/// An open device.
pub(super) struct Disk {
    kind: Arc<Kind>,
    device: Device,
    geometry: Geometry,
    bytes: AtomicU64,
    capabilities: Capabilities,
    /// Held during a call unless the handler takes several at once.
    one_by_one: Option<Mutex<()>>,
    caching: Caching,
    /// Buffers go to the handler in pieces (SCSTU_DISK_SPLIT_BUFFERS).
    pub(super) splits: bool,
    /// The instance that the device belongs to.
    pub(super) owner: u64,
    own: Weak<Disk>,
}

/// What a function of the handler has answered.
pub(super) fn outcome(result: c_int) -> Result<(), BlockError> {
    match result.saturating_neg() {
        0 => Ok(()),
        libc::ENOSPC | libc::EDQUOT => Err(BlockError::NoSpace),
        libc::EROFS => Err(BlockError::ReadOnly),
        libc::EOPNOTSUPP => Err(BlockError::Unsupported),
        errno if errno > 0 => Err(BlockError::Io(errno)),
        _ => Err(BlockError::Io(libc::EIO)),
    }
}

fn writable(data: &mut [u8]) -> iovec {
    iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() }
}

/// The header forbids the handler to write to it.
fn readable(data: &[u8]) -> iovec {
    iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() }
}

fn flags(durable: bool) -> u32 {
    if durable { SCSTU_WRITE_DURABLE } else { 0 }
}

fn wrong(kind: &Kind, what: impl std::fmt::Display) -> OpenError {
    OpenError::new(libc::EINVAL, format!("handler {} has opened a device with {what}", kind.name))
}

/// `asked` is the parameter blocksize, if it was given.
fn check(kind: &Kind, disk: &scstu_disk, asked: Option<u32>) -> Result<Geometry, OpenError> {
    const KNOWN: u32 = (SCSTU_DISK_AT_HAND << 1) - 1;
    let block_size = match disk.block_size {
        0 => asked.unwrap_or(512),
        size @ (512 | 1024 | 2048 | 4096) if asked.is_none_or(|asked| asked == size) => size,
        size @ (512 | 1024 | 2048 | 4096) => {
            let asked = asked.unwrap_or(0);
            return Err(wrong(
                kind,
                format_args!("block_size {size}, although blocksize={asked} was asked for"),
            ));
        }
        size => {
            return Err(wrong(kind, format_args!("block_size {size}: 512, 1024, 2048 or 4096 are possible")));
        }
    };
    if disk.bytes == 0 || disk.bytes % u64::from(block_size) != 0 {
        return Err(wrong(kind, format_args!("bytes {}: no positive multiple of {block_size}", disk.bytes)));
    }
    if disk.flags & !KNOWN != 0 {
        return Err(wrong(kind, format_args!("unknown flags {:#x}", disk.flags & !KNOWN)));
    }
    let exponent = u8::try_from(disk.physical_block_exponent).ok().filter(|exponent| *exponent <= 15);
    let exponent = exponent.ok_or_else(|| {
        wrong(kind, format_args!("physical_block_exponent {}: 0 to 15", disk.physical_block_exponent))
    })?;
    let has = |flag: u32| disk.flags & flag != 0;
    let ops = &kind.ops;
    if has(SCSTU_DISK_NEVER_BLOCKS) && ops.submit.is_some() {
        return Err(wrong(kind, "SCSTU_DISK_NEVER_BLOCKS although it has submit"));
    }
    if has(SCSTU_DISK_AT_HAND) && (!has(SCSTU_DISK_NEVER_BLOCKS) || ops.read.is_none()) {
        return Err(wrong(kind, "SCSTU_DISK_AT_HAND without SCSTU_DISK_NEVER_BLOCKS, or without read"));
    }
    if !has(SCSTU_DISK_READ_ONLY) && ops.write.is_none() && ops.submit.is_none() {
        return Err(wrong(kind, "no SCSTU_DISK_READ_ONLY although write and submit are NULL"));
    }
    if has(SCSTU_DISK_UNMAP) && ops.unmap.is_none() && ops.submit.is_none() {
        return Err(wrong(kind, "SCSTU_DISK_UNMAP although unmap and submit are NULL"));
    }
    Ok(Geometry {
        block_size,
        blocks: disk.bytes / u64::from(block_size),
        physical_block_exponent: exponent,
        optimal_transfer_bytes: disk.optimal_transfer_bytes,
        unmap_granularity_bytes: disk.unmap_granularity_bytes,
        unmap_alignment_bytes: disk.unmap_alignment_bytes,
    })
}

impl Disk {
    /// A device that the handler has opened; one that makes no sense is closed again.
    pub(super) fn new(kind: &Arc<Kind>, disk: &scstu_disk, asked: Option<u32>) -> Result<Self, OpenError> {
        let geometry = check(kind, disk, asked);
        let mut capabilities = Capabilities::NONE;
        for (flag, capability) in [
            (SCSTU_DISK_UNMAP, Capabilities::UNMAP),
            (SCSTU_DISK_UNMAP_READS_ZERO, Capabilities::UNMAP_READS_ZERO),
            (SCSTU_DISK_NEVER_BLOCKS, Capabilities::NEVER_BLOCKS),
            (SCSTU_DISK_AT_HAND, Capabilities::AT_HAND),
            (SCSTU_DISK_READ_ONLY, Capabilities::READ_ONLY),
            (SCSTU_DISK_VOLATILE_CACHE, Capabilities::VOLATILE_CACHE),
        ] {
            if disk.flags & flag != 0 {
                capabilities = capabilities.with(capability);
            }
        }
        for (has_it, capability) in [
            (kind.ops.submit.is_some(), Capabilities::ASYNCHRONOUS),
            (kind.ops.write_same.is_some(), Capabilities::WRITE_SAME),
            (kind.ops.compare_and_write.is_some(), Capabilities::COMPARE_AND_WRITE),
        ] {
            if has_it {
                capabilities = capabilities.with(capability);
            }
        }
        let is_concurrent = disk.flags & SCSTU_DISK_CONCURRENT != 0;
        let opened = Disk {
            kind: Arc::clone(kind),
            device: Device(disk.device),
            geometry: geometry.clone().unwrap_or(NOWHERE),
            bytes: AtomicU64::new(disk.bytes),
            capabilities,
            one_by_one: (!is_concurrent).then(Mutex::default),
            caching: Caching::Back,
            splits: disk.flags & SCSTU_DISK_SPLIT_BUFFERS != 0,
            owner: owner(),
            own: Weak::new(),
        };
        geometry.map(|_| opened)
    }

    /// The same without offering to free blocks.
    pub(super) fn thick(mut self) -> Self {
        self.capabilities = self.capabilities.without(Capabilities::UNMAP);
        self
    }

    /// The same with another cache: one that loses nothing is none to others.
    pub(super) fn caching(mut self, caching: Caching) -> Self {
        self.caching = caching;
        if caching != Caching::Back {
            self.capabilities = self.capabilities.without(Capabilities::VOLATILE_CACHE);
        }
        self
    }

    /// The device as others see it.
    pub(super) fn shared(mut self) -> Arc<Self> {
        Arc::new_cyclic(|own| {
            self.own = own.clone();
            self
        })
    }

    /// The turn of a function of the handler, if it need not wait for it: nothing where several run at once.
    fn try_turn(&self) -> Option<Option<MutexGuard<'_, ()>>> {
        let Some(turn) = &self.one_by_one else { return Some(None) };
        match turn.try_lock() {
            Ok(turn) => Some(Some(turn)),
            Err(TryLockError::Poisoned(turn)) => Some(Some(turn.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Runs a function of the handler; one after the other unless it takes several at once.
    fn run<T>(&self, function: impl FnOnce(*mut c_void) -> T) -> T {
        let _turn = self.one_by_one.as_ref().map(|turn| turn.lock().unwrap_or_else(PoisonError::into_inner));
        within(Callback::Backstore, || function(self.device.0))
    }

    /// Hands a command over; answers its token.
    fn hand_over(&self, work: Work, (operation, offset, length): (Operation, u64, u64)) -> Option<u64> {
        let operation = match operation {
            Operation::Write { durable } => Operation::Write { durable: self.caching.durable(durable) },
            Operation::Flush if self.caching == Caching::NonVolatile => {
                work.end(Ok(()));
                return None;
            }
            other => other,
        };
        let (Some(submit), Some(own)) = (self.kind.ops.submit, self.own.upgrade()) else {
            work.end(Err(BlockError::Gone));
            return None;
        };
        let (token, request) = match commands::enter(work, own, operation, offset, length) {
            Ok(entered) => entered,
            Err(work) => {
                work.end(Err(BlockError::Busy));
                return None;
            }
        };
        // SAFETY: the program gave function and device; the request stays until it is completed.
        let result = self.run(|device| unsafe { submit(device, request) });
        if result != 0 {
            if result > 0 {
                warn!(
                    "handler {}: submit answers {result}; 0 or a negative errno is possible",
                    self.kind.name
                );
            }
            // Nothing happens if it was completed all the same.
            commands::refused(token, outcome(if result > 0 { -libc::EIO } else { result }));
            return None;
        }
        Some(token)
    }

    /// Hands a command over and waits for it.
    fn wait(&self, what: (Operation, u64, u64), data: iovec) -> Result<(), BlockError> {
        let waiter = Arc::new(Waiter::default());
        self.hand_over(Work::Wait(Arc::clone(&waiter), data), what);
        waiter.wait()
    }
}

/// What a handler is shown of a buffer.
#[derive(Clone, Copy)]
pub(super) struct Pieces {
    iov: [iovec; 3],
    count: usize,
}

// SAFETY: the pointers are lent to the handler and followed by nobody here.
unsafe impl Send for Pieces {}

impl Pieces {
    /// All of it as one, or in three pieces none of which is a block; none of nothing.
    pub(super) fn of(data: iovec, splits: bool) -> Self {
        if data.iov_base.is_null() {
            return Pieces { iov: [NO_DATA; 3], count: 0 };
        }
        let half = data.iov_len / 2;
        if !splits || half < 2 {
            return Pieces { iov: [data, NO_DATA, NO_DATA], count: 1 };
        }
        let part = |from: usize, to: usize| iovec {
            iov_base: data.iov_base.cast::<u8>().wrapping_add(from).cast(),
            iov_len: to - from,
        };
        Pieces { iov: [part(0, half - 1), part(half - 1, half + 2), part(half + 2, data.iov_len)], count: 3 }
    }

    /// For as long as the pieces stay where they are; NULL without any.
    pub(super) fn pointer(&self) -> *const iovec {
        if self.count == 0 { std::ptr::null() } else { self.iov.as_ptr() }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }
}

const NOWHERE: Geometry = Geometry::plain(512, 0);
const NO_DATA: iovec = iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };

/// A device that nobody uses any more. It keeps the handler, and so holds up scstu_free(), until it is
/// closed.
struct Closing {
    kind: Arc<Kind>,
    device: Device,
}

impl Closing {
    fn run(self) {
        if let Some(close) = self.kind.ops.close {
            let device = self.device.0;
            // SAFETY: the program gave both; nobody else has the device any more.
            within(Callback::Backstore, || unsafe { close(device) });
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let (kind, device) = (Arc::clone(&self.kind), self.device);
        let closing = Closing { kind, device };
        if !commands::is_completing() {
            return closing.run();
        }
        // The thread is the handler's own, and close may wait for it.
        if let Err(error) = spawn("scstu-close".into(), CLOSE_STACK_BYTES, move || closing.run()) {
            warn!("handler {}: a device stays open: no thread to close it: {error}", self.kind.name);
        }
    }
}

impl Backstore for Disk {
    fn geometry(&self) -> Geometry {
        let blocks = self.bytes.load(Ordering::Relaxed) / u64::from(self.geometry.block_size);
        Geometry { blocks, ..self.geometry }
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        let length = into.len() as u64;
        let data = writable(into);
        let Some(read) = self.kind.ops.read else {
            return self.wait((Operation::Read, offset, length), data);
        };
        let data = Pieces::of(data, self.splits);
        // SAFETY: the program gave function and device; the buffer is borrowed until the call returns.
        outcome(self.run(|device| unsafe { read(device, offset, data.pointer(), data.count()) }))
    }

    fn try_read(&self, offset: u64, into: &mut [u8]) -> Result<bool, BlockError> {
        if !self.capabilities.contains(Capabilities::AT_HAND) {
            return Ok(false);
        }
        let (Some(read), Some(_turn)) = (self.kind.ops.read, self.try_turn()) else { return Ok(false) };
        let data = Pieces::of(writable(into), self.splits);
        // SAFETY: the program gave function and device; the buffer is borrowed until the call returns.
        let result = within(Callback::Backstore, || unsafe {
            read(self.device.0, offset, data.pointer(), data.count())
        });
        outcome(result).map(|()| true)
    }

    fn write(&self, offset: u64, from: &[u8], durable: bool) -> Result<(), BlockError> {
        let data = readable(from);
        let Some(write) = self.kind.ops.write else {
            if self.kind.ops.submit.is_none() {
                return Err(BlockError::ReadOnly);
            }
            return self.wait((Operation::Write { durable }, offset, from.len() as u64), data);
        };
        let (data, flags) = (Pieces::of(data, self.splits), flags(self.caching.durable(durable)));
        // SAFETY: the program gave function and device; the buffer is borrowed until the call returns.
        outcome(self.run(|device| unsafe { write(device, offset, data.pointer(), data.count(), flags) }))
    }

    fn flush(&self) -> Result<(), BlockError> {
        if self.caching == Caching::NonVolatile {
            return Ok(());
        }
        match self.kind.ops.flush {
            // SAFETY: the program gave function and device.
            Some(flush) => outcome(self.run(|device| unsafe { flush(device) })),
            None if self.kind.ops.submit.is_some() => self.wait((Operation::Flush, 0, 0), NO_DATA),
            None => Ok(()),
        }
    }

    fn unmap(&self, offset: u64, length: u64) -> Result<(), BlockError> {
        match self.kind.ops.unmap {
            // SAFETY: the program gave function and device.
            Some(unmap) => outcome(self.run(|device| unsafe { unmap(device, offset, length) })),
            None if self.capabilities.contains(Capabilities::UNMAP) => {
                self.wait((Operation::Unmap, offset, length), NO_DATA)
            }
            None => Err(BlockError::Unsupported),
        }
    }

    fn write_zeroes(&self, offset: u64, length: u64, may_unmap: bool) -> Result<(), BlockError> {
        let frees = Capabilities::UNMAP.with(Capabilities::UNMAP_READS_ZERO);
        if may_unmap && self.capabilities.contains(frees) {
            return self.unmap(offset, length);
        }
        let zeros = [0; 4096];
        let block = usize::try_from(self.geometry.block_size).unwrap_or(zeros.len());
        self.write_same(offset, length, &zeros[..block], false)
    }

    fn write_same(&self, offset: u64, length: u64, block: &[u8], durable: bool) -> Result<(), BlockError> {
        let write_same = self.kind.ops.write_same.ok_or(BlockError::Unsupported)?;
        let flags = flags(self.caching.durable(durable));
        let data = Pieces::of(readable(block), self.splits);
        let (iov, count) = (data.pointer(), data.count());
        // SAFETY: the program gave function and device; the buffer is borrowed until the call returns.
        outcome(self.run(|device| unsafe { write_same(device, offset, length, iov, count, flags) }))
    }

    fn compare_and_write(
        &self,
        offset: u64,
        old: &[u8],
        new: &[u8],
        durable: bool,
    ) -> Result<Option<u64>, BlockError> {
        let function = self.kind.ops.compare_and_write.ok_or(BlockError::Unsupported)?;
        let [old, new] = [old, new].map(|data| Pieces::of(readable(data), self.splits));
        let (flags, mut difference) = (flags(self.caching.durable(durable)), 0);
        let place = &raw mut difference;
        let ((old, old_count), (new, new_count)) =
            ((old.pointer(), old.count()), (new.pointer(), new.count()));
        let result = self.run(|device| {
            // SAFETY: the program gave function and device; what is passed lives until the call returns.
            unsafe { function(device, offset, old, old_count, new, new_count, flags, place) }
        });
        if result == SCSTU_MISCOMPARE { Ok(Some(difference)) } else { outcome(result).map(|()| None) }
    }

    fn submit(&self, mut io: Io) -> Option<u64> {
        let what = (io.operation(), io.offset(), io.length());
        let data = if io.data().is_empty() { NO_DATA } else { writable(io.data()) };
        self.hand_over(Work::Io(io, data), what)
    }

    fn cancel(&self, number: u64) {
        let Some(cancel) = self.kind.ops.cancel.filter(|_| commands::is_out(number)) else { return };
        let device = self.device.0;
        // SAFETY: the program gave both. Not one by one: it may be what ends a call that has the turn.
        within(Callback::Backstore, || unsafe { cancel(device, number) });
    }

    fn resize(&self, bytes: u64) -> Result<(), BlockError> {
        let resize = self.kind.ops.resize.ok_or(BlockError::Unsupported)?;
        // SAFETY: the program gave function and device.
        outcome(self.run(|device| unsafe { resize(device, bytes) }))?;
        self.bytes.store(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn attribute(&self, slot: usize) -> Result<String, BlockError> {
        self.kind.attributes.get(slot, self.device.0)
    }

    fn set_attribute(&self, slot: usize, value: &str) -> Result<(), BlockError> {
        self.run(|device| self.kind.attributes.set(slot, device, value))
    }

    fn resync(&self) -> Result<Geometry, BlockError> {
        let Some(get_size) = self.kind.ops.get_size else { return Ok(self.geometry()) };
        let mut bytes = 0;
        let place = &raw mut bytes;
        // SAFETY: the program gave function and device; the place lives until the call returns.
        outcome(self.run(|device| unsafe { get_size(device, place) }))?;
        if bytes == 0 || bytes % u64::from(self.geometry.block_size) != 0 {
            warn!(
                "handler {}: get_size tells {bytes}, no positive multiple of the block size",
                self.kind.name
            );
            return Err(BlockError::Io(libc::EINVAL));
        }
        self.bytes.store(bytes, Ordering::Relaxed);
        Ok(self.geometry())
    }
}

/// What C is shown of a request; the pieces must stay where they are as long as that.
pub(super) fn request(
    token: u64,
    operation: Operation,
    (offset, length): (u64, u64),
    pieces: &Pieces,
) -> scstu_request {
    use crate::capi::backstore::{SCSTU_FLUSH, SCSTU_READ, SCSTU_UNMAP, SCSTU_WRITE};
    let (operation, flags) = match operation {
        Operation::Read => (SCSTU_READ, 0),
        Operation::Write { durable } => (SCSTU_WRITE, flags(durable)),
        Operation::Flush => (SCSTU_FLUSH, 0),
        Operation::Unmap => (SCSTU_UNMAP, 0),
    };
    scstu_request {
        size: size_of::<scstu_request>(),
        token,
        operation,
        flags,
        offset,
        length,
        iov: pieces.pointer(),
        iov_count: pieces.count(),
    }
}

#[cfg(test)]
mod tests;
