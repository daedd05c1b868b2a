//! The tree as a file system (FUSE), for the tools that know SCST by its files.
//!
//! Part of the two programs and not of the library: a host that links libscstu gets no FUSE. [`filesystem`]
//! answers the kernel, [`inodes`] remembers what the kernel knows, [`mountpoint`] finds and takes away what a
//! killed program left behind.
//!
//! As root it is mounted with mount(2) for all users to see; as an ordinary user through fusermount3, for
//! this user alone. Whatever ends this process, the mount goes: a child of it ([`mountpoint::guard`]) sees
//! to that.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fuser::{BackgroundSession, Config, MountOption, Session, SessionACL};
use scstu::mgmt::control::Files;
use scstu::sys::process::effective_user;

use filesystem::Filesystem;
use mountpoint::Guard;

mod filesystem;
mod inodes;
pub mod mountpoint;

/// Threads that answer the kernel; a write may keep one until the deadline of the files' owner.
const THREADS: usize = 8;

/// A mounted tree; dropping it takes the mount away.
pub struct Mounted {
    session: Option<BackgroundSession>,
    directory: PathBuf,
    _guard: Guard,
}

impl Mounted {
    /// Mounts `files` at `directory`, which is made if its parent is there. A mount that a killed program
    /// left is taken away first; one that works is refused.
    pub fn new(files: Arc<dyn Files>, directory: &Path) -> Result<Self, String> {
        let directory = mountpoint::prepare(directory)?;
        // Before there is a connection to the kernel that the child would keep open.
        let guard = Guard::start(&directory)?;
        let session = mount(files, &directory)?;
        Ok(Mounted { session: Some(session), directory, _guard: guard })
    }

    /// Where it is mounted.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Waits until somebody takes the mount away.
    #[allow(dead_code)] // The daemon has other things to wait for.
    pub fn wait(mut self) {
        if let Some(session) = self.session.take() {
            let _ = session.join();
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else { return };
        if session.guard.is_finished() || mountpoint::unmount(&self.directory) {
            drop(session.umount_and_join());
        } else {
            // Somebody is inside, and keeps a dead tree; the directory is free.
            mountpoint::detach(&self.directory);
        }
    }
}

fn mount(files: Arc<dyn Files>, directory: &Path) -> Result<BackgroundSession, String> {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName(mountpoint::SOURCE.to_owned()),
        MountOption::Subtype(mountpoint::SOURCE.to_owned()),
        MountOption::DefaultPermissions,
        MountOption::NoExec,
    ];
    config.acl = if effective_user() == 0 { SessionACL::All } else { SessionACL::Owner };
    config.n_threads = Some(THREADS);
    Session::new(Filesystem::new(files), directory, &config)
        .and_then(Session::spawn)
        .map_err(|error| explain(directory, &error))
}

fn explain(directory: &Path, error: &std::io::Error) -> String {
    let text = format!("{}: cannot mount: {}", directory.display(), error.to_string().trim());
    let hint = match error.kind() {
        std::io::ErrorKind::NotFound => "is /dev/fuse there, and fusermount3 (package fuse3)?",
        std::io::ErrorKind::PermissionDenied => "may this user read and write /dev/fuse?",
        _ => "an ordinary user needs fusermount3, and no NoNewPrivileges",
    };
    format!("{text} ({hint})")
}

#[cfg(test)]
mod tests;
