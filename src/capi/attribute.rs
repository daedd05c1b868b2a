//! Parameters and attributes that a handler written in C declares: what it fills in, and the rows made of it.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::{Mutex, PoisonError};

use crate::attr::{Access, Attr, Kind};
use crate::backstore::BlockError;
use crate::backstore::declared::{
    self, Declared, ROW_LIMIT, Shape, VALUE_LIMIT, WORD_LIMIT, check_shapes, row,
};
use crate::capi::backstore::scstu_backstore_ops;
use crate::capi::configure::{
    SCSTU_CREATE_ONLY, SCSTU_READABLE, SCSTU_TYPE_BOOL, SCSTU_TYPE_NUMBER, SCSTU_TYPE_SIGNED,
    SCSTU_TYPE_SIZE, SCSTU_TYPE_TEXT, SCSTU_TYPE_WORD, SCSTU_WRITABLE,
};
use crate::capi::disk::outcome;
use crate::capi::error::{Callback, within};
use crate::capi::process::Process;
use crate::capi::sized::{Growing, take};
use crate::capi::text::{optional, owned, required};
use crate::model::Error;

/// Most lists of attributes, each other than the others, that a process can declare; they stay until it
/// ends.
const LIST_LIMIT: usize = 1024;

/// scstu_backstore_ops.attribute_count: the most there may be. @since 0.1
pub const SCSTU_ATTRIBUTE_LIMIT: usize = 32;
/// Longest value of a declared attribute in bytes, without its NUL. @since 0.1
pub const SCSTU_VALUE_LIMIT: usize = 1024;

const _: () = assert!(SCSTU_ATTRIBUTE_LIMIT == ROW_LIMIT && SCSTU_VALUE_LIMIT == VALUE_LIMIT);

/// A parameter or an attribute that the devices of a handler have beside those of all devices. Set everything
/// to zero, then `size` to sizeof, then what is wanted.
///
/// It shows up like any other: in the tree as a file of the device, in add_device, scst.conf, scstu_plan(),
/// scstu_save() and scstu_describe(); "handlers/NAME/mgmt" tells of it before there is a device. What an
/// administrator writes is checked before the handler learns of it.
///
/// Its memory and all strings are copied by scstu_backstore_register() and may be changed or freed then. The
/// library keeps each list of attributes until the process ends, once for all handlers and instances that
/// declare the same.
///
/// @since 0.1
#[repr(C)]
#[derive(Clone, Copy)]
pub struct scstu_attribute {
    /// sizeof(struct scstu_attribute).
    pub size: usize,
    /// Name: a small letter, then small letters, digits and _, 64 bytes at most. No other attribute of the
    /// device may have it, also none that all devices have.
    pub name: *const c_char,
    /// SCSTU_TYPE_BOOL, SCSTU_TYPE_NUMBER, SCSTU_TYPE_SIGNED, SCSTU_TYPE_SIZE, SCSTU_TYPE_WORD or
    /// SCSTU_TYPE_TEXT.
    pub value_type: u32,
    /// One of SCSTU_CREATE_ONLY (a parameter: it may be given when the device is made, and not later),
    /// SCSTU_WRITABLE (it may be given then, and set at any time; needs set), SCSTU_READABLE (the device
    /// tells it; needs get). The value of the first two can be read as well.
    pub flags: u32,
    /// Least value of SCSTU_TYPE_NUMBER; of SCSTU_TYPE_SIGNED, as an int64_t; 0 for all others.
    pub minimum: u64,
    /// Greatest value of SCSTU_TYPE_NUMBER; of SCSTU_TYPE_SIGNED, as an int64_t; most bytes of
    /// SCSTU_TYPE_TEXT, 1 to SCSTU_VALUE_LIMIT; 0 for all others.
    pub maximum: u64,
    /// The words of SCSTU_TYPE_WORD, each of 1 to 64 printable characters without ; = " \ # { and }; NULL for
    /// all others.
    pub words: *const *const c_char,
    /// Number of words, 1 to 64; 0 for all other types.
    pub word_count: usize,
    /// Value when nobody has set it, as an administrator would write it ("1M" will do for a size); NULL for
    /// 0, the first word or the empty text, but for a number that cannot be 0. Of what the device tells: what
    /// is shown while it is closed, and when get fails; NULL for the empty text.
    pub default_value: *const c_char,
    /// What it means, in one line of at most 1024 printable ASCII characters; may be NULL.
    pub help: *const c_char,
    /// Tells the value. Called on the thread that reads it, at once with other functions of the device, also
    /// if it has no SCSTU_DISK_CONCURRENT. Must not block: whoever reads the tree waits for it. Needed with
    /// SCSTU_READABLE, else NULL.
    ///
    /// @param device the handler's own, as scstu_disk.device says
    /// @param buffer gets the value, printable ASCII with a NUL at its end; it is shown as it is, and not
    /// compared with type, minimum and maximum
    /// @param length bytes of buffer, SCSTU_VALUE_LIMIT + 1
    /// @return 0, or a negative errno
    pub get: Option<unsafe extern "C" fn(device: *mut c_void, buffer: *mut c_char, length: usize) -> c_int>,
    /// Learns of another value, which fits; one after the other with other functions of the device unless it
    /// has SCSTU_DISK_CONCURRENT. It is called on the thread that changes the configuration, while no other
    /// change is made; a device that is closed learns of it when it is opened. When something else of the
    /// same scstu_load() fails it is called again, with the value before. Needed with SCSTU_WRITABLE, else
    /// NULL.
    ///
    /// @param device the handler's own, as scstu_disk.device says
    /// @param value its text, as scstu_get() tells it; valid during the call
    /// @param number the same as a number: 0 or 1; bytes; of SCSTU_TYPE_SIGNED an int64_t; of a word its
    /// place in words, from 0; 0 of a text
    /// @return 0, or a negative errno, with which the change fails: everything stays as it was
    pub set: Option<unsafe extern "C" fn(device: *mut c_void, value: *const c_char, number: u64) -> c_int>,
}

// SAFETY: repr(C), `size` first; numbers, pointers and optional functions may all be zero.
unsafe impl Growing for scstu_attribute {
    const NAME: &'static str = "scstu_attribute";
    const FIRST: usize = std::mem::offset_of!(scstu_attribute, set);
}

/// What a handler declares: rows that last as long as the process, and the program's functions in their
/// order.
#[derive(Default)]
pub(super) struct Attributes {
    pub(super) rows: &'static [Attr<Declared>],
    pub(super) functions: Vec<scstu_attribute>,
}

/// The lists of a process.
#[derive(Default)]
pub(super) struct Lists(Mutex<Vec<&'static [Attr<Declared>]>>);

fn leaked(text: &str) -> &'static str {
    text.to_owned().leak()
}

/// The row that lasts.
fn lasting(slot: usize, shape: &Shape<'_>, default: &str) -> Attr<Declared> {
    let kind = match shape.kind {
        Kind::Word(_) => {
            let words: Vec<&'static str> = shape.words.iter().map(|word| leaked(word)).collect();
            Kind::Word(words.leak())
        }
        kind => kind,
    };
    row(slot, leaked(shape.name), kind, shape.access, leaked(default), leaked(shape.help))
}

impl Lists {
    /// The rows of what has been checked. Rows last as long as all of Rust's, so each list is made once.
    fn keep(&self, shapes: &[Shape<'_>], defaults: &[String]) -> Result<&'static [Attr<Declared>], Error> {
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |list: &&&'static [Attr<Declared>]| {
            let mut pairs = shapes.iter().zip(defaults).zip(list.iter());
            list.len() == shapes.len() && pairs.all(|((shape, default), row)| shape.is(row, default))
        };
        if let Some(list) = lists.iter().find(is_same) {
            return Ok(list);
        }
        if lists.len() >= LIST_LIMIT {
            let text = format!("this process has declared {LIST_LIMIT} lists of attributes already");
            return Err(Error::new(libc::ENOSPC, text));
        }
        let pairs = shapes.iter().zip(defaults).enumerate();
        let rows: Vec<_> = pairs.map(|(slot, (shape, default))| lasting(slot, shape, default)).collect();
        let rows: &'static [Attr<Declared>] = rows.leak();
        lists.push(rows);
        Ok(rows)
    }
}

/// An attribute as the program has it, with its strings.
struct Read<'a> {
    own: scstu_attribute,
    name: &'a str,
    words: Vec<&'a str>,
    default: Option<&'a str>,
    help: &'a str,
}

fn invalid(name: &str, text: impl std::fmt::Display) -> Error {
    Error::invalid(format!("attribute \"{name}\": {text}"))
}

/// # Safety
/// As of [`read`].
unsafe fn read_one<'a>(pointer: *const scstu_attribute) -> Result<Read<'a>, Error> {
    // SAFETY: the caller vouches for as many bytes as it says.
    let own = unsafe { take(pointer) }?;
    // SAFETY: the caller vouches for the strings.
    let name = unsafe { required(own.name, "name of an attribute") }?;
    // SAFETY: as above.
    let default = unsafe { optional(own.default_value, "default_value of an attribute") }?;
    // SAFETY: as above.
    let help = unsafe { optional(own.help, "help of an attribute") }?.unwrap_or("");
    if own.word_count > WORD_LIMIT {
        return Err(invalid(name, format_args!("word_count {}: at most {WORD_LIMIT}", own.word_count)));
    }
    if own.words.is_null() != (own.word_count == 0) {
        return Err(invalid(name, "of words and word_count one is set and one is not"));
    }
    let mut words = Vec::with_capacity(own.word_count);
    for at in 0..own.word_count {
        // SAFETY: the caller vouches for as many pointers as it says.
        let word = unsafe { own.words.wrapping_add(at).read_unaligned() };
        // SAFETY: the caller vouches for the strings.
        words.push(unsafe { required(word, "a word of an attribute") }?);
    }
    Ok(Read { own, name, words, default, help })
}

/// What the program declares.
///
/// # Safety
/// The array has as many pointers as it says, each NULL or to an attribute with as many bytes as it says,
/// whose strings end with NUL.
unsafe fn read<'a>(ops: &scstu_backstore_ops) -> Result<Vec<Read<'a>>, Error> {
    if ops.attributes.is_null() != (ops.attribute_count == 0) {
        return Err(Error::invalid("of attributes and attribute_count one is set and one is not"));
    }
    if ops.attribute_count > ROW_LIMIT {
        let text = format!("attribute_count is {}: at most {ROW_LIMIT} are possible", ops.attribute_count);
        return Err(Error::invalid(text));
    }
    let mut all = Vec::with_capacity(ops.attribute_count);
    for at in 0..ops.attribute_count {
        // SAFETY: the caller vouches for as many pointers as it says.
        let pointer = unsafe { ops.attributes.wrapping_add(at).read_unaligned() };
        // SAFETY: the caller vouches for what they point to.
        all.push(unsafe { read_one(pointer) }?);
    }
    Ok(all)
}

impl Read<'_> {
    fn kind(&self) -> Result<Kind, Error> {
        let (min, max) = (self.own.minimum, self.own.maximum);
        let signed = |number: u64| i64::from_ne_bytes(number.to_ne_bytes());
        let has_range = matches!(self.own.value_type, SCSTU_TYPE_NUMBER | SCSTU_TYPE_SIGNED);
        if (!has_range && min != 0) || (!has_range && self.own.value_type != SCSTU_TYPE_TEXT && max != 0) {
            return Err(invalid(self.name, "a type without a range has a minimum or a maximum"));
        }
        if self.own.value_type != SCSTU_TYPE_WORD && !self.words.is_empty() {
            return Err(invalid(self.name, "a type without words has words"));
        }
        match self.own.value_type {
            SCSTU_TYPE_BOOL => Ok(Kind::Bool),
            SCSTU_TYPE_NUMBER => Ok(Kind::Number { min, max }),
            SCSTU_TYPE_SIGNED => Ok(Kind::Signed { min: signed(min), max: signed(max) }),
            SCSTU_TYPE_SIZE => Ok(Kind::Size),
            SCSTU_TYPE_WORD => Ok(Kind::Word(&[])),
            SCSTU_TYPE_TEXT => Ok(Kind::Text(usize::try_from(max).unwrap_or(usize::MAX))),
            other => {
                let text = "SCSTU_TYPE_BOOL, NUMBER, SIGNED, SIZE, WORD and TEXT are possible";
                Err(invalid(self.name, format_args!("value_type {other}: {text}")))
            }
        }
    }

    fn access(&self) -> Result<Access, Error> {
        let (access, has) = match self.own.flags {
            SCSTU_READABLE => (Access::ReadOnly, (true, false)),
            SCSTU_CREATE_ONLY => (Access::CreateOnly, (false, false)),
            SCSTU_WRITABLE => (Access::ReadWrite, (false, true)),
            other => {
                let text = "is not one of SCSTU_CREATE_ONLY, SCSTU_WRITABLE and SCSTU_READABLE";
                return Err(invalid(self.name, format_args!("flags {other:#x} {text}")));
            }
        };
        if (self.own.get.is_some(), self.own.set.is_some()) != has {
            let text = "get goes with SCSTU_READABLE, set with SCSTU_WRITABLE, and neither without";
            return Err(invalid(self.name, text));
        }
        Ok(access)
    }

    fn shape(&self) -> Result<Shape<'_>, Error> {
        let (kind, access) = (self.kind()?, self.access()?);
        let otherwise = match kind {
            _ if access == Access::ReadOnly => "",
            Kind::Text(_) => "",
            Kind::Word(_) => self.words.first().copied().unwrap_or(""),
            _ => "0",
        };
        let default = self.default.unwrap_or(otherwise);
        Ok(Shape { name: self.name, kind, words: &self.words, access, default, help: self.help })
    }
}

/// What the program declares, checked and copied.
///
/// # Safety
/// As of [`read`].
pub(super) unsafe fn declared(process: &Process, ops: &scstu_backstore_ops) -> Result<Attributes, Error> {
    // SAFETY: the caller promises it.
    let all = unsafe { read(ops) }?;
    let shapes = all.iter().map(Read::shape).collect::<Result<Vec<_>, _>>()?;
    let defaults = check_shapes(&shapes)?;
    let rows = if shapes.is_empty() { &[] } else { process.lists.keep(&shapes, &defaults)? };
    Ok(Attributes { rows, functions: all.iter().map(|read| read.own).collect() })
}

/// The values of a device that is to be opened, as C sees them; the strings live as long as this.
pub(super) struct Values {
    _texts: Vec<CString>,
    pub(super) pointers: Vec<*const c_char>,
    pub(super) numbers: Vec<u64>,
}

impl Values {
    /// Of what the device tells by itself there is none.
    pub(super) fn new(rows: &[Attr<Declared>], values: &[String]) -> Self {
        let texts: Vec<CString> = values.iter().map(|text| owned(text)).collect();
        let pairs = || rows.iter().zip(values);
        let is_told = |row: &Attr<Declared>| row.access == Access::ReadOnly;
        let pointers = pairs().zip(&texts).map(
            |((row, _), text)| {
                if is_told(row) { std::ptr::null() } else { text.as_ptr() }
            },
        );
        let number = |(row, text): (&Attr<Declared>, &String)| {
            if is_told(row) { 0 } else { declared::number(row.kind, text) }
        };
        Values { pointers: pointers.collect(), numbers: pairs().map(number).collect(), _texts: texts }
    }
}

impl Attributes {
    /// What the device tells; the program vouches for its function and for `device`.
    pub(super) fn get(&self, slot: usize, device: *mut c_void) -> Result<String, BlockError> {
        let function = self.functions.get(slot).and_then(|own| own.get).ok_or(BlockError::Unsupported)?;
        let mut buffer = vec![0u8; VALUE_LIMIT + 1];
        let (at, length) = (buffer.as_mut_ptr().cast(), buffer.len());
        // SAFETY: the program gave function and device; the buffer has as many bytes.
        outcome(within(Callback::Backstore, || unsafe { function(device, at, length) }))?;
        let text = CStr::from_bytes_until_nul(&buffer).map_err(|_| BlockError::Io(libc::ENAMETOOLONG))?;
        Ok(text.to_string_lossy().into_owned())
    }

    /// The device learns of a value; as above.
    pub(super) fn set(&self, slot: usize, device: *mut c_void, value: &str) -> Result<(), BlockError> {
        let (Some(row), Some(own)) = (self.rows.get(slot), self.functions.get(slot)) else {
            return Err(BlockError::Unsupported);
        };
        let function = own.set.ok_or(BlockError::Unsupported)?;
        let (text, number) = (owned(value), declared::number(row.kind, value));
        // SAFETY: the program gave function and device; the text lives until the call returns.
        outcome(within(Callback::Backstore, || unsafe { function(device, text.as_ptr(), number) }))
    }
}
