//! Log lines on their way to the program. The `log` crate has one logger for the process; lines carry the
//! instance that their thread works for, and go to that instance's callback alone.

use std::ffi::{c_char, c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::capi::error::{Callback, is_logging, within};
use crate::capi::handle::Opening;
use crate::capi::process::{self, Once, Process};
use crate::capi::text::owned;
use crate::sys::thread::owner;

/// Takes a log line.
///
/// Called from any thread of the instance and from the threads that call it, several at once; whoever logs
/// waits for it, perhaps with a lock held, so it must be quick. It must not call the library, except
/// scstu_error(), scstu_error_call() and scstu_version().
///
/// @param context what scstu_options.log_context says
/// @param level one of SCSTU_LOG_ERROR to SCSTU_LOG_TRACE
/// @param module where it comes from, such as "scstu::server"; valid during the call
/// @param message one line in UTF-8, without newline; valid during the call
///
/// @since 0.1
pub type scstu_log_fn = Option<
    unsafe extern "C" fn(context: *mut c_void, level: c_int, module: *const c_char, message: *const c_char),
>;

/// A pointer of the program's own, with what releases it.
pub(super) struct Context {
    pub(super) pointer: *mut c_void,
    free: Option<unsafe extern "C" fn(context: *mut c_void)>,
    _opening: Option<Opening>,
}

// SAFETY: the header demands that contexts may be used and freed on any thread; Rust only passes them on.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    pub(super) fn new(
        pointer: *mut c_void,
        free: Option<unsafe extern "C" fn(context: *mut c_void)>,
        opening: Option<Opening>,
    ) -> Self {
        Context { pointer, free, _opening: opening }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if let Some(free) = self.free {
            // SAFETY: the program gave both, and they are used for the last time.
            within(Callback::Release, || unsafe { free(self.pointer) });
        }
    }
}

/// Where the lines of an instance go.
pub(super) struct Sink {
    pub(super) function: unsafe extern "C" fn(*mut c_void, c_int, *const c_char, *const c_char),
    pub(super) context: Context,
    pub(super) level: LevelFilter,
}

/// Those of a process.
#[derive(Default)]
pub(super) struct Sinks(RwLock<Vec<(u64, Arc<Sink>)>>);

impl Sinks {
    fn lock(&self) -> RwLockWriteGuard<'_, Vec<(u64, Arc<Sink>)>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

static ROUTER: Router = Router;
/// The process's logger is [`ROUTER`], and so is its level.
static OURS: AtomicBool = AtomicBool::new(false);

struct Router;

impl Log for Router {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        sink(metadata.level()).is_some()
    }

    fn log(&self, record: &Record<'_>) {
        if is_logging() {
            return;
        }
        let Some(sink) = sink(record.level()) else { return };
        let (module, message) = (owned(record.target()), owned(&record.args().to_string()));
        let level = number(record.level());
        let (function, context) = (sink.function, sink.context.pointer);
        // SAFETY: the program gave both; the strings live until the call returns.
        within(Callback::Log, || unsafe { function(context, level, module.as_ptr(), message.as_ptr()) });
    }

    fn flush(&self) {}
}

fn number(level: Level) -> c_int {
    match level {
        Level::Error => 1,
        Level::Warn => 2,
        Level::Info => 3,
        Level::Debug => 4,
        Level::Trace => 5,
    }
}

fn sink(level: Level) -> Option<Arc<Sink>> {
    let owner = owner();
    let sinks = process::if_any()?.sinks.0.read().unwrap_or_else(PoisonError::into_inner);
    let sink = sinks.iter().find(|(instance, _)| *instance == owner).map(|(_, sink)| sink)?;
    (level <= sink.level).then(|| Arc::clone(sink))
}

/// A sink in use; ends when it is dropped.
pub(super) struct Registration {
    sinks: &'static Sinks,
    instance: u64,
}

impl Registration {
    /// From now on lines of `instance` go to `sink`. A logger that the host has set for the process stays,
    /// and then gets the lines instead.
    pub(super) fn new(process: &'static Process, instance: u64, sink: Sink) -> Self {
        static SET: Once = Once::new();
        SET.run(|| OURS.store(log::set_logger(&ROUTER).is_ok(), Ordering::Relaxed));
        let mut sinks = process.sinks.lock();
        sinks.push((instance, Arc::new(sink)));
        set_level(&sinks);
        drop(sinks);
        Registration { sinks: &process.sinks, instance }
    }
}

fn set_level(sinks: &[(u64, Arc<Sink>)]) {
    if OURS.load(Ordering::Relaxed) {
        log::set_max_level(sinks.iter().map(|(_, sink)| sink.level).max().unwrap_or(LevelFilter::Off));
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut sinks = self.sinks.lock();
        let place = sinks.iter().position(|(instance, _)| *instance == self.instance);
        let sink = place.map(|place| sinks.swap_remove(place));
        set_level(&sinks);
        drop(sinks);
        // The program's own function, if this was the last use: not under the lock.
        drop(sink);
    }
}
