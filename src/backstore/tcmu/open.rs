//! Opening a device of a handler: its configuration string, its size, what the handler makes of it.

use std::ffi::{CStr, CString};
use std::path::Path;
use std::ptr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use crate::backstore::Geometry;
use crate::backstore::registry::{InUse, OpenError, OpenRequest, Opened};
use crate::backstore::tcmu::claim::claim;
use crate::backstore::tcmu::device::{NewDevice, Pointer};
use crate::backstore::tcmu::library::Kind;
use crate::backstore::tcmu::store::{Cache, Store};
use crate::backstore::tcmu::{image, message};
use crate::sys::thread::without_signals;

/// Handlers cut their strings with strtok(), which has one state for the process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// An option that is for tcmu-runner and not for its handlers.
const RUNNERS_OWN: &str = "tcmur_cmd_time_out=";

/// What file_optical has before the path of a file that it does not write.
const READ_ONLY: &str = "ro/";

fn invalid(text: impl Into<String>) -> OpenError {
    OpenError::new(libc::EINVAL, text)
}

/// The string without tcmu-runner's own options.
fn handlers_own(text: &str) -> String {
    let (first, rest) = text.split_once(';').map_or((text, None), |(first, rest)| (first, Some(rest)));
    let options = rest.into_iter().flat_map(|rest| rest.split(';'));
    let kept = options.filter(|option| !option.starts_with(RUNNERS_OWN));
    std::iter::once(first).chain(kept).collect::<Vec<_>>().join(";")
}

/// The file that a configuration string names, where it names one: behind the options that file_zbc has
/// before an @, or behind file_optical's `ro/`.
fn file_of(text: &str) -> Option<&Path> {
    let options = text.split_once('@').filter(|_| !text.starts_with('/'));
    let behind = options.map_or(text, |(_, path)| path);
    let behind = behind.strip_prefix(READ_ONLY).unwrap_or(behind);
    behind.starts_with('/').then(|| Path::new(behind))
}

fn bytes(kind: &Kind, request: &OpenRequest, text: &str, block_size: u32) -> Result<u64, OpenError> {
    let Some(size) = request.size.or_else(|| file_of(text).and_then(image::size)) else {
        let name = kind.name();
        return Err(invalid(format!("size is missing: {name} does not tell how large {text} is")));
    };
    // What only takes commands has blocks of its own choice, and may begin empty.
    let has_blocks = kind.handler().read.is_some();
    if has_blocks && (size == 0 || size % u64::from(block_size) != 0) {
        return Err(invalid(format!("size {size} is not a positive multiple of blocksize {block_size}")));
    }
    Ok(size)
}

/// Asks the handler whether the string is right, if it has an opinion.
fn check(kind: &Kind, cfgstring: &CStr) -> Result<(), OpenError> {
    let Some(check_config) = kind.handler().check_config else { return Ok(()) };
    let mut reason = ptr::null_mut();
    // SAFETY: the handler gave the function; string and place live until it returns.
    let is_good = unsafe { check_config(cfgstring.as_ptr(), &raw mut reason) };
    let mut text = String::new();
    if !reason.is_null() {
        // SAFETY: a string that the handler has made.
        text = format!(": {}", unsafe { CStr::from_ptr(reason) }.to_string_lossy());
        // SAFETY: it was made with malloc() for us to free.
        unsafe { libc::free(reason.cast()) };
    }
    if is_good {
        return Ok(());
    }
    Err(invalid(format!("cfgstring: {} refuses it{text}", kind.name())))
}

/// Has the handler open a device, which is freed if it does not.
fn attempt(kind: &Kind, device: Pointer, text: &str) -> Result<(), OpenError> {
    let open = kind.handler().open.ok_or_else(|| invalid("it has no open"))?;
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: it lives until it is freed below, or its store is gone.
    let label = unsafe { device.get() }.label.clone();
    let (result, complaints) = message::listening(&label, || {
        // SAFETY: the handler gave the function; the device lives until it is closed.
        without_signals(|| unsafe { open(device.raw(), false) })
    });
    if result == 0 {
        return Ok(());
    }
    // A handler that has failed must not be told to close: it has forgotten the device already.
    // SAFETY: it has never been open.
    unsafe { device.free() };
    let errno = if result < 0 { result.saturating_neg() } else { libc::EIO };
    let why = std::io::Error::from_raw_os_error(errno);
    let words =
        if complaints.is_empty() { String::new() } else { format!("; it says: {}", complaints.join("; ")) };
    Err(OpenError::new(errno, format!("{} does not open {text}: {why}{words}", kind.name())))
}

/// What the handler has made of the numbers that it was given.
fn shape(kind: &Kind, device: Pointer) -> Result<Geometry, String> {
    // SAFETY: it is open.
    let own = unsafe { device.get() };
    let (block_size, blocks) = (own.block_size.load(Ordering::Relaxed), own.blocks.load(Ordering::Relaxed));
    if !matches!(block_size, 512 | 1024 | 2048 | 4096) {
        return Err(format!("blocks of {block_size} bytes: 512, 1024, 2048 or 4096 are possible"));
    }
    if blocks == 0 && kind.handler().read.is_some() || blocks.checked_mul(block_size.into()).is_none() {
        return Err(format!("{blocks} blocks of {block_size} bytes"));
    }
    let bytes = |blocks: u32| blocks.checked_mul(block_size).unwrap_or(0);
    let can_unmap = own.can_unmap.load(Ordering::Relaxed) && kind.handler().unmap.is_some();
    // Without a word of the handler's there is no granularity but the block.
    let granularity = own.unmap_granularity.load(Ordering::Relaxed);
    let is_own = !own.splits_unmap.load(Ordering::Relaxed);
    Ok(Geometry {
        block_size,
        blocks,
        physical_block_exponent: 0,
        optimal_transfer_bytes: 0,
        unmap_granularity_bytes: match (can_unmap, is_own) {
            (false, _) => 0,
            (true, true) => bytes(granularity).max(block_size),
            (true, false) => block_size,
        },
        unmap_alignment_bytes: bytes(own.unmap_alignment.load(Ordering::Relaxed)),
    })
}

/// Of what a handler is to open it alone can say something, and may make or change it meanwhile: also when it
/// is asked whether the string is right.
pub(super) fn look(request: &OpenRequest) -> Result<(), OpenError> {
    if handlers_own(&request.cfgstring).is_empty() {
        return Err(invalid("cfgstring is missing"));
    }
    block_size(request).map(drop)
}

fn block_size(request: &OpenRequest) -> Result<u32, OpenError> {
    match request.blocksize.unwrap_or(512) {
        size @ (512 | 1024 | 2048 | 4096) => Ok(size),
        size => Err(invalid(format!("blocksize {size} is not 512, 1024, 2048 or 4096"))),
    }
}

/// Opens a device, which keeps `in_use` until it is closed.
pub(super) fn open(kind: &Arc<Kind>, request: &OpenRequest, in_use: Option<InUse>) -> Opened {
    let text = handlers_own(&request.cfgstring);
    if text.is_empty() {
        let wanted = kind.help();
        return Err(invalid(format!("cfgstring is missing: what is behind {}/ in {wanted}", kind.subtype())));
    }
    let block_size = block_size(request)?;
    let cfgstring = CString::new(format!("{}/{text}", kind.subtype()))
        .map_err(|_| invalid("cfgstring has a NUL in it"))?;
    let is_read_only = request.read_only || text.starts_with(READ_ONLY);
    let claim = file_of(&text).map_or(Ok(None), |file| claim(file, &request.device, is_read_only))?;
    // It is given back when the device is closed, as that is.
    let in_use = if claim.is_some() { Some(Arc::new((claim, in_use)) as InUse) } else { in_use };
    let bytes = bytes(kind, request, &text, block_size)?;
    check(kind, &cfgstring)?;
    let file = file_of(&text).filter(|_| kind.subtype() == "qcow");
    if let Some(danger) = file.and_then(|file| image::danger(file, !request.read_only)) {
        let way_out = "tcmu_qcow is not for it; convert it with qemu-img";
        return Err(invalid(format!(
            "{text}: {danger}; {way_out}, or give read_only 1 if only writes harm it"
        )));
    }
    let device = Pointer::new(NewDevice {
        name: request.device.clone(),
        label: format!("{} {}", kind.name(), request.device),
        cfgstring,
        serial: CString::new(request.serial.as_str()).unwrap_or_default(),
        bytes,
        block_size,
        can_unmap: kind.handler().unmap.is_some() && request.thin_provisioned != Some(false),
    });
    attempt(kind, device, &text)?;
    let shape = shape(kind, device);
    let cache = Cache { write_through: request.write_through, non_volatile: request.nv_cache };
    let none = Geometry::plain(512, 0);
    // Made in any case: dropping it closes the device.
    let store = Store::new(Arc::clone(kind), device, shape.clone().unwrap_or(none), cache, in_use);
    let what = |what: String| invalid(format!("{} has opened a device with {what}", kind.name()));
    let shape = shape.map_err(what)?;
    if let Some(file) = file_of(&text).filter(|_| kind.handler().read.is_none()) {
        let short = |error| invalid(format!("{} is shorter than the device: {error}", file.display()));
        image::fill_up(file, shape.bytes()).map_err(short)?;
    }
    Ok(Some(store))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_tcmu_runner_are_not_for_the_handler() {
        for (given, left) in [
            ("/a/b", "/a/b"),
            ("pool/image;conf=/c;tcmur_cmd_time_out=5;id=x", "pool/image;conf=/c;id=x"),
            ("pool/image;tcmur_cmd_time_out=5", "pool/image"),
            ("", ""),
        ] {
            assert_eq!(handlers_own(given), left);
        }
    }

    #[test]
    fn a_file_is_found_in_the_strings_of_all_handlers() {
        for (text, path) in [
            ("/a/b", Some("/a/b")),
            ("ro//a", Some("/a")),
            ("model-HM/lba-512@/z", Some("/z")),
            ("/z@/y", Some("/z@/y")),
            ("pool/image;conf=/c", None),
        ] {
            assert_eq!(file_of(text), path.map(Path::new), "{text}");
        }
    }
}
