//! What handlers log: `tcmu_err_message(dev, function, line, format, ...)` and its kin.
//!
//! Rust cannot define a function that takes any number of arguments. On x86-64 a few instructions put the
//! registers where a `va_list` has them (System V psABI, 3.5.7), and the C library makes the text. Elsewhere,
//! and with a compiler before 1.88, the format is logged as it is.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_void};

use log::{Level, log};

use crate::backstore::tcmu::device::Device;
use crate::sys::thread::on_behalf_of;

/// Longest line in bytes.
const LINE_BYTES: usize = 1024;

/// Most complaints that are told with a device that cannot be opened.
const COMPLAINTS: usize = 4;

/// A device that is being opened: handlers do not always say of which device they speak.
struct Opening {
    label: String,
    complaints: Vec<String>,
}

thread_local! {
    static OPENING: RefCell<Option<Opening>> = const { RefCell::new(None) };
}

/// Opens a device; answers besides what the handler has complained of on this thread.
pub(super) fn listening<T>(label: &str, open: impl FnOnce() -> T) -> (T, Vec<String>) {
    OPENING.set(Some(Opening { label: label.to_owned(), complaints: Vec::new() }));
    let result = open();
    (result, OPENING.take().map_or(Vec::new(), |opening| opening.complaints))
}

/// Notes an error that a handler speaks of while it opens a device; answers the device.
fn overheard(level: Level, text: &str) -> Option<String> {
    OPENING.with_borrow_mut(|opening| {
        let opening = opening.as_mut()?;
        if level == Level::Error && opening.complaints.len() < COMPLAINTS {
            opening.complaints.push(text.to_owned());
        }
        Some(opening.label.clone())
    })
}

unsafe extern "C" {
    fn vsnprintf(text: *mut c_char, size: usize, format: *const c_char, arguments: *mut c_void) -> c_int;
}

fn text(format: *const c_char, arguments: *mut c_void) -> String {
    if format.is_null() {
        return String::new();
    }
    let mut line: [c_char; LINE_BYTES] = [0; LINE_BYTES];
    let made = if arguments.is_null() {
        format
    } else {
        // SAFETY: the room is there; the handler vouches for format and arguments.
        unsafe { vsnprintf(line.as_mut_ptr(), LINE_BYTES, format, arguments) };
        line.as_ptr()
    };
    // SAFETY: a string, the handler's own or the one just made.
    let made = unsafe { CStr::from_ptr(made) };
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    made.to_string_lossy().trim_end().chars().take(LINE_BYTES).map(printable).collect()
}

/// Takes a line. It must not unwind: the caller is C.
///
/// # Safety
/// As the handler vouches: a device or NULL, two strings, a list of arguments that fits the format or NULL.
unsafe extern "C" fn receive(
    dev: *mut Device,
    function: *const c_char,
    _line: c_int,
    format: *const c_char,
    arguments: *mut c_void,
    level: c_int,
) {
    let level = match level {
        0 | 1 => Level::Error,
        2 => Level::Warn,
        3 => Level::Info,
        _ => Level::Debug,
    };
    if level > log::max_level() && level > Level::Warn {
        return;
    }
    let text = text(format, arguments);
    let opened = overheard(level, &text);
    // SAFETY: a device that is open, or NULL.
    let device = unsafe { dev.as_ref() };
    let write = |label: &str| {
        // SAFETY: not NULL, so the handler vouches for the string.
        let function = (!function.is_null()).then(|| unsafe { CStr::from_ptr(function) }.to_string_lossy());
        let function = function.unwrap_or_default();
        let _ = std::panic::catch_unwind(|| log!(level, "{label}: {function}: {text}"));
    };
    match device {
        Some(device) => on_behalf_of(device.owner, || write(&device.label)),
        None => write(opened.as_deref().unwrap_or("tcmu")),
    }
}

#[cfg(all(target_arch = "x86_64", scstu_naked))]
macro_rules! message {
    ($name:ident $level:literal) => {
        /// Variadic in C. The first four arguments stay in their registers.
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        pub(super) unsafe extern "C" fn $name(
            _dev: *mut Device,
            _function: *const c_char,
            _line: c_int,
            _format: *const c_char,
        ) {
            std::arch::naked_asm!(
                "push rbp",
                "mov rbp, rsp",
                // 176 bytes of registers, 24 of va_list, and 8 to keep the stack aligned.
                "sub rsp, 208",
                "mov [rsp], rdi",
                "mov [rsp + 8], rsi",
                "mov [rsp + 16], rdx",
                "mov [rsp + 24], rcx",
                "mov [rsp + 32], r8",
                "mov [rsp + 40], r9",
                // AL: an upper bound of the vector registers that are used.
                "test al, al",
                "je 2f",
                "movaps [rsp + 48], xmm0",
                "movaps [rsp + 64], xmm1",
                "movaps [rsp + 80], xmm2",
                "movaps [rsp + 96], xmm3",
                "movaps [rsp + 112], xmm4",
                "movaps [rsp + 128], xmm5",
                "movaps [rsp + 144], xmm6",
                "movaps [rsp + 160], xmm7",
                "2:",
                // gp_offset: four named arguments; fp_offset: behind the six registers for numbers.
                "mov dword ptr [rsp + 176], 32",
                "mov dword ptr [rsp + 180], 48",
                // overflow_arg_area: behind the saved frame pointer and the return address.
                "lea rax, [rbp + 16]",
                "mov [rsp + 184], rax",
                "mov [rsp + 192], rsp",
                "lea r8, [rsp + 176]",
                concat!("mov r9d, ", $level),
                "call {receive}",
                "leave",
                "ret",
                receive = sym receive,
            )
        }
    };
}

#[cfg(not(all(target_arch = "x86_64", scstu_naked)))]
macro_rules! message {
    ($name:ident $level:literal) => {
        /// Variadic in C. On the machines that this is for, arguments that are not asked for do no harm.
        #[unsafe(no_mangle)]
        pub(super) unsafe extern "C" fn $name(
            dev: *mut Device,
            function: *const c_char,
            line: c_int,
            format: *const c_char,
        ) {
            // SAFETY: the handler vouches for them.
            unsafe { receive(dev, function, line, format, std::ptr::null_mut(), $level) };
        }
    };
}

message!(tcmu_crit_message 0);
message!(tcmu_err_message 1);
message!(tcmu_warn_message 2);
message!(tcmu_info_message 3);
message!(tcmu_dbg_message 4);
