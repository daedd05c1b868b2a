//! Units on memory and on files, and blocks that tell which write they are of.

use std::fs::{self, File};
use std::ops::Range;
use std::path::Path;

use super::{Raw, rw16};
use crate::common::Folder;
use crate::world::{TARGET, World};

pub const READ: u8 = 0x88;
pub const WRITE: u8 = 0x8a;
pub const BLOCK: usize = 512;
/// Of each unit: 8 MiB.
pub const BLOCKS: u64 = 16_384;
/// LUNs: memory, a file in memory, a file where the build is; and another of each.
pub const UNITS: [&str; 3] = ["ram", "file", "disk"];
/// The first one again, write protected.
pub const PROTECTED: u8 = 6;

pub fn serve(name: &str, more: &[(&str, &str)]) -> (World, [Folder; 2]) {
    let disk = Folder::new(name);
    let memory = Path::new("/dev/shm").join(format!("scstu-{name}-{}", std::process::id()));
    let memory = if fs::create_dir_all(&memory).is_ok() { Folder(memory) } else { Folder::new(name) };
    let world = World::empty();
    world.write("targets/iscsi/mgmt", &format!("add_target {TARGET}"));
    for (lun, number) in [(0, 0), (3, 1)] {
        world.write("handlers/vdisk_ram/mgmt", &format!("add_device ram{number} size=8M"));
        for (unit, folder) in [("file", &memory), ("disk", &disk)] {
            let file = folder.file(&format!("{unit}{number}"));
            File::create(&file).unwrap().set_len(BLOCKS * BLOCK as u64).unwrap();
            let add = format!("add_device {unit}{number} filename={}; thin_provisioned=1", file.display());
            world.write("handlers/vdisk_fileio/mgmt", &add);
        }
        for (at, unit) in UNITS.iter().enumerate() {
            world.write("@/luns/mgmt", &format!("add {unit}{number} {}", lun + at));
            world.write(&format!("devices/{unit}{number}/max_tgt_dev_commands"), "0");
        }
    }
    world.write("@/luns/mgmt", &format!("add ram0 {PROTECTED} read_only=1"));
    world.write_all(&[
        ("@/HeaderDigest", "None,CRC32C"),
        ("@/DataDigest", "None,CRC32C"),
        ("@/FirstBurstLength", "262144"),
        ("@/MaxRecvDataSegmentLength", "262144"),
        ("@/InitialR2T", "No"),
        ("@/NopInInterval", "0"),
    ]);
    world.write_all(more);
    world.write("@/enabled", "1");
    (world, [disk, memory])
}

/// What blocks hold after the write with this number.
pub fn filled(blocks: Range<u64>, number: u64) -> Vec<u8> {
    blocks.flat_map(|lba| (lba << 32 | number).to_be_bytes().repeat(BLOCK / 8)).collect()
}

pub fn cdb(opcode: u8, blocks: &Range<u64>) -> [u8; 16] {
    rw16(opcode, blocks.start, (blocks.end - blocks.start) as u32)
}

pub fn whole(raw: &mut Raw, lun: u8, blocks: &Range<u64>, number: u64) -> (u32, Vec<u8>) {
    raw.whole(lun, &cdb(WRITE, blocks), &filled(blocks.clone(), number))
}

/// Panics with the first block that is not what it should be.
pub fn holds(raw: &mut Raw, lun: u8, blocks: Range<u64>, number: u64, told: &str) {
    let length = (blocks.end - blocks.start) as usize * BLOCK;
    let found = raw.read(lun, &cdb(READ, &blocks), length);
    let expected = if number == 0 { vec![0; length] } else { filled(blocks.clone(), number) };
    for (lba, (found, expected)) in blocks.zip(found.chunks(BLOCK).zip(expected.chunks(BLOCK))) {
        assert!(found == expected, "{told}: block {lba} has {:02x?}", &found[..16]);
    }
}

pub fn good(raw: &mut Raw, itt: u32, told: &str) {
    let ended = raw.wait(itt);
    assert!(ended.is_good(), "{told}: {ended:x?}");
}
