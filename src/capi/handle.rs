//! Which instance a handle means. A handle is a number that looks like a pointer: it is looked up, never
//! followed, and never used again, so that a wrong one is an error whatever the program did with it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::c_int;
use std::mem::ManuallyDrop;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use crate::capi::process::{self, Process};
use crate::instance::Instance;
use crate::model::Error;
use crate::sys::interleave::until;

/// An instance: configuration, portals, sessions, threads. Several in one process share nothing
/// but the level of the log (`trace_level`), which is the process's.
///
/// The pointer is a name, not an address: it must not be followed.
///
/// @since 0.1
pub struct scstu {
    _opaque: [u8; 0],
}

/// How long scstu_free() waits for the program's own functions to come back.
const FREE_TIMEOUT: Duration = Duration::from_secs(10);
/// What a handle looks like, so that it is told apart from an address.
const BASE: usize = 0x5c57 << (usize::BITS - 16);
/// The bits of `BASE`; below them is the number.
const MASK: usize = 0xffff << (usize::BITS - 16);
/// Bits below the number, which an address that is aligned does not use.
const SHIFT: u32 = 4;

/// Counts what the program's contexts are still used by.
#[derive(Default)]
pub(super) struct Openings {
    count: Mutex<usize>,
    changed: Condvar,
}

/// One use; ends when it is dropped.
pub(super) struct Opening(Arc<Openings>);

impl Opening {
    pub(super) fn new(openings: &Arc<Openings>) -> Self {
        *openings.lock() += 1;
        Opening(Arc::clone(openings))
    }
}

impl Clone for Opening {
    fn clone(&self) -> Self {
        Opening::new(&self.0)
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        *self.0.lock() -= 1;
        self.0.changed.notify_all();
    }
}

impl Openings {
    fn lock(&self) -> MutexGuard<'_, usize> {
        until(|| !matches!(self.count.try_lock(), Err(TryLockError::WouldBlock)));
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing is used any more; no mark of an exploration.
    #[cfg(test)]
    pub(super) fn is_unused(&self) -> bool {
        self.count.try_lock().is_ok_and(|count| *count == 0)
    }

    /// Waits until nothing is used any more, for a while; answers what still is.
    fn wait(&self) -> usize {
        let until = Instant::now() + FREE_TIMEOUT;
        let mut count = self.lock();
        while *count > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            count = self.changed.wait_timeout(count, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *count
    }
}

/// An instance with what the C API keeps beside it. Fields are dropped in this order.
pub(super) struct Host {
    pub(super) instance: Instance,
    _log: Option<super::log::Registration>,
    pub(super) opening: Opening,
}

enum State {
    Live(Arc<Host>),
    /// Freed, but functions of the program have not come back.
    Ending,
}

struct Entry {
    state: State,
    openings: Arc<Openings>,
}

/// The instances of a process by their handles.
#[derive(Default)]
pub(super) struct Table(Mutex<BTreeMap<usize, Entry>>);

impl Table {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Enters an instance and answers its handle.
pub(super) fn enter(
    process: &Process,
    instance: Instance,
    log: Option<super::log::Registration>,
    openings: Arc<Openings>,
) -> *mut scstu {
    let handle = BASE | (process::next_handle() << SHIFT);
    let opening = Opening::new(&openings);
    let host = Arc::new(Host { instance, _log: log, opening });
    process.handles.lock().insert(handle, Entry { state: State::Live(host), openings });
    std::ptr::without_provenance_mut(handle)
}

fn bad() -> Error {
    Error::new(libc::EBADF, "the handle is not one that scstu_new gave, or it is freed")
}

fn null() -> Error {
    Error::new(libc::EINVAL, "the handle is NULL")
}

/// Where to look a handle up.
fn table_of(handle: *const scstu) -> Result<MutexGuard<'static, BTreeMap<usize, Entry>>, Error> {
    let process = process::own()?.ok_or_else(bad)?;
    let is_ours = handle.addr() & MASK == BASE;
    if is_ours && (1..process.first_handle).contains(&((handle.addr() & !MASK) >> SHIFT)) {
        return Err(process::of_an_ancestor());
    }
    Ok(process.handles.lock())
}

/// The instance of a handle.
fn find(handle: *const scstu) -> Result<Arc<Host>, Error> {
    if handle.is_null() {
        return Err(null());
    }
    match table_of(handle)?.get(&handle.addr()) {
        Some(Entry { state: State::Live(host), .. }) => Ok(Arc::clone(host)),
        _ => Err(bad()),
    }
}

thread_local! {
    /// The handles of the calls that the thread is in: functions of the program may call again from within.
    /// Never dropped, so that it is there until the thread has ended: destructors of the program's may call.
    static INSIDE: RefCell<ManuallyDrop<Vec<usize>>> = const { RefCell::new(ManuallyDrop::new(Vec::new())) };
}

/// A call that the thread is in; ends when it is dropped, also by a panic.
struct Inside;

impl Inside {
    fn of(handle: *const scstu) -> Self {
        INSIDE.with_borrow_mut(|inside| inside.push(handle.addr()));
        Inside
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.with_borrow_mut(|inside| {
            inside.pop();
            if inside.is_empty() {
                drop(std::mem::take(&mut **inside));
            }
        });
    }
}

/// Runs `body` with the instance of a handle.
pub(super) fn with(
    handle: *const scstu,
    body: impl FnOnce(&Host) -> Result<c_int, Error>,
) -> Result<c_int, Error> {
    let host = find(handle)?;
    let _inside = Inside::of(handle);
    body(&host)
}

/// Ends an instance: stops it, waits until none of the program's functions is used, forgets the handle.
pub(super) fn free(handle: *mut scstu) -> Result<c_int, Error> {
    if handle.is_null() {
        return Ok(0);
    }
    let (host, openings) = {
        let mut table = table_of(handle)?;
        let entry = table.get_mut(&handle.addr()).ok_or_else(bad)?;
        if INSIDE.with_borrow(|inside| inside.contains(&handle.addr())) {
            let text = "called from within a function that a call with this handle has called; it would wait \
                        for itself";
            return Err(Error::new(libc::EDEADLK, text));
        }
        let state = std::mem::replace(&mut entry.state, State::Ending);
        (state, Arc::clone(&entry.openings))
    };
    if let State::Live(host) = host {
        let _ = host.instance.stop(Duration::ZERO);
    }
    match openings.wait() {
        // Of several threads that free it, one does.
        0 => table_of(handle)?.remove(&handle.addr()).map(|_| 0).ok_or_else(bad),
        left => {
            let text = format!(
                "{left} functions, devices or commands of the program are out; call again when they are back"
            );
            Err(Error::new(libc::EBUSY, text))
        }
    }
}
