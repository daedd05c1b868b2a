//! What the C API keeps for the whole process: handles, commands, log callbacks. A child of fork() may have
//! been made while other threads held locks here, and those threads are not in it. So nothing here is locked
//! before it is known to be the calling process's own, and the first instance of a child gets all of it anew.

use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicUsize, Ordering};

use crate::capi::{attribute, commands, handle, log};
use crate::model::Error;
use crate::sys::process::Birthmark;

/// What belongs to one process.
pub(super) struct Process {
    birthmark: Birthmark,
    /// How many of its ancestors had instances; the last one counts for all further.
    pub(super) depth: u8,
    /// Handles below this one are of an ancestor.
    pub(super) first_handle: usize,
    pub(super) handles: handle::Table,
    pub(super) commands: commands::Table,
    pub(super) sinks: log::Sinks,
    pub(super) lists: attribute::Lists,
}

/// That of this process, or of the ancestor that last had an instance. Never freed: threads may be in it, and
/// a child cannot know what is whole.
static CURRENT: AtomicPtr<Process> = AtomicPtr::new(std::ptr::null_mut());
/// The number of the next handle.
static NEXT_HANDLE: AtomicUsize = AtomicUsize::new(1);

fn current() -> Option<&'static Process> {
    // SAFETY: NULL, or what `replace` has leaked.
    unsafe { CURRENT.load(Ordering::Acquire).as_ref() }
}

/// Puts a new one in the place of `old`, unless another thread was quicker.
fn replace(old: Option<&'static Process>) -> &'static Process {
    let depth = old.map_or(0, |old| old.depth.saturating_add(1));
    let new = Box::into_raw(Box::new(Process {
        birthmark: Birthmark::new(),
        depth,
        first_handle: NEXT_HANDLE.load(Ordering::Relaxed),
        handles: handle::Table::default(),
        commands: commands::Table::default(),
        sinks: log::Sinks::default(),
        lists: attribute::Lists::default(),
    }));
    let expected = old.map_or(std::ptr::null_mut(), |old| std::ptr::from_ref(old).cast_mut());
    match CURRENT.compare_exchange(expected, new, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: leaked, so it is there for ever.
        Ok(_) => unsafe { &*new },
        Err(quicker) => {
            // SAFETY: made above, and nobody has seen it.
            drop(unsafe { Box::from_raw(new) });
            // SAFETY: leaked by whoever was quicker.
            unsafe { &*quicker }
        }
    }
}

/// What the calling process has; made if it has none.
pub(super) fn own_or_new() -> &'static Process {
    match current() {
        Some(process) if process.birthmark.is_own() => process,
        old => replace(old),
    }
}

/// What the calling process has; `None` when there was never an instance. ECHILD when it has none, but an
/// ancestor has.
pub(super) fn own() -> Result<Option<&'static Process>, Error> {
    match current() {
        Some(process) if !process.birthmark.is_own() => Err(of_an_ancestor()),
        current => Ok(current),
    }
}

/// What the calling process has, on a thread of an instance: its process has not forked on the way here.
pub(super) fn here() -> &'static Process {
    current().unwrap_or_else(own_or_new)
}

/// What the calling process has, if it has any.
pub(super) fn if_any() -> Option<&'static Process> {
    current().filter(|process| process.birthmark.is_own())
}

/// The number of a new handle: no other of this process or its ancestors has it.
pub(super) fn next_handle() -> usize {
    NEXT_HANDLE.fetch_add(1, Ordering::Relaxed)
}

/// What was made before fork() and is used after it.
pub(super) fn of_an_ancestor() -> Error {
    Error::new(libc::ECHILD, "made before fork(): its threads did not come along into this process")
}

/// The process is about to load handlers of tcmu-runner. They stay until it ends, and in its children they
/// are without their threads, with locks that may be held. ECHILD in such a child.
pub(super) fn loads_code() -> Result<(), Error> {
    /// Depth of the process that has loaded some.
    static LOADED: AtomicUsize = AtomicUsize::new(usize::MAX);
    let own = usize::from(own_or_new().depth);
    match LOADED.compare_exchange(usize::MAX, own, Ordering::AcqRel, Ordering::Acquire) {
        Err(other) if other != own => Err(of_an_ancestor()),
        _ => Ok(()),
    }
}

/// Something that is done once in a process, and by its children never again. Nobody waits for it: who does
/// it may not be in the child.
pub(super) struct Once(AtomicU8);

impl Once {
    pub(super) const fn new() -> Self {
        Once(AtomicU8::new(0))
    }

    /// Does it, unless it is done, or being done.
    pub(super) fn run(&self, work: impl FnOnce()) {
        if self.0.swap(1, Ordering::AcqRel) == 0 {
            work();
        }
    }
}
