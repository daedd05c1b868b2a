//! Strings from and to C.

use std::ffi::{CStr, CString, c_char};

use crate::model::Error;

/// The string at `pointer`; `what` names the argument in the error.
///
/// # Safety
/// `pointer` is NULL or a string that ends with NUL and is not changed while the result is used.
pub(super) unsafe fn required<'a>(pointer: *const c_char, what: &str) -> Result<&'a str, Error> {
    // SAFETY: the caller promises what `optional` asks for.
    let text = unsafe { optional(pointer, what) }?;
    text.ok_or_else(|| Error::new(libc::EINVAL, format!("{what} is NULL")))
}

/// The string at `pointer`, or `None` for NULL.
///
/// # Safety
/// As [`required`].
pub(super) unsafe fn optional<'a>(pointer: *const c_char, what: &str) -> Result<Option<&'a str>, Error> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller promises a string that ends with NUL and stays.
    let text = unsafe { CStr::from_ptr(pointer) };
    match text.to_str() {
        Ok(text) => Ok(Some(text)),
        Err(error) => {
            let text = format!("{what} is not UTF-8 (at byte {})", error.valid_up_to());
            Err(Error::new(libc::EINVAL, text))
        }
    }
}

/// A string for C: what could end it early is left out.
pub(super) fn owned(text: &str) -> CString {
    let bytes: Vec<u8> = text.bytes().filter(|byte| *byte != 0).collect();
    CString::new(bytes).unwrap_or_default()
}

/// Gives `text` with its NUL to a buffer of `length` bytes, and the bytes needed to `need` when it is not
/// NULL. With a NULL buffer of length 0 only the length is asked for.
///
/// # Safety
/// `buffer` is NULL or has `length` bytes; `need` is NULL or can be written.
pub(super) unsafe fn give(
    text: &str,
    buffer: *mut c_char,
    length: usize,
    need: *mut usize,
) -> Result<(), Error> {
    let text = owned(text);
    let bytes = text.as_bytes_with_nul();
    if !need.is_null() {
        // SAFETY: the caller promises that `need` can be written.
        unsafe { need.write_unaligned(bytes.len()) };
    }
    if buffer.is_null() {
        return match (length, need.is_null()) {
            (0, false) => Ok(()),
            (0, true) => Err(Error::new(libc::EINVAL, "buffer and need are NULL")),
            _ => Err(Error::new(libc::EINVAL, format!("buffer is NULL, its length {length}"))),
        };
    }
    if bytes.len() > length {
        let text = format!("the buffer has {length} bytes, {} are needed", bytes.len());
        return Err(Error::new(libc::ERANGE, text));
    }
    // SAFETY: the buffer has `length` bytes, which is enough, and is not Rust's.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.cast(), bytes.len()) };
    Ok(())
}
