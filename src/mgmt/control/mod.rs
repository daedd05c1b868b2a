//! The control socket: the tree and scst.conf for other processes of the same user, or of root.
//!
//! # The protocol, version 1
//! A Unix stream socket. Requests and answers are lines of fields; TAB separates fields, and in a field
//! `\t`, `\n`, `\r`, `\\` and `\xHH` stand for TAB, newline, carriage return, backslash and any byte. The
//! first request names the version; then requests follow one another, each answered before the next is
//! read.
//!
//! ```text
//! request                       answer
//! scstu 1                       ok 1, then: 1 VERSION           version of the protocol and of the daemon
//! kind PATH                     ok 1, then: directory | file MODE | link TARGET          MODE in octal
//! look PATH                     ok 1, then: NUMBER and what `kind` answers
//! list PATH                     ok N, then N lines: NAME and what `kind` answers
//! read PATH                     ok 1, then: TEXT
//! write PATH TEXT               ok 0
//! describe PATH                 ok N, then N lines: WHAT and its fields
//! plan MODE LENGTH, and bytes   ok N, then N lines: CHANGE SESSION...
//! apply MODE LENGTH, and bytes  ok N, then N lines: CHANGE SESSION...
//! save                          ok 1, then: the text of an scst.conf
//! do NAME ARGUMENT...           ok N, then N lines              what the program itself offers
//! any                           error ERRNO TEXT                nothing was changed
//! ```
//! Paths are relative to the tree's root, which is the empty path. LENGTH bytes of an scst.conf follow the
//! line of `plan` and `apply`; NUMBER tells an object from one that is made later under the same name, and is
//! 0 for what is always there; MODE is `keep` or `remove`, for what the file does not mention. A line of
//! their answer is a change, then the sessions that notice it. ERRNO EAGAIN says that the work goes on
//! behind the caller's back; the file last_sysfs_mgmt_res answers EAGAIN until it is done, and then its
//! result.
//!
//! # What a client can do to others
//! Nothing: a peer of another user is turned away unread. Lines, bodies, connections, and the time that each
//! may take have limits; beyond [`CONNECTION_LIMIT`] the connection that was silent the longest is closed.

use std::path::PathBuf;
use std::time::Duration;

use crate::mgmt::tree::{Kind, Tree};
use crate::model::Error;

pub mod client;
pub mod deadline;
pub mod line;
pub mod local;
pub mod server;

/// Version of the protocol.
pub const VERSION: &str = "1";
/// Longest line of a request in bytes: a path and a page of text, all of it escaped.
pub const LINE_LIMIT: usize = 32 << 10;
/// Longest line of an answer in bytes: an scst.conf in one field.
pub const ANSWER_LIMIT: usize = 256 << 20;
/// Connections at once.
pub const CONNECTION_LIMIT: usize = 64;
/// Time that a connection may be silent between requests.
pub const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// Time from the first byte of a line to its last, and to take an answer.
pub const LINE_TIME: Duration = Duration::from_secs(10);
/// Time for the bytes behind the line of `plan` and `apply`.
pub const BODY_TIME: Duration = Duration::from_secs(60);
/// Longest path of a socket in bytes (`sun_path` without its end).
pub const PATH_LIMIT: usize = 107;

/// Files with attributes and verbs: the tree, here or in the daemon.
pub trait Files: Send + Sync {
    /// What is at `path`; ENOENT if nothing is.
    fn kind(&self, path: &str) -> Result<Kind, Error>;
    /// The same, and a number that tells it from what is made later under the same name; 0 for what is not
    /// made.
    fn look(&self, path: &str) -> Result<(Kind, u64), Error> {
        Ok((self.kind(path)?, 0))
    }
    /// The names in a directory and what they are.
    fn list(&self, path: &str) -> Result<Vec<(String, Kind)>, Error>;
    /// The text of a file.
    fn read(&self, path: &str) -> Result<String, Error>;
    /// Writes to a file: one write is one message.
    fn write(&self, path: &str, text: &str) -> Result<(), Error>;
}

impl Files for Tree {
    fn kind(&self, path: &str) -> Result<Kind, Error> {
        Tree::kind(self, path)
    }

    fn look(&self, path: &str) -> Result<(Kind, u64), Error> {
        Tree::look(self, path)
    }

    fn list(&self, path: &str) -> Result<Vec<(String, Kind)>, Error> {
        Tree::list(self, path)
    }

    fn read(&self, path: &str) -> Result<String, Error> {
        Tree::read(self, path)
    }

    fn write(&self, path: &str, text: &str) -> Result<(), Error> {
        Tree::write(self, path, text)
    }
}

impl<T: Files + ?Sized> Files for std::sync::Arc<T> {
    fn kind(&self, path: &str) -> Result<Kind, Error> {
        T::kind(self, path)
    }

    fn look(&self, path: &str) -> Result<(Kind, u64), Error> {
        T::look(self, path)
    }

    fn list(&self, path: &str) -> Result<Vec<(String, Kind)>, Error> {
        T::list(self, path)
    }

    fn read(&self, path: &str) -> Result<String, Error> {
        T::read(self, path)
    }

    fn write(&self, path: &str, text: &str) -> Result<(), Error> {
        T::write(self, path, text)
    }
}

/// Lines of fields.
pub type Lines = Vec<Vec<String>>;

/// Everything that the socket serves.
pub trait Service: Files {
    /// What there is to know of the object or file at `path`.
    fn describe(&self, path: &str) -> Result<Lines, Error>;
    /// The changes that an scst.conf asks for.
    fn plan(&self, mode: &str, text: &str) -> Result<Lines, Error>;
    /// Makes them, all or none.
    fn apply(&self, mode: &str, text: &str) -> Result<Lines, Error>;
    /// The configuration as scst.conf.
    fn save(&self) -> Result<String, Error>;
    /// What the program offers beyond the tree.
    fn perform(&self, name: &str, arguments: &[&str]) -> Result<Lines, Error>;
}

/// Where a daemon of this user puts its socket: /run/scstu/scstu.sock for root and for a user who may write
/// there, else scstu.sock in XDG_RUNTIME_DIR. None if neither can be.
pub fn default_path() -> Option<PathBuf> {
    candidates().into_iter().find(|path| path.parent().is_some_and(is_ours))
}

/// Where a client looks, in this order: SCSTU_SOCKET, then where a daemon would put its socket.
pub fn candidates() -> Vec<PathBuf> {
    let system = PathBuf::from(SYSTEM_FOLDER).join(SOCKET_NAME);
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(|folder| PathBuf::from(folder).join(SOCKET_NAME));
    if crate::sys::process::effective_user() == 0 {
        return [Some(system), own].into_iter().flatten().collect();
    }
    [own, Some(system)].into_iter().flatten().collect()
}

const SYSTEM_FOLDER: &str = "/run/scstu";
const SOCKET_NAME: &str = "scstu.sock";

/// Whether a socket can be made in this folder, which root makes if it is missing.
fn is_ours(folder: &std::path::Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let user = crate::sys::process::effective_user();
    if user == 0 && folder == std::path::Path::new(SYSTEM_FOLDER) {
        let _ = std::fs::create_dir_all(folder);
    }
    std::fs::metadata(folder).is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == user)
}
