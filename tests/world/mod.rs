//! An instance that listens, and its tree: what an administrator writes, and what an initiator sees of it.
#![allow(dead_code, clippy::unwrap_used)] // Each test uses a part; a test panics to fail.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::initiator::{Initiator, Options};
use scstu::instance::{Instance, Options as InstanceOptions};
use scstu::mgmt::tree::Tree;

/// The target that `@` stands for in paths.
pub const TARGET: &str = "iqn.2026-01.org.scstu:t";
pub const LIMIT: Duration = Duration::from_secs(30);
pub const INQUIRY: [u8; 6] = [0x12, 0, 0, 0, 96, 0];
pub const TEST_UNIT_READY: [u8; 6] = [0; 6];

pub struct World {
    pub tree: Tree,
    pub address: SocketAddr,
    pub instance: Instance,
}

impl World {
    /// It listens, and has nothing.
    pub fn empty() -> World {
        World::with(InstanceOptions::default())
    }

    pub fn with(options: InstanceOptions) -> World {
        let instance = Instance::new(options).unwrap();
        instance.start().unwrap();
        let address = instance.listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let tree = Tree::new(Arc::clone(instance.model()));
        World { tree, address, instance }
    }

    pub fn path(path: &str) -> String {
        path.replace('@', &format!("targets/iscsi/{TARGET}"))
    }

    pub fn write(&self, path: &str, text: &str) {
        self.tree
            .write(&Self::path(path), text)
            .unwrap_or_else(|error| panic!("{text:?} to {path}: {error}"));
    }

    pub fn write_all(&self, writes: &[(&str, &str)]) {
        writes.iter().for_each(|(path, text)| self.write(path, text));
    }

    /// The errno and the text of a write that is refused.
    pub fn refused(&self, path: &str, text: &str) -> (i32, String) {
        match self.tree.write(&Self::path(path), text) {
            Ok(()) => panic!("{text:?} to {path} is not refused"),
            Err(error) => (error.errno, error.text),
        }
    }

    pub fn read(&self, path: &str) -> String {
        self.tree.read(&Self::path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub fn sessions(&self) -> Vec<String> {
        let listed = self.tree.list(&Self::path("@/sessions")).unwrap();
        listed.into_iter().map(|(name, _)| name).collect()
    }

    /// A login, behind its first unit attention.
    pub fn login(&self) -> Initiator {
        let mut session = Initiator::login(self.address, TARGET, &Options::default()).unwrap();
        session.good(0, &TEST_UNIT_READY, 0, &[]).unwrap();
        session
    }
}

pub fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {LIMIT:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Sense key and additional sense code with its qualifier; `None` for GOOD.
pub fn sense(session: &mut Initiator, lun: u8, cdb: &[u8], read: usize) -> Option<(u8, u16)> {
    let answer = session.command(lun, cdb, read, &[]).unwrap();
    if answer.status == 0 {
        return None;
    }
    assert_eq!(answer.status, 2, "{answer:x?}");
    Some((answer.sense[2] & 0x0f, u16::from_be_bytes([answer.sense[12], answer.sense[13]])))
}

/// Code and qualifier of a unit attention; `None` for GOOD.
pub fn attention(session: &mut Initiator, lun: u8) -> Option<(u8, u8)> {
    let (key, code) = sense(session, lun, &TEST_UNIT_READY, 0)?;
    let [code, qualifier] = code.to_be_bytes();
    assert_eq!(key, 6, "{code:02x}/{qualifier:02x}");
    Some((code, qualifier))
}
