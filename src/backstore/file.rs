//! A file or block device (vdisk_fileio through the page cache, vdisk_blockio past it), and the medium of a
//! CD drive.
//!
//! What is promised is what is done: a durable write or a flush that returned is on stable storage; after a
//! failed flush the page cache may have dropped what was dirty, so the store is failed until it is opened
//! again, and says so.

use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use log::warn;

use crate::backstore::direct;
use crate::backstore::registry::OpenError;
use crate::backstore::{Backstore, BlockError, Capabilities, Geometry, Provisioning, Space, piece};
use crate::sys::AlignedMemory;
use crate::sys::file::{self, Allocate, Discard};
use crate::sys::pipe::Pipe;

/// Largest unit of allocation of a file system that is believed; network file systems tell of transfers.
const LARGEST_UNIT: u32 = 128 << 10;

/// How to open it.
#[derive(Clone, Copy, Debug)]
pub struct FileOptions {
    /// Logical block length in bytes.
    pub block_size: u32,
    /// Size in bytes, where the file has none of its own or less is to be served.
    pub bytes: Option<u64>,
    /// Refuse writes.
    pub read_only: bool,
    /// Every write is durable.
    pub write_through: bool,
    /// The cache counts as non-volatile: FUA and SYNCHRONIZE CACHE do not flush (SCST's `nv_cache`).
    pub nv_cache: bool,
    /// Past the page cache.
    pub direct: bool,
    /// Pages of the page cache may be lent (SCST's `zero_copy`).
    pub zero_copy: bool,
    /// Offer to free blocks; `None` finds out whether it can.
    pub thin: Option<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Regular,
    Block,
    /// /dev/zero and the like: reads zeros, forgets writes, has no size.
    Character,
}

impl Kind {
    fn of(path: &Path, metadata: &Metadata) -> Result<Self, OpenError> {
        let own = metadata.file_type();
        if own.is_block_device() {
            Ok(Kind::Block)
        } else if own.is_char_device() {
            Ok(Kind::Character)
        } else if own.is_file() {
            Ok(Kind::Regular)
        } else {
            let text = format!("{} is neither a file nor a block device", path.display());
            Err(OpenError::new(libc::EINVAL, text))
        }
    }
}

/// A file or device that is open.
pub struct FileStore {
    file: File,
    kind: Kind,
    options: FileOptions,
    bytes: AtomicU64,
    physical: u32,
    alignment: usize,
    /// What is freed together, and where the first such unit begins, in bytes.
    unit: Discard,
    capabilities: Capabilities,
    failed: AtomicBool,
    /// Read-modify-write of partial device blocks, one at a time.
    partial: Mutex<()>,
}

fn block_error(errno: i32) -> BlockError {
    match errno {
        libc::ENOSPC | libc::EDQUOT | libc::EFBIG => BlockError::NoSpace,
        libc::EROFS | libc::EPERM | libc::EACCES => BlockError::ReadOnly,
        libc::EOPNOTSUPP | libc::ENOSYS => BlockError::Unsupported,
        other => BlockError::Io(other),
    }
}

impl FileStore {
    /// Opens `path`.
    pub fn open(path: &Path, options: FileOptions) -> Result<Self, OpenError> {
        let shown = path.display();
        let io = |error: std::io::Error| {
            let words = direct::unavailable(path, &error).filter(|_| options.direct);
            words.unwrap_or_else(|| OpenError::io(path, &error))
        };
        let mut open = OpenOptions::new();
        open.read(true).write(!options.read_only);
        if options.direct {
            open.custom_flags(libc::O_DIRECT);
        }
        let file = open.open(path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        let kind = Kind::of(path, &metadata)?;
        let (size, logical, physical) = match kind {
            Kind::Block => file::block_device(&file)
                .map_err(|errno| OpenError::new(errno, format!("{shown}: cannot read its size")))?,
            Kind::Character => (u64::MAX, 1, options.block_size),
            Kind::Regular => (metadata.len(), 1, 4096),
        };
        let bytes = Self::size(path, &options, kind, size)?;
        if options.bytes.is_none() && bytes < size {
            let (left, block) = (size - bytes, options.block_size);
            warn!("{shown}: its last {left} bytes are no block of {block} and cannot be reached");
        }
        if kind == Kind::Block && options.block_size < logical {
            let text = format!("{shown}: blocksize {} is below the device's {logical}", options.block_size);
            return Err(OpenError::new(libc::EINVAL, text));
        }
        let alignment = match kind {
            _ if !options.direct => 1,
            Kind::Regular => direct::alignment(&file).ok_or_else(|| {
                let text =
                    format!("{shown}: no read of up to 4096 bytes suits its file system with O_DIRECT");
                OpenError::new(libc::EINVAL, text)
            })?,
            Kind::Block | Kind::Character => (logical.max(512)) as usize,
        };
        if kind == Kind::Regular && bytes.next_multiple_of(alignment as u64) > size {
            let text = format!(
                "{shown}: its file system takes multiples of {alignment} bytes with O_DIRECT, and the end of \
                 {bytes} bytes is none: make the file longer, or give a smaller size"
            );
            return Err(OpenError::new(libc::EINVAL, text));
        }
        let mut store = FileStore {
            file,
            kind,
            options,
            bytes: AtomicU64::new(bytes),
            physical,
            alignment,
            unit: Discard { granularity: 0, alignment: 0 },
            capabilities: Capabilities::NONE,
            failed: AtomicBool::new(false),
            partial: Mutex::new(()),
        };
        store.unit = store.find_unit(&metadata);
        store.capabilities = store.find_capabilities(metadata.len());
        Ok(store)
    }

    /// What can be said of `path` from outside: whether it is there, may be used, and is large enough.
    /// The size of a device is known when it is open.
    pub fn look(path: &Path, options: &FileOptions) -> Result<(), OpenError> {
        let io = |error: std::io::Error| {
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            OpenError::new(errno, format!("{}: {error}", path.display()))
        };
        let metadata = std::fs::metadata(path).map_err(io)?;
        let kind = Kind::of(path, &metadata)?;
        file::may_open(path, !options.read_only)
            .map_err(|errno| io(std::io::Error::from_raw_os_error(errno)))?;
        let most = if kind == Kind::Regular { metadata.len() } else { u64::MAX };
        Self::size(path, options, kind, most).map(drop)
    }

    fn size(path: &Path, options: &FileOptions, kind: Kind, found: u64) -> Result<u64, OpenError> {
        let shown = path.display();
        let block = u64::from(options.block_size);
        let bytes = match (options.bytes, kind) {
            (None, Kind::Character) => {
                return Err(OpenError::new(libc::EINVAL, format!("{shown} has no size: give `size`")));
            }
            (Some(wanted), _) if wanted % block != 0 => {
                let text = format!("size {wanted} is not a multiple of blocksize {block}");
                return Err(OpenError::new(libc::EINVAL, text));
            }
            (Some(wanted), _) if wanted > found => {
                let text = format!("size {wanted} is more than the {found} bytes of {shown}");
                return Err(OpenError::new(libc::EINVAL, text));
            }
            (Some(wanted), _) => wanted,
            (None, _) => found,
        };
        // Of nothing, READ CAPACITY can name no last block (SBC-3, 5.15).
        match (bytes - bytes % block, options.bytes) {
            (0, None) => {
                let text =
                    format!("{shown} has {bytes} bytes, which is no whole block of {block}: make it longer");
                Err(OpenError::new(libc::EINVAL, text))
            }
            (0, Some(wanted)) => {
                let text = format!("size {wanted} is not a positive multiple of blocksize {block}");
                Err(OpenError::new(libc::EINVAL, text))
            }
            (whole, _) => Ok(whole),
        }
    }

    /// A file frees what its file system allocates together; a block device says it of itself, or cannot.
    fn find_unit(&self, metadata: &Metadata) -> Discard {
        let none = Discard { granularity: 0, alignment: 0 };
        match self.kind {
            Kind::Regular => {
                let unit = u32::try_from(metadata.blksize()).unwrap_or(0);
                let is_sane = unit.is_power_of_two() && (512..=LARGEST_UNIT).contains(&unit);
                Discard { granularity: if is_sane { unit } else { 4096 }, alignment: 0 }
            }
            Kind::Block => file::discard_limits(&self.file).unwrap_or(none),
            Kind::Character => none,
        }
    }

    /// `length` is what the file has in bytes, which may be more than what is served of it.
    fn find_capabilities(&self, length: u64) -> Capabilities {
        let options = &self.options;
        let mut all = Capabilities::NONE;
        if options.read_only {
            all = all.with(Capabilities::READ_ONLY);
        } else if !options.write_through && !options.nv_cache && self.kind != Kind::Character {
            all = all.with(Capabilities::VOLATILE_CACHE);
        }
        if self.kind == Kind::Regular && file::is_memory(&self.file) {
            all = all.with(Capabilities::NEVER_BLOCKS);
        }
        if options.direct {
            all = all.with(Capabilities::ALIGNED);
        } else if self.kind != Kind::Character {
            all = all.with(Capabilities::TRY_READ);
            if options.zero_copy {
                all = all.with(Capabilities::LENDS);
            }
        }
        if self.can_punch(length) {
            all = all.with(Capabilities::UNMAP).with(Capabilities::WRITE_ZEROES);
            if self.kind == Kind::Regular {
                all = all
                    .with(Capabilities::UNMAP_READS_ZERO)
                    .with(Capabilities::PROVISIONING_STATUS)
                    .with(Capabilities::SPACE);
            }
        }
        all
    }

    /// Punches a hole behind the end of the file, which changes nothing, to see whether holes can be punched.
    /// A block device says whether it can.
    fn can_punch(&self, length: u64) -> bool {
        if self.options.read_only || self.options.thin == Some(false) || self.kind == Kind::Character {
            return false;
        }
        match self.kind {
            Kind::Regular => {
                let end = length.next_multiple_of(1 << 20);
                file::allocate(&self.file, Allocate::Punch, end, 1 << 20).is_ok()
            }
            _ => self.unit.granularity > 0,
        }
    }

    fn usable(&self) -> Result<(), BlockError> {
        if self.failed.load(Ordering::Acquire) { Err(BlockError::Gone) } else { Ok(()) }
    }

    fn is_aligned(&self, offset: u64, length: usize) -> bool {
        self.alignment == 1 || (offset % self.alignment as u64 == 0 && length % self.alignment == 0)
    }

    /// The range widened to whole device blocks, in memory of its own.
    fn widened(&self, offset: u64, length: usize) -> Result<(u64, AlignedMemory), BlockError> {
        let unit = self.alignment as u64;
        let start = offset - offset % unit;
        let end = (offset + length as u64).next_multiple_of(unit);
        let span = usize::try_from(end - start).map_err(|_| BlockError::OutOfRange)?;
        let mut memory = AlignedMemory::zeroed(span);
        file::read_at(&self.file, &mut memory[..span], start).map_err(block_error)?;
        Ok((start, memory))
    }

    /// What is in memory comes in pieces; what has to be fetched is asked for at once.
    fn load(&self, into: &mut [u8], offset: u64) -> Result<(), BlockError> {
        if !self.capabilities.contains(Capabilities::NEVER_BLOCKS) {
            return file::read_at(&self.file, into, offset).map_err(block_error);
        }
        piece::each(into.len(), |part| {
            let at = offset + part.start as u64;
            file::read_at(&self.file, &mut into[part], at).map_err(block_error)
        })
    }

    /// A write to memory, which the page cache is, comes in pieces; one to the medium at once.
    fn write_out(&self, from: &[u8], offset: u64, durable: bool) -> Result<(), i32> {
        if durable || self.options.direct {
            return file::write_at(&self.file, from, offset, durable);
        }
        piece::each(from.len(), |part| {
            let at = offset + part.start as u64;
            file::write_at(&self.file, &from[part], at, false)
        })
    }

    /// A durable write that fails may have lost more than its own blocks, as a flush may: the error of an
    /// earlier write-back is told once only, to whoever asks first.
    fn store(&self, from: &[u8], offset: u64, durable: bool) -> Result<(), BlockError> {
        let error = match self.write_out(from, offset, durable) {
            Ok(()) => return Ok(()),
            Err(errno) => block_error(errno),
        };
        // Without space it was the write that failed, unless the same write succeeds when nothing is flushed.
        let only_write = durable && error == BlockError::NoSpace && {
            self.write_out(from, offset, false).map_err(block_error) == Err(error)
        };
        if durable && !only_write {
            self.failed.store(true, Ordering::Release);
            log::error!("durable write failed: {error}; the store is failed until it is opened again");
        }
        Err(error)
    }

    /// Frees or zeroes a range; as durable as a write is. Part of a device block is not to come back with a
    /// write of another part.
    fn allocate(&self, how: Allocate, offset: u64, length: u64) -> Result<(), BlockError> {
        let is_partial = !self.is_aligned(offset, usize::try_from(length).unwrap_or(usize::MAX));
        let _one_at_a_time = is_partial.then(|| self.partial.lock().unwrap_or_else(PoisonError::into_inner));
        file::allocate(&self.file, how, offset, length).map_err(block_error)?;
        self.settle()
    }

    /// What was just changed is durable where every write is to be.
    fn settle(&self) -> Result<(), BlockError> {
        if self.options.write_through && !self.options.nv_cache { self.sync() } else { Ok(()) }
    }

    fn sync(&self) -> Result<(), BlockError> {
        if self.kind == Kind::Character {
            return Ok(());
        }
        file::sync(&self.file).map_err(|errno| {
            self.failed.store(true, Ordering::Release);
            log::error!("flush failed: {}; the store is failed until it is opened again", block_error(errno));
            block_error(errno)
        })
    }
}

impl FileStore {
    /// A file never gets shorter: what lies behind the size served is the administrator's.
    fn lengthen(&self, bytes: u64) -> Result<(), BlockError> {
        let io = |error: std::io::Error| block_error(error.raw_os_error().unwrap_or(libc::EIO));
        let whole = bytes.next_multiple_of(self.alignment as u64);
        if self.file.metadata().map_err(io)?.len() < whole {
            self.file.set_len(whole).map_err(io)?;
        }
        Ok(())
    }
}

impl Backstore for FileStore {
    fn geometry(&self) -> Geometry {
        let block_size = self.options.block_size;
        let frees = self.capabilities.contains(Capabilities::UNMAP);
        Geometry {
            block_size,
            blocks: self.bytes.load(Ordering::Acquire) / u64::from(block_size),
            physical_block_exponent: u8::try_from((self.physical.max(block_size) / block_size).ilog2())
                .unwrap_or(0),
            optimal_transfer_bytes: 0,
            unmap_granularity_bytes: if frees { self.unit.granularity } else { 0 },
            unmap_alignment_bytes: if frees { self.unit.alignment } else { 0 },
        }
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        self.usable()?;
        if self.is_aligned(offset, into.len()) {
            return self.load(into, offset);
        }
        let (start, memory) = self.widened(offset, into.len())?;
        let from = usize::try_from(offset - start).map_err(|_| BlockError::OutOfRange)?;
        into.copy_from_slice(&memory[from..from + into.len()]);
        Ok(())
    }

    fn try_read(&self, offset: u64, into: &mut [u8]) -> Result<bool, BlockError> {
        self.usable()?;
        let mut is_cached = true;
        let read = piece::each(into.len(), |part| {
            let at = offset + part.start as u64;
            is_cached = file::read_cached(&self.file, &mut into[part], at).map_err(Some)?;
            if is_cached { Ok(()) } else { Err(None) }
        });
        match read {
            Err(Some(errno)) => Err(block_error(errno)),
            _ => Ok(is_cached),
        }
    }

    fn lend(&self, offset: u64, length: usize, pipe: &mut Pipe) -> Result<bool, BlockError> {
        self.usable()?;
        if !self.capabilities.contains(Capabilities::LENDS) {
            return Ok(false);
        }
        let errno = |error: std::io::Error| error.raw_os_error().unwrap_or(libc::EIO);
        match pipe.fill(&self.file, offset, length).map_err(errno) {
            // Not all file systems can, nor at all times.
            Err(libc::EINVAL | libc::EOPNOTSUPP | libc::ENOSYS | libc::ENOMEM) => Ok(false),
            filled => filled.map_err(block_error),
        }
    }

    fn write(&self, offset: u64, from: &[u8], durable: bool) -> Result<(), BlockError> {
        self.usable()?;
        if self.options.read_only {
            return Err(BlockError::ReadOnly);
        }
        let durable =
            (durable || self.options.write_through) && !self.options.nv_cache && self.kind != Kind::Character;
        if self.is_aligned(offset, from.len()) {
            return self.store(from, offset, durable);
        }
        let _one_at_a_time = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
        let (start, mut memory) = self.widened(offset, from.len())?;
        let at = usize::try_from(offset - start).map_err(|_| BlockError::OutOfRange)?;
        memory[at..at + from.len()].copy_from_slice(from);
        let span = (at + from.len()).next_multiple_of(self.alignment);
        self.store(&memory[..span], start, durable)
    }

    fn flush(&self) -> Result<(), BlockError> {
        self.usable()?;
        if self.options.nv_cache || self.options.read_only { Ok(()) } else { self.sync() }
    }

    fn unmap(&self, offset: u64, length: u64) -> Result<(), BlockError> {
        self.usable()?;
        if self.kind == Kind::Block {
            // Punching would have the device write zeros where it cannot free to zeros.
            file::discard(&self.file, offset, length).map_err(block_error)?;
            return self.settle();
        }
        self.allocate(Allocate::Punch, offset, length)
    }

    fn write_zeroes(&self, offset: u64, length: u64, may_unmap: bool) -> Result<(), BlockError> {
        self.usable()?;
        if self.options.read_only {
            return Err(BlockError::ReadOnly);
        }
        if may_unmap && self.allocate(Allocate::Punch, offset, length).is_ok() {
            return Ok(());
        }
        self.allocate(Allocate::Zero, offset, length)
    }

    fn provisioning(&self, offset: u64, limit: u64) -> Result<(Provisioning, u64), BlockError> {
        self.usable()?;
        if self.kind != Kind::Regular {
            return Ok((Provisioning::Mapped, limit));
        }
        let (is_data, until) = file::next_change(&self.file, offset).map_err(block_error)?;
        let block = u64::from(self.options.block_size);
        let run = (until - offset).min(limit);
        // A block is mapped when any of it is.
        match (is_data, run - run % block) {
            (false, 0) => Ok((Provisioning::Mapped, block.min(limit))),
            (false, whole) => Ok((Provisioning::Deallocated, whole)),
            (true, _) => Ok((Provisioning::Mapped, run.next_multiple_of(block).min(limit))),
        }
    }

    fn space(&self) -> Option<Space> {
        if self.kind != Kind::Regular {
            return None;
        }
        let used = self.file.metadata().ok()?.blocks().saturating_mul(512);
        Some(Space { available: file::free_space(&self.file).ok()?, used })
    }

    /// Not past the page cache: the kernel copies through it, and direct writes would go behind its back. Not
    /// where every write is to be durable either, which no copying by the kernel promises.
    fn file(&self) -> Option<&File> {
        let plain = self.kind == Kind::Regular && !self.options.direct && !self.options.write_through;
        (plain && self.usable().is_ok()).then_some(&self.file)
    }

    fn resize(&self, bytes: u64) -> Result<(), BlockError> {
        self.usable()?;
        match self.kind {
            Kind::Regular => self.lengthen(bytes)?,
            Kind::Block => {
                let (size, _, _) = file::block_device(&self.file).map_err(block_error)?;
                if bytes > size {
                    return Err(BlockError::OutOfRange);
                }
            }
            Kind::Character => {}
        }
        self.bytes.store(bytes, Ordering::Release);
        Ok(())
    }

    fn resync(&self) -> Result<Geometry, BlockError> {
        self.usable()?;
        let size = match self.kind {
            Kind::Regular => {
                let found = self.file.metadata();
                found.map_err(|error| block_error(error.raw_os_error().unwrap_or(libc::EIO)))?.len()
            }
            Kind::Block => file::block_device(&self.file).map_err(block_error)?.0,
            Kind::Character => self.bytes.load(Ordering::Acquire),
        };
        let unit = u64::from(self.options.block_size).max(self.alignment as u64);
        match size - size % unit {
            0 => Err(BlockError::OutOfRange),
            whole => {
                self.bytes.store(whole, Ordering::Release);
                Ok(self.geometry())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    const OPTIONS: FileOptions = FileOptions {
        block_size: 512,
        bytes: None,
        read_only: false,
        write_through: false,
        nv_cache: false,
        zero_copy: false,
        direct: false,
        thin: None,
    };

    /// A file of 4 MiB.
    fn file(name: &str) -> (std::path::PathBuf, File) {
        let path = std::env::temp_dir().join(format!("scstu-{name}-{}", std::process::id()));
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        file.write_all_at(&[7; 4 << 20], 0).unwrap();
        (path, file)
    }

    #[test]
    fn what_lies_behind_the_size_served_is_left_alone() {
        let (path, file) = file("behind");
        let store = FileStore::open(&path, FileOptions { bytes: Some(1 << 20), ..OPTIONS }).unwrap();
        store.resize(2 << 20).unwrap();
        store.resize(512).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut content = vec![0; 4 << 20];
        file.read_exact_at(&mut content, 0).unwrap();
        assert!(content.iter().all(|byte| *byte == 7));
        assert_eq!(store.geometry().blocks, 1);
        store.resize(8 << 20).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 8 << 20);
    }

    #[test]
    fn a_file_without_a_whole_block_is_neither_opened_nor_found_again() {
        let (path, file) = file("no-block");
        let store = FileStore::open(&path, OPTIONS).unwrap();
        file.set_len(511).unwrap();
        assert!(store.resync().is_err());
        assert_eq!(store.geometry().blocks, 8192, "it stays what it was");
        let refused = FileStore::open(&path, OPTIONS).err().unwrap();
        assert!(refused.text.contains("has 511 bytes, which is no whole block of 512"), "{}", refused.text);
        std::fs::remove_file(&path).unwrap();
    }
}
