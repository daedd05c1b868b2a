//! Where the state of one device is kept: in the state directory, and its reservations in a file of the
//! administrator's choice (`pr_file_name`, SCST 5.8.2).

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::attr::Error;
use crate::model::store::DirectoryStore;
use crate::scsi::device::StateStore;
use crate::scsi::ops::persistent::SAVED_AS;

/// The store of one device.
pub(super) struct Kept {
    common: Arc<dyn StateStore>,
    /// File of the reservations; `None` for the state directory.
    reservations: Mutex<Option<PathBuf>>,
}

/// The directory of a file, and its name there.
fn parts(path: &Path) -> Option<(&Path, &str)> {
    Some((path.parent()?, path.file_name()?.to_str()?))
}

/// A path that reservations may be kept at: absolute.
pub(super) fn path(text: &str) -> Result<PathBuf, Error> {
    let path = PathBuf::from(text);
    if parts(&path).is_some() && path.is_absolute() && !text.ends_with('/') {
        return Ok(path);
    }
    Err(Error::invalid(format!("\"{text}\" is not an absolute path of a file")))
}

/// Refuses one in a directory that is not there, and what is no file: it would be replaced by one.
pub(super) fn check(path: &Path) -> Result<(), Error> {
    match parts(path) {
        Some((folder, _)) if !folder.is_dir() => {
            Err(Error::new(libc::ENOENT, format!("there is no directory {}", folder.display())))
        }
        _ if std::fs::metadata(path).is_ok_and(|there| !there.is_file()) => {
            Err(Error::invalid(format!("{} is no file", path.display())))
        }
        _ => Ok(()),
    }
}

impl Kept {
    pub(super) fn new(common: &Arc<dyn StateStore>) -> Arc<Self> {
        Arc::new(Kept { common: Arc::clone(common), reservations: Mutex::default() })
    }

    /// Has reservations kept in another file from now on; answers where they were.
    pub(super) fn keep_in(&self, path: Option<PathBuf>) -> Option<PathBuf> {
        std::mem::replace(&mut self.reservations.lock().unwrap_or_else(PoisonError::into_inner), path)
    }

    fn path(&self, kind: &str) -> Option<PathBuf> {
        let own = self.reservations.lock().unwrap_or_else(PoisonError::into_inner);
        own.clone().filter(|_| kind == SAVED_AS)
    }
}

impl StateStore for Kept {
    fn save(&self, device: &str, kind: &str, bytes: &[u8]) -> Result<(), i32> {
        let Some(path) = self.path(kind) else { return self.common.save(device, kind, bytes) };
        let (folder, name) = parts(&path).ok_or(libc::EINVAL)?;
        DirectoryStore::within(folder).put(name, bytes)
    }

    fn load(&self, device: &str, kind: &str) -> Result<Option<Vec<u8>>, i32> {
        let Some(path) = self.path(kind) else { return self.common.load(device, kind) };
        let (folder, name) = parts(&path).ok_or(libc::EINVAL)?;
        DirectoryStore::within(folder).get(name)
    }

    fn place(&self, device: &str, kind: &str) -> String {
        match self.path(kind) {
            Some(path) => path.display().to_string(),
            None => self.common.place(device, kind),
        }
    }
}
