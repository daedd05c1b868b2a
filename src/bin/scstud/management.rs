//! The daemon's sides for administrators: the control socket, and the tree as a file system.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use log::{info, warn};
use scstu::mgmt::control::local::Local;
use scstu::mgmt::control::server::Server as ControlServer;
use scstu::mgmt::control::{Service, default_path};

#[cfg(feature = "fuse")]
use crate::fuse::Mounted;

/// Sides that are open; dropping it closes them.
pub struct Management {
    #[cfg(feature = "fuse")]
    _mounted: Option<Mounted>,
    _socket: Option<ControlServer>,
}

/// Opens the control socket at `socket` and mounts the tree on `mount`. Without `socket`, it is opened where
/// one is looked for, and it is no failure if that cannot be.
pub fn open(local: Local, socket: Option<&Path>, mount: Option<&Path>) -> Result<Management, String> {
    let local = Arc::new(local);
    let socket = match socket {
        Some(path) => Some(serve(path, &local).map_err(|error| format!("{}: {error}", path.display()))?),
        None => serve_somewhere(&local),
    };
    #[cfg(feature = "fuse")]
    let mounted = match mount {
        Some(directory) => {
            let mounted = Mounted::new(local, directory)?;
            info!("the tree is mounted on {}", mounted.directory().display());
            Some(mounted)
        }
        None => None,
    };
    #[cfg(not(feature = "fuse"))]
    if mount.is_some() {
        return Err("this scstud was built without FUSE (cargo feature `fuse`)".to_owned());
    }
    Ok(Management {
        #[cfg(feature = "fuse")]
        _mounted: mounted,
        _socket: socket,
    })
}

fn serve(path: &Path, local: &Arc<Local>) -> io::Result<ControlServer> {
    let server = ControlServer::open(path, Arc::clone(local) as Arc<dyn Service>)?;
    info!("control socket {} is open", path.display());
    Ok(server)
}

fn serve_somewhere(local: &Arc<Local>) -> Option<ControlServer> {
    let Some(path): Option<PathBuf> = default_path() else {
        info!("no control socket: neither /run/scstu nor XDG_RUNTIME_DIR is this user's; --socket gives one");
        return None;
    };
    match serve(&path, local) {
        Ok(server) => Some(server),
        Err(error) => {
            warn!("no control socket: {}: {error}; --socket gives another", path.display());
            None
        }
    }
}
