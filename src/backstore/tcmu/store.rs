//! A device of a tcmu-runner handler, as a backstore.
//!
//! A handler with threads (`nr_threads` above 0) is called on workers, by so many at once; one without is
//! given reads, writes, flushes and frees to complete later, and everything else is waited for.

use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};

use libc::{iovec, off_t};
use log::{error, warn};

use crate::backstore::io::{Io, Operation, Waiter};
use crate::backstore::registry::InUse;
use crate::backstore::tcmu::abi::{CONFIG_SIZE, status, tcmulib_cfg_info, tcmur_cmd, tcmur_handler};
use crate::backstore::tcmu::command::{self, BUFFERS, CDB_BYTES, Command, NO_BUFFER, Order, Work};
use crate::backstore::tcmu::device::{Device, Pointer};
use crate::backstore::tcmu::library::{Kind, OPEN};
use crate::backstore::{Backstore, BlockError, Capabilities, Geometry, Pass, Reported};
use crate::sys::thread::spawn;

/// Stack of a thread that closes a device, in bytes.
const CLOSE_STACK_BYTES: usize = 256 << 10;
const NO_DATA: [iovec; BUFFERS] = [NO_BUFFER; BUFFERS];

/// Lets so many threads in at once.
struct Turns {
    limit: usize,
    taken: Mutex<usize>,
    given_back: Condvar,
}

struct Turn<'a>(&'a Turns);

impl Turns {
    fn new(limit: usize) -> Self {
        Turns { limit, taken: Mutex::new(0), given_back: Condvar::new() }
    }

    fn take(&self) -> Turn<'_> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while *taken >= self.limit {
            taken = self.given_back.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        *taken += 1;
        Turn(self)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.given_back.notify_one();
    }
}

/// How the administrator wants the cache.
#[derive(Clone, Copy)]
pub(super) struct Cache {
    /// Every write is durable before it is answered.
    pub(super) write_through: bool,
    /// Nothing needs to be flushed.
    pub(super) non_volatile: bool,
}

/// An open device.
pub(super) struct Store {
    kind: Arc<Kind>,
    device: Pointer,
    shape: Geometry,
    bytes: AtomicU64,
    capabilities: Capabilities,
    cache: Cache,
    /// None for a handler that answers later.
    turns: Option<Turns>,
    /// A flush has failed: nobody knows what the medium holds.
    has_failed: AtomicBool,
    in_use: Option<InUse>,
    own: Weak<Store>,
}

fn writable(data: &mut [u8]) -> iovec {
    iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() }
}

/// A handler does not write to what it is given to write.
fn readable(data: &[u8]) -> iovec {
    iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() }
}

/// What is asked, in the words of SCSI, for handlers that look there.
fn cdb(opcode: u8, first: u64, blocks: u64) -> [u8; CDB_BYTES] {
    let mut cdb = [0; CDB_BYTES];
    cdb[0] = opcode;
    cdb[2..10].copy_from_slice(&first.to_be_bytes());
    cdb[10..14].copy_from_slice(&u32::try_from(blocks).unwrap_or(u32::MAX).to_be_bytes());
    cdb
}

fn one(data: iovec) -> ([iovec; BUFFERS], usize) {
    ([data, NO_DATA[1]], 1)
}

impl Store {
    /// A device that the handler has opened. It is closed when the last use ends.
    pub(super) fn new(
        kind: Arc<Kind>,
        device: Pointer,
        shape: Geometry,
        cache: Cache,
        in_use: Option<InUse>,
    ) -> Arc<Self> {
        let handler = kind.handler();
        // SAFETY: it lives as long as the store, which is about to be made.
        let own = unsafe { device.get() };
        let is_asynchronous = handler.nr_threads == 0 && handler.read.is_some();
        let mut capabilities = Capabilities::NONE;
        for (has, capability) in [
            (own.can_unmap.load(Ordering::Relaxed) && handler.unmap.is_some(), Capabilities::UNMAP),
            (is_asynchronous, Capabilities::ASYNCHRONOUS.with(Capabilities::SUBMIT_WAITS)),
            (handler.writesame.is_some(), Capabilities::WRITE_SAME),
            (handler.caw.is_some(), Capabilities::COMPARE_AND_WRITE),
            (handler.read.is_none(), Capabilities::PASSES_COMMANDS),
            (handler.read.is_some() && handler.write.is_none(), Capabilities::READ_ONLY),
            (
                own.write_cache.load(Ordering::Relaxed) && handler.flush.is_some() && !cache.write_through,
                Capabilities::VOLATILE_CACHE,
            ),
        ] {
            if has {
                capabilities = capabilities.with(capability);
            }
        }
        let limit = usize::try_from(handler.nr_threads).unwrap_or(1).max(1);
        OPEN.fetch_add(1, Ordering::AcqRel);
        Arc::new_cyclic(|own| Store {
            kind: Arc::clone(&kind),
            device,
            shape,
            bytes: AtomicU64::new(shape.bytes()),
            capabilities,
            cache,
            turns: (!is_asynchronous).then(|| Turns::new(limit)),
            has_failed: AtomicBool::new(false),
            in_use,
            own: own.clone(),
        })
    }

    /// What the handler sees.
    pub(super) fn device(&self) -> &Device {
        // SAFETY: it is freed only after the store is gone.
        unsafe { self.device.get() }
    }

    fn handler(&self) -> &tcmur_handler {
        self.kind.handler()
    }

    /// Takes in how a flush has ended. After one that failed the state of the medium is unknown.
    pub(super) fn flushed(&self, result: Result<(), BlockError>) -> Result<(), BlockError> {
        let Err(cause) = result else { return Ok(()) };
        let may_be_tried_again = matches!(cause, BlockError::Busy | BlockError::Full);
        if !may_be_tried_again && !self.has_failed.swap(true, Ordering::AcqRel) {
            let label = &self.device().label;
            error!("{label}: a flush has failed ({cause}): nothing is done until it is opened again");
        }
        result
    }

    fn is_usable(&self) -> Result<(), BlockError> {
        let gone = self.has_failed.load(Ordering::Acquire) || self.device().is_lost.load(Ordering::Acquire);
        if gone { Err(BlockError::Gone) } else { Ok(()) }
    }

    /// Gives a command to `function`, a call of the handler's.
    fn hand_over(
        &self,
        work: Work,
        order: &Order,
        function: impl FnOnce(*mut Device, *mut tcmur_cmd, *mut iovec) -> c_int,
    ) {
        let (Ok(()), Some(own)) = (self.is_usable(), self.own.upgrade()) else {
            return work.end(Err(BlockError::Gone), 0);
        };
        let turn = self.turns.as_ref().map(Turns::take);
        let command = Command::enter(order, work, own);
        let shared: *mut tcmur_cmd = command.cast();
        let status = function(self.device.raw(), shared, command::buffers(command));
        drop(turn);
        // The handler may have ended it by now: what is pending is not looked at.
        let is_queued = self.turns.is_none() && status == status::OK;
        if !is_queued && status != status::ASYNC_HANDLED {
            // SAFETY: the device is open as long as this store is there.
            unsafe { command::end(self.device.raw(), shared, status) };
        }
    }

    /// Gives a command to the handler and waits for it.
    fn wait(
        &self,
        order: &Order,
        function: impl FnOnce(*mut Device, *mut tcmur_cmd, *mut iovec) -> c_int,
    ) -> Result<(), BlockError> {
        let waiter = Arc::new(Waiter::default());
        self.hand_over(Work::Wait(Arc::clone(&waiter)), order, function);
        waiter.wait()
    }

    fn blocks(&self, bytes: u64) -> u64 {
        bytes / u64::from(self.shape.block_size)
    }

    fn order(&self, opcode: u8, (offset, length): (u64, u64), data: ([iovec; BUFFERS], usize)) -> Order {
        let cdb = cdb(opcode, self.blocks(offset), self.blocks(length));
        Order { cdb, buffers: data.0, count: data.1, is_flush: false }
    }

    fn flush_order() -> Order {
        Order { cdb: cdb(0x91, 0, 0), buffers: NO_DATA, count: 0, is_flush: true }
    }

    /// Reads or writes, as `opcode` says.
    fn transfer(&self, work: Work, opcode: u8, offset: u64, data: iovec) {
        let function = if opcode == 0x88 { self.handler().read } else { self.handler().write };
        let Some(function) = function else { return work.end(Err(BlockError::ReadOnly), 0) };
        let (length, Ok(at)) = (data.iov_len, off_t::try_from(offset)) else {
            return work.end(Err(BlockError::OutOfRange), 0);
        };
        let order = self.order(opcode, (offset, length as u64), one(data));
        self.hand_over(work, &order, |dev, command, iov| {
            // SAFETY: the handler gave the function; what it is given lives until the command is ended.
            unsafe { function(dev, command, iov, 1, length, at) }
        });
    }

    fn transfer_and_wait(&self, opcode: u8, offset: u64, data: iovec) -> Result<(), BlockError> {
        let waiter = Arc::new(Waiter::default());
        self.transfer(Work::Wait(Arc::clone(&waiter)), opcode, offset, data);
        waiter.wait()
    }

    /// Whether something is left to do once a write was answered.
    fn must_flush(&self, durable: bool) -> bool {
        let has_cache = self.device().write_cache.load(Ordering::Relaxed);
        has_cache && !self.cache.non_volatile && (durable || self.cache.write_through)
    }

    /// Bytes that are freed with one call, from `offset` on.
    fn unmap_piece(&self, offset: u64, length: u64) -> u64 {
        let device = self.device();
        let block = u64::from(self.shape.block_size);
        let bytes = |blocks: u32| u64::from(blocks.max(1)) * block;
        let mut piece = length.min(bytes(device.max_unmap.load(Ordering::Relaxed)));
        if device.splits_unmap.load(Ordering::Relaxed) {
            let granularity = bytes(device.unmap_granularity.load(Ordering::Relaxed));
            let alignment = u64::from(device.unmap_alignment.load(Ordering::Relaxed)) * block;
            let into = offset.wrapping_sub(alignment) % granularity;
            piece = piece.min(granularity - into);
        }
        piece
    }

    fn unmap_one(&self, work: Work, offset: u64, length: u64) {
        let Some(function) = self.handler().unmap else { return work.end(Err(BlockError::Unsupported), 0) };
        let order = Order { cdb: cdb(0x42, 0, 0), buffers: NO_DATA, count: 0, is_flush: false };
        self.hand_over(work, &order, |dev, command, _| {
            // SAFETY: the handler gave the function; the command lives until it is ended.
            unsafe { function(dev, command, offset, length) }
        });
    }

    fn submit_write(&self, mut io: Io) {
        let (offset, data) = (io.offset(), writable(io.data()));
        if !self.must_flush(io.operation() == Operation::Write { durable: true }) {
            return self.transfer(Work::Io(io), 0x8a, offset, data);
        }
        // The interface has no FUA. A handler need not stand being called while it completes, so this thread
        // waits.
        let written = self.transfer_and_wait(0x8a, offset, data);
        io.complete(written.and_then(|()| self.flush()));
    }

    fn submit_flush(&self, io: Io) {
        let Some(flush) = self.handler().flush.filter(|_| !self.cache.non_volatile) else {
            return io.complete(self.is_usable());
        };
        self.hand_over(Work::Io(io), &Self::flush_order(), |dev, command, _| {
            // SAFETY: the handler gave the function; the command lives until it is ended.
            unsafe { flush(dev, command) }
        });
    }
}

impl Backstore for Store {
    fn geometry(&self) -> Geometry {
        Geometry { blocks: self.blocks(self.bytes.load(Ordering::Relaxed)), ..self.shape }
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        self.transfer_and_wait(0x88, offset, writable(into))
    }

    fn write(&self, offset: u64, from: &[u8], durable: bool) -> Result<(), BlockError> {
        self.transfer_and_wait(0x8a, offset, readable(from))?;
        if self.must_flush(durable) { self.flush() } else { Ok(()) }
    }

    fn flush(&self) -> Result<(), BlockError> {
        let Some(flush) = self.handler().flush.filter(|_| !self.cache.non_volatile) else {
            return self.is_usable();
        };
        self.wait(&Self::flush_order(), |dev, command, _| {
            // SAFETY: the handler gave the function; the command lives until it is ended.
            unsafe { flush(dev, command) }
        })
    }

    fn unmap(&self, offset: u64, length: u64) -> Result<(), BlockError> {
        let (mut at, end) = (offset, offset + length);
        while at < end {
            let piece = self.unmap_piece(at, end - at);
            let waiter = Arc::new(Waiter::default());
            self.unmap_one(Work::Wait(Arc::clone(&waiter)), at, piece);
            waiter.wait()?;
            at += piece;
        }
        Ok(())
    }

    fn write_zeroes(&self, offset: u64, length: u64, _may_unmap: bool) -> Result<(), BlockError> {
        // Nothing in the interface promises that what was unmapped reads as zeros.
        let zeros = [0; 4096];
        let block = usize::try_from(self.shape.block_size).unwrap_or(zeros.len());
        self.write_same(offset, length, &zeros[..block], false)
    }

    fn write_same(&self, offset: u64, length: u64, block: &[u8], durable: bool) -> Result<(), BlockError> {
        let function = self.handler().writesame.ok_or(BlockError::Unsupported)?;
        let order = self.order(0x93, (offset, length), one(readable(block)));
        self.wait(&order, |dev, command, iov| {
            // SAFETY: the handler gave the function; what it is given lives until the command is ended.
            unsafe { function(dev, command, offset, length, iov, 1) }
        })?;
        if self.must_flush(durable) { self.flush() } else { Ok(()) }
    }

    fn compare_and_write(
        &self,
        offset: u64,
        old: &[u8],
        new: &[u8],
        durable: bool,
    ) -> Result<Option<u64>, BlockError> {
        let function = self.handler().caw.ok_or(BlockError::Unsupported)?;
        let length = old.len() as u64;
        let order = self.order(0x89, (offset, length), ([readable(old), readable(new)], 2));
        let compared = self.wait(&order, |dev, command, iov| {
            // SAFETY: the handler gave the function; what it is given lives until the command is ended.
            unsafe { function(dev, command, offset, length, iov, 2) }
        });
        match compared {
            Err(BlockError::Reported(report)) if report.is_miscompare() => match report.information {
                Some(first) => Ok(Some(u64::from(first))),
                None => Err(BlockError::Reported(report)),
            },
            // librbd compares one sector and no more, and handler_rbd says so: others do it by reading.
            Err(BlockError::Reported(Reported { key: 0x5, code: 0x2400, .. })) => {
                Err(BlockError::Unsupported)
            }
            Err(error) => Err(error),
            Ok(()) if self.must_flush(durable) => self.flush().map(|()| None),
            Ok(()) => Ok(None),
        }
    }

    fn command(&self, pass: &mut Pass<'_>) -> Result<usize, BlockError> {
        let function = self.handler().handle_cmd.ok_or(BlockError::Unsupported)?;
        let mut cdb = [0; CDB_BYTES];
        cdb.get_mut(..pass.cdb.len()).ok_or(BlockError::Unsupported)?.copy_from_slice(pass.cdb);
        let has_data_in = !pass.data_in.is_empty();
        let data = if has_data_in { writable(pass.data_in) } else { readable(pass.data_out) };
        let (buffers, count) = one(data);
        let order = Order { cdb, buffers, count: count.min(data.iov_len), is_flush: false };
        let (waiter, left) = (Arc::new(Waiter::default()), Arc::new(AtomicUsize::new(0)));
        let work = Work::Count(Arc::clone(&waiter), Arc::clone(&left));
        self.hand_over(work, &order, |dev, command, _| {
            // SAFETY: the handler gave the function; what it is given lives until the command is ended.
            unsafe { function(dev, command) }
        });
        waiter.wait()?;
        // A handler that has filled the buffer without consuming it does not say how far.
        let used = data.iov_len.saturating_sub(left.load(Ordering::Acquire));
        Ok(if !has_data_in || used > 0 { used } else { data.iov_len })
    }

    fn submit(&self, mut io: Io) -> Option<u64> {
        let (offset, length) = (io.offset(), io.length());
        match io.operation() {
            Operation::Read => {
                let data = writable(io.data());
                self.transfer(Work::Io(io), 0x88, offset, data);
            }
            Operation::Write { .. } => self.submit_write(io),
            Operation::Flush => self.submit_flush(io),
            Operation::Unmap if length == self.unmap_piece(offset, length) => {
                self.unmap_one(Work::Io(io), offset, length);
            }
            Operation::Unmap => {
                let result = self.unmap(offset, length);
                io.complete(result);
            }
        }
        None
    }

    fn resize(&self, bytes: u64) -> Result<(), BlockError> {
        let reconfig = self.handler().reconfig.ok_or(BlockError::Unsupported)?;
        self.is_usable()?;
        let mut info = tcmulib_cfg_info { kind: CONFIG_SIZE, size: bytes };
        let dev = self.device.raw();
        // SAFETY: the handler gave the function; what it is given lives until the call returns.
        let result = unsafe { reconfig(dev, &raw mut info) };
        match result.saturating_neg() {
            0 => {}
            libc::EOPNOTSUPP => return Err(BlockError::Unsupported),
            errno => return Err(BlockError::Io(if errno > 0 { errno } else { libc::EIO })),
        }
        let device = self.device();
        device.bytes.store(bytes, Ordering::Relaxed);
        device.blocks.store(self.blocks(bytes), Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn resync(&self) -> Result<Geometry, BlockError> {
        let bytes = self.device().blocks.load(Ordering::Relaxed) * u64::from(self.shape.block_size);
        if bytes > 0 {
            self.bytes.store(bytes, Ordering::Relaxed);
        }
        Ok(self.geometry())
    }
}

/// A device that nobody uses any more. Its handler's library stays in any case.
struct Closing {
    kind: Arc<Kind>,
    device: Pointer,
    /// Given back when all is done.
    _in_use: Option<InUse>,
}

impl Closing {
    fn run(self) {
        if let Some(close) = self.kind.handler().close {
            // SAFETY: the handler gave the function and has opened the device; nobody else has it any more.
            unsafe { close(self.device.raw()) };
        }
        // SAFETY: it is closed.
        unsafe { self.device.free() };
        OPEN.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let closing =
            Closing { kind: Arc::clone(&self.kind), device: self.device, _in_use: self.in_use.take() };
        if !command::is_completing() {
            return closing.run();
        }
        // The thread is the handler's own, and close may wait for it.
        if let Err(error) = spawn("scstu-close".into(), CLOSE_STACK_BYTES, move || closing.run()) {
            warn!("{}: a device stays open: no thread to close it: {error}", self.kind.name());
        }
    }
}
