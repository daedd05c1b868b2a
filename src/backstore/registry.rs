//! The kinds of backstore ("handlers" in SCST): name, parameters, how to open one.

use std::path::PathBuf;
use std::sync::Arc;

use crate::backstore::Backstore;
pub use crate::backstore::file::OpenError;
use crate::backstore::file::{FileOptions, FileStore};
use crate::backstore::null::{DEFAULT_BYTES, NullStore};
use crate::backstore::ram::{MAX_BYTES, RamStore};

/// What a device of a handler is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Medium {
    /// A disk.
    Disk,
    /// A CD-ROM drive, which may be empty.
    CdRom,
}

/// Parameters of a new device. What is `None` was not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenRequest {
    /// File or device, an absolute path.
    pub filename: Option<PathBuf>,
    /// Size in bytes.
    pub size: Option<u64>,
    /// Logical block length in bytes.
    pub blocksize: Option<u32>,
    /// Refuse writes.
    pub read_only: bool,
    /// Every write is durable before it is answered.
    pub write_through: bool,
    /// The cache counts as non-volatile.
    pub nv_cache: bool,
    /// Past the page cache.
    pub o_direct: bool,
    /// Offer to free blocks.
    pub thin_provisioned: Option<bool>,
}

/// An open medium; `None` is an empty drive.
pub type Opened = Result<Option<Arc<dyn Backstore>>, OpenError>;

/// A kind of backstore.
pub struct Handler {
    /// SCST's name.
    pub name: &'static str,
    /// What it is, in one line.
    pub help: &'static str,
    /// What its devices are.
    pub medium: Medium,
    /// Names of the parameters that it takes when a device is added.
    pub parameters: &'static [&'static str],
    /// Opens a medium; `Ok(None)` is an empty drive.
    pub open: fn(&OpenRequest) -> Opened,
}

const COMMON: [&str; 5] = ["blocksize", "read_only", "removable", "rotational", "tst"];

/// All kinds, by name.
pub const HANDLERS: &[Handler] = &[
    Handler {
        name: "vcdrom",
        help: "a CD-ROM drive whose medium is an image file",
        medium: Medium::CdRom,
        parameters: &["filename", "tst"],
        open: open_cdrom,
    },
    Handler {
        name: "vdisk_blockio",
        help: "a block device or file, past the page cache",
        medium: Medium::Disk,
        parameters: &[
            "filename",
            "size",
            COMMON[0],
            COMMON[1],
            COMMON[2],
            COMMON[3],
            COMMON[4],
            "nv_cache",
            "write_through",
            "thin_provisioned",
            "active",
        ],
        open: |request| open_file(&OpenRequest { o_direct: true, ..request.clone() }),
    },
    Handler {
        name: "vdisk_fileio",
        help: "a file or block device through the page cache",
        medium: Medium::Disk,
        parameters: &[
            "filename",
            "size",
            COMMON[0],
            COMMON[1],
            COMMON[2],
            COMMON[3],
            COMMON[4],
            "nv_cache",
            "o_direct",
            "write_through",
            "thin_provisioned",
            "active",
        ],
        open: open_file,
    },
    Handler {
        name: "vdisk_nullio",
        help: "stores nothing and reads zeros, for measurements",
        medium: Medium::Disk,
        parameters: &["size", COMMON[0], COMMON[1], COMMON[2], COMMON[3], COMMON[4], "dummy"],
        open: open_null,
    },
    Handler {
        name: "vdisk_ram",
        help: "sparse memory of this process, gone when it ends",
        medium: Medium::Disk,
        parameters: &["size", COMMON[0], COMMON[1], COMMON[2], COMMON[3], COMMON[4], "thin_provisioned"],
        open: open_ram,
    },
];

/// The handler of this name.
pub fn find(name: &str) -> Option<&'static Handler> {
    HANDLERS.iter().find(|handler| handler.name == name)
}

fn block_size(request: &OpenRequest, default: u32) -> Result<u32, OpenError> {
    match request.blocksize.unwrap_or(default) {
        size @ (512 | 1024 | 2048 | 4096) => Ok(size),
        size => Err(OpenError::new(libc::EINVAL, format!("blocksize {size} is not 512, 1024, 2048 or 4096"))),
    }
}

fn whole_blocks(size: u64, block_size: u32) -> Result<u64, OpenError> {
    if size == 0 || size % u64::from(block_size) != 0 {
        let text = format!("size {size} is not a positive multiple of blocksize {block_size}");
        return Err(OpenError::new(libc::EINVAL, text));
    }
    Ok(size)
}

fn path(request: &OpenRequest) -> Result<&PathBuf, OpenError> {
    let missing = || OpenError::new(libc::EINVAL, "filename is missing");
    let path = request.filename.as_ref().ok_or_else(missing)?;
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(OpenError::new(libc::EINVAL, format!("filename {} is not an absolute path", path.display())))
    }
}

fn open_file(request: &OpenRequest) -> Opened {
    let options = FileOptions {
        block_size: block_size(request, 512)?,
        bytes: request.size,
        read_only: request.read_only,
        write_through: request.write_through,
        nv_cache: request.nv_cache,
        direct: request.o_direct,
        thin: request.thin_provisioned,
    };
    Ok(Some(Arc::new(FileStore::open(path(request)?, options)?)))
}

fn open_cdrom(request: &OpenRequest) -> Opened {
    if request.filename.is_none() {
        return Ok(None);
    }
    let options = FileOptions {
        block_size: 2048,
        bytes: None,
        read_only: true,
        write_through: false,
        nv_cache: false,
        direct: false,
        thin: Some(false),
    };
    Ok(Some(Arc::new(FileStore::open(path(request)?, options)?)))
}

fn open_null(request: &OpenRequest) -> Opened {
    let block_size = block_size(request, 512)?;
    let bytes = whole_blocks(request.size.unwrap_or(DEFAULT_BYTES), block_size)?;
    Ok(Some(Arc::new(NullStore::new(block_size, bytes))))
}

fn open_ram(request: &OpenRequest) -> Opened {
    let block_size = block_size(request, 512)?;
    let missing = || OpenError::new(libc::EINVAL, "size is missing");
    let bytes = whole_blocks(request.size.ok_or_else(missing)?, block_size)?;
    if bytes > MAX_BYTES {
        return Err(OpenError::new(libc::EFBIG, format!("size {bytes} is above {MAX_BYTES}")));
    }
    Ok(Some(Arc::new(RamStore::new(block_size, bytes))))
}
