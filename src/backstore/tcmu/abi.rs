//! The structs of tcmu-runner 1.5.4 that a handler and its host share, as they lie in memory.
//!
//! Fields that nobody here reads are kept for their places. The sizes and offsets are those of 64-bit Linux;
//! the interface of other releases of tcmu-runner differs.

use std::ffi::{c_char, c_int, c_void};
use std::mem::offset_of;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU64};

use libc::{iovec, off_t, size_t};

use crate::backstore::tcmu::device::Device;

/// Answers of a handler's functions.
pub(super) mod status {
    use std::ffi::c_int;

    pub(crate) const ASYNC_HANDLED: c_int = -2;
    pub(crate) const NOT_HANDLED: c_int = -1;
    pub(crate) const OK: c_int = 0;
    pub(crate) const PASSTHROUGH_ERR: c_int = 2;
}

/// Bytes of sense data in a command.
pub(super) const SENSE_BYTES: usize = 96;

type Simple = unsafe extern "C" fn(dev: *mut Device) -> c_int;
type Move = unsafe extern "C" fn(
    dev: *mut Device,
    command: *mut tcmur_cmd,
    iov: *mut iovec,
    iov_count: size_t,
    length: size_t,
    offset: off_t,
) -> c_int;
type Range = unsafe extern "C" fn(
    dev: *mut Device,
    command: *mut tcmur_cmd,
    offset: u64,
    length: u64,
    iov: *mut iovec,
    iov_count: size_t,
) -> c_int;

/// What a handler registers. It is the handler's own and lives as long as its library: it is read where it
/// is, and never copied, because it may be longer than this.
#[allow(non_camel_case_types)] // tcmu-runner's name.
#[repr(C)]
pub(super) struct tcmur_handler {
    pub(super) name: *const c_char,
    pub(super) subtype: *const c_char,
    pub(super) cfg_desc: *const c_char,
    pub(super) opaque: *mut c_void,
    pub(super) check_config:
        Option<unsafe extern "C" fn(cfgstring: *const c_char, reason: *mut *mut c_char) -> bool>,
    pub(super) reconfig: Option<unsafe extern "C" fn(dev: *mut Device, info: *mut tcmulib_cfg_info) -> c_int>,
    pub(super) open: Option<unsafe extern "C" fn(dev: *mut Device, reopen: bool) -> c_int>,
    pub(super) close: Option<unsafe extern "C" fn(dev: *mut Device)>,
    pub(super) nr_threads: c_int,
    pub(super) handle_cmd: Option<unsafe extern "C" fn(dev: *mut Device, command: *mut tcmur_cmd) -> c_int>,
    pub(super) read: Option<Move>,
    pub(super) write: Option<Move>,
    pub(super) flush: Option<unsafe extern "C" fn(dev: *mut Device, command: *mut tcmur_cmd) -> c_int>,
    pub(super) unmap: Option<
        unsafe extern "C" fn(dev: *mut Device, command: *mut tcmur_cmd, offset: u64, length: u64) -> c_int,
    >,
    pub(super) writesame: Option<Range>,
    pub(super) caw: Option<Range>,
    pub(super) report_event: Option<Simple>,
    pub(super) lock: Option<unsafe extern "C" fn(dev: *mut Device, tag: u16) -> c_int>,
    pub(super) unlock: Option<Simple>,
    pub(super) get_lock_tag: Option<unsafe extern "C" fn(dev: *mut Device, tag: *mut u16) -> c_int>,
    pub(super) get_lock_state: Option<Simple>,
    pub(super) is_dbus_handler: bool,
    pub(super) update_logdir: Option<unsafe extern "C" fn() -> bool>,
    pub(super) init: Option<unsafe extern "C" fn() -> c_int>,
    pub(super) destroy: Option<unsafe extern "C" fn()>,
}

/// A command as a handler sees it.
#[allow(non_camel_case_types)] // tcmu-runner's name.
#[repr(C)]
pub(super) struct tcmur_cmd {
    pub(super) lib_cmd: *mut tcmulib_cmd,
    pub(super) iovec: *mut iovec,
    pub(super) iov_cnt: size_t,
    pub(super) iov_base_copy: *mut c_void,
    pub(super) cmd_state: *mut c_void,
    pub(super) requested: size_t,
    pub(super) cmds_list_entry: [*mut c_void; 2],
    pub(super) start_time: [i64; 2],
    pub(super) timed_out: bool,
    pub(super) done: Option<unsafe extern "C" fn(dev: *mut Device, command: *mut tcmur_cmd, status: c_int)>,
}

/// The SCSI side of a command.
#[allow(non_camel_case_types)] // tcmu-runner's name.
#[repr(C)]
pub(super) struct tcmulib_cmd {
    pub(super) cmd_id: u16,
    pub(super) cdb: *mut u8,
    pub(super) iovec: *mut iovec,
    pub(super) iov_cnt: size_t,
    pub(super) sense_buf: [u8; SENSE_BYTES],
    pub(super) hm_private: *mut c_void,
}

/// What [`tcmur_handler::reconfig`] is told: here always another size in bytes.
#[allow(non_camel_case_types)] // tcmu-runner's name.
#[repr(C)]
pub(super) struct tcmulib_cfg_info {
    pub(super) kind: c_int,
    pub(super) size: u64,
}

/// `tcmulib_cfg_info::kind`: the size has changed.
pub(super) const CONFIG_SIZE: c_int = 1;

/// Bytes of [`tcmur_device`] that are there: more than 1.5.4 has, all zeros.
pub(super) const TAIL: usize = 4096 - 88;

/// tcmu-runner's own record of a device, into which handlers look all the same (handler_rbd reads the
/// counters and the state of the lock).
#[allow(non_camel_case_types)] // tcmu-runner's name.
#[repr(C)]
pub(super) struct tcmur_device {
    pub(super) dev: *mut Device,
    pub(super) hm_private: AtomicPtr<c_void>,
    pub(super) cmdproc_thread: u64,
    pub(super) flags: u32,
    pub(super) failover_type: u8,
    pub(super) recovery_entry: [*mut c_void; 2],
    pub(super) lock_lost_cnt: AtomicU64,
    pub(super) conn_lost_cnt: AtomicU64,
    pub(super) cmd_timed_out_cnt: AtomicU64,
    pub(super) event_work: *mut c_void,
    pub(super) lock_lost: AtomicBool,
    pub(super) lock_state: AtomicU8,
    pub(super) tail: [u8; TAIL],
}

const _: () = {
    assert!(size_of::<tcmur_handler>() == 200);
    assert!(offset_of!(tcmur_handler, check_config) == 32);
    assert!(offset_of!(tcmur_handler, nr_threads) == 64);
    assert!(offset_of!(tcmur_handler, read) == 80);
    assert!(offset_of!(tcmur_handler, caw) == 120);
    assert!(offset_of!(tcmur_handler, is_dbus_handler) == 168);
    assert!(offset_of!(tcmur_handler, destroy) == 192);
    assert!(size_of::<tcmur_cmd>() == 96);
    assert!(offset_of!(tcmur_cmd, cmds_list_entry) == 48);
    assert!(offset_of!(tcmur_cmd, timed_out) == 80);
    assert!(offset_of!(tcmur_cmd, done) == 88);
    assert!(size_of::<tcmulib_cmd>() == 136);
    assert!(offset_of!(tcmulib_cmd, cdb) == 8);
    assert!(offset_of!(tcmulib_cmd, sense_buf) == 32);
    assert!(offset_of!(tcmulib_cmd, hm_private) == 128);
    assert!(size_of::<tcmulib_cfg_info>() == 16);
    assert!(offset_of!(tcmulib_cfg_info, size) == 8);
    assert!(offset_of!(tcmur_device, hm_private) == 8);
    assert!(offset_of!(tcmur_device, recovery_entry) == 32);
    assert!(offset_of!(tcmur_device, lock_lost_cnt) == 48);
    assert!(offset_of!(tcmur_device, cmd_timed_out_cnt) == 64);
    assert!(offset_of!(tcmur_device, lock_lost) == 80);
    assert!(offset_of!(tcmur_device, lock_state) == 81);
    assert!(size_of::<tcmur_device>() >= 4096);
};
