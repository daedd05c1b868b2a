//! The kernel's questions, answered from the files.
//!
//! As in sysfs: a file has the size 4096 whatever is in it; its text is made when it is read from the start
//! and is one page at most; one write is one message, wherever it is written to; truncating does nothing.
//! What files hold is never cached, nor that an object is there; the kernel remembers only what comes and
//! goes with the directory above it ([`is_lasting`]), and what a number has for permissions. Permissions are
//! checked by the kernel (`default_permissions`), and here where root passes it: who writes to a file of mode
//! 0444 or reads one of mode 0200 gets EIO. Whoever holds what is gone gets ENODEV, also when there is
//! another under the same name.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    AccessFlags, BsdFileFlags, Errno, FileAttr, FileHandle, FileType, FopenFlags, Generation, INodeNo,
    IoctlFlags, KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyOpen, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use scstu::mgmt::control::Files;
use scstu::mgmt::tree::{Kind, is_lasting};
use scstu::model::Error;
use scstu::sys::process::{effective_group, effective_user};

use super::inodes::{Inodes, Node, ROOT, UNKNOWN};

/// Size of every file, and the longest text that is read or written at once.
const PAGE: usize = 4096;
/// Longest piece of a write that comes as one; a longer one is refused, so none is taken in pieces.
const MAX_WRITE: u32 = 128 << 10;
/// How long the kernel need not ask for attributes, and for the names of what lasts. A device that is made
/// again with another handler has other files: opening asks, whatever the kernel remembers.
const REMEMBERED: Duration = Duration::from_secs(1);

type Names = Vec<(String, Kind)>;
/// A text that was read, or none yet.
type Text = Arc<Mutex<Option<String>>>;

/// What is open.
enum Open {
    File {
        path: Arc<str>,
        /// Which of all that were made under this path.
        made: u64,
        /// What was read from the start on.
        text: Text,
    },
    /// What was in it when it was read from the start.
    Directory(Arc<Names>),
}

/// A file that is open.
struct OpenFile {
    path: Arc<str>,
    made: u64,
    text: Text,
}

/// The tree, to the kernel.
pub struct Filesystem {
    files: Arc<dyn Files>,
    inodes: Mutex<Inodes>,
    open: Mutex<HashMap<u64, Open>>,
    last_handle: AtomicU64,
    owner: (u32, u32),
    since: SystemTime,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a reply may carry: 1 to 511.
fn errno(error: &Error) -> Errno {
    Errno::from_i32(if (1..512).contains(&error.errno) { error.errno } else { libc::EIO })
}

fn is_readable(kind: &Kind) -> bool {
    matches!(kind, Kind::File { mode } if mode & 0o444 != 0)
}

fn is_writable(kind: &Kind) -> bool {
    matches!(kind, Kind::File { mode } if mode & 0o222 != 0)
}

fn file_type(kind: &Kind) -> FileType {
    match kind {
        Kind::Directory => FileType::Directory,
        Kind::File { .. } => FileType::RegularFile,
        Kind::Link { .. } => FileType::Symlink,
    }
}

impl Filesystem {
    /// Owned by whoever runs this process.
    pub fn new(files: Arc<dyn Files>) -> Self {
        Filesystem {
            files,
            inodes: Mutex::default(),
            open: Mutex::default(),
            last_handle: AtomicU64::new(0),
            owner: (effective_user(), effective_group()),
            since: SystemTime::now(),
        }
    }

    fn attributes(&self, number: u64, kind: &Kind) -> FileAttr {
        let (size, mode, links) = match kind {
            Kind::Directory => (0, 0o755, 2),
            Kind::File { mode } => (PAGE, *mode, 1),
            Kind::Link { target } => (target.len(), 0o777, 1),
        };
        FileAttr {
            ino: INodeNo(number),
            size: u64::try_from(size).unwrap_or(0),
            blocks: 0,
            atime: self.since,
            mtime: self.since,
            ctime: self.since,
            crtime: UNIX_EPOCH,
            kind: file_type(kind),
            perm: u16::try_from(mode & 0o7777).unwrap_or(0),
            nlink: links,
            uid: self.owner.0,
            gid: self.owner.1,
            rdev: 0,
            blksize: u32::try_from(PAGE).unwrap_or(0),
            flags: 0,
        }
    }

    fn node(&self, number: INodeNo) -> Result<Node, Errno> {
        lock(&self.inodes).get(number.into()).ok_or(Errno::ENOENT)
    }

    /// What is behind a number; ESTALE, for which the kernel walks the path again, when there is another
    /// under its name.
    fn current(&self, number: INodeNo) -> Result<(Node, Kind), Errno> {
        let node = self.node(number)?;
        let (kind, made) = self.files.look(&node.path).map_err(|error| errno(&error))?;
        if made == node.made { Ok((node, kind)) } else { Err(Errno::ESTALE) }
    }

    /// What has this name, and how long the kernel may take it for there.
    fn find(&self, parent: INodeNo, name: &OsStr) -> Result<(u64, Kind, Duration), Errno> {
        let name = name.to_str().ok_or(Errno::ENOENT)?;
        let above = self.node(parent)?;
        let path = if above.path.is_empty() { name.to_owned() } else { format!("{}/{name}", above.path) };
        let (kind, made) = self.files.look(&path).map_err(|error| errno(&error))?;
        // What is of the same object has shown that the directory is still the same.
        if above.made != made && above.made != 0 {
            self.current(parent)?;
        }
        let lasting = if is_lasting(&path, &kind) { REMEMBERED } else { Duration::ZERO };
        Ok((lock(&self.inodes).look_up(&path, &kind, made), kind, lasting))
    }

    fn look_at(&self, number: INodeNo) -> Result<FileAttr, Errno> {
        let (_, kind) = self.current(number)?;
        Ok(self.attributes(number.into(), &kind))
    }

    fn target(&self, number: INodeNo) -> Result<String, Errno> {
        match self.current(number)? {
            (_, Kind::Link { target }) => Ok(target),
            _ => Err(Errno::EINVAL),
        }
    }

    fn enter(&self, open: Open) -> FileHandle {
        let handle = self.last_handle.fetch_add(1, Ordering::Relaxed) + 1;
        lock(&self.open).insert(handle, open);
        FileHandle(handle)
    }

    fn names(&self, path: &str) -> Result<Arc<Names>, Errno> {
        let mut names = vec![(".".to_owned(), Kind::Directory), ("..".to_owned(), Kind::Directory)];
        names.extend(self.files.list(path).map_err(|error| errno(&error))?);
        Ok(Arc::new(names))
    }

    /// The names in an open directory: from the start on as they are now (rewinddir(3)).
    fn listed(&self, number: INodeNo, handle: FileHandle, offset: u64) -> Result<Arc<Names>, Errno> {
        if offset > 0 {
            return match lock(&self.open).get(&handle.into()) {
                Some(Open::Directory(names)) => Ok(Arc::clone(names)),
                _ => Err(Errno::EBADF),
            };
        }
        let (node, _) = self.current(number)?;
        let now = self.names(&node.path)?;
        match lock(&self.open).get_mut(&handle.into()) {
            Some(Open::Directory(names)) => *names = Arc::clone(&now),
            _ => return Err(Errno::EBADF),
        }
        Ok(now)
    }

    fn opened(&self, handle: FileHandle) -> Result<OpenFile, Errno> {
        match lock(&self.open).get(&handle.into()) {
            Some(Open::File { path, made, text }) => {
                Ok(OpenFile { path: Arc::clone(path), made: *made, text: Arc::clone(text) })
            }
            Some(Open::Directory(_)) => Err(Errno::EISDIR),
            None => Err(Errno::EBADF),
        }
    }

    /// What an open file is now; ENODEV, as in sysfs, when its object is gone.
    fn held(&self, file: &OpenFile) -> Result<Kind, Errno> {
        match self.files.look(&file.path) {
            Ok((kind, made)) if made == file.made => Ok(kind),
            Ok(_) => Err(Errno::ENODEV),
            Err(error) if error.errno == libc::ENOENT => Err(Errno::ENODEV),
            Err(error) => Err(errno(&error)),
        }
    }

    /// The text from `offset` on. From the start, it is made anew.
    fn text(&self, handle: FileHandle, offset: u64, size: u32) -> Result<Vec<u8>, Errno> {
        let file = self.opened(handle)?;
        let mut text = lock(&file.text);
        if offset == 0 || text.is_none() {
            if !is_readable(&self.held(&file)?) {
                return Err(Errno::EIO);
            }
            *text = Some(self.files.read(&file.path).map_err(|error| errno(&error))?);
        }
        let bytes = text.as_deref().unwrap_or("").as_bytes();
        let page = &bytes[..bytes.len().min(PAGE)];
        let from = usize::try_from(offset).map_or(page.len(), |offset| offset.min(page.len()));
        let length = usize::try_from(size).map_or(page.len(), |size| size.min(page.len() - from));
        Ok(page[from..from + length].to_vec())
    }

    fn message(&self, handle: FileHandle, data: &[u8]) -> Result<(), Errno> {
        let file = self.opened(handle)?;
        if data.len() > PAGE {
            return Err(Errno::E2BIG);
        }
        let text = std::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
        if text.contains('\0') {
            return Err(Errno::EINVAL);
        }
        if !is_writable(&self.held(&file)?) {
            return Err(Errno::EIO);
        }
        self.files.write(&file.path, text).map_err(|error| errno(&error))
    }
}

impl fuser::Filesystem for Filesystem {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        // A kernel that takes less splits no message either: a page is its least.
        let _ = config.set_max_write(MAX_WRITE);
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.find(parent, name) {
            Ok((number, kind, lasting)) => {
                let attributes = self.attributes(number, &kind);
                reply.entry_with_ttls(&REMEMBERED, &lasting, &attributes, Generation(0));
            }
            Err(error) => reply.error(error),
        }
    }

    fn forget(&self, _request: &Request, number: INodeNo, lookups: u64) {
        lock(&self.inodes).forget(number.into(), lookups);
    }

    fn getattr(&self, _request: &Request, number: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        match self.look_at(number) {
            Ok(attributes) => reply.attr(&REMEMBERED, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _request: &Request,
        number: INodeNo,
        mode: Option<u32>,
        user: Option<u32>,
        group: Option<u32>,
        _size: Option<u64>,
        _accessed: Option<TimeOrNow>,
        _modified: Option<TimeOrNow>,
        _changed: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _created: Option<SystemTime>,
        _checked: Option<SystemTime>,
        _backed_up: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        // Modes and owners are the tree's; truncating and touching do nothing.
        if mode.is_some() || user.is_some() || group.is_some() {
            return reply.error(Errno::EPERM);
        }
        match self.look_at(number) {
            Ok(attributes) => reply.attr(&REMEMBERED, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn readlink(&self, _request: &Request, number: INodeNo, reply: ReplyData) {
        match self.target(number) {
            Ok(target) => reply.data(target.as_bytes()),
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _request: &Request, number: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.current(number) {
            Ok((Node { path, made, .. }, _)) => {
                let open = Open::File { path, made, text: Arc::default() };
                reply.opened(self.enter(open), FopenFlags::FOPEN_DIRECT_IO);
            }
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.text(handle, offset, size) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        _offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.message(handle, data) {
            Ok(()) => reply.written(u32::try_from(data.len()).unwrap_or(0)),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _request: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // The kernel does not ask again.
        reply.error(Errno::ENOSYS);
    }

    fn fsync(&self, _request: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _lock: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        lock(&self.open).remove(&handle.into());
        reply.ok();
    }

    fn opendir(&self, _request: &Request, number: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.current(number) {
            Ok(_) => reply.opened(self.enter(Open::Directory(Arc::default())), FopenFlags::empty()),
            Err(error) => reply.error(error),
        }
    }

    fn readdir(
        &self,
        _request: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let names = match self.listed(number, handle, offset) {
            Ok(names) => names,
            Err(error) => return reply.error(error),
        };
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
        for (next, (name, kind)) in (1..).zip(names.iter()).skip(skipped) {
            let known = if name == "." { u64::from(number) } else { UNKNOWN };
            if reply.add(INodeNo(known.max(ROOT)), next, file_type(kind), name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(
        &self,
        _request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        lock(&self.open).remove(&handle.into());
        reply.ok();
    }

    fn access(&self, _request: &Request, _number: INodeNo, _mask: AccessFlags, reply: ReplyEmpty) {
        reply.ok();
    }

    // What the file system cannot do: as sysfs answers it, and without a line in the log each time.

    fn ioctl(
        &self,
        _request: &Request,
        _number: INodeNo,
        _handle: FileHandle,
        _flags: IoctlFlags,
        _command: u32,
        _input: &[u8],
        _size: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    fn getxattr(&self, _request: &Request, _number: INodeNo, _: &OsStr, _: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn listxattr(&self, _request: &Request, _number: INodeNo, _size: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn create(
        &self,
        _request: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        reply.error(Errno::EACCES);
    }

    fn mkdir(&self, _request: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        reply.error(Errno::EPERM);
    }

    fn mknod(&self, _request: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, _: u32, reply: ReplyEntry) {
        reply.error(Errno::EPERM);
    }

    fn unlink(&self, _request: &Request, _parent: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EPERM);
    }

    fn rmdir(&self, _request: &Request, _parent: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EPERM);
    }
}
