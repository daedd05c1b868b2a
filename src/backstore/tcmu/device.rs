//! A device as a handler sees it: numbers that both sides set and read, and the commands that it has.
//!
//! Handlers take it for tcmu-runner's `struct tcmu_device`, into which none of them looks.

use std::collections::HashMap;
use std::ffi::{CString, c_char, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::backstore::tcmu::abi::{TAIL, tcmur_cmd, tcmur_device};
use crate::backstore::tcmu::command::Command;
use crate::sys::thread::owner;

/// MAXIMUM TRANSFER LENGTH and the like in blocks, before a handler says otherwise: 32 MiB of the smallest
/// blocks.
const MAX_BLOCKS: u32 = 65_536;
/// Blocks that are unmapped with one call, before a handler says otherwise (as in tcmu-runner).
const MAX_UNMAP_BLOCKS: u32 = 32 << 20;

/// A device. All fields may be changed at any time by any of the handler's threads.
pub(super) struct Device {
    /// What handlers get as tcmu-runner's own record.
    pub(super) record: tcmur_device,
    /// What tcmu_dev_get_private() answers: the record, unless a handler has set something else.
    pub(super) private: AtomicPtr<c_void>,
    /// `<subtype>/<rest>`; ours to free.
    cfgstring: *mut c_char,
    /// Unit serial number.
    pub(super) serial: CString,
    /// SCST's name of the device.
    pub(super) name: String,
    /// Handler and device, for the log.
    pub(super) label: String,
    /// The instance that it belongs to.
    pub(super) owner: u64,
    pub(super) bytes: AtomicU64,
    pub(super) blocks: AtomicU64,
    pub(super) block_size: AtomicU32,
    pub(super) max_transfer: AtomicU32,
    pub(super) max_unmap: AtomicU32,
    pub(super) unmap_granularity: AtomicU32,
    pub(super) unmap_alignment: AtomicU32,
    pub(super) copy_length: AtomicU32,
    pub(super) splits_unmap: AtomicBool,
    pub(super) can_unmap: AtomicBool,
    pub(super) write_cache: AtomicBool,
    pub(super) solid_state: AtomicBool,
    /// The handler has said that the medium is not this host's any more.
    pub(super) is_lost: AtomicBool,
    live: Mutex<HashMap<usize, Live>>,
}

/// A command that is out, owned by the list.
struct Live(*mut Command);

// SAFETY: the list owns the command; whoever takes it out is its only user.
unsafe impl Send for Live {}

/// What a new device is made of.
pub(super) struct NewDevice {
    pub(super) name: String,
    pub(super) label: String,
    pub(super) cfgstring: CString,
    pub(super) serial: CString,
    pub(super) bytes: u64,
    pub(super) block_size: u32,
    pub(super) can_unmap: bool,
}

/// A pointer to a device: what a handler is called with.
#[derive(Clone, Copy)]
pub(super) struct Pointer(*mut Device);

// SAFETY: all of a device may be used from any thread.
unsafe impl Send for Pointer {}
// SAFETY: as above.
unsafe impl Sync for Pointer {}

impl Pointer {
    /// A new device, which stays where it is until [`Pointer::free`].
    pub(super) fn new(new: NewDevice) -> Self {
        let record = tcmur_device {
            dev: ptr::null_mut(),
            hm_private: AtomicPtr::default(),
            cmdproc_thread: 0,
            flags: 0,
            failover_type: 0,
            recovery_entry: [ptr::null_mut(); 2],
            lock_lost_cnt: AtomicU64::new(0),
            conn_lost_cnt: AtomicU64::new(0),
            cmd_timed_out_cnt: AtomicU64::new(0),
            event_work: ptr::null_mut(),
            lock_lost: AtomicBool::new(false),
            lock_state: AtomicU8::new(0),
            tail: [0; TAIL],
        };
        let device = Box::into_raw(Box::new(Device {
            record,
            private: AtomicPtr::default(),
            cfgstring: new.cfgstring.into_raw(),
            serial: new.serial,
            name: new.name,
            label: new.label,
            owner: owner(),
            bytes: AtomicU64::new(new.bytes),
            blocks: AtomicU64::new(new.bytes / u64::from(new.block_size.max(1))),
            block_size: AtomicU32::new(new.block_size),
            max_transfer: AtomicU32::new(MAX_BLOCKS),
            max_unmap: AtomicU32::new(MAX_UNMAP_BLOCKS),
            unmap_granularity: AtomicU32::new(MAX_BLOCKS),
            unmap_alignment: AtomicU32::new(0),
            copy_length: AtomicU32::new(MAX_BLOCKS),
            splits_unmap: AtomicBool::new(true),
            can_unmap: AtomicBool::new(new.can_unmap),
            write_cache: AtomicBool::new(false),
            solid_state: AtomicBool::new(false),
            is_lost: AtomicBool::new(false),
            live: Mutex::default(),
        }));
        // SAFETY: just made, and nobody else's yet.
        let own = unsafe { &mut *device };
        own.record.dev = device;
        own.private = AtomicPtr::new((&raw mut own.record).cast());
        Pointer(device)
    }

    /// As the handler is given it.
    pub(super) fn raw(self) -> *mut Device {
        self.0
    }

    /// The device.
    ///
    /// # Safety
    /// It is not freed while the answer is used.
    pub(super) unsafe fn get<'a>(self) -> &'a Device {
        // SAFETY: made by `new`, and the caller says that it is still there.
        unsafe { &*self.0 }
    }

    /// Frees it.
    ///
    /// # Safety
    /// The handler has closed it, or has failed to open it, and nobody else uses it any more.
    pub(super) unsafe fn free(self) {
        // SAFETY: made by `new` out of a box, and freed once.
        let device = unsafe { Box::from_raw(self.0) };
        // SAFETY: `new` has made it out of a CString; a handler may have shortened it, not moved it.
        let length = unsafe { libc::strlen(device.cfgstring) };
        debug_assert!(length > 0);
        // SAFETY: as above.
        drop(unsafe { CString::from_raw(device.cfgstring) });
    }
}

impl Device {
    /// `<subtype>/<rest>`, where a handler may write.
    pub(super) fn cfgstring(&self) -> *mut c_char {
        self.cfgstring
    }

    fn live(&self) -> MutexGuard<'_, HashMap<usize, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a command that the handler is about to be given.
    pub(super) fn enter(&self, command: *mut Command) {
        self.live().insert(command as usize, Live(command));
    }

    /// Takes a command out; `None` when it is not one that is out, so that it must not be looked at.
    pub(super) fn leave(&self, command: *mut tcmur_cmd) -> Option<*mut Command> {
        self.live().remove(&(command as usize)).map(|live| live.0)
    }

    /// The handler must not be asked for anything any more until the device is opened again.
    pub(super) fn lose(&self) {
        self.is_lost.store(true, Ordering::Release);
    }
}
