//! A command that a handler has: its record, its own list of buffers, and who waits for it.

use std::cell::Cell;
use std::ffi::c_int;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use libc::iovec;
use log::warn;

use crate::backstore::BlockError;
use crate::backstore::io::{Io, Waiter};
use crate::backstore::tcmu::abi::{SENSE_BYTES, status, tcmulib_cmd, tcmur_cmd};
use crate::backstore::tcmu::device::Device;
use crate::backstore::tcmu::status::error;
use crate::backstore::tcmu::store::Store;
use crate::sys::thread::on_behalf_of;

thread_local! {
    static COMPLETING: Cell<bool> = const { Cell::new(false) };
}

/// Whether the calling thread is one of a handler's own, which completes a command.
pub(super) fn is_completing() -> bool {
    COMPLETING.get()
}

/// Who waits for a command.
pub(super) enum Work {
    /// A task; the memory is the command's own.
    Io(Io),
    /// A thread, which lends its memory until then.
    Wait(Arc<Waiter>),
    /// The same, and wants to know how many bytes of the buffers were left.
    Count(Arc<Waiter>, Arc<AtomicUsize>),
}

impl Work {
    pub(super) fn end(self, result: Result<(), BlockError>, left: usize) {
        match self {
            Work::Io(io) => io.complete(result),
            Work::Wait(waiter) => waiter.end(result),
            Work::Count(waiter, bytes) => {
                bytes.store(left, Ordering::Release);
                waiter.end(result);
            }
        }
    }
}

/// Longest CDB.
pub(super) const CDB_BYTES: usize = 32;
/// Most buffers of a command: COMPARE AND WRITE has two.
pub(super) const BUFFERS: usize = 2;

/// No memory: the end of a command's list.
pub(super) const NO_BUFFER: iovec = iovec { iov_base: ptr::null_mut(), iov_len: 0 };

/// What a command is, before it has a place.
pub(super) struct Order {
    pub(super) cdb: [u8; CDB_BYTES],
    pub(super) buffers: [iovec; BUFFERS],
    pub(super) count: usize,
    pub(super) is_flush: bool,
}

/// A command that is out. The handler has a pointer to `shared`, which is where the command begins.
#[repr(C)]
pub(super) struct Command {
    shared: tcmur_cmd,
    library: tcmulib_cmd,
    cdb: [u8; CDB_BYTES],
    /// Handlers change them while they consume them, so they are this command's own. One without memory is
    /// behind them: there the functions end that are not told how many there are.
    buffers: [iovec; BUFFERS + 1],
    is_flush: bool,
    work: Work,
    store: Arc<Store>,
}

impl Command {
    /// Makes a command that stays where it is until it is ended, and enters it with its device.
    pub(super) fn enter(order: &Order, work: Work, store: Arc<Store>) -> *mut Command {
        let shared = tcmur_cmd {
            lib_cmd: ptr::null_mut(),
            iovec: ptr::null_mut(),
            iov_cnt: order.count,
            iov_base_copy: ptr::null_mut(),
            cmd_state: ptr::null_mut(),
            requested: order.buffers[..order.count].iter().map(|buffer| buffer.iov_len).sum(),
            cmds_list_entry: [ptr::null_mut(); 2],
            start_time: [0; 2],
            timed_out: false,
            done: Some(done),
        };
        let library = tcmulib_cmd {
            cmd_id: 0,
            cdb: ptr::null_mut(),
            iovec: ptr::null_mut(),
            iov_cnt: order.count,
            sense_buf: [0; SENSE_BYTES],
            hm_private: ptr::null_mut(),
        };
        let (cdb, is_flush) = (order.cdb, order.is_flush);
        let mut buffers = [NO_BUFFER; BUFFERS + 1];
        buffers[..order.count].copy_from_slice(&order.buffers[..order.count]);
        let command =
            Box::into_raw(Box::new(Command { shared, library, cdb, buffers, is_flush, work, store }));
        // SAFETY: just made, and nobody else's yet.
        let own = unsafe { &mut *command };
        own.library.cdb = (&raw mut own.cdb).cast();
        own.library.iovec = (&raw mut own.buffers).cast();
        own.library.hm_private = command.cast();
        own.shared.iovec = own.library.iovec;
        own.shared.lib_cmd = &raw mut own.library;
        own.store.device().enter(command);
        command
    }
}

/// The buffers of a command that is not ended.
pub(super) fn buffers(command: *mut Command) -> *mut iovec {
    // SAFETY: the caller has just entered it; only the place is taken, nothing is read.
    unsafe { (&raw mut (*command).buffers).cast() }
}

/// Ends a command; a second time does nothing but say so. The device may be gone when this returns.
///
/// # Safety
/// `dev` is a device that is open.
pub(super) unsafe fn end(dev: *mut Device, command: *mut tcmur_cmd, status: c_int) {
    let command = {
        // SAFETY: the caller vouches for it.
        let device = unsafe { &*dev };
        let Some(command) = device.leave(command) else {
            return warn!("{}: a command was completed that is not out", device.label);
        };
        command
    };
    // SAFETY: it was in the list, which owns it, and was taken out just now: nobody else has it.
    let command = unsafe { Box::from_raw(command) };
    let Command { shared, library, buffers, is_flush, work, store, .. } = *command;
    let result = match status {
        status::OK => Ok(()),
        other => Err(error(other, &library.sense_buf)),
    };
    let result = if is_flush { store.flushed(result) } else { result };
    let count = shared.iov_cnt.min(BUFFERS);
    work.end(result, buffers[..count].iter().map(|buffer| buffer.iov_len).sum());
    // It may be the last use, which closes the device.
    drop(store);
}

/// The handler completes a command, on a thread of its own.
///
/// # Safety
/// `dev` is a device that is open, `command` one that it was given.
pub(super) unsafe extern "C" fn done(dev: *mut Device, command: *mut tcmur_cmd, status: c_int) {
    if dev.is_null() {
        return warn!("a handler completes a command of no device");
    }
    // SAFETY: the handler vouches for it; it is open while it has commands.
    let owner = unsafe { (*dev).owner };
    let before = COMPLETING.replace(true);
    on_behalf_of(owner, || {
        // SAFETY: as above.
        unsafe { end(dev, command, status) };
    });
    COMPLETING.set(before);
}
