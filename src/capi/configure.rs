//! Configuration as text and by paths.

use std::ffi::{CString, c_char, c_int, c_void};

use crate::attr::Kind as Values;
use crate::capi::error::{From, call};
use crate::capi::handle::{self, scstu};
use crate::capi::portals::{scstu_text_fn, tell};
use crate::capi::text::{give, owned, required};
use crate::mgmt::conf::Mode;
use crate::mgmt::tree::{Description, Kind};
use crate::model::Error;

/// scstu_load() flag: what the text does not mention goes. @since 0.1
pub const SCSTU_LOAD_EXACT: u32 = 1;

/// Entry kind: an object, with entries of its own. @since 0.1
pub const SCSTU_OBJECT: u32 = 1;
/// Entry kind: an attribute, or "mgmt", which takes commands. @since 0.1
pub const SCSTU_ATTRIBUTE: u32 = 2;
/// Entry kind: a link to an object. @since 0.1
pub const SCSTU_LINK: u32 = 3;

/// scstu_description.flags, scstu_attribute.flags: it can be read. @since 0.1
pub const SCSTU_READABLE: u32 = 1;
/// scstu_description.flags, scstu_attribute.flags: it can be set. @since 0.1
pub const SCSTU_WRITABLE: u32 = 1 << 1;
/// scstu_description.flags: its value belongs into a saved configuration. @since 0.1
pub const SCSTU_SAVED: u32 = 1 << 2;
/// scstu_description.flags, scstu_attribute.flags: it is given when the object is made, and not later.
/// @since 0.1
pub const SCSTU_CREATE_ONLY: u32 = 1 << 3;
/// scstu_description.flags: one of several values, which come and go with commands. @since 0.1
pub const SCSTU_DYNAMIC: u32 = 1 << 4;

/// Attribute type: 0 or 1. @since 0.1
pub const SCSTU_TYPE_BOOL: u32 = 1;
/// Attribute type: a number from minimum to maximum. @since 0.1
pub const SCSTU_TYPE_NUMBER: u32 = 2;
/// Attribute type: a number that may be negative; read minimum and maximum as int64_t. @since 0.1
pub const SCSTU_TYPE_SIGNED: u32 = 3;
/// Attribute type: a number of bytes; K, M, G or T may stand behind it. @since 0.1
pub const SCSTU_TYPE_SIZE: u32 = 4;
/// Attribute type: one of the words. @since 0.1
pub const SCSTU_TYPE_WORD: u32 = 5;
/// Attribute type: printable ASCII and blanks, minimum to maximum bytes of it. @since 0.1
pub const SCSTU_TYPE_TEXT: u32 = 6;
/// Attribute type: empty, or 0x and two hexadecimal digits for each byte; minimum and maximum are numbers of
/// bytes, and values says which of them there may be. @since 0.1
pub const SCSTU_TYPE_BYTES: u32 = 7;
/// Attribute type: a text whose syntax values describes. @since 0.1
pub const SCSTU_TYPE_OTHER: u32 = 8;
/// Attribute type: an order, carried out whatever is written. @since 0.1
pub const SCSTU_TYPE_TRIGGER: u32 = 9;
/// Attribute type: "mgmt", which takes commands, for scstu_do(). @since 0.1
pub const SCSTU_TYPE_COMMANDS: u32 = 10;

/// Takes an entry of an object.
///
/// Called on the thread that has called scstu_list(), which may call the library again from within,
/// except scstu_free() with the handle of that call.
///
/// @param context what was passed to scstu_list()
/// @param name its name; valid during the call
/// @param kind SCSTU_OBJECT, SCSTU_ATTRIBUTE or SCSTU_LINK
/// @return 0 to go on; anything else ends scstu_list(), which answers it
///
/// @since 0.1
pub type scstu_entry_fn =
    Option<unsafe extern "C" fn(context: *mut c_void, name: *const c_char, kind: u32) -> c_int>;

/// What there is to know of an attribute.
///
/// The library sets `size`; a program that was built with a newer header must not look beyond it.
///
/// @since 0.1
#[repr(C)]
#[derive(Clone, Copy)]
pub struct scstu_description {
    /// Bytes of this struct that the library knows.
    pub size: usize,
    /// Name; valid during the call, as all strings here.
    pub name: *const c_char,
    /// Which values it takes, in words, with their range.
    pub values: *const c_char,
    /// Value when nobody has set it; may be empty.
    pub default_value: *const c_char,
    /// Value now; NULL when it cannot be read, and for "mgmt", whose text scstu_get() tells.
    pub value: *const c_char,
    /// What it means. Of "mgmt": its commands, one a line.
    pub help: *const c_char,
    /// SCSTU_READABLE and the others together.
    pub flags: u32,
    /// One of SCSTU_TYPE_...; others may come with newer versions: then values says it in words.
    pub value_type: u32,
    /// Least value, as the type says; 0 for a type that says nothing of it.
    pub minimum: u64,
    /// Greatest value, as the type says; 0 for a type that says nothing of it.
    pub maximum: u64,
    /// The words of SCSTU_TYPE_WORD, as they must be written; NULL for another type.
    pub words: *const *const c_char,
    /// Number of words.
    pub word_count: usize,
}

/// Takes a description.
///
/// Called on the thread that has called scstu_describe(), which may call the library again from within,
/// except scstu_free() with the handle of that call.
///
/// @param context what was passed to scstu_describe()
/// @param description the description; valid during the call
/// @return 0; anything else is what scstu_describe() answers
///
/// @since 0.1
pub type scstu_description_fn =
    Option<unsafe extern "C" fn(context: *mut c_void, description: *const scstu_description) -> c_int>;

fn no_function() -> Error {
    Error::new(libc::EINVAL, "the function is NULL")
}

fn mode(flags: u32) -> Result<Mode, Error> {
    match flags {
        0 => Ok(Mode::Merge),
        SCSTU_LOAD_EXACT => Ok(Mode::Exact),
        _ => Err(Error::new(libc::EINVAL, format!("flags {flags:#x} are not 0 or SCSTU_LOAD_EXACT"))),
    }
}

/// Brings the configuration to what a text says. All of it, or nothing if something is wrong.
///
/// @param handle the instance
/// @param text the configuration, as in scst.conf, at most 16777216 bytes
/// @param flags 0: what it does not mention stays; SCSTU_LOAD_EXACT: that goes
/// @return 0, or
/// -EINVAL a NULL pointer, an unknown flag, or the text is wrong: scstu_error() begins with line and column;
/// -EFBIG the text is too long;
/// the negative errno of what cannot be done;
/// -EBADF, -ECHILD, -EDEADLK as scstu_start()
///
/// Thread-safe.
///
/// @since 0.1
///
/// # Safety
/// `text` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scstu_load(handle: *mut scstu, text: *const c_char, flags: u32) -> c_int {
    call(c"scstu_load", From::Event, || {
        handle::with(handle, |host| {
            // SAFETY: the program vouches for its string.
            host.instance.load(unsafe { required(text, "text") }?, mode(flags)?).map(|_| 0)
        })
    })
}

/// Tells what scstu_load() would change, without doing it. No backstore is opened: what
/// scstu_backstore_ops.open refuses, this does not tell.
///
/// @param handle the instance
/// @param text the configuration, as in scst.conf, at most 16777216 bytes
/// @param flags as of scstu_load()
/// @param function called with each change, in words: "+" something new, "-" something that goes, "~"
/// something that changes
/// @param context passed to function
/// @return 0, what function answered if that was not 0, or
/// -EINVAL a NULL pointer, an unknown flag, or the text is wrong: scstu_error() begins with line and column;
/// -EFBIG the text is too long;
/// the negative errno of what could not be done;
/// -EBADF, -ECHILD, -EDEADLK as scstu_start()
///
/// Thread-safe.
///
/// @since 0.1
///
/// # Safety
/// `text` is NULL or a string; `function` may be called with `context`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scstu_plan(
    handle: *mut scstu,
    text: *const c_char,
    flags: u32,
    function: scstu_text_fn,
    context: *mut c_void,
) -> c_int {
    call(c"scstu_plan", From::Event, || {
        handle::with(handle, |host| {
            // SAFETY: the program vouches for its string.
            let plan = host.instance.plan(unsafe { required(text, "text") }?, mode(flags)?)?;
            tell(function, context, plan.steps.into_iter().map(|step| step.text))
        })
    })
}

/// Tells the configuration as a text that scstu_load() takes. It holds the secrets of CHAP users.
///
/// @param handle the instance
/// @param function called once, with all of it
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
pub unsafe extern "C" fn scstu_save(
    handle: *mut scstu,
    function: scstu_text_fn,
    context: *mut c_void,
) -> c_int {
    call(c"scstu_save", From::Event, || {
        handle::with(handle, |host| tell(function, context, [host.instance.save()]))
    })
}

/// Reads an attribute.
///
/// Paths are those of SCST's tree below /sys/kernel/scst_tgt, such as "devices/disk1/size" or
/// "targets/iscsi/iqn.2026-01.org.example:disk1/enabled".
///
/// @param handle the instance
/// @param path the attribute
/// @param buffer gets its value, without newline; NULL (and length 0) to ask for the length only
/// @param length bytes of buffer
/// @param need gets the bytes that the value takes with its NUL; may be NULL
/// @return 0, or
/// -ENOENT there is no such path;
/// -EISDIR it is an object, -ELOOP a link, -EIO an attribute that cannot be read;
/// -ERANGE the buffer is too short;
/// -EINVAL a NULL pointer;
/// -EBADF, -ECHILD, -EDEADLK as scstu_start()
///
/// Thread-safe.
///
/// @since 0.1
///
/// # Safety
/// `path` is NULL or a string, `buffer` is NULL or has `length` bytes, `need` is NULL or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scstu_get(
    handle: *mut scstu,
    path: *const c_char,
    buffer: *mut c_char,
    length: usize,
    need: *mut usize,
) -> c_int {
    call(c"scstu_get", From::Event, || {
        handle::with(handle, |host| {
            // SAFETY: the program vouches for its string.
            let value = host.instance.get(unsafe { required(path, "path") }?)?;
            // SAFETY: the program vouches for buffer and need.
            unsafe { give(&value, buffer, length, need) }.map(|()| 0)
        })
    })
}

/// Sets an attribute.
///
/// @param handle the instance
/// @param path the attribute, as of scstu_get()
/// @param value its new value
/// @return 0, or
/// -ENOENT there is no such path;
/// -EISDIR it is an object, -ELOOP a link, -EIO an attribute that cannot be set;
/// -EINVAL a NULL pointer, "mgmt", or a value that it does not take: scstu_error() says which it does;
/// -ERANGE a number that is too great for any attribute, -E2BIG a value of more than 4096 bytes;
/// another negative errno of what cannot be done; of an attribute that a handler declares what its
/// scstu_attribute.set has answered;
/// -EBADF, -ECHILD, -EDEADLK as scstu_start()
///
/// Thread-safe.
///
/// @since 0.1
///
/// # Safety
/// The texts are NULL or strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scstu_set(handle: *mut scstu, path: *const c_char, value: *const c_char) -> c_int {
    call(c"scstu_set", From::Event, || {
        handle::with(handle, |host| {
            // SAFETY: the program vouches for its strings.
            let path = unsafe { required(path, "path") }?;
            // SAFETY: as above.
            let value = unsafe { required(value, "value") }?;
            host.instance.set(path, value).map(|()| 0)
        })
    })
}

/// Carries out a command of an object, as SCST's "mgmt" files take them. They are less strict than the calls
/// of their own: the name of a target need not be an iSCSI name.
///
/// @param handle the instance
/// @param object path of the object, such as "handlers/vdisk_fileio"
/// @param command the command, one line, such as "add_device disk1 filename=/srv/disk1"
/// @return 0, or
/// -ENOENT there is no such object, or it takes no commands;
/// -EINVAL a NULL pointer, a command that there is not, an object that is not there;
/// -E2BIG a command of more than 4096 bytes;
/// another negative errno of what cannot be done;
/// -EBADF, -ECHILD, -EDEADLK as scstu_start()
///
/// Thread-safe.
///
/// @since 0.1
///
/// # Safety
/// The texts are NULL or strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scstu_do(
    handle: *mut scstu,
    object: *const c_char,
    command: *const c_char,
) -> c_int {
    call(c"scstu_do", From::Event, || {
        handle::with(handle, |host| {
            // SAFETY: the program vouches for its strings.
            let object = unsafe { required(object, "object") }?;
            // SAFETY: as above.
            let command = unsafe { required(command, "command") }?;
            if command.trim_end_matches('\n').contains('\n') {
                let text = "a command is one line: call again for the next";
                return Err(Error::new(libc::EINVAL, text));
            }
            host.instance.command(object, command).map(|()| 0)
        })
    })
}

/// Names what an object has, by name.
///
/// @param handle the instance
/// @param path the object; "" for the root
/// @param function called with each
/// @param context passed to function
/// @return 0, what function answered if that was not 0, or
/// -ENOENT there is no such path;
/// -ENOTDIR it is an attribute or a link;
/// -EINVAL a NULL pointer;
/// -EBADF, -ECHILD, -EDEADLK as scstu_start()
///
/// Thread-safe.
///
/// @since 0.1
///
/// # Safety
/// `path` is NULL or a string; `function` may be called with `context`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scstu_list(
    handle: *mut scstu,
    path: *const c_char,
    function: scstu_entry_fn,
    context: *mut c_void,
) -> c_int {
    call(c"scstu_list", From::Event, || {
        handle::with(handle, |host| {
            let function = function.ok_or_else(no_function)?;
            // SAFETY: the program vouches for its string.
            for (name, kind) in host.instance.list(unsafe { required(path, "path") }?)? {
                let kind = match kind {
                    Kind::Directory => SCSTU_OBJECT,
                    Kind::File { .. } => SCSTU_ATTRIBUTE,
                    Kind::Link { .. } => SCSTU_LINK,
                };
                let name = owned(&name);
                // SAFETY: the program gave both; the name lives until the call returns.
                let answer = unsafe { function(context, name.as_ptr(), kind) };
                if answer != 0 {
                    return Ok(answer);
                }
            }
            Ok(0)
        })
    })
}

fn flags(description: &Description) -> u32 {
    [
        (description.mode & 0o444 != 0, SCSTU_READABLE),
        (description.mode & 0o222 != 0, SCSTU_WRITABLE),
        (description.is_key, SCSTU_SAVED),
        (description.is_creation_only, SCSTU_CREATE_ONLY),
        (description.is_dynamic, SCSTU_DYNAMIC),
    ]
    .into_iter()
    .fold(0, |flags, (is_set, flag)| if is_set { flags | flag } else { flags })
}

fn help(description: &Description) -> String {
    if description.verbs.is_empty() {
        return description.help.clone();
    }
    let line =
        |verb: &crate::mgmt::tree::VerbDescription| format!("{} {}: {}", verb.name, verb.syntax, verb.help);
    description.verbs.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Type, minimum and maximum of what a description is of.
fn range(description: &Description) -> (u32, u64, u64) {
    let bits = |number: i64| u64::from_ne_bytes(number.to_ne_bytes());
    let length = |length: Option<&usize>| length.map_or(0, |length| *length as u64);
    match description.kind {
        Some(Values::Bool | Values::Switch) => (SCSTU_TYPE_BOOL, 0, 1),
        Some(Values::Number { min, max }) => (SCSTU_TYPE_NUMBER, min, max),
        Some(Values::Signed { min, max }) => (SCSTU_TYPE_SIGNED, bits(min), bits(max)),
        Some(Values::Size) => (SCSTU_TYPE_SIZE, 0, u64::MAX),
        Some(Values::Word(_)) => (SCSTU_TYPE_WORD, 0, 0),
        Some(Values::Text(max)) => (SCSTU_TYPE_TEXT, 0, max as u64),
        Some(Values::Hex(lengths)) => {
            (SCSTU_TYPE_BYTES, length(lengths.iter().min()), length(lengths.iter().max()))
        }
        Some(Values::Trigger) => (SCSTU_TYPE_TRIGGER, 0, 0),
        Some(Values::Own(_)) => (SCSTU_TYPE_OTHER, 0, 0),
        None if description.verbs.is_empty() => (SCSTU_TYPE_OTHER, 0, 0),
        None => (SCSTU_TYPE_COMMANDS, 0, 0),
    }
}

/// Tells what there is to know of an attribute: which values it takes, its default, what it means.
///
/// @param handle the instance
/// @param path the attribute, as of scstu_get(); of "mgmt" of an object, its commands are told
/// @param function called once
/// @param context passed to function
/// @return 0, what function answered if that was not 0, or
/// -ENOENT there is no such path;
/// -EISDIR it is an object, -ELOOP a link;
/// -EINVAL a NULL pointer;
/// -EBADF, -ECHILD, -EDEADLK as scstu_start()
///
/// Thread-safe.
///
/// @since 0.1
///
/// # Safety
/// `path` is NULL or a string; `function` may be called with `context`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scstu_describe(
    handle: *mut scstu,
    path: *const c_char,
    function: scstu_description_fn,
    context: *mut c_void,
) -> c_int {
    call(c"scstu_describe", From::Event, || {
        handle::with(handle, |host| {
            let function = function.ok_or_else(no_function)?;
            // SAFETY: the program vouches for its string.
            let found = host.instance.describe(unsafe { required(path, "path") }?)?;
            let texts = [&found.name, &found.values, &found.default, &help(&found)].map(|text| owned(text));
            let value = found.value.as_deref().map(owned);
            let kept: Vec<CString> = match found.kind {
                Some(Values::Word(words)) => words.iter().map(|word| owned(word)).collect(),
                _ => Vec::new(),
            };
            let words: Vec<*const c_char> = kept.iter().map(|word| word.as_ptr()).collect();
            let (value_type, minimum, maximum) = range(&found);
            let description = scstu_description {
                size: size_of::<scstu_description>(),
                name: texts[0].as_ptr(),
                values: texts[1].as_ptr(),
                default_value: texts[2].as_ptr(),
                value: value.as_ref().map_or(std::ptr::null(), |value| value.as_ptr()),
                help: texts[3].as_ptr(),
                flags: flags(&found),
                value_type,
                minimum,
                maximum,
                words: if words.is_empty() { std::ptr::null() } else { words.as_ptr() },
                word_count: words.len(),
            };
            // SAFETY: the program gave both; description and strings live until the call returns.
            Ok(unsafe { function(context, &raw const description) })
        })
    })
}
