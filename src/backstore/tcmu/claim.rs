//! Image files that are open: handlers keep what they know of one in memory, so a second device on it would
//! write over what the first has changed.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::backstore::registry::OpenError;

/// How long is waited for a device that may be about to close: its last command may still be on its way out
/// of the handler.
const CLOSING: Duration = Duration::from_secs(1);

/// A device that has an image open.
struct Holder {
    path: PathBuf,
    device: String,
    is_read_only: bool,
}

/// All of the process, whatever their handlers.
static HOLDERS: Mutex<Vec<Holder>> = Mutex::new(Vec::new());
static GIVEN_BACK: Condvar = Condvar::new();

fn holders() -> MutexGuard<'static, Vec<Holder>> {
    HOLDERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The right to have an image open, until this is dropped.
pub(super) struct Claim {
    path: PathBuf,
    device: String,
}

/// The image at a path without symbolic links; also of one that is still to be made. `None` for what is
/// neither a file nor a block device.
fn image(path: &Path) -> Option<PathBuf> {
    let Ok(path) = path.canonicalize() else {
        return Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?));
    };
    let kind = fs::metadata(&path).ok()?.file_type();
    (kind.is_file() || kind.is_block_device()).then_some(path)
}

/// Lets a device have an image, which others may have too only where none of them writes.
pub(super) fn claim(path: &Path, device: &str, is_read_only: bool) -> Result<Option<Claim>, OpenError> {
    let Some(path) = image(path) else { return Ok(None) };
    let is_in_the_way = |holder: &Holder| holder.path == path && !(holder.is_read_only && is_read_only);
    let waited =
        GIVEN_BACK.wait_timeout_while(holders(), CLOSING, |holders| holders.iter().any(is_in_the_way));
    let (mut holders, _) = waited.unwrap_or_else(PoisonError::into_inner);
    if let Some(other) = holders.iter().find(|holder| is_in_the_way(holder)) {
        let text = format!(
            "{}: device {} has it open; two devices have one image only if both are read_only",
            path.display(),
            other.device
        );
        return Err(OpenError::new(libc::EBUSY, text));
    }
    holders.push(Holder { path: path.clone(), device: device.to_owned(), is_read_only });
    Ok(Some(Claim { path, device: device.to_owned() }))
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut holders = holders();
        // Of several all are read-only, and one is as good as another.
        let own = holders.iter().position(|holder| holder.path == self.path && holder.device == self.device);
        if let Some(own) = own {
            holders.swap_remove(own);
        }
        GIVEN_BACK.notify_all();
    }
}
