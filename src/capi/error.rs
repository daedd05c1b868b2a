//! The last error of the calling thread, the boundary that no panic crosses, and who is calling whom.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::model::Error;

/// Longest text of an error in bytes.
const TEXT_LIMIT: usize = 4096;
/// What scstu_error() says, and scstu_error_call(), where the thread's own texts are gone.
const GONE: (&CStr, &CStr) = (c"the thread is ending: its errors have no text any more", c"");

struct Last {
    call: &'static CStr,
    text: CString,
}

thread_local! {
    static LAST: RefCell<Last> = RefCell::new(Last { call: c"", text: CString::default() });
    static CALLBACK: Cell<Callback> = const { Cell::new(Callback::None) };
}

/// Which of the host's functions the calling thread is in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Callback {
    /// None.
    None,
    /// The one that takes events: it has a thread of its own and may call back.
    Event,
    /// The one that takes log lines: whoever logs may hold a lock.
    Log,
    /// One of a backstore: others wait for its thread.
    Backstore,
    /// One that releases a context: nobody knows where it is called.
    Release,
}

/// From where a function may be called.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// From no callback.
    Outside,
    /// Also from the callback that takes events.
    Event,
    /// From wherever no lock can be held: also from the functions of a backstore.
    Backstore,
}

/// Runs one of the host's functions.
pub(super) fn within<T>(callback: Callback, run: impl FnOnce() -> T) -> T {
    struct Restore(Callback);
    impl Drop for Restore {
        fn drop(&mut self) {
            CALLBACK.set(self.0);
        }
    }
    let _restore = Restore(CALLBACK.replace(callback));
    run()
}

/// Whether the calling thread is in the callback that takes log lines.
pub(super) fn is_logging() -> bool {
    CALLBACK.get() == Callback::Log
}

fn check(from: From) -> Result<(), Error> {
    let what = match (CALLBACK.get(), from) {
        (Callback::None, _)
        | (Callback::Event, From::Event | From::Backstore)
        | (Callback::Backstore, From::Backstore) => return Ok(()),
        (Callback::Event, _) => "the event callback",
        (Callback::Log, _) => "the log callback",
        (Callback::Backstore, _) => "a backstore's function",
        (Callback::Release, _) => "a function that releases a context",
    };
    Err(Error::new(libc::EDEADLK, format!("called from within {what}, which would wait for itself")))
}

/// The body of an entry point: refuses what may not be called from where it is called, keeps panics on this
/// side, remembers the error. Answers what `body` does, or a negative errno.
pub(super) fn call(name: &'static CStr, from: From, body: impl FnOnce() -> Result<c_int, Error>) -> c_int {
    let result = catch_unwind(AssertUnwindSafe(|| check(from).and_then(|()| body())));
    let error = match result {
        Ok(Ok(value)) => return value,
        Ok(Err(error)) => error,
        Err(_) => Error::new(libc::EIO, "internal error"),
    };
    let errno = if error.errno > 0 { error.errno } else { libc::EIO };
    let last = Last { call: name, text: CString::new(one_line(&error.text)).unwrap_or_default() };
    // A thread that is ending has no text any more; the error is an error all the same.
    let _ = LAST.try_with(|place| *place.borrow_mut() = last);
    -errno
}

/// A text without control characters, whatever the program has put into it, of at most [`TEXT_LIMIT`] bytes.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for character in text.chars() {
        if line.len() > TEXT_LIMIT - 16 {
            line.push_str("...");
            break;
        }
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

/// What was wrong with the last call of the calling thread that failed, and what is allowed.
///
/// @return a text of at most 4096 bytes without control characters (a newline is written as \\n), in UTF-8;
/// empty when no call of this thread has failed yet. It belongs to the library and is valid until the next
/// call of this thread fails, or the thread ends. Never NULL. Where the thread is ending (a destructor of
/// thread-specific data, a handler of atexit()) it may only say that there is no text any more.
///
/// Thread-safe; may be called from every callback.
///
/// @since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn scstu_error() -> *const c_char {
    LAST.try_with(|last| last.borrow().text.as_ptr()).unwrap_or(GONE.0.as_ptr())
}

/// The name of the function that scstu_error() speaks of.
///
/// @return a text such as "scstu_start"; empty when no call of this thread has failed yet. It belongs to the
/// library and is valid for ever. Never NULL.
///
/// Thread-safe; may be called from every callback.
///
/// @since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn scstu_error_call() -> *const c_char {
    LAST.try_with(|last| last.borrow().call.as_ptr()).unwrap_or(GONE.1.as_ptr())
}

/// The version of the library that runs, which may be newer than the header that the program was built with.
///
/// @return a text such as "0.1.0". It belongs to the library and is valid for ever. Never NULL.
///
/// Thread-safe; may be called from every callback, and before and after everything else.
///
/// @since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn scstu_version() -> *const c_char {
    const VERSION: &CStr =
        match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
            Ok(version) => version,
            Err(_) => c"",
        };
    VERSION.as_ptr()
}
