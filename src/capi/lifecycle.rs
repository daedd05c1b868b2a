//! The life of an instance: made, started, stopped, freed.

use std::ffi::{c_char, c_int, c_void};
use std::panic;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use log::{LevelFilter, error};

use crate::capi::error::{Callback, From, call, within};
use crate::capi::handle::{self, Opening, Openings, scstu};
use crate::capi::log::{Context, Registration, Sink, scstu_log_fn};
use crate::capi::process::{self, Once};
use crate::capi::sized::{Growing, take};
use crate::capi::text::{optional, owned};
use crate::instance::events::{Event, EventKind, EventSink};
use crate::instance::{Instance, Options};
use crate::model::Error;
use crate::server::ServerOptions;

/// Log level: something is lost. @since 0.1
pub const SCSTU_LOG_ERROR: u32 = 1;
/// Log level: something is wrong and was dealt with. @since 0.1
pub const SCSTU_LOG_WARN: u32 = 2;
/// Log level: what an administrator wants to see, such as sessions. @since 0.1
pub const SCSTU_LOG_INFO: u32 = 3;
/// Log level: for those who look for a fault. @since 0.1
pub const SCSTU_LOG_DEBUG: u32 = 4;
/// Log level: everything. @since 0.1
pub const SCSTU_LOG_TRACE: u32 = 5;

/// Event: an initiator has logged in. Set are session, initiator, target, peer. @since 0.1
pub const SCSTU_EVENT_SESSION_OPENED: u32 = 1;
/// Event: a session is over. Set are session, initiator, target, peer, text (why). @since 0.1
pub const SCSTU_EVENT_SESSION_CLOSED: u32 = 2;
/// Event: a login did not succeed: it was refused, broke the protocol, or took too long. A connection that
/// the initiator closes by itself is no login. Set are peer, text (why). @since 0.1
pub const SCSTU_EVENT_LOGIN_REFUSED: u32 = 3;
/// Event: LOGICAL UNIT RESET or a target reset has hit a device. Set is device. @since 0.1
pub const SCSTU_EVENT_UNIT_RESET: u32 = 4;
/// Event: a device has another size. Set are device, bytes. @since 0.1
pub const SCSTU_EVENT_CAPACITY_CHANGED: u32 = 5;
/// Event: a backstore has failed a command with a medium error. Set are device, text (the sense data).
/// @since 0.1
pub const SCSTU_EVENT_BACKSTORE_FAILED: u32 = 6;

/// What has happened. What a kind does not set is an empty string or 0.
///
/// The library sets `size`; a program that was built with a newer header must not look beyond it.
///
/// @since 0.1
#[repr(C)]
#[derive(Clone, Copy)]
pub struct scstu_event {
    /// Bytes of this struct that the library knows.
    pub size: usize,
    /// One of SCSTU_EVENT_...; others may come with newer versions and are to be ignored.
    pub kind: u32,
    /// 0.
    pub reserved: u32,
    /// Number of the session, never used again in this instance.
    pub session: u64,
    /// The new size in bytes, of SCSTU_EVENT_CAPACITY_CHANGED.
    pub bytes: u64,
    /// Events that were dropped just before this one, because the callback did not take them in time.
    pub lost: u64,
    /// Initiator name; valid during the call, as all strings here; never NULL.
    pub initiator: *const c_char,
    /// Target name; empty for a discovery session.
    pub target: *const c_char,
    /// Address and port of the initiator, such as "192.0.2.1:40000"; an IPv6 address is in brackets.
    pub peer: *const c_char,
    /// Name of the device.
    pub device: *const c_char,
    /// Why, in words.
    pub text: *const c_char,
}

/// Takes an event.
///
/// Called on a thread of the instance that does nothing else, one event after the other. It may take its time
/// (4096 events wait, more are dropped and counted) and may call the library, except scstu_stop() and
/// scstu_free(), of whatever instance.
///
/// @param context what scstu_options.event_context says
/// @param event the event; valid during the call
///
/// @since 0.1
pub type scstu_event_fn = Option<unsafe extern "C" fn(context: *mut c_void, event: *const scstu_event)>;

/// Releases a context of the program. Called exactly once, from any thread, when the context will not be used
/// any more. It must not call the library, except scstu_error(), scstu_error_call() and scstu_version().
///
/// @param context the context
///
/// @since 0.1
pub type scstu_free_fn = Option<unsafe extern "C" fn(context: *mut c_void)>;

/// How an instance is to be. Set everything to zero, then `size` to sizeof, then what is wanted.
///
/// @since 0.1
#[repr(C)]
#[derive(Clone, Copy)]
pub struct scstu_options {
    /// sizeof(struct scstu_options).
    pub size: usize,
    /// Worker threads, 2 to 1024; 0 for the default: four for each processor, 16 to 256.
    pub workers: u32,
    /// Milliseconds that a login may take in all, 100 to 3600000; 0 for the default of 15000.
    pub login_timeout_ms: u32,
    /// Memory for the data of commands in bytes, 1048576 to 140737488355328; 0 for the default of 512 MiB.
    /// Commands beyond it are answered with BUSY.
    pub buffer_bytes: u64,
    /// A directory for reservations, mode pages and the identity of the installation, made if it is missing;
    /// NULL to keep nothing. Copied.
    pub state_directory: *const c_char,
    /// Takes log lines; NULL for none.
    pub log: scstu_log_fn,
    /// Passed to `log`.
    pub log_context: *mut c_void,
    /// Releases log_context; may be NULL.
    pub log_free: scstu_free_fn,
    /// Least severe level that is logged, SCSTU_LOG_ERROR to SCSTU_LOG_TRACE; 0 for SCSTU_LOG_INFO.
    pub log_level: u32,
    /// 0.
    pub reserved: u32,
    /// Takes events; NULL for none.
    pub event: scstu_event_fn,
    /// Passed to `event`.
    pub event_context: *mut c_void,
    /// Releases event_context; may be NULL.
    pub event_free: scstu_free_fn,
}

// SAFETY: repr(C), `size` first; numbers, pointers and optional functions may all be zero.
unsafe impl Growing for scstu_options {
    const NAME: &'static str = "scstu_options";
    const FIRST: usize = size_of::<usize>();
}

fn number(event: EventKind) -> u32 {
    match event {
        EventKind::SessionOpened => SCSTU_EVENT_SESSION_OPENED,
        EventKind::SessionClosed => SCSTU_EVENT_SESSION_CLOSED,
        EventKind::LoginRefused => SCSTU_EVENT_LOGIN_REFUSED,
        EventKind::UnitReset => SCSTU_EVENT_UNIT_RESET,
        EventKind::CapacityChanged => SCSTU_EVENT_CAPACITY_CHANGED,
        EventKind::BackstoreFailed => SCSTU_EVENT_BACKSTORE_FAILED,
    }
}

fn event_sink(
    function: unsafe extern "C" fn(*mut c_void, *const scstu_event),
    context: Context,
) -> EventSink {
    Box::new(move |event: &Event| {
        let peer = owned(&event.peer.map_or(String::new(), |peer| peer.to_string()));
        let [initiator, target, device, text] =
            [&event.initiator, &event.target, &event.device, &event.text].map(|text| owned(text));
        let event = scstu_event {
            size: size_of::<scstu_event>(),
            kind: number(event.kind),
            reserved: 0,
            session: event.session,
            bytes: event.bytes,
            lost: event.lost,
            initiator: initiator.as_ptr(),
            target: target.as_ptr(),
            peer: peer.as_ptr(),
            device: device.as_ptr(),
            text: text.as_ptr(),
        };
        // The whole context goes into the closure, so that it is released with it.
        let context = &context;
        // SAFETY: the program gave both; event and strings live until the call returns.
        within(Callback::Event, || unsafe { function(context.pointer, &raw const event) });
    })
}

fn in_range(name: &str, value: u64, (min, max): (u64, u64)) -> Result<(), Error> {
    if value == 0 || (min..=max).contains(&value) {
        return Ok(());
    }
    Err(Error::new(libc::EINVAL, format!("{name} {value} is not 0 or a number from {min} to {max}")))
}

fn server_options(options: &scstu_options) -> Result<ServerOptions, Error> {
    in_range("workers", options.workers.into(), (2, 1024))?;
    in_range("login_timeout_ms", options.login_timeout_ms.into(), (100, 3_600_000))?;
    in_range("buffer_bytes", options.buffer_bytes, (1 << 20, 1 << 47))?;
    if options.reserved != 0 {
        return Err(Error::new(libc::EINVAL, format!("reserved is {} and not 0", options.reserved)));
    }
    let mut server = ServerOptions::default();
    if options.workers != 0 {
        server.workers = usize::try_from(options.workers).unwrap_or(server.workers);
    }
    if options.login_timeout_ms != 0 {
        server.login_timeout = Duration::from_millis(options.login_timeout_ms.into());
    }
    if options.buffer_bytes != 0 {
        server.buffer_budget = usize::try_from(options.buffer_bytes).unwrap_or(usize::MAX);
    }
    Ok(server)
}

fn level(options: &scstu_options) -> Result<LevelFilter, Error> {
    match options.log_level {
        0 | SCSTU_LOG_INFO => Ok(LevelFilter::Info),
        SCSTU_LOG_ERROR => Ok(LevelFilter::Error),
        SCSTU_LOG_WARN => Ok(LevelFilter::Warn),
        SCSTU_LOG_DEBUG => Ok(LevelFilter::Debug),
        SCSTU_LOG_TRACE => Ok(LevelFilter::Trace),
        other => Err(Error::new(libc::EINVAL, format!("log_level {other} is not a number from 0 to 5"))),
    }
}

/// A panic is a bug of ours; it must not write to the program's standard error.
fn keep_quiet() {
    static ONCE: Once = Once::new();
    ONCE.run(|| panic::set_hook(Box::new(|panic| error!("internal error: {panic}"))));
}

fn new(options: &scstu_options) -> Result<*mut scstu, Error> {
    let process = process::own_or_new();
    let openings = Arc::new(Openings::default());
    let opening = || Some(Opening::new(&openings));
    // Made first, so that they are released whatever is wrong with the rest.
    let log_context = Context::new(options.log_context, options.log_free, opening());
    let event_context = Context::new(options.event_context, options.event_free, opening());
    // SAFETY: the program vouches for the string.
    let directory = unsafe { optional(options.state_directory, "state_directory") }?;
    let (server, level) = (server_options(options)?, level(options)?);
    let events = options.event.map(|function| event_sink(function, event_context));
    let instance = Instance::new(Options {
        server,
        state_directory: directory.map(PathBuf::from),
        events,
        ..Options::default()
    })?;
    let sink = options.log.map(|function| Sink { function, context: log_context, level });
    let log = sink.map(|sink| Registration::new(process, instance.id(), sink));
    Ok(handle::enter(process, instance, log, openings))
}

/// Makes an instance: without configuration, not started.
///
/// In a program that forks, make it after forking: its threads do not come along, and calls in the child fail
/// with -ECHILD. A child may make instances of its own, whatever other threads did when it was made.
///
/// @param options how it is to be; NULL for the defaults. Copied. Its contexts are released also when this
/// fails, unless it could not be read because of its size
/// @param out the handle; free it with scstu_free(). Set to NULL when this fails
/// @return 0, or
/// -EINVAL a NULL pointer, a size that cannot be, a value out of its range;
/// -E2BIG the struct is longer than the library's and not zero there;
/// -EBUSY another instance has the state directory, in this process or another;
/// -EDEADLK called from within a callback that must not, as the table at the top of this file says;
/// another negative errno of the state directory, or of threads that cannot be made
///
/// Thread-safe.
///
/// @since 0.1
///
/// # Safety
/// `options` and `out` are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scstu_new(options: *const scstu_options, out: *mut *mut scstu) -> c_int {
    call(c"scstu_new", From::Event, || {
        keep_quiet();
        if out.is_null() {
            return Err(Error::new(libc::EINVAL, "out is NULL"));
        }
        // SAFETY: not NULL, so the program vouches for it.
        unsafe { out.write(std::ptr::null_mut()) };
        let defaults = scstu_options {
            size: size_of::<scstu_options>(),
            // SAFETY: all zeros are valid, as `Growing` says.
            ..unsafe { std::mem::zeroed() }
        };
        let options = if options.is_null() {
            defaults
        } else {
            // SAFETY: the program vouches for as many bytes as it says.
            unsafe { take(options) }?
        };
        let handle = new(&options)?;
        // SAFETY: as above.
        unsafe { out.write(handle) };
        Ok(0)
    })
}

/// Starts an instance: from now on portals can be opened and connections served. Nothing listens before
/// scstu_listen(), scstu_listen_fd() or scstu_serve_fd(); that is so again when an instance that was stopped
/// is started, with the configuration and devices that it has.
///
/// @param handle the instance
/// @return 0, or
/// -EINVAL the handle is NULL;
/// -EBADF the handle is freed, or never was one;
/// -EALREADY it is started;
/// -EBUSY another thread is stopping it;
/// -ECHILD the handle was made before fork();
/// -EDEADLK called from within a callback that must not, as the table at the top of this file says
///
/// Thread-safe.
///
/// @since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn scstu_start(handle: *mut scstu) -> c_int {
    call(c"scstu_start", From::Event, || handle::with(handle, |host| host.instance.start().map(|()| 0)))
}

/// Stops an instance: portals are closed, initiators are asked to log out and have `drain_ms` for it, then
/// their connections are closed and their commands aborted; at the end every device is flushed. The
/// configuration stays until scstu_free(), and scstu_start() goes on with it. Stopping twice is no error; the
/// second call does not wait for the first.
///
/// Asynchronous backstores are told to cancel; keep completing commands until this returns.
///
/// @param handle the instance
/// @param drain_ms milliseconds for the logout, 0 to 4294967295. It returns as soon as all are gone
/// @return 0, or
/// -ETIMEDOUT backstores still hold threads or commands. It is stopped, and flushed as far as that went in 20
/// seconds;
/// -EIO it is stopped, but devices could not be flushed, or not within 300 seconds;
/// -EINVAL the handle is NULL;
/// -EBADF the handle is freed, or never was one;
/// -ECHILD the handle was made before fork();
/// -EDEADLK called from within a callback that must not, as the table at the top of this file says
///
/// Thread-safe; not from the event callback, whose instance it would wait for.
///
/// @since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn scstu_stop(handle: *mut scstu, drain_ms: u32) -> c_int {
    call(c"scstu_stop", From::Outside, || {
        let drain = Duration::from_millis(drain_ms.into());
        handle::with(handle, |host| host.instance.stop(drain).map(|()| 0))
    })
}

/// Frees an instance, after stopping it without drain time if it runs. Devices are closed and contexts
/// released before this returns 0; nothing of the program's is called or used any more then.
///
/// Stopping flushes, as scstu_stop() says: a flush that does not come back takes up to 300 seconds. Then it
/// waits 10 seconds for calls of other threads, for backstores and callbacks. The handle is no longer
/// valid for anything but scstu_free() when it begins; with -EDEADLK it has not begun.
///
/// @param handle the instance; NULL is no error
/// @return 0, or
/// -EBUSY functions or commands of the program are still out: complete them, then call again;
/// -EBADF the handle is freed, or never was one;
/// -ECHILD the handle was made before fork();
/// -EDEADLK called from within a callback, or a function that a call with this handle has called
///
/// Thread-safe; not from the event callback, whose instance it would wait for.
///
/// @since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn scstu_free(handle: *mut scstu) -> c_int {
    call(c"scstu_free", From::Outside, || handle::free(handle))
}
