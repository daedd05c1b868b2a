//! Where an instance takes connections: portals of its own, sockets that the program brings along.

use std::ffi::{c_char, c_int, c_void};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{FromRawFd, OwnedFd};

use crate::capi::error::{From, call};
use crate::capi::handle::{self, scstu};
use crate::capi::text::{give, owned, required};
use crate::model::Error;
use crate::sys::given::{Given, Status};

/// Takes a piece of text, or one line of several.
///
/// Called on the thread that has called the library, which may call the library again from within,
/// except scstu_free() with the handle of that call.
///
/// @param context what was passed along with the function
/// @param text in UTF-8, without newline at its end; valid during the call
/// @return 0 to go on; anything else ends the call that has called this, which answers it
///
/// @since 0.1
pub type scstu_text_fn = Option<unsafe extern "C" fn(context: *mut c_void, text: *const c_char) -> c_int>;

/// Gives texts to the program, one by one, until it wants no more.
pub(super) fn tell(
    function: scstu_text_fn,
    context: *mut c_void,
    texts: impl IntoIterator<Item = String>,
) -> Result<c_int, Error> {
    let function = function.ok_or_else(|| Error::new(libc::EINVAL, "the function is NULL"))?;
    for text in texts {
        let text = owned(&text);
        // SAFETY: the program gave both; the text lives until the call returns.
        let answer = unsafe { function(context, text.as_ptr()) };
        if answer != 0 {
            return Ok(answer);
        }
    }
    Ok(0)
}

fn address(text: &str) -> Result<SocketAddr, Error> {
    text.parse().map_err(|_| {
        let text = format!("\"{text}\" is no address; 192.0.2.1:3260 and [2001:db8::1]:3260 are");
        Error::new(libc::EINVAL, text)
    })
}

/// Opens a portal: a listening socket of the library's own.
///
/// @param handle the instance, which is started
/// @param portal numeric address and port, such as "0.0.0.0:3260"; an IPv6 address is in brackets, and takes
/// IPv6 only; port 0 for any free one
/// @param buffer gets where it listens, as text; NULL when that is not wanted
/// @param length bytes of buffer; 64 are enough
/// @return 0, or
/// -EINVAL a NULL pointer, or no address;
/// -ERANGE the buffer is too short (the portal is open);
/// -EADDRINUSE, -EADDRNOTAVAIL, -EACCES as bind(2), and other negative errnos of it and of socket(2);
/// -ENOTCONN the instance is not started, -ESHUTDOWN it is stopped;
/// -EBADF, -ECHILD, -EDEADLK as scstu_start()
///
/// Thread-safe.
///
/// @since 0.1
///
/// # Safety
/// `portal` is NULL or a string; `buffer` is NULL or has `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scstu_listen(
    handle: *mut scstu,
    portal: *const c_char,
    buffer: *mut c_char,
    length: usize,
) -> c_int {
    call(c"scstu_listen", From::Event, || {
        handle::with(handle, |host| {
            // SAFETY: the program vouches for the string.
            let portal = unsafe { required(portal, "portal") }?;
            let address = host.instance.listen(address(portal)?)?;
            if !buffer.is_null() {
                // SAFETY: the program vouches for the buffer.
                unsafe { give(&address.to_string(), buffer, length, std::ptr::null_mut()) }?;
            }
            Ok(0)
        })
    })
}

/// Takes over a TCP socket that listens already (socket activation, a helper with more rights).
///
/// @param handle the instance, which is started
/// @param fd the socket. With success it belongs to the library, which sets it to blocking and close-on-exec,
/// and closes it; after a failure it is the program's as before
/// @return 0, or
/// -EBADF no descriptor, or a handle that is freed;
/// -ENOTSOCK no socket;
/// -EPROTONOSUPPORT no TCP socket;
/// -EINVAL it does not listen, or the handle is NULL;
/// -ENOTCONN the instance is not started, -ESHUTDOWN it is stopped;
/// another negative errno when there are no descriptors or threads left;
/// -ECHILD, -EDEADLK as scstu_start()
///
/// Thread-safe.
///
/// @since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn scstu_listen_fd(handle: *mut scstu, fd: c_int) -> c_int {
    call(c"scstu_listen_fd", From::Event, || {
        handle::with(handle, |host| {
            take(fd, Given::Listening, |own| host.instance.adopt(TcpListener::from(own)).map(drop))
        })
    })
}

/// Serves a TCP connection that the program has accepted (or connected). The login comes next on it.
///
/// @param handle the instance, which is started
/// @param fd the socket. With success it belongs to the library, which sets it to blocking and close-on-exec,
/// and closes it; after a failure it is the program's as before
/// @return 0, or
/// -EBADF no descriptor, or a handle that is freed;
/// -ENOTSOCK no socket;
/// -EPROTONOSUPPORT no TCP socket;
/// -ENOTCONN it is not connected, or the instance is not started;
/// -EINVAL it listens, or the handle is NULL;
/// -ESHUTDOWN the instance is stopped;
/// another negative errno when there are no descriptors or threads left;
/// -ECHILD, -EDEADLK as scstu_start()
///
/// Thread-safe.
///
/// @since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn scstu_serve_fd(handle: *mut scstu, fd: c_int) -> c_int {
    call(c"scstu_serve_fd", From::Event, || {
        handle::with(handle, |host| {
            take(fd, Given::Connected, |own| host.instance.serve(TcpStream::from(own)))
        })
    })
}

/// Gives `adopt` a duplicate of the program's socket: after a failure the program still has its own, after
/// success that one is closed.
fn take(fd: c_int, given: Given, adopt: impl FnOnce(OwnedFd) -> Result<(), Error>) -> Result<c_int, Error> {
    let status = Status::of(fd).and_then(|status| Ok((status, given.duplicate(fd)?)));
    let (before, duplicate) = status.map_err(|error| {
        let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
        Error::new(errno, format!("descriptor {fd}: {error}; {given} is wanted"))
    })?;
    if let Err(error) = adopt(duplicate) {
        before.restore(fd);
        return Err(error);
    }
    // SAFETY: the program has given its descriptor away, and it was open a moment ago.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    Ok(0)
}

/// Closes a portal; its connections stay.
///
/// @param handle the instance
/// @param portal where it listens, as scstu_listen() or scstu_portals() say it
/// @return 0, or
/// -ENOENT there is no such portal;
/// -EINVAL a NULL pointer, or no address;
/// -EBADF, -ECHILD, -EDEADLK as scstu_start()
///
/// Thread-safe.
///
/// @since 0.1
///
/// # Safety
/// `portal` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scstu_close_portal(handle: *mut scstu, portal: *const c_char) -> c_int {
    call(c"scstu_close_portal", From::Event, || {
        handle::with(handle, |host| {
            // SAFETY: the program vouches for the string.
            let portal = unsafe { required(portal, "portal") }?;
            host.instance.close_portal(address(portal)?).map(|()| 0)
        })
    })
}

/// Names the portals that are open.
///
/// @param handle the instance
/// @param function called with each, such as "127.0.0.1:3260"
/// @param context passed to function
/// @return 0, what function answered if that was not 0, or
/// -EINVAL a NULL pointer;
/// -EBADF, -ECHILD, -EDEADLK as scstu_start()
///
/// Thread-safe.
///
/// @since 0.1
///
/// # Safety
/// `function` may be called with `context`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scstu_portals(
    handle: *mut scstu,
    function: scstu_text_fn,
    context: *mut c_void,
) -> c_int {
    call(c"scstu_portals", From::Event, || {
        handle::with(handle, |host| {
            tell(function, context, host.instance.portals().iter().map(SocketAddr::to_string))
        })
    })
}
