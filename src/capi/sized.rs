//! Structs that grow at their end. The program says how long its own is; what it does not have is zero, what
//! the library does not know must be.

use crate::model::Error;

/// Longest struct that a program can mean, in bytes.
const LONGEST: usize = 1 << 16;

/// A struct that grows.
///
/// # Safety
/// The type is `#[repr(C)]`, its first field is its size as `usize`, and all zeros are a valid value of it.
pub(super) unsafe trait Growing: Copy {
    /// Name in the header.
    const NAME: &'static str;
    /// Bytes that every program has: what the struct cannot do without.
    const FIRST: usize;
}

/// The size that the program has put into the struct.
///
/// # Safety
/// `pointer` is NULL, misaligned, or points to at least a `usize`.
unsafe fn size_of<T: Growing>(pointer: *const T) -> Result<usize, Error> {
    let name = T::NAME;
    if pointer.is_null() {
        return Err(Error::new(libc::EINVAL, format!("struct {name} is NULL")));
    }
    if !pointer.is_aligned() {
        return Err(Error::new(libc::EINVAL, format!("struct {name} is not aligned")));
    }
    // SAFETY: not NULL and aligned, so the caller promises a `usize` there.
    let size = unsafe { pointer.cast::<usize>().read() };
    // A size that is no multiple of the alignment is no sizeof, and could end within a pointer.
    if size < T::FIRST || size > LONGEST || size % align_of::<T>() != 0 {
        let text = format!(
            "struct {name} says that it has {size} bytes; its size must be sizeof, at least {}",
            T::FIRST
        );
        return Err(Error::new(libc::EINVAL, text));
    }
    Ok(size)
}

/// Takes a struct that the program has filled.
///
/// # Safety
/// `pointer` is NULL, misaligned, or points to as many initialised bytes as the struct's size says.
pub(super) unsafe fn take<T: Growing>(pointer: *const T) -> Result<T, Error> {
    // SAFETY: as the caller promises.
    let size = unsafe { size_of(pointer) }?;
    let known = std::mem::size_of::<T>();
    for at in known..size {
        let byte = pointer.cast::<u8>().wrapping_add(at);
        // SAFETY: `at` is below the size that the caller vouches for.
        if unsafe { byte.read() } != 0 {
            let text = format!(
                "struct {} has {size} bytes; this library knows {known}, and byte {at} is not zero",
                T::NAME
            );
            return Err(Error::new(libc::E2BIG, text));
        }
    }
    let mut value = std::mem::MaybeUninit::<T>::zeroed();
    // SAFETY: both have as many bytes, and `value` is our own.
    unsafe {
        std::ptr::copy_nonoverlapping(pointer.cast::<u8>(), value.as_mut_ptr().cast::<u8>(), size.min(known));
    }
    // SAFETY: all zeros are valid, and so is what the program has filled: numbers, pointers, functions.
    Ok(unsafe { value.assume_init() })
}

/// Fills a struct of the program; its size stays as it is, what the library does not know becomes zero.
///
/// # Safety
/// `pointer` is NULL, misaligned, or points to as many bytes as the struct's size says.
pub(super) unsafe fn put<T: Growing>(pointer: *mut T, value: &T) -> Result<(), Error> {
    // SAFETY: as the caller promises.
    let size = unsafe { size_of(pointer) }?;
    let head = std::mem::size_of::<usize>();
    let from = std::ptr::from_ref(value).cast::<u8>().wrapping_add(head);
    let to = pointer.cast::<u8>().wrapping_add(head);
    let known = std::mem::size_of::<T>().min(size);
    // SAFETY: the program's struct has `size` bytes.
    unsafe { std::ptr::write_bytes(to, 0, size - head) };
    // SAFETY: both have `known` bytes and do not overlap.
    unsafe { std::ptr::copy_nonoverlapping(from, to, known - head) };
    Ok(())
}
