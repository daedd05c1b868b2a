//! Handlers of tcmu-runner 1.5.4 as kinds of backstore: what they are linked to finds us in tcmu-runner's
//! place.
//!
//! A handler is a shared library `handler_*.so` with a function `handler_init`, which registers what
//! `abi` describes. It becomes the handler `tcmu_<subtype>`; its devices take a `cfgstring`, which is what
//! tcmu-runner's has behind `<subtype>/`. A handler with read and write is a disk (`store`); one that only
//! takes commands is whatever it says in its INQUIRY data.
//!
//! A handler's code runs in this process with all that this process may do, and when it crashes the process
//! does: what is loaded is the administrator's choice.
#![allow(unsafe_code)] // The boundary to handlers: their pointers become references here.

mod abi;
mod claim;
mod command;
mod data;
mod device;
mod host;
mod image;
mod library;
mod message;
mod open;
mod status;
mod store;
mod symbols;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::backstore::registry::{CFGSTRING_PARAMETERS, Handler, InUse, Medium, OpenError, Opener};
use library::Kind;

/// Names of handlers here begin with this, and go on with tcmu-runner's subtype.
pub const PREFIX: &str = "tcmu_";

/// Where distributions have the handlers of tcmu-runner, as far as these directories are there.
pub fn directories() -> Vec<PathBuf> {
    let debian = format!("/usr/lib/{}-linux-gnu/tcmu-runner", std::env::consts::ARCH);
    let others = ["/usr/lib64/tcmu-runner", "/usr/lib/tcmu-runner", "/usr/local/lib/tcmu-runner"];
    let all = std::iter::once(debian).chain(others.map(str::to_owned)).map(PathBuf::from);
    all.filter(|directory| directory.is_dir()).collect()
}

/// Libraries whose names are not that of the handler in them.
const OTHER_NAMES: [(&str, &str); 2] = [("fbo", "file_optical"), ("zbc", "file_zbc")];

/// Whether it may be a subtype, and so part of a file's name.
fn is_subtype(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=32).contains(&text.len()) && text.bytes().all(fits)
}

fn handler(kind: &Arc<Kind>, in_use: Option<&InUse>) -> Handler {
    let takes_blocks = kind.handler().read.is_some();
    let (own, in_use) = (Arc::clone(kind), in_use.cloned());
    Handler {
        name: Cow::Owned(kind.name()),
        help: Cow::Owned(kind.help()),
        medium: if takes_blocks { Medium::Disk } else { Medium::Passed },
        parameters: CFGSTRING_PARAMETERS,
        declared: &[],
        check: |_| Ok(()),
        look: open::look,
        opener: Opener::Registered(Arc::new(move |request| open::open(&own, request, in_use.clone()))),
    }
}

/// Loads one library; answers what is in it. Errors name the file and the reason: EPERM for one that others
/// may write to, ENOEXEC for what is no handler of this interface, and the errno of a file that is not there.
pub fn load(library: &Path, in_use: Option<&InUse>) -> Result<Vec<Handler>, OpenError> {
    Ok(library::load(library)?.iter().map(|kind| handler(kind, in_use)).collect())
}

/// Names of what [`load`] may find in a directory.
pub fn candidates(directory: &Path) -> Result<Vec<PathBuf>, OpenError> {
    library::candidates(directory)
}

/// The handler that a library seems to have, by its name; it is not loaded.
pub fn unloaded(library: &Path) -> Option<Handler> {
    let name = library.file_name()?.to_str()?.strip_prefix("handler_")?.strip_suffix(".so")?;
    let other = OTHER_NAMES.iter().find(|(_, file)| *file == name);
    let subtype = other.map_or(name, |(subtype, _)| subtype);
    is_subtype(subtype).then(|| Handler {
        name: Cow::Owned(format!("{PREFIX}{subtype}")),
        help: Cow::Owned(format!("{}, loaded when a device is made of it", library.display())),
        // Both that are known by another name take commands as they are.
        medium: if other.is_some() { Medium::Passed } else { Medium::Disk },
        parameters: CFGSTRING_PARAMETERS,
        declared: &[],
        check: |_| Ok(()),
        look: open::look,
        opener: Opener::Library(library.to_owned()),
    })
}

/// Calls the handlers' last function, unless a device is still open. Nothing of this module may be used any
/// more: the process is about to end.
pub fn destroy() {
    library::destroy_all();
}
