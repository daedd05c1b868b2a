//! Files that survive a restart: saved mode pages, registrations, the installation's identity.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::model::Error;
use crate::scsi::device::StateStore;

/// Longest file that is read back, in bytes.
const LIMIT: u64 = 16 << 20;

/// A directory of small files, each written whole or not at all.
pub struct DirectoryStore {
    directory: PathBuf,
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

/// A random number, for an installation that keeps nothing.
pub fn random_id() -> Result<u64, Error> {
    getrandom::u64().map_err(|error| Error::new(libc::EIO, format!("no random numbers: {error}")))
}

impl DirectoryStore {
    /// Makes the directory when it is missing, readable by its owner only.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|error| {
            Error::new(errno(&error), format!("state directory {}: {error}", directory.display()))
        })?;
        Ok(DirectoryStore { directory: directory.to_owned() })
    }

    /// The number of this installation: made once, at random.
    pub fn setup_id(&self) -> Result<u64, Error> {
        let kept = self.read("setup_id").and_then(|bytes| String::from_utf8(bytes).ok());
        if let Some(id) = kept.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()) {
            return Ok(id);
        }
        let id = random_id()?;
        self.write("setup_id", format!("{id:016x}\n").as_bytes()).map_err(|errno| {
            let error = io::Error::from_raw_os_error(errno);
            Error::new(errno, format!("state directory {}: {error}", self.directory.display()))
        })?;
        Ok(id)
    }

    fn read(&self, name: &str) -> Option<Vec<u8>> {
        let file = File::open(self.directory.join(name)).ok()?;
        let mut bytes = Vec::new();
        file.take(LIMIT).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Written beside, made durable, then put in place: a crash leaves the old file or the new one.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), i32> {
        let path = self.directory.join(name);
        let beside = self.directory.join(format!("{name}.new"));
        let written = || -> io::Result<()> {
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            File::open(&self.directory)?.sync_all()
        };
        written().map_err(|error| errno(&error))
    }

    fn remove(&self, name: &str) -> Result<(), i32> {
        match fs::remove_file(self.directory.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(errno(&error)),
            _ => File::open(&self.directory).and_then(|d| d.sync_all()).map_err(|error| errno(&error)),
        }
    }
}

/// Device names have no slash, so they are file names.
fn file_name(device: &str, kind: &str) -> String {
    format!("{kind}.{device}")
}

impl StateStore for DirectoryStore {
    fn save(&self, device: &str, kind: &str, bytes: &[u8]) -> Result<(), i32> {
        let name = file_name(device, kind);
        if bytes.is_empty() { self.remove(&name) } else { self.write(&name, bytes) }
    }

    fn load(&self, device: &str, kind: &str) -> Option<Vec<u8>> {
        self.read(&file_name(device, kind))
    }
}
