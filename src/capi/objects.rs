//! The common changes of a configuration, one function each.

use std::ffi::{c_char, c_int};

use crate::capi::error::{From, call};
use crate::capi::handle::{self, scstu};
use crate::capi::text::{optional, required};
use crate::instance::Instance;
use crate::model::Error;
use crate::scsi::lun::MAX_LUN;

/// scstu_add_lun(): the LUN is mapped read-only. @since 0.1
pub const SCSTU_LUN_READ_ONLY: u32 = 1;

/// What a call does to the instance, once its texts are read.
fn change(
    name: &'static std::ffi::CStr,
    handle: *mut scstu,
    body: impl FnOnce(&Instance) -> Result<(), Error>,
) -> c_int {
    call(name, From::Event, || handle::with(handle, |host| body(&host.instance).map(|()| 0)))
}

/// "name=value; name=value" as pairs.
fn parameters(text: &str) -> Result<Vec<(&str, &str)>, Error> {
    let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
    let pair = |part: &'_ str| {
        let error = || Error::new(libc::EINVAL, format!("parameter \"{part}\" is not NAME=VALUE"));
        part.split_once('=').map(|_| ()).ok_or_else(error)
    };
    parts
        .map(|part| {
            pair(part)?;
            Ok(part.split_once('=').map_or((part, ""), |(name, value)| (name.trim(), value.trim())))
        })
        .collect()
}

/// Adds a device.
///
/// @param handle the instance
/// @param handler a kind of backstore, such as "vdisk_fileio", or one that was registered
/// @param name name of the device: 1 to 64 printable characters without blanks, / and .
/// @param parameters "NAME=VALUE; NAME=VALUE", such as "filename=/srv/disk1; blocksize=4096"; NULL for none.
/// scstu_get() of "handlers/HANDLER/mgmt" names those that a handler takes
/// @return 0, or
/// -ENOENT there is no such handler;
/// -EEXIST there is such a device;
/// -EINVAL a NULL pointer, a name that cannot be, an unknown parameter, one that is given twice, or a bad
/// value;
/// -ENOSPC there are 65536 devices;
/// -EBADF, -ECHILD, -EDEADLK as scstu_start(); another negative errno of opening the medium
///
/// Thread-safe.
///
/// @since 0.1
///
/// # Safety
/// The texts are NULL or strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scstu_add_device(
    handle: *mut scstu,
    handler: *const c_char,
    name: *const c_char,
    parameters: *const c_char,
) -> c_int {
    change(c"scstu_add_device", handle, |instance| {
        // SAFETY: the program vouches for its strings.
        let handler = unsafe { required(handler, "handler") }?;
        // SAFETY: as above.
        let name = unsafe { required(name, "name") }?;
        // SAFETY: as above.
        let text = unsafe { optional(parameters, "parameters") }?.unwrap_or("");
        instance.add_device(handler, name, &self::parameters(text)?)
    })
}

/// Takes a device out and closes it, when its last command is done.
///
/// @param handle the instance
/// @param name name of the device
/// @return 0, or
/// -ENOENT there is no such device;
/// -EBUSY a target maps it;
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
pub unsafe extern "C" fn scstu_remove_device(handle: *mut scstu, name: *const c_char) -> c_int {
    change(c"scstu_remove_device", handle, |instance| {
        // SAFETY: the program vouches for its string.
        instance.remove_device(unsafe { required(name, "name") }?)
    })
}

/// Makes a device longer or shorter. Its initiators are told.
///
/// @param handle the instance
/// @param name name of the device
/// @param bytes the new size in bytes, a positive multiple of the block size
/// @return 0, or
/// -ENOENT there is no such device;
/// -EINVAL a NULL pointer, a size that cannot be, a medium that cannot be resized;
/// -EMEDIUMTYPE it has no medium;
/// -EBADF, -ECHILD, -EDEADLK as scstu_start(); another negative errno of the medium
///
/// Thread-safe.
///
/// @since 0.1
///
/// # Safety
/// `name` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scstu_resize_device(handle: *mut scstu, name: *const c_char, bytes: u64) -> c_int {
    change(c"scstu_resize_device", handle, |instance| {
        // SAFETY: the program vouches for its string.
        instance.resize_device(unsafe { required(name, "name") }?, bytes)
    })
}

/// Looks at the size of a device's medium again (it grew behind our back). Its initiators are told when it is
/// another.
///
/// @param handle the instance
/// @param name name of the device
/// @param bytes gets the size in bytes; may be NULL
/// @return 0, or
/// -ENOENT there is no such device;
/// -EMEDIUMTYPE it has no medium;
/// -EIO the medium does not say;
/// -EINVAL a NULL pointer;
/// -EBADF, -ECHILD, -EDEADLK as scstu_start()
///
/// Thread-safe.
///
/// @since 0.1
///
/// # Safety
/// `name` is NULL or a string; `bytes` is NULL or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scstu_resync_device(
    handle: *mut scstu,
    name: *const c_char,
    bytes: *mut u64,
) -> c_int {
    change(c"scstu_resync_device", handle, |instance| {
        // SAFETY: the program vouches for its string.
        let size = instance.resync_device(unsafe { required(name, "name") }?)?;
        if !bytes.is_null() {
            // SAFETY: the program vouches for the place.
            unsafe { bytes.write_unaligned(size) };
        }
        Ok(())
    })
}

/// Adds a target: disabled, without LUNs.
///
/// @param handle the instance
/// @param name an iSCSI name of at most 223 bytes, such as "iqn.2026-01.org.example:disk1"; iqn., eui. and
/// naa. are the forms. Upper and lower case are the same
/// @return 0, or
/// -EEXIST there is such a target;
/// -EINVAL a NULL pointer, or no iSCSI name;
/// -ENOSPC there are 65536 targets;
/// -EBADF, -ECHILD, -EDEADLK as scstu_start()
///
/// Thread-safe.
///
/// @since 0.1
///
/// # Safety
/// `name` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scstu_add_target(handle: *mut scstu, name: *const c_char) -> c_int {
    change(c"scstu_add_target", handle, |instance| {
        // SAFETY: the program vouches for its string.
        instance.add_target(unsafe { required(name, "name") }?)
    })
}

/// Takes a target out, with its LUNs and groups.
///
/// @param handle the instance
/// @param name name of the target
/// @return 0, or
/// -ENOENT there is no such target;
/// -EBUSY it has sessions; disable it and close them with scstu_kick() first;
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
pub unsafe extern "C" fn scstu_remove_target(handle: *mut scstu, name: *const c_char) -> c_int {
    change(c"scstu_remove_target", handle, |instance| {
        // SAFETY: the program vouches for its string.
        instance.remove_target(unsafe { required(name, "name") }?)
    })
}

/// Has a target accept logins, or no more.
///
/// @param handle the instance
/// @param name name of the target
/// @param on 1 for yes, 0 for no
/// @return 0, or
/// -ENOENT there is no such target;
/// -EBADSLT another enabled target has its rel_tgt_id;
/// -ENOSPC 65535 targets are enabled;
/// -EINVAL a NULL pointer, or `on` is neither;
/// -EBADF, -ECHILD, -EDEADLK as scstu_start()
///
/// Thread-safe.
///
/// @since 0.1
///
/// # Safety
/// `name` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scstu_enable_target(handle: *mut scstu, name: *const c_char, on: c_int) -> c_int {
    change(c"scstu_enable_target", handle, |instance| {
        // SAFETY: the program vouches for its string.
        let name = unsafe { required(name, "name") }?;
        match on {
            0 | 1 => instance.enable_target(name, on == 1),
            _ => Err(Error::new(libc::EINVAL, format!("on is {on} and not 0 or 1"))),
        }
    })
}

fn lun_number(lun: u32) -> Result<u16, Error> {
    let wrong = || Error::new(libc::EINVAL, format!("LUN {lun} is not a number from 0 to {MAX_LUN}"));
    u16::try_from(lun).ok().filter(|_| lun <= MAX_LUN).ok_or_else(wrong)
}

/// Shows a device as a LUN of a target. Sessions see it at once.
///
/// @param handle the instance
/// @param target name of the target
/// @param group name of one of its groups, whose initiators see it; NULL for those that are in no group
/// @param lun its number, 0 to 16383; initiators want one to have 0
/// @param device name of the device
/// @param flags 0 or SCSTU_LUN_READ_ONLY
/// @return 0, or
/// -ENOENT no such target, group or device;
/// -EEXIST the number is taken;
/// -EINVAL a NULL pointer, a number out of range, an unknown flag;
/// -EBADF, -ECHILD, -EDEADLK as scstu_start()
///
/// Thread-safe.
///
/// @since 0.1
///
/// # Safety
/// The texts are NULL or strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scstu_add_lun(
    handle: *mut scstu,
    target: *const c_char,
    group: *const c_char,
    lun: u32,
    device: *const c_char,
    flags: u32,
) -> c_int {
    change(c"scstu_add_lun", handle, |instance| {
        // SAFETY: the program vouches for its strings.
        let target = unsafe { required(target, "target") }?;
        // SAFETY: as above.
        let group = unsafe { optional(group, "group") }?;
        // SAFETY: as above.
        let device = unsafe { required(device, "device") }?;
        if flags & !SCSTU_LUN_READ_ONLY != 0 {
            return Err(Error::new(
                libc::EINVAL,
                format!("flags {flags:#x} are not 0 or SCSTU_LUN_READ_ONLY"),
            ));
        }
        instance.add_lun(target, group, lun_number(lun)?, device, flags == SCSTU_LUN_READ_ONLY)
    })
}

/// Takes a LUN out: initiators get LOGICAL UNIT NOT SUPPORTED there from now on. Commands that are out are
/// carried out and answered.
///
/// @param handle the instance
/// @param target name of the target
/// @param group name of one of its groups; NULL for the LUNs of those that are in no group
/// @param lun its number, 0 to 16383
/// @return 0, or
/// -ENOENT no such target, group or LUN;
/// -EINVAL a NULL pointer, a number out of range;
/// -EBADF, -ECHILD, -EDEADLK as scstu_start()
///
/// Thread-safe.
///
/// @since 0.1
///
/// # Safety
/// The texts are NULL or strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scstu_remove_lun(
    handle: *mut scstu,
    target: *const c_char,
    group: *const c_char,
    lun: u32,
) -> c_int {
    change(c"scstu_remove_lun", handle, |instance| {
        // SAFETY: the program vouches for its strings.
        let target = unsafe { required(target, "target") }?;
        // SAFETY: as above.
        let group = unsafe { optional(group, "group") }?;
        instance.remove_lun(target, group, lun_number(lun)?)
    })
}
