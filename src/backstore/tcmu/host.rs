//! What handlers call: the functions of a device that tcmu-runner exports, under its names.
//!
//! They are in the dynamic tables of `scstud` and `libscstu.so` (`packaging/scstu.map`,
//! `packaging/tcmu.dynamic-list`); a handler's own library names none that it wants them from.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::atomic::Ordering;

use log::{error, warn};

use crate::backstore::tcmu::abi::{tcmur_cmd, tcmur_handler};
use crate::backstore::tcmu::device::Device;
use crate::backstore::tcmu::{command, library};
use crate::sys::thread::on_behalf_of;

/// The device that a handler means; none when it means nothing.
///
/// # Safety
/// `dev` is NULL or a device that is open.
unsafe fn device<'a>(dev: *mut Device) -> Option<&'a Device> {
    // SAFETY: the handler vouches for it.
    unsafe { dev.as_ref() }
}

macro_rules! number {
    ($get:ident $set:ident $field:ident $kind:ty) => {
        #[unsafe(no_mangle)]
        pub(super) unsafe extern "C" fn $get(dev: *mut Device) -> $kind {
            // SAFETY: the handler vouches for its device.
            unsafe { device(dev) }.map_or_else(Default::default, |own| own.$field.load(Ordering::Relaxed))
        }

        #[unsafe(no_mangle)]
        pub(super) unsafe extern "C" fn $set(dev: *mut Device, value: $kind) {
            // SAFETY: the handler vouches for its device.
            if let Some(own) = unsafe { device(dev) } {
                own.$field.store(value, Ordering::Relaxed);
            }
        }
    };
}

number!(tcmu_dev_get_num_lbas tcmu_dev_set_num_lbas blocks u64);
number!(tcmu_dev_get_block_size tcmu_dev_set_block_size block_size u32);
number!(tcmu_dev_get_max_xfer_len tcmu_dev_set_max_xfer_len max_transfer u32);
number!(tcmu_dev_get_max_unmap_len tcmu_dev_set_max_unmap_len max_unmap u32);
number!(tcmu_dev_get_unmap_gran_align tcmu_dev_set_unmap_gran_align unmap_alignment u32);
number!(tcmu_dev_get_opt_xcopy_rw_len tcmu_dev_set_opt_xcopy_rw_len copy_length u32);
number!(tcmu_dev_get_unmap_enabled tcmu_dev_set_unmap_enabled can_unmap bool);
number!(tcmu_dev_get_write_cache_enabled tcmu_dev_set_write_cache_enabled write_cache bool);
number!(tcmu_dev_get_solid_state_media tcmu_dev_set_solid_state_media solid_state bool);

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn tcmu_dev_get_opt_unmap_gran(dev: *mut Device) -> u32 {
    // SAFETY: the handler vouches for its device.
    unsafe { device(dev) }.map_or(0, |own| own.unmap_granularity.load(Ordering::Relaxed))
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn tcmu_dev_set_opt_unmap_gran(dev: *mut Device, blocks: u32, split: bool) {
    // SAFETY: the handler vouches for its device.
    if let Some(own) = unsafe { device(dev) } {
        own.unmap_granularity.store(blocks, Ordering::Relaxed);
        own.splits_unmap.store(split, Ordering::Relaxed);
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn tcmur_dev_get_private(dev: *mut Device) -> *mut c_void {
    // SAFETY: the handler vouches for its device.
    unsafe { device(dev) }.map_or(ptr::null_mut(), |own| own.record.hm_private.load(Ordering::Acquire))
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn tcmur_dev_set_private(dev: *mut Device, private: *mut c_void) {
    // SAFETY: the handler vouches for its device.
    if let Some(own) = unsafe { device(dev) } {
        own.record.hm_private.store(private, Ordering::Release);
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn tcmu_dev_get_private(dev: *mut Device) -> *mut c_void {
    // SAFETY: the handler vouches for its device.
    unsafe { device(dev) }.map_or(ptr::null_mut(), |own| own.private.load(Ordering::Acquire))
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn tcmu_dev_set_private(dev: *mut Device, private: *mut c_void) {
    // SAFETY: the handler vouches for its device.
    if let Some(own) = unsafe { device(dev) } {
        own.private.store(private, Ordering::Release);
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn tcmu_dev_get_cfgstring(dev: *mut Device) -> *mut c_char {
    // SAFETY: the handler vouches for its device.
    unsafe { device(dev) }.map_or(ptr::null_mut(), Device::cfgstring)
}

/// A number that tcmu-runner has from the kernel's configfs: `Size` in bytes, or -EINVAL in `result`.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn tcmu_cfgfs_dev_get_info_u64(
    dev: *mut Device,
    name: *const c_char,
    result: *mut c_int,
) -> u64 {
    // SAFETY: the handler vouches for its string.
    let is_size = !name.is_null() && unsafe { CStr::from_ptr(name) } == c"Size";
    // SAFETY: the handler vouches for its device.
    let bytes = unsafe { device(dev) }.filter(|_| is_size).map(|own| own.bytes.load(Ordering::Relaxed));
    if !result.is_null() {
        // SAFETY: not NULL, so the handler vouches for it.
        unsafe { result.write(if bytes.is_some() { 0 } else { -libc::EINVAL }) };
    }
    bytes.unwrap_or(0)
}

/// An attribute that tcmu-runner has from the kernel's configfs, or a negative errno.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn tcmu_cfgfs_dev_get_attr_int(dev: *mut Device, name: *const c_char) -> c_int {
    // SAFETY: the handler vouches for its device.
    let Some(own) = (unsafe { device(dev) }) else { return -libc::EINVAL };
    // SAFETY: the handler vouches for its string.
    let name = if name.is_null() { c"" } else { unsafe { CStr::from_ptr(name) } };
    let value = match name.to_bytes() {
        b"hw_block_size" => own.block_size.load(Ordering::Relaxed),
        b"hw_max_sectors" => own.max_transfer.load(Ordering::Relaxed),
        _ => return -libc::EINVAL,
    };
    c_int::try_from(value).unwrap_or(-libc::EINVAL)
}

/// The unit serial number, to be freed by the handler with free(); NULL when there is no memory.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn tcmu_cfgfs_dev_get_wwn(dev: *mut Device) -> *mut c_char {
    // SAFETY: the handler vouches for its device.
    let Some(own) = (unsafe { device(dev) }) else { return ptr::null_mut() };
    // SAFETY: a string that lives as long as the device.
    unsafe { libc::strdup(own.serial.as_ptr()) }
}

/// A name for the device; tcmu-runner's is that of its uio device.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn tcmu_dev_get_uio_name(dev: *mut Device) -> *mut c_char {
    // SAFETY: the handler vouches for its device.
    unsafe { device(dev) }.map_or(ptr::null_mut(), Device::cfgstring)
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn tcmu_lba_to_byte(dev: *mut Device, lba: u64) -> u64 {
    // SAFETY: the handler vouches for its device.
    let block = unsafe { tcmu_dev_get_block_size(dev) };
    lba.wrapping_mul(u64::from(block))
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn tcmu_byte_to_lba(dev: *mut Device, byte: u64) -> u64 {
    // SAFETY: the handler vouches for its device.
    let block = unsafe { tcmu_dev_get_block_size(dev) };
    byte.checked_div(u64::from(block)).unwrap_or(0)
}

/// Gives the calling thread, the handler's own, a name: at most 15 characters, as Linux has it.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn tcmu_set_thread_name(prefix: *const c_char, dev: *mut Device) {
    // SAFETY: the handler vouches for its device.
    let Some(own) = (unsafe { device(dev) }) else { return };
    if prefix.is_null() {
        return;
    }
    // SAFETY: the handler vouches for its string.
    let prefix = unsafe { CStr::from_ptr(prefix) }.to_string_lossy();
    crate::sys::thread::name(&format!("{prefix}-{}", own.name));
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn tcmur_register_handler(handler: *mut tcmur_handler) -> c_int {
    // SAFETY: the handler vouches for it, and keeps it for ever.
    unsafe { library::register(handler) }
}

/// Handlers stay: their threads may still run.
#[unsafe(no_mangle)]
pub(super) extern "C" fn tcmur_unregister_handler(_handler: *mut tcmur_handler) -> bool {
    false
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn tcmur_cmd_complete(dev: *mut Device, command: *mut c_void, status: c_int) {
    // SAFETY: the handler vouches for both.
    unsafe { command::done(dev, command.cast::<tcmur_cmd>(), status) };
}

/// The image belongs to another host now, or the cluster has shut this one out: no answer of it counts any
/// more, and nothing may be written.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn tcmu_notify_lock_lost(dev: *mut Device) {
    // SAFETY: the handler vouches for its device.
    let Some(own) = (unsafe { device(dev) }) else { return };
    own.record.lock_lost_cnt.fetch_add(1, Ordering::Relaxed);
    own.record.lock_lost.store(true, Ordering::Relaxed);
    own.lose();
    let label = &own.label;
    on_behalf_of(own.owner, || error!("{label}: its lock is lost: nothing is done until it is opened again"));
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn tcmu_notify_conn_lost(dev: *mut Device) {
    // SAFETY: the handler vouches for its device.
    let Some(own) = (unsafe { device(dev) }) else { return };
    own.record.conn_lost_cnt.fetch_add(1, Ordering::Relaxed);
    own.lose();
    let label = &own.label;
    on_behalf_of(own.owner, || {
        error!("{label}: its connection is lost: nothing is done until it is opened again");
    });
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn tcmu_notify_cmd_timed_out(dev: *mut Device) {
    // SAFETY: the handler vouches for its device.
    let Some(own) = (unsafe { device(dev) }) else { return };
    own.record.cmd_timed_out_cnt.fetch_add(1, Ordering::Relaxed);
    let label = &own.label;
    on_behalf_of(own.owner, || warn!("{label}: a command has taken longer than the handler allows"));
}
