//! Handlers' libraries: found in a directory, loaded, registered. They stay until the process ends, because
//! their threads do.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use log::warn;

use crate::backstore::registry::OpenError;
use crate::backstore::tcmu::abi::tcmur_handler;
use crate::backstore::tcmu::symbols::SYMBOLS;

/// Most handlers of a process.
const HANDLER_LIMIT: usize = 64;
/// Most threads that a handler may want for a device.
const THREAD_LIMIT: c_int = 1024;

/// A handler that is registered.
pub(super) struct Kind {
    handler: Place,
    subtype: String,
    library: PathBuf,
}

/// Where a handler has its struct.
struct Place(*const tcmur_handler);

// SAFETY: the struct is the handler's, is not changed after it was registered, and lives as long as the
// process.
unsafe impl Send for Place {}
// SAFETY: as above.
unsafe impl Sync for Place {}

impl Kind {
    /// What the handler has registered.
    pub(super) fn handler(&self) -> &tcmur_handler {
        // SAFETY: `register` has looked at it; it lives as long as the process.
        unsafe { &*self.handler.0 }
    }

    /// The word before the first / of tcmu-runner's configuration strings.
    pub(super) fn subtype(&self) -> &str {
        &self.subtype
    }

    /// Its name here.
    pub(super) fn name(&self) -> String {
        format!("{}{}", super::PREFIX, self.subtype)
    }

    /// Its name and what it wants to be told, in its own words and on one line.
    pub(super) fn help(&self) -> String {
        let handler = self.handler();
        let line = |text: *const c_char| {
            // SAFETY: a string of the handler's, or NULL.
            let text = (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy());
            let text = text.unwrap_or_default();
            let words: Vec<&str> = text.split_whitespace().collect();
            words.join(" ").chars().filter(|c| !c.is_control()).take(400).collect::<String>()
        };
        match (line(handler.name), line(handler.cfg_desc)) {
            (name, wanted) if wanted.is_empty() => format!("{name}, from {}", self.library.display()),
            (name, wanted) => format!("{name}, from {}: {wanted}", self.library.display()),
        }
    }
}

/// All libraries of the process, with what they have registered.
static LOADED: Mutex<Vec<(PathBuf, Vec<Arc<Kind>>)>> = Mutex::new(Vec::new());

fn loaded() -> MutexGuard<'static, Vec<(PathBuf, Vec<Arc<Kind>>)>> {
    LOADED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a library registers while it is being loaded.
#[derive(Default)]
struct Registering {
    /// Subtypes that other libraries have.
    taken: BTreeSet<String>,
    found: Vec<(*const tcmur_handler, String)>,
    refused: Option<String>,
}

thread_local! {
    static REGISTERING: RefCell<Option<Registering>> = const { RefCell::new(None) };
}

/// What is wrong with a handler's struct; else its subtype.
fn examine(handler: &tcmur_handler, registering: &Registering) -> Result<String, String> {
    if handler.name.is_null() || handler.subtype.is_null() {
        return Err("it has no name or no subtype".to_owned());
    }
    // SAFETY: not NULL; the handler vouches for its string.
    let subtype = unsafe { CStr::from_ptr(handler.subtype) }.to_string_lossy().into_owned();
    if !super::is_subtype(&subtype) {
        return Err(format!("\"{subtype}\" is no subtype: letters, digits, _ and -, at most 32"));
    }
    let is_there =
        registering.taken.contains(&subtype) || registering.found.iter().any(|(_, known)| *known == subtype);
    if is_there {
        return Err(format!("there is a handler {subtype} already, from another library"));
    }
    if registering.taken.len() + registering.found.len() >= HANDLER_LIMIT {
        return Err(format!("there are {HANDLER_LIMIT} handlers already"));
    }
    if handler.open.is_none() || handler.close.is_none() {
        return Err(format!("{subtype} has no open or no close"));
    }
    let only_commands = handler.read.is_none() && handler.write.is_none() && handler.flush.is_none();
    if handler.read.is_none() && !(only_commands && handler.handle_cmd.is_some()) {
        return Err(format!("{subtype} has neither read nor, alone, handle_cmd"));
    }
    if !(0..=THREAD_LIMIT).contains(&handler.nr_threads) {
        let threads = handler.nr_threads;
        return Err(format!(
            "{subtype} wants {threads} threads; it is not of tcmu-runner 1.5.4, or is broken"
        ));
    }
    Ok(subtype)
}

/// Takes a handler in while its library is being loaded: 0, -1, or what its init answers.
///
/// # Safety
/// `handler` is NULL, or is valid for ever.
pub(super) unsafe fn register(handler: *mut tcmur_handler) -> c_int {
    // SAFETY: the handler vouches for it.
    let Some(own) = (unsafe { handler.as_ref() }) else { return -1 };
    let examined = REGISTERING.with_borrow_mut(|registering| {
        let registering = registering.as_mut()?;
        let examined = examine(own, registering);
        examined.map_err(|reason| registering.refused = Some(reason)).ok()
    });
    let Some(subtype) = examined else { return -1 };
    // SAFETY: the handler gave the function.
    let result = own.init.map_or(0, |init| unsafe { init() });
    REGISTERING.with_borrow_mut(|registering| {
        let Some(registering) = registering.as_mut() else { return };
        if result == 0 {
            registering.found.push((handler.cast_const(), subtype));
        } else {
            registering.refused = Some(format!("{subtype}: its init answers {result}"));
        }
    });
    result
}

fn refused(path: &Path, text: impl std::fmt::Display) -> OpenError {
    OpenError::new(libc::ENOEXEC, format!("{}: {text}", path.display()))
}

/// What dlopen() and dlsym() have to say.
fn complaint() -> String {
    // SAFETY: it has no arguments; its text is the calling thread's until its next such call.
    let text = unsafe { libc::dlerror() };
    if text.is_null() {
        return "no reason was given".to_owned();
    }
    // SAFETY: as above.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// A handler finds our functions by their names, in the program and what it was linked with.
fn check_symbols() -> Result<(), OpenError> {
    for symbol in SYMBOLS {
        // SAFETY: a string that ends with NUL.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, symbol.name.as_ptr()) };
        let name = symbol.name.to_string_lossy();
        if found.is_null() {
            let text = format!(
                "handlers do not find {name} in this program: link with libscstu.so, or with the static \
                 library and -rdynamic"
            );
            return Err(OpenError::new(libc::ENOEXEC, text));
        }
        if !std::ptr::eq(found.cast_const(), symbol.address) {
            let text = format!("this program has a function {name} of another library, such as libtcmu");
            return Err(OpenError::new(libc::ENOEXEC, text));
        }
    }
    Ok(())
}

/// Writable for others than root and its owner, who is neither root nor who runs this: they could have this
/// process do anything.
fn check_owner(path: &Path) -> Result<(), OpenError> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).map_err(|error| OpenError::io(path, &error))?;
    let own = crate::sys::process::effective_user();
    if metadata.mode() & 0o002 != 0 || (metadata.uid() != 0 && metadata.uid() != own) {
        let text = "anybody may write to it, or it is of another user; it is not loaded";
        return Err(OpenError::new(libc::EPERM, format!("{}: {text}", path.display())));
    }
    Ok(())
}

/// Loads a library, once; answers the handlers in it. Errors name the file and the reason: EPERM, ENOENT, or
/// ENOEXEC for what is no handler of this interface.
pub(super) fn load(path: &Path) -> Result<Vec<Arc<Kind>>, OpenError> {
    let path = path.canonicalize().map_err(|error| OpenError::io(path, &error))?;
    // Held while it is loaded: two instances may want the same library at the same time.
    let mut loaded = loaded();
    if let Some((_, kinds)) = loaded.iter().find(|(known, _)| *known == path) {
        return Ok(kinds.clone());
    }
    check_symbols()?;
    check_owner(&path)?;
    let taken = loaded.iter().flat_map(|(_, kinds)| kinds).map(|kind| kind.subtype.clone()).collect();
    REGISTERING.set(Some(Registering { taken, ..Registering::default() }));
    let initialised = crate::sys::thread::without_signals(|| initialise(&path));
    let registering = REGISTERING.take().unwrap_or_default();
    let answer = initialised?;
    if answer != 0 || registering.found.is_empty() {
        let reason = registering.refused.unwrap_or_else(|| format!("handler_init answers {answer}"));
        return Err(refused(&path, reason));
    }
    if let Some(reason) = registering.refused {
        warn!("{}: {reason}", path.display());
    }
    let kind =
        |(handler, subtype)| Arc::new(Kind { handler: Place(handler), subtype, library: path.clone() });
    let kinds: Vec<Arc<Kind>> = registering.found.into_iter().map(kind).collect();
    loaded.push((path, kinds.clone()));
    Ok(kinds)
}

/// dlopen() and handler_init(); answers what the latter does.
fn initialise(path: &Path) -> Result<c_int, OpenError> {
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| refused(path, "no path"))?;
    // SAFETY: a string. Who may put a library there was looked at; its constructors run now.
    let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    if library.is_null() {
        return Err(refused(path, complaint()));
    }
    // SAFETY: a library that is loaded, and a string.
    let function: *mut c_void = unsafe { libc::dlsym(library, c"handler_init".as_ptr()) };
    if function.is_null() {
        return Err(refused(path, "it has no handler_init, so it is no handler of tcmu-runner"));
    }
    // SAFETY: handler_init has this type in every handler of tcmu-runner.
    let init = unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn() -> c_int>(function) };
    // SAFETY: as above.
    Ok(unsafe { init() })
}

/// Names of handlers' libraries in a directory, in order.
pub(super) fn candidates(directory: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let failed = |error: std::io::Error| OpenError::io(directory, &error);
    let is_library = |name: &OsStr| {
        let name = name.as_bytes();
        name.starts_with(b"handler_") && name.ends_with(b".so")
    };
    let entries = std::fs::read_dir(directory).map_err(failed)?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .filter(|entry| is_library(&entry.file_name()))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    Ok(found)
}

/// Devices that are open.
pub(super) static OPEN: AtomicUsize = AtomicUsize::new(0);

/// The process is about to end: if all devices are closed, handlers may give back what they hold.
pub(super) fn destroy_all() {
    if OPEN.load(Ordering::Acquire) > 0 {
        return;
    }
    for kind in loaded().drain(..).flat_map(|(_, kinds)| kinds) {
        if let Some(destroy) = kind.handler().destroy {
            // SAFETY: the handler gave the function; nothing else of it will be called.
            unsafe { destroy() };
        }
    }
}
