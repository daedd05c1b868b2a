//! The kinds of backstore ("handlers" in SCST): name, parameters, how to open one.
//!
//! [`HANDLERS`] are the kinds of this crate. A [`Registry`] holds them and those that the host adds while it
//! runs; every model has one of its own, so two instances in a process share nothing.

use std::any::Any;
use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use crate::attr::{Access, Attr};
use crate::backstore::Backstore;
use crate::backstore::declared::Declared;
use crate::backstore::file::{FileOptions, FileStore};
use crate::backstore::mapped::MappedStore;
use crate::backstore::null::{DEFAULT_BYTES, NullStore};
use crate::backstore::ram::{MAX_BYTES, RamStore};
use crate::backstore::tcmu;

/// What a device of a handler is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Medium {
    /// A disk.
    Disk,
    /// A CD-ROM drive, which may be empty.
    CdRom,
    /// Whatever the store says: it takes the commands as they come.
    Passed,
}

/// Parameters of a new device. What is `None` was not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenRequest {
    /// Name of the device.
    pub device: String,
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
    /// Large reads may go out of the page cache without a copy.
    pub zero_copy: bool,
    /// Offer to free blocks.
    pub thin_provisioned: Option<bool>,
    /// Text for the handler, which alone knows what it means.
    pub options: String,
    /// What a handler of tcmu-runner is to open.
    pub cfgstring: String,
    /// Unit serial number.
    pub serial: String,
    /// Values of what the handler declares, in the order of its rows.
    pub declared: Vec<String>,
}

/// Why it was not opened: an errno and what to tell the administrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenError {
    /// errno.
    pub errno: i32,
    /// In words, with the name of what was wrong.
    pub text: String,
}

impl OpenError {
    pub(crate) fn new(errno: i32, text: impl Into<String>) -> Self {
        OpenError { errno, text: text.into() }
    }

    /// What the system says of the file or folder.
    pub(crate) fn io(path: &Path, error: &io::Error) -> Self {
        OpenError::new(error.raw_os_error().unwrap_or(libc::EIO), format!("{}: {error}", path.display()))
    }
}

/// An open medium; `None` is an empty drive.
pub type Opened = Result<Option<Arc<dyn Backstore>>, OpenError>;

/// What opens the media of a handler.
#[derive(Clone)]
pub enum Opener {
    /// A function of this crate.
    Function(fn(&OpenRequest) -> Opened),
    /// Something that the host has registered.
    Registered(Arc<dyn Fn(&OpenRequest) -> Opened + Send + Sync>),
    /// A library that [`Registry::provide`] loads first.
    Library(PathBuf),
}

/// Tells by being there that foreign code is used: whoever must wait for the end of that looks at it.
pub type InUse = Arc<dyn Any + Send + Sync>;

/// A kind of backstore.
#[derive(Clone)]
pub struct Handler {
    /// SCST's name.
    pub name: Cow<'static, str>,
    /// What it is, in one line.
    pub help: Cow<'static, str>,
    /// What its devices are.
    pub medium: Medium,
    /// Names of the parameters that it takes when a device is added.
    pub parameters: &'static [&'static str],
    /// Parameters and attributes that only its devices have.
    pub declared: &'static [Attr<Declared>],
    /// What can be said of a request before anything is opened.
    pub check: fn(&OpenRequest) -> Result<(), OpenError>,
    /// What can be said of its medium from outside. Nothing is opened, and nothing is changed.
    pub look: fn(&OpenRequest) -> Result<(), OpenError>,
    /// Opens a medium.
    pub opener: Opener,
}

impl Handler {
    /// A kind of disk that the host brings along. It takes [`REGISTERED_PARAMETERS`]. `open` is called
    /// without a lock held, from any thread; what it answers is closed by dropping it.
    pub fn registered(
        name: impl Into<String>,
        help: impl Into<String>,
        open: impl Fn(&OpenRequest) -> Opened + Send + Sync + 'static,
    ) -> Self {
        Handler {
            name: Cow::Owned(name.into()),
            help: Cow::Owned(help.into()),
            medium: Medium::Disk,
            parameters: REGISTERED_PARAMETERS,
            declared: &[],
            check: |_| Ok(()),
            look: |_| Ok(()),
            opener: Opener::Registered(Arc::new(open)),
        }
    }

    /// The same with parameters and attributes of its own. Whether they make sense is seen when the handler
    /// is added.
    #[must_use]
    pub fn declaring(self, rows: &'static [Attr<Declared>]) -> Self {
        Handler { declared: rows, ..self }
    }

    /// Names of all that a new device may be given only then, or what a handler lists.
    pub fn parameter_names(&self) -> impl Iterator<Item = &'static str> {
        let own = self.declared.iter().filter(|row| row.access != Access::ReadOnly).map(|row| row.name);
        self.parameters.iter().copied().chain(own)
    }

    /// Whether the medium is to be open once at a time: a file that is mapped is locked, and foreign code
    /// need not know that there may be two.
    pub fn opens_once(&self, request: &OpenRequest) -> bool {
        match &self.opener {
            Opener::Function(_) => self.name == "vdisk_ram" && request.filename.is_some(),
            Opener::Registered(_) | Opener::Library(_) => true,
        }
    }

    /// Opens a medium; `Ok(None)` is an empty drive.
    pub fn open(&self, request: &OpenRequest) -> Opened {
        match &self.opener {
            Opener::Function(open) => open(request),
            Opener::Registered(open) => open(request),
            Opener::Library(library) => {
                Err(OpenError::new(libc::ENOEXEC, format!("{} is not loaded", library.display())))
            }
        }
    }
}

/// Most handlers of a registry.
pub const HANDLER_LIMIT: usize = 1024;

/// The handlers that a model knows.
pub struct Registry {
    handlers: RwLock<Vec<Arc<Handler>>>,
}

impl Default for Registry {
    fn default() -> Self {
        Registry { handlers: RwLock::new(HANDLERS.iter().cloned().map(Arc::new).collect()) }
    }
}

impl Registry {
    /// All handlers, by name.
    pub fn all(&self) -> Vec<Arc<Handler>> {
        self.handlers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The handler of this name.
    pub fn find(&self, name: &str) -> Option<Arc<Handler>> {
        let handlers = self.handlers.read().unwrap_or_else(PoisonError::into_inner);
        handlers.iter().find(|handler| handler.name == name).cloned()
    }

    /// Adds the handlers of tcmu-runner in these directories without loading them: that is done when a device
    /// is made of one.
    pub fn look_in(&self, directories: &[PathBuf]) {
        for directory in directories {
            let libraries = tcmu::candidates(directory).unwrap_or_default();
            for handler in libraries.iter().filter_map(|library| tcmu::unloaded(library)) {
                // What is there already stays.
                let _ = self.add(handler);
            }
        }
    }

    /// The handler of this name, to make a device of: it is loaded if it is not yet. `None` when there is
    /// none, an error when it cannot be loaded.
    pub fn provide(&self, name: &str) -> Result<Option<Arc<Handler>>, OpenError> {
        let Some(handler) = self.find(name) else { return Ok(None) };
        let Opener::Library(library) = &handler.opener else { return Ok(Some(handler)) };
        let loaded = tcmu::load(library, None)?;
        let has_it = loaded.iter().any(|handler| handler.name == name);
        let names: Vec<String> = loaded.iter().map(|handler| handler.name.to_string()).collect();
        loaded.into_iter().try_for_each(|handler| self.put(handler))?;
        if has_it {
            return Ok(self.find(name));
        }
        let text = format!("{} has no handler {name}, but {}", library.display(), names.join(", "));
        Err(OpenError::new(libc::ENOENT, text))
    }

    /// Adds a handler that was loaded, in the place of one that was not.
    fn put(&self, handler: Handler) -> Result<(), OpenError> {
        {
            let mut handlers = self.handlers.write().unwrap_or_else(PoisonError::into_inner);
            handlers
                .retain(|known| known.name != handler.name || !matches!(known.opener, Opener::Library(_)));
        }
        match self.add(handler) {
            // Another thread was faster, or an instance has it already.
            Err(error) if error.errno == libc::EEXIST => Ok(()),
            other => other,
        }
    }

    /// Adds every handler of tcmu-runner in a directory; those that are there already stay. Answers the
    /// names of all that it has, and what could not be loaded. `in_use` is kept by what was added, and by
    /// each device of it until it is closed.
    pub fn load_directory(
        &self,
        directory: &Path,
        in_use: Option<&InUse>,
    ) -> Result<(Vec<String>, Vec<OpenError>), OpenError> {
        let (mut names, mut errors) = (Vec::new(), Vec::new());
        for library in tcmu::candidates(directory)? {
            match tcmu::load(&library, in_use) {
                Err(error) => errors.push(error),
                Ok(handlers) => {
                    for handler in handlers {
                        names.push(handler.name.to_string());
                        errors.extend(self.put(handler).err());
                    }
                }
            }
        }
        Ok((names, errors))
    }

    /// Adds a handler. EEXIST when there is one of this name, ENOSPC at [`HANDLER_LIMIT`].
    pub fn add(&self, handler: Handler) -> Result<(), OpenError> {
        let mut handlers = self.handlers.write().unwrap_or_else(PoisonError::into_inner);
        let place = handlers.binary_search_by(|known| known.name.cmp(&handler.name));
        let Err(place) = place else {
            let text = format!("there is a handler {} already", handler.name);
            return Err(OpenError::new(libc::EEXIST, text));
        };
        if handlers.len() >= HANDLER_LIMIT {
            return Err(OpenError::new(libc::ENOSPC, format!("there are {HANDLER_LIMIT} handlers already")));
        }
        handlers.insert(place, Arc::new(handler));
        Ok(())
    }

    /// Takes a handler out that was added; devices of it stay. Answers it, or ENOENT, or EBUSY for one of
    /// this crate.
    pub fn remove(&self, name: &str) -> Result<Arc<Handler>, OpenError> {
        let mut handlers = self.handlers.write().unwrap_or_else(PoisonError::into_inner);
        let place = handlers.iter().position(|handler| handler.name == name);
        let missing = || OpenError::new(libc::ENOENT, format!("there is no handler {name}"));
        let place = place.ok_or_else(missing)?;
        if matches!(handlers[place].opener, Opener::Function(_)) {
            return Err(OpenError::new(libc::EBUSY, format!("handler {name} is built in")));
        }
        Ok(handlers.remove(place))
    }
}

const COMMON: [&str; 5] = ["blocksize", "read_only", "removable", "rotational", "tst"];

/// What a device of a registered handler takes when it is added; its values reach `open` as they are.
pub const REGISTERED_PARAMETERS: &[&str] = &[
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
    "options",
];

/// The handlers of tcmu-runner, where none of them is meant.
pub static OF_TCMU_RUNNER: Handler = Handler {
    name: Cow::Borrowed("tcmu_..."),
    help: Cow::Borrowed(
        "what a handler of tcmu-runner serves: tcmu_qcow an image, tcmu_rbd one in a Ceph cluster",
    ),
    medium: Medium::Disk,
    parameters: CFGSTRING_PARAMETERS,
    declared: &[],
    check: |_| Ok(()),
    look: |_| Ok(()),
    opener: Opener::Function(|_| Err(OpenError::new(libc::ENOEXEC, "no handler is named so"))),
};

/// What a device of a handler of tcmu-runner takes when it is added.
pub const CFGSTRING_PARAMETERS: &[&str] = &[
    "cfgstring",
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
];

/// The kinds of this crate, by name.
pub static HANDLERS: &[Handler] = &[
    Handler {
        name: Cow::Borrowed("vcdrom"),
        help: Cow::Borrowed("a CD-ROM drive whose medium is an image file"),
        medium: Medium::CdRom,
        parameters: &["filename", "tst"],
        declared: &[],
        check: |_| Ok(()),
        look: look_at_image,
        opener: Opener::Function(open_cdrom),
    },
    Handler {
        name: Cow::Borrowed("vdisk_blockio"),
        help: Cow::Borrowed("a block device or file, past the page cache"),
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
        declared: &[],
        check: check_file,
        look: |request| FileStore::look(path(request)?, &file_options(request)?),
        opener: Opener::Function(|request| open_file(&OpenRequest { o_direct: true, ..request.clone() })),
    },
    Handler {
        name: Cow::Borrowed("vdisk_fileio"),
        help: Cow::Borrowed("a file or block device through the page cache"),
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
            "zero_copy",
            "write_through",
            "thin_provisioned",
            "active",
        ],
        declared: &[],
        check: check_file,
        look: |request| FileStore::look(path(request)?, &file_options(request)?),
        opener: Opener::Function(open_file),
    },
    Handler {
        name: Cow::Borrowed("vdisk_nullio"),
        help: Cow::Borrowed("stores nothing and reads zeros, for measurements"),
        medium: Medium::Disk,
        parameters: &["size", COMMON[0], COMMON[1], COMMON[2], COMMON[3], COMMON[4], "dummy"],
        declared: &[],
        check: |request| null_size(request).map(drop),
        look: |_| Ok(()),
        opener: Opener::Function(open_null),
    },
    Handler {
        name: Cow::Borrowed("vdisk_ram"),
        help: Cow::Borrowed(
            "memory: sparse and gone when the daemon ends, or a file mapped with `filename`, which stays",
        ),
        medium: Medium::Disk,
        parameters: &[
            "filename",
            "size",
            COMMON[0],
            COMMON[1],
            COMMON[2],
            COMMON[3],
            COMMON[4],
            "thin_provisioned",
        ],
        declared: &[],
        check: |request| ram_size(request).map(drop),
        look: look_at_mapped,
        opener: Opener::Function(open_ram),
    },
];

/// The handler of this crate of this name.
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

fn check_file(request: &OpenRequest) -> Result<(), OpenError> {
    block_size(request, 512)?;
    path(request).map(drop)
}

fn file_options(request: &OpenRequest) -> Result<FileOptions, OpenError> {
    Ok(FileOptions {
        block_size: block_size(request, 512)?,
        bytes: request.size,
        read_only: request.read_only,
        write_through: request.write_through,
        nv_cache: request.nv_cache,
        direct: request.o_direct,
        zero_copy: request.zero_copy,
        thin: request.thin_provisioned,
    })
}

fn open_file(request: &OpenRequest) -> Opened {
    Ok(Some(Arc::new(FileStore::open(path(request)?, file_options(request)?)?)))
}

/// Of an image in a drive.
const IMAGE: FileOptions = FileOptions {
    block_size: 2048,
    bytes: None,
    read_only: true,
    write_through: false,
    nv_cache: false,
    zero_copy: false,
    direct: false,
    thin: Some(false),
};

fn open_cdrom(request: &OpenRequest) -> Opened {
    if request.filename.is_none() {
        return Ok(None);
    }
    Ok(Some(Arc::new(FileStore::open(path(request)?, IMAGE)?)))
}

fn look_at_image(request: &OpenRequest) -> Result<(), OpenError> {
    if request.filename.is_none() { Ok(()) } else { FileStore::look(path(request)?, &IMAGE) }
}

/// Block length and size.
fn null_size(request: &OpenRequest) -> Result<(u32, u64), OpenError> {
    let block_size = block_size(request, 512)?;
    Ok((block_size, whole_blocks(request.size.unwrap_or(DEFAULT_BYTES), block_size)?))
}

fn open_null(request: &OpenRequest) -> Opened {
    let (block_size, bytes) = null_size(request)?;
    Ok(Some(Arc::new(NullStore::new(block_size, bytes))))
}

/// Block length and size; that of a file may be left to it.
fn ram_size(request: &OpenRequest) -> Result<(u32, Option<u64>), OpenError> {
    let block_size = block_size(request, 512)?;
    let bytes = request.size.map(|size| whole_blocks(size, block_size)).transpose()?;
    if request.filename.is_some() {
        path(request)?;
        return Ok((block_size, bytes));
    }
    match bytes {
        None => Err(OpenError::new(libc::EINVAL, "size is missing")),
        Some(bytes) if bytes > MAX_BYTES => {
            Err(OpenError::new(libc::EFBIG, format!("size {bytes} is above {MAX_BYTES}")))
        }
        bytes => Ok((block_size, bytes)),
    }
}

fn look_at_mapped(request: &OpenRequest) -> Result<(), OpenError> {
    let (block_size, bytes) = ram_size(request)?;
    request.filename.as_ref().map_or(Ok(()), |path| MappedStore::look(path, block_size, bytes))
}

fn open_ram(request: &OpenRequest) -> Opened {
    let (block_size, bytes) = ram_size(request)?;
    Ok(Some(match &request.filename {
        Some(path) => Arc::new(MappedStore::open(path, block_size, bytes)?),
        None => Arc::new(RamStore::new(block_size, bytes.unwrap_or_default())),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handlers_come_and_go_while_running_and_keep_their_order() {
        let registry = Registry::default();
        let handler = || Handler::registered("user_store", "a test", |_| Ok(None));
        registry.add(handler()).unwrap();
        assert_eq!(registry.add(handler()).unwrap_err().errno, libc::EEXIST);
        assert!(registry.find("user_store").is_some());
        assert!(Registry::default().find("user_store").is_none(), "another registry knows nothing of it");
        assert!(registry.all().windows(2).all(|pair| pair[0].name < pair[1].name));
        assert_eq!(registry.remove("vdisk_ram").err().unwrap().errno, libc::EBUSY);
        assert_eq!(registry.remove("nobody").err().unwrap().errno, libc::ENOENT);
        registry.remove("user_store").unwrap();
        assert!(registry.find("user_store").is_none());
    }
}
