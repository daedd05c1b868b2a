//! A target whose units are files, and what tests of lent pages ask of it.
#![allow(dead_code, clippy::unwrap_used, clippy::cast_possible_truncation)] // Each test uses a part.

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::common::Folder;
use crate::initiator::{Answer, Initiator, Options, READ, WRITE, rw16};
use crate::world::{TARGET, World};

pub const BLOCK: usize = 512;
/// Blocks of each file: 4 MiB.
pub const BLOCKS: u64 = 8192;
/// LUNs: pages of the page cache go out from these two, which are one unit; nothing but copies from the last.
pub const LENT: u8 = 0;
pub const SAME: u8 = 1;
pub const COPIED: u8 = 2;
/// How long a write is given to do what it must not.
pub const MOMENT: Duration = Duration::from_millis(100);
/// The blocks that are read while others write, and those that are known around them.
pub const READ_FROM: Range<u64> = 64..320;
pub const KNOWN: Range<u64> = 0..512;

/// A folder in memory, where no read waits, and one on another file system, if there is any.
pub fn folders(name: &str) -> Vec<Folder> {
    let memory = Path::new("/dev/shm").join(format!("scstu-{name}-{}", std::process::id()));
    let other = Folder::new(name);
    if fs::create_dir_all(&memory).is_err() {
        return vec![other];
    }
    let memory = Folder(memory);
    let device = |folder: &Folder| fs::metadata(&folder.0).unwrap().dev();
    if device(&memory) == device(&other) { vec![memory] } else { vec![memory, other] }
}

pub fn serve(folder: &Folder) -> World {
    for name in ["lent", "copied"] {
        File::create(folder.file(name)).unwrap().set_len(BLOCKS * BLOCK as u64).unwrap();
    }
    let add = |name: &str, more: &str| {
        format!("add_device {name} filename={}; thin_provisioned=1{more}", folder.file(name).display())
    };
    let world = World::empty();
    world.write_all(&[
        ("handlers/vdisk_fileio/mgmt", &add("lent", "")),
        ("handlers/vdisk_fileio/mgmt", &add("copied", "; zero_copy=0")),
        ("targets/iscsi/mgmt", &format!("add_target {TARGET}")),
        ("@/luns/mgmt", &format!("add lent {LENT}")),
        ("@/luns/mgmt", &format!("add lent {SAME}")),
        ("@/luns/mgmt", &format!("add copied {COPIED}")),
        ("@/HeaderDigest", "None,CRC32C"),
        ("@/DataDigest", "None,CRC32C"),
        ("@/NopInInterval", "0"),
        ("@/InitialR2T", "No"),
        ("@/enabled", "1"),
    ]);
    assert_eq!(world.read("devices/lent/zero_copy").lines().next(), Some("1"));
    world
}

pub fn login(world: &World, options: &Options) -> Initiator {
    let mut session = Initiator::login(world.address, TARGET, options).unwrap();
    for lun in [LENT, SAME, COPIED] {
        session.good(lun, &[0; 6], 0, &[]).unwrap();
    }
    session
}

pub fn alone(world: &World) -> Initiator {
    login(world, &Options::default())
}

pub fn another(world: &World) -> Initiator {
    let name = "iqn.2026-01.test:other".to_owned();
    login(world, &Options { isid: 2, name, ..Options::default() })
}

/// What blocks hold after the write with this number: one word over and over in each.
pub fn filled(blocks: Range<u64>, number: u64) -> Vec<u8> {
    blocks.flat_map(|lba| (lba << 32 | number).to_be_bytes().repeat(BLOCK / 8)).collect()
}

pub fn length(blocks: &Range<u64>) -> usize {
    (blocks.end - blocks.start) as usize * BLOCK
}

pub fn cdb(opcode: u8, blocks: &Range<u64>) -> [u8; 16] {
    rw16(opcode, blocks.start, (blocks.end - blocks.start) as u32, false)
}

pub fn write(session: &mut Initiator, lun: u8, blocks: Range<u64>, number: u64) {
    session.good(lun, &cdb(WRITE, &blocks), 0, &filled(blocks, number)).unwrap();
}

pub fn start_read(session: &mut Initiator, lun: u8, blocks: &Range<u64>) -> u32 {
    session.start(lun, &cdb(READ, blocks), length(blocks), &[]).unwrap()
}

pub fn read(session: &mut Initiator, lun: u8, blocks: Range<u64>) -> Vec<u8> {
    session.good(lun, &cdb(READ, &blocks), length(&blocks), &[]).unwrap()
}

pub fn start_write(session: &mut Initiator, blocks: Range<u64>, number: u64) -> u32 {
    session.start(LENT, &cdb(WRITE, &blocks), 0, &filled(blocks, number)).unwrap()
}

/// A read of pages that are on their way when this returns, and that the initiator has not looked at.
pub fn begin_read(session: &mut Initiator, lun: u8, blocks: Range<u64>) -> u32 {
    let tag = start_read(session, lun, &blocks);
    session.arrives().unwrap();
    tag
}

/// Panics with the first block that is not what it should be.
pub fn is_same(found: &[u8], expected: &[u8], first: u64, told: &str) {
    assert_eq!(found.len(), expected.len(), "{told}");
    for (lba, (found, expected)) in (first..).zip(found.chunks(BLOCK).zip(expected.chunks(BLOCK))) {
        assert!(found == expected, "{told}: block {lba} has {:02x?}", &found[..16]);
    }
}

pub fn has(answer: &Answer, blocks: Range<u64>, number: u64, told: &str) {
    assert_eq!(answer.status, 0, "{told}: {:02x?}", answer.sense);
    is_same(&answer.data, &filled(blocks.clone(), number), blocks.start, told);
}

/// Whether a command that others may hold up has been answered after a moment.
pub fn is_answered_by_now(session: &mut Initiator, tag: u32) -> bool {
    thread::sleep(MOMENT);
    session.nop().unwrap();
    session.answer(tag).is_some()
}

pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}
