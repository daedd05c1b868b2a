//! Sessions and figures.

use std::ffi::{c_char, c_int, c_void};

use crate::capi::error::{From, call};
use crate::capi::handle::{self, scstu};
use crate::capi::sized::{Growing, put};
use crate::capi::text::{owned, required};
use crate::instance::observation::{SessionState, Traffic};
use crate::model::Error;

/// What commands there were. All but in_flight only grow, as long as no session and no LUN goes: what was
/// counted there goes with it.
///
/// It is part of other structs, so it keeps its length: what newer versions count takes the place of
/// reserved.
///
/// @since 0.1
#[repr(C)]
#[derive(Clone, Copy)]
pub struct scstu_traffic {
    /// Commands with data to the initiator.
    pub read_commands: u64,
    /// Commands with data from the initiator.
    pub write_commands: u64,
    /// Commands without data.
    pub other_commands: u64,
    /// Bytes to the initiator.
    pub read_bytes: u64,
    /// Bytes from the initiator.
    pub write_bytes: u64,
    /// Commands that ended with CHECK CONDITION.
    pub check_conditions: u64,
    /// Commands that are not finished.
    pub in_flight: u64,
    /// 0.
    pub reserved: [u64; 9],
}

impl std::convert::From<&Traffic> for scstu_traffic {
    fn from(traffic: &Traffic) -> Self {
        scstu_traffic {
            read_commands: traffic.read_commands,
            write_commands: traffic.write_commands,
            other_commands: traffic.other_commands,
            read_bytes: traffic.read_bytes,
            write_bytes: traffic.write_bytes,
            check_conditions: traffic.check_conditions,
            in_flight: traffic.in_flight,
            reserved: [0; 9],
        }
    }
}

/// A session, as it was when it was asked for.
///
/// The library sets `size`; a program that was built with a newer header must not look beyond it.
///
/// @since 0.1
#[repr(C)]
#[derive(Clone, Copy)]
pub struct scstu_session {
    /// Bytes of this struct that the library knows.
    pub size: usize,
    /// Number, never used again in this instance; for scstu_kick().
    pub id: u64,
    /// For how long it has been open, in milliseconds.
    pub age_ms: u64,
    /// Initiator name; valid during the call, as all strings here; never NULL.
    pub initiator: *const c_char,
    /// Target name; empty for a discovery session.
    pub target: *const c_char,
    /// Address and port of the initiator.
    pub peer: *const c_char,
    /// Address and port of the portal.
    pub portal: *const c_char,
    /// Initiator session identifier.
    pub isid: [u8; 6],
    /// Target session identifying handle.
    pub tsih: u16,
    /// What its commands were.
    pub traffic: scstu_traffic,
}

/// Takes a session.
///
/// Called on the thread that has called scstu_sessions(), which may call the library again from within,
/// except scstu_free() with the handle of that call.
///
/// @param context what was passed to scstu_sessions()
/// @param session the session; valid during the call
/// @return 0 to go on; anything else ends scstu_sessions(), which answers it
///
/// @since 0.1
pub type scstu_session_fn =
    Option<unsafe extern "C" fn(context: *mut c_void, session: *const scstu_session) -> c_int>;

/// Figures of an instance.
///
/// @since 0.1
#[repr(C)]
#[derive(Clone, Copy)]
pub struct scstu_statistics {
    /// sizeof(struct scstu_statistics), set by the program. What the library does not know becomes 0.
    pub size: usize,
    /// Connections, logged in or not.
    pub connections: u64,
    /// Sessions.
    pub sessions: u64,
    /// Devices.
    pub devices: u64,
    /// Targets.
    pub targets: u64,
    /// Worker threads.
    pub workers: u64,
    /// Worker threads that wait for work.
    pub idle_workers: u64,
    /// Worker threads that a backstore has not given back for two seconds and more.
    pub stuck_workers: u64,
    /// Commands that wait for a worker.
    pub queued_commands: u64,
    /// Memory that commands hold, in bytes.
    pub buffer_bytes: u64,
    /// The most that they may hold, in bytes.
    pub buffer_budget: u64,
    /// What the commands of the sessions that exist were.
    pub traffic: scstu_traffic,
}

// SAFETY: repr(C), `size` first; numbers may all be zero.
unsafe impl Growing for scstu_statistics {
    const NAME: &'static str = "scstu_statistics";
    const FIRST: usize = size_of::<usize>();
}

/// State and figures of a device.
///
/// @since 0.1
#[repr(C)]
#[derive(Clone, Copy)]
pub struct scstu_device_statistics {
    /// sizeof(struct scstu_device_statistics), set by the program. What the library does not know becomes 0.
    pub size: usize,
    /// Size of the medium in bytes; 0 without one.
    pub bytes: u64,
    /// Logical block length in bytes.
    pub block_size: u32,
    /// I_T nexuses that use it.
    pub nexuses: u32,
    /// What the commands of those nexuses were.
    pub traffic: scstu_traffic,
    /// Calls of its backstore.
    pub operations: u64,
    /// Calls that failed.
    pub errors: u64,
}

// SAFETY: repr(C), `size` first; numbers may all be zero.
unsafe impl Growing for scstu_device_statistics {
    const NAME: &'static str = "scstu_device_statistics";
    const FIRST: usize = size_of::<usize>();
}

fn tell(
    function: unsafe extern "C" fn(*mut c_void, *const scstu_session) -> c_int,
    context: *mut c_void,
    state: &SessionState,
) -> c_int {
    let (peer, portal) = (owned(&state.peer.to_string()), owned(&state.portal.to_string()));
    let (initiator, target) = (owned(&state.initiator), owned(&state.target));
    let session = scstu_session {
        size: size_of::<scstu_session>(),
        id: state.id,
        age_ms: u64::try_from(state.age.as_millis()).unwrap_or(u64::MAX),
        initiator: initiator.as_ptr(),
        target: target.as_ptr(),
        peer: peer.as_ptr(),
        portal: portal.as_ptr(),
        isid: state.isid,
        tsih: state.tsih,
        traffic: (&state.traffic).into(),
    };
    // SAFETY: the program gave both; session and strings live until the call returns.
    unsafe { function(context, &raw const session) }
}

/// Names the sessions, oldest first.
///
/// @param handle the instance
/// @param function called with each
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
pub unsafe extern "C" fn scstu_sessions(
    handle: *mut scstu,
    function: scstu_session_fn,
    context: *mut c_void,
) -> c_int {
    call(c"scstu_sessions", From::Event, || {
        handle::with(handle, |host| {
            let missing = || Error::new(libc::EINVAL, "the function is NULL");
            let function = function.ok_or_else(missing)?;
            let mut answers =
                host.instance.sessions().into_iter().map(|state| tell(function, context, &state));
            Ok(answers.find(|answer| *answer != 0).unwrap_or(0))
        })
    })
}

/// Closes a session: its commands are aborted. The initiator may log in again; remove it from its group, or
/// disable the target, to keep it out.
///
/// @param handle the instance
/// @param session number of the session, as scstu_session and scstu_event say it
/// @return 0, or
/// -ENOENT there is no such session (any more);
/// -EINVAL the handle is NULL;
/// -EBADF, -ECHILD, -EDEADLK as scstu_start()
///
/// Thread-safe.
///
/// @since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn scstu_kick(handle: *mut scstu, session: u64) -> c_int {
    call(c"scstu_kick", From::Event, || handle::with(handle, |host| host.instance.kick(session).map(|()| 0)))
}

/// Tells figures of an instance.
///
/// @param handle the instance
/// @param statistics gets the figures; its size must be set
/// @return 0, or
/// -EINVAL a NULL pointer, or a size that cannot be;
/// -EBADF, -ECHILD, -EDEADLK as scstu_start()
///
/// Thread-safe.
///
/// @since 0.1
///
/// # Safety
/// `statistics` is NULL or has as many bytes as its size says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scstu_read_statistics(
    handle: *mut scstu,
    statistics: *mut scstu_statistics,
) -> c_int {
    call(c"scstu_read_statistics", From::Event, || {
        handle::with(handle, |host| {
            let figures = host.instance.statistics();
            let value = scstu_statistics {
                size: 0,
                connections: figures.connections as u64,
                sessions: figures.sessions as u64,
                devices: figures.devices as u64,
                targets: figures.targets as u64,
                workers: figures.workers as u64,
                idle_workers: figures.idle_workers as u64,
                stuck_workers: figures.stuck_workers as u64,
                queued_commands: figures.queued_tasks as u64,
                buffer_bytes: figures.buffer_bytes as u64,
                buffer_budget: figures.buffer_budget as u64,
                traffic: (&figures.traffic).into(),
            };
            // SAFETY: the program vouches for as many bytes as it says.
            unsafe { put(statistics, &value) }.map(|()| 0)
        })
    })
}

/// Tells state and figures of a device.
///
/// @param handle the instance
/// @param name name of the device
/// @param statistics gets the figures; its size must be set
/// @return 0, or
/// -ENOENT there is no such device;
/// -EINVAL a NULL pointer, or a size that cannot be;
/// -EBADF, -ECHILD, -EDEADLK as scstu_start()
///
/// Thread-safe.
///
/// @since 0.1
///
/// # Safety
/// `name` is NULL or a string; `statistics` is NULL or has as many bytes as its size says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scstu_read_device_statistics(
    handle: *mut scstu,
    name: *const c_char,
    statistics: *mut scstu_device_statistics,
) -> c_int {
    call(c"scstu_read_device_statistics", From::Event, || {
        handle::with(handle, |host| {
            // SAFETY: the program vouches for its string.
            let state = host.instance.device_state(unsafe { required(name, "name") }?)?;
            let value = scstu_device_statistics {
                size: 0,
                bytes: state.bytes,
                block_size: state.block_size,
                nexuses: u32::try_from(state.nexuses).unwrap_or(u32::MAX),
                traffic: (&state.traffic).into(),
                operations: state.operations,
                errors: state.errors,
            };
            // SAFETY: the program vouches for as many bytes as it says.
            unsafe { put(statistics, &value) }.map(|()| 0)
        })
    })
}
