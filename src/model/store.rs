//! Files that survive a restart: saved mode pages, registrations, the installation's identity.
//!
//! A file is written whole beside the old one, made durable, put in place, and the directory is made durable:
//! whatever a crash cuts, the old file is there or the new one. What the directory can do is behind
//! [`Files`], so that a test can cut it at every step.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use crate::model::Error;
use crate::scsi::device::StateStore;
use crate::sys::map::{lock_alone, unlock};

/// Longest file that is read back, in bytes.
const LIMIT: u64 = 16 << 20;

/// What a directory of files can do. Names have no slash.
pub trait Files: Send + Sync {
    /// Everything that is in a file; `NotFound` when there is none.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
    /// Makes a file, readable by its owner only, or empties it, and fills it. A crash may leave any part.
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Gives a file the owner and group of the one that it will replace, and what these may do, where that is
    /// there and may be given; nobody else may do anything.
    fn inherit(&self, _name: &str, _from: &str) {}
    /// Makes what is in a file durable.
    fn sync(&self, name: &str) -> io::Result<()>;
    /// Gives a file another name, replacing the file of that name at once. A crash may undo it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file. A crash may undo it.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes renaming and removing durable.
    fn sync_names(&self) -> io::Result<()>;
    /// Where a file is, for people.
    fn place(&self, name: &str) -> String {
        name.to_owned()
    }
}

/// A directory of the file system.
pub struct Directory {
    path: PathBuf,
}

impl Files for Directory {
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(self.path.join(name))?.take(LIMIT + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > LIMIT {
            return Err(io::Error::from_raw_os_error(libc::EFBIG));
        }
        Ok(bytes)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        options.open(self.path.join(name))?.write_all(bytes)
    }

    fn inherit(&self, name: &str, from: &str) {
        let Ok(old) = fs::symlink_metadata(self.path.join(from)) else { return };
        let Ok(file) = File::open(self.path.join(name)) else { return };
        // Before the mode: a group that could not be given would let another one in.
        if old.is_file() && fchown(&file, Some(old.uid()), Some(old.gid())).is_ok() {
            let _ = file.set_permissions(Permissions::from_mode(old.mode() & 0o660 | 0o600));
        }
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        File::open(self.path.join(name))?.sync_all()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn place(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }
}

/// A directory that this instance alone keeps its state in, until this is dropped.
pub struct Ownership(File);

impl Ownership {
    /// Makes the directory if it is missing. EBUSY when another instance has it, in this process or another.
    pub fn take(directory: &Path) -> Result<Self, Error> {
        DirectoryStore::open(directory)?;
        let shown = directory.display();
        let opened = File::open(directory);
        let file =
            opened.map_err(|error| Error::new(errno(&error), format!("state directory {shown}: {error}")))?;
        match lock_alone(&file) {
            Err(libc::EWOULDBLOCK) => {
                let text = format!("state directory {shown} is in use by another instance");
                Err(Error::new(libc::EBUSY, text))
            }
            // Some file systems have no locks.
            _ => Ok(Ownership(file)),
        }
    }
}

impl Drop for Ownership {
    fn drop(&mut self) {
        unlock(&self.0);
    }
}

/// Small files, each written whole or not at all.
pub struct FileStore<F> {
    files: F,
}

/// Small files in a directory of the file system.
pub type DirectoryStore = FileStore<Directory>;

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
        Ok(DirectoryStore::within(directory))
    }

    /// Files in a directory that is there.
    pub fn within(directory: &Path) -> Self {
        FileStore { files: Directory { path: directory.to_owned() } }
    }
}

impl<F: Files> FileStore<F> {
    /// A store in these files.
    pub fn new(files: F) -> Self {
        FileStore { files }
    }

    /// The files.
    pub fn files(&self) -> &F {
        &self.files
    }

    /// The number of this installation: made once, at random.
    pub fn setup_id(&self) -> Result<u64, Error> {
        let wrong = |what: String| Error::new(libc::EIO, format!("setup_id in the state directory: {what}"));
        let kept = self.get("setup_id").map_err(|errno| wrong(text(errno)))?;
        if let Some(kept) = kept {
            let number = std::str::from_utf8(&kept).ok().and_then(|t| u64::from_str_radix(t.trim(), 16).ok());
            return number.ok_or_else(|| wrong("it is no hexadecimal number".to_owned()));
        }
        let id = random_id()?;
        self.write("setup_id", format!("{id:016x}\n").as_bytes()).map_err(|errno| wrong(text(errno)))?;
        Ok(id)
    }

    /// Everything in a file, if it is there. Errors are errno.
    pub fn get(&self, name: &str) -> Result<Option<Vec<u8>>, i32> {
        match self.files.read(name) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(errno(&error)),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), i32> {
        // No kind begins with a dot.
        self.write_beside(name, &format!(".{name}.new"), bytes)
    }

    /// Writes a file whole, or not at all, by way of a file of another name, which nobody else may use.
    /// Errors are errno.
    pub fn write_beside(&self, name: &str, beside: &str, bytes: &[u8]) -> Result<(), i32> {
        let written = || -> io::Result<()> {
            self.files.write(beside, bytes)?;
            self.files.inherit(beside, name);
            self.files.sync(beside)?;
            self.files.rename(beside, name)?;
            self.files.sync_names()
        };
        written().map_err(|error| {
            let _ = self.files.remove(beside);
            errno(&error)
        })
    }

    /// Writes a file whole, or not at all; without bytes it goes. Errors are errno.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<(), i32> {
        if bytes.is_empty() { self.remove(name) } else { self.write(name, bytes) }
    }

    fn remove(&self, name: &str) -> Result<(), i32> {
        match self.files.remove(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(errno(&error)),
            _ => self.files.sync_names().map_err(|error| errno(&error)),
        }
    }
}

fn text(errno: i32) -> String {
    io::Error::from_raw_os_error(errno).to_string()
}

/// Device names have no slash, so they are file names.
fn file_name(device: &str, kind: &str) -> String {
    format!("{kind}.{device}")
}

impl<F: Files> StateStore for FileStore<F> {
    fn save(&self, device: &str, kind: &str, bytes: &[u8]) -> Result<(), i32> {
        self.put(&file_name(device, kind), bytes)
    }

    fn load(&self, device: &str, kind: &str) -> Result<Option<Vec<u8>>, i32> {
        self.get(&file_name(device, kind))
    }

    fn place(&self, device: &str, kind: &str) -> String {
        self.files.place(&file_name(device, kind))
    }
}
