//! Memory that a file backs (vdisk_ram with `filename`): as fast as memory where the file is in memory, and
//! there again after the daemon was ended or killed. After a power loss there is what was flushed.
//!
//! All blocks are allocated when it is opened, so that no write runs out of space, and the file is locked:
//! two processes would not see each other's ordering.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::backstore::registry::OpenError;
use crate::backstore::{Backstore, BlockError, Capabilities, Geometry, piece};
use crate::sys::file::{is_memory, may_make, may_open};
use crate::sys::map::{Alone, SharedMap, reserve};

/// A disk in a mapped file.
pub struct MappedStore {
    map: SharedMap,
    block_size: u32,
    capabilities: Capabilities,
    failed: AtomicBool,
    /// Kept for its lock, which goes last.
    _alone: Alone,
}

impl MappedStore {
    /// Opens `path`, and makes it `bytes` long if it is shorter or not there. Without `bytes` all of it is
    /// served.
    pub fn open(path: &Path, block_size: u32, bytes: Option<u64>) -> Result<Self, OpenError> {
        let shown = path.display();
        let wrong = |errno: i32, what: &str| {
            let error = std::io::Error::from_raw_os_error(errno);
            OpenError::new(errno, format!("{shown}: {what}: {error}"))
        };
        let io = |error: &std::io::Error| error.raw_os_error().unwrap_or(libc::EIO);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(bytes.is_some()).truncate(false).mode(0o600);
        let file = options.open(path).map_err(|error| wrong(io(&error), "cannot be opened"))?;
        let metadata = file.metadata().map_err(|error| wrong(io(&error), "cannot be read"))?;
        if !metadata.is_file() {
            return Err(OpenError::new(libc::EINVAL, format!("{shown} is no regular file")));
        }
        let alone = Alone::lock(file).map_err(|errno| match errno {
            libc::EWOULDBLOCK => {
                let what = "in use by another process, or by another device of this one";
                OpenError::new(libc::EBUSY, format!("{shown}: {what}"))
            }
            errno => wrong(errno, "cannot be locked"),
        })?;
        let bytes = bytes.unwrap_or(metadata.len());
        let length = length(path, block_size, bytes)?;
        let file = alone.file();
        reserve(file, length as u64).map_err(|errno| wrong(errno, "its blocks cannot be allocated"))?;
        let map = SharedMap::new(file, length).map_err(|errno| wrong(errno, "cannot be mapped"))?;
        let capabilities = if is_memory(file) { Capabilities::NEVER_BLOCKS } else { Capabilities::NONE };
        let capabilities = capabilities.with(Capabilities::VOLATILE_CACHE).with(Capabilities::WRITE_ZEROES);
        Ok(MappedStore { map, block_size, capabilities, failed: AtomicBool::new(false), _alone: alone })
    }

    /// What can be said of `path` from outside: whether it may be used, or made.
    pub fn look(path: &Path, block_size: u32, bytes: Option<u64>) -> Result<(), OpenError> {
        let shown = path.display();
        let cannot = |errno: i32| {
            let error = std::io::Error::from_raw_os_error(errno);
            OpenError::new(errno, format!("{shown}: cannot be opened: {error}"))
        };
        match std::fs::metadata(path) {
            Ok(metadata) => {
                if !metadata.is_file() {
                    return Err(OpenError::new(libc::EINVAL, format!("{shown} is no regular file")));
                }
                may_open(path, true).map_err(cannot)?;
                length(path, block_size, bytes.unwrap_or(metadata.len())).map(drop)
            }
            Err(error) if error.kind() == ErrorKind::NotFound && bytes.is_some() => {
                let folder = path.parent().unwrap_or(path);
                may_make(folder).map_err(cannot)?;
                length(path, block_size, bytes.unwrap_or(0)).map(drop)
            }
            Err(error) => Err(cannot(error.raw_os_error().unwrap_or(libc::EIO))),
        }
    }

    fn usable(&self) -> Result<(), BlockError> {
        if self.failed.load(Ordering::Acquire) { Err(BlockError::Gone) } else { Ok(()) }
    }

    fn sync(&self, at: usize, length: usize) -> Result<(), BlockError> {
        self.map.sync(at, length).map_err(|errno| {
            self.failed.store(true, Ordering::Release);
            log::error!(
                "flush failed: {}; the store is failed until it is opened again",
                BlockError::Io(errno)
            );
            BlockError::Io(errno)
        })
    }
}

/// Bytes that are mapped: whole blocks.
fn length(path: &Path, block_size: u32, bytes: u64) -> Result<usize, OpenError> {
    let bytes = bytes - bytes % u64::from(block_size);
    usize::try_from(bytes).ok().filter(|length| *length > 0).ok_or_else(|| {
        let text = format!("{}: {bytes} bytes cannot be mapped: give `size`", path.display());
        OpenError::new(libc::EINVAL, text)
    })
}

fn place(offset: u64) -> Result<usize, BlockError> {
    usize::try_from(offset).map_err(|_| BlockError::OutOfRange)
}

impl Backstore for MappedStore {
    fn geometry(&self) -> Geometry {
        Geometry::plain(self.block_size, self.map.len() as u64 / u64::from(self.block_size))
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        self.usable()?;
        let at = place(offset)?;
        piece::each(into.len(), |part| {
            self.map.read(at + part.start, &mut into[part]).map_err(BlockError::Io)
        })
    }

    fn write(&self, offset: u64, from: &[u8], durable: bool) -> Result<(), BlockError> {
        self.usable()?;
        let at = place(offset)?;
        piece::each(from.len(), |part| self.map.write(at + part.start, &from[part]).map_err(BlockError::Io))?;
        if durable { self.sync(at, from.len()) } else { Ok(()) }
    }

    fn flush(&self) -> Result<(), BlockError> {
        self.usable()?;
        self.sync(0, self.map.len())
    }

    fn write_zeroes(&self, offset: u64, length: u64, _may_unmap: bool) -> Result<(), BlockError> {
        self.usable()?;
        self.map.clear(place(offset)?, place(length)?).map_err(BlockError::Io)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_free_when_its_store_is_gone_though_a_child_has_it_open() {
        let path = std::env::temp_dir().join(format!("scstu-alone-{}", std::process::id()));
        let open = || MappedStore::open(&path, 512, Some(1 << 20));
        let store = open().unwrap();
        // As a child has it between fork(2) and execve(2).
        let theirs = store._alone.file().try_clone().unwrap();
        assert_eq!(open().err().unwrap().errno, libc::EBUSY);
        drop(store);
        assert!(open().is_ok());
        drop(theirs);
        std::fs::remove_file(&path).unwrap();
    }
}
