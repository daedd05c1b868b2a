//! Who may log in to a target, and what they see: groups of initiators, CHAP users.

use std::ffi::{CStr, c_char, c_int};

use crate::capi::error::{From, call};
use crate::capi::handle::{self, scstu};
use crate::capi::text::required;
use crate::instance::Instance;
use crate::model::Error;

/// User kind: initiators log in with it. @since 0.1
pub const SCSTU_USER_INCOMING: u32 = 1;
/// User kind: the target answers with it, when the initiator asks it to prove itself. @since 0.1
pub const SCSTU_USER_OUTGOING: u32 = 2;

/// A call with texts, all of which must be there. The names are those of the parameters.
///
/// # Safety
/// The pointers are NULL or strings.
unsafe fn with_texts<const N: usize>(
    name: &'static CStr,
    handle: *mut scstu,
    texts: [(*const c_char, &'static str); N],
    body: impl FnOnce(&Instance, [&str; N]) -> Result<(), Error>,
) -> c_int {
    call(name, From::Event, || {
        handle::with(handle, |host| {
            let mut read = [""; N];
            for (place, (pointer, name)) in read.iter_mut().zip(texts) {
                // SAFETY: the caller vouches for the strings.
                *place = unsafe { required(pointer, name) }?;
            }
            body(&host.instance, read).map(|()| 0)
        })
    })
}

/// Adds a group of initiators to a target. Its members see its LUNs instead of the target's own.
///
/// @param handle the instance
/// @param target name of the target
/// @param group name of the group: 1 to 255 printable characters without blanks and /
/// @return 0, or
/// -ENOENT there is no such target;
/// -EEXIST there is such a group;
/// -EINVAL a NULL pointer, a name that cannot be;
/// -ENOSPC the target has 65536 groups;
/// -EBADF, -ECHILD, -EDEADLK as scstu_start()
///
/// Thread-safe.
///
/// @since 0.1
///
/// # Safety
/// The texts are NULL or strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scstu_add_group(
    handle: *mut scstu,
    target: *const c_char,
    group: *const c_char,
) -> c_int {
    let texts = [(target, "target"), (group, "group")];
    // SAFETY: the program vouches for its strings.
    unsafe { with_texts(c"scstu_add_group", handle, texts, |i, [target, group]| i.add_group(target, group)) }
}

/// Takes a group of initiators out, with its LUNs.
///
/// @param handle the instance
/// @param target name of the target
/// @param group name of the group
/// @return 0, or
/// -ENOENT there is no such target or group;
/// -EBUSY it has sessions;
/// -EINVAL a NULL pointer;
/// -EBADF, -ECHILD, -EDEADLK as scstu_start()
///
/// Thread-safe.
///
/// @since 0.1
///
/// # Safety
/// The texts are NULL or strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scstu_remove_group(
    handle: *mut scstu,
    target: *const c_char,
    group: *const c_char,
) -> c_int {
    let texts = [(target, "target"), (group, "group")];
    let body = |i: &Instance, [target, group]: [&str; 2]| i.remove_group(target, group);
    // SAFETY: the program vouches for its strings.
    unsafe { with_texts(c"scstu_remove_group", handle, texts, body) }
}

/// Adds an initiator to a group.
///
/// @param handle the instance
/// @param target name of the target
/// @param group name of the group
/// @param initiator name of the initiator, or a pattern with * and ?, of at most 255 bytes
/// @return 0, or
/// -ENOENT there is no such target or group;
/// -EEXIST it is in the group;
/// -EINVAL a NULL pointer, a pattern that cannot be;
/// -ENOSPC the group has 65536 initiators;
/// -EBADF, -ECHILD, -EDEADLK as scstu_start()
///
/// Thread-safe.
///
/// @since 0.1
///
/// # Safety
/// The texts are NULL or strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scstu_add_initiator(
    handle: *mut scstu,
    target: *const c_char,
    group: *const c_char,
    initiator: *const c_char,
) -> c_int {
    let texts = [(target, "target"), (group, "group"), (initiator, "initiator")];
    let body = |i: &Instance, [target, group, name]: [&str; 3]| i.add_initiator(target, group, name);
    // SAFETY: the program vouches for its strings.
    unsafe { with_texts(c"scstu_add_initiator", handle, texts, body) }
}

/// Takes an initiator out of a group.
///
/// @param handle the instance
/// @param target name of the target
/// @param group name of the group
/// @param initiator name or pattern, as it was added
/// @return 0, or
/// -ENOENT there is no such target, group or initiator;
/// -EINVAL a NULL pointer;
/// -EBADF, -ECHILD, -EDEADLK as scstu_start()
///
/// Thread-safe.
///
/// @since 0.1
///
/// # Safety
/// The texts are NULL or strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scstu_remove_initiator(
    handle: *mut scstu,
    target: *const c_char,
    group: *const c_char,
    initiator: *const c_char,
) -> c_int {
    let texts = [(target, "target"), (group, "group"), (initiator, "initiator")];
    let body = |i: &Instance, [target, group, name]: [&str; 3]| i.remove_initiator(target, group, name);
    // SAFETY: the program vouches for its strings.
    unsafe { with_texts(c"scstu_remove_initiator", handle, texts, body) }
}

fn wrong_kind(kind: u32) -> Error {
    let text = format!("kind {kind} is not SCSTU_USER_INCOMING or SCSTU_USER_OUTGOING");
    Error::new(libc::EINVAL, text)
}

/// Adds a CHAP user to a target.
///
/// @param handle the instance
/// @param target name of the target
/// @param kind SCSTU_USER_INCOMING: from then on initiators must log in with one of these users;
/// SCSTU_USER_OUTGOING: the one with which the target proves itself
/// @param user name: 1 to 255 bytes without blanks
/// @param secret 12 to 255 bytes, without blanks at its ends and control characters, and another one than
/// that of the other direction
/// @return 0, or
/// -ENOENT there is no such target;
/// -EEXIST there is such a user, or an outgoing user already;
/// -EINVAL a NULL pointer, a kind, name or secret that cannot be, a secret of the other direction;
/// -ENOSPC the target has 4096 users;
/// -EBADF, -ECHILD, -EDEADLK as scstu_start()
///
/// Thread-safe.
///
/// @since 0.1
///
/// # Safety
/// The texts are NULL or strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scstu_add_user(
    handle: *mut scstu,
    target: *const c_char,
    kind: u32,
    user: *const c_char,
    secret: *const c_char,
) -> c_int {
    let texts = [(target, "target"), (user, "user"), (secret, "secret")];
    let body = |i: &Instance, [target, user, secret]: [&str; 3]| match kind {
        SCSTU_USER_INCOMING => i.add_incoming_user(target, user, secret),
        SCSTU_USER_OUTGOING => i.add_outgoing_user(target, user, secret),
        _ => Err(wrong_kind(kind)),
    };
    // SAFETY: the program vouches for its strings.
    unsafe { with_texts(c"scstu_add_user", handle, texts, body) }
}

/// Takes a CHAP user out of a target. Sessions that logged in with it go on.
///
/// @param handle the instance
/// @param target name of the target
/// @param kind SCSTU_USER_INCOMING or SCSTU_USER_OUTGOING
/// @param user name
/// @return 0, or
/// -ENOENT there is no such target or user;
/// -EINVAL a NULL pointer, a kind that cannot be;
/// -EBADF, -ECHILD, -EDEADLK as scstu_start()
///
/// Thread-safe.
///
/// @since 0.1
///
/// # Safety
/// The texts are NULL or strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scstu_remove_user(
    handle: *mut scstu,
    target: *const c_char,
    kind: u32,
    user: *const c_char,
) -> c_int {
    let texts = [(target, "target"), (user, "user")];
    let body = |i: &Instance, [target, user]: [&str; 2]| match kind {
        SCSTU_USER_INCOMING => i.remove_incoming_user(target, user),
        SCSTU_USER_OUTGOING => i.remove_outgoing_user(target, user),
        _ => Err(wrong_kind(kind)),
    };
    // SAFETY: the program vouches for its strings.
    unsafe { with_texts(c"scstu_remove_user", handle, texts, body) }
}
