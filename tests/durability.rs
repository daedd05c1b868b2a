//! Errors of the medium are told, and go on being told as long as nobody knows what was lost.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // A test panics to fail.

mod common;
mod faults;
mod initiator;

use common::{Daemon, Folder, run, skip};
use faults::{Faulty, Operation};
use initiator::{Answer, Initiator, Options, READ, SYNCHRONIZE_CACHE, WRITE, rw16};

const TARGET: &str = "iqn.2026-01.test:durability";
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// A file of 1 MiB as LUN 0, with these attributes.
fn one_disk(folder: &Folder, attributes: &str) -> String {
    let file = folder.file("disk");
    std::fs::File::create(&file).unwrap().set_len(1 << 20).unwrap();
    of_file(&file.display().to_string(), attributes)
}

fn of_file(file: &str, attributes: &str) -> String {
    format!(
        "HANDLER vdisk_fileio {{\nDEVICE d {{\nfilename {file}\n{attributes}\n}}\n}}\n\
         TARGET_DRIVER iscsi {{\nenabled 1\nTARGET {TARGET} {{\nenabled 1\nLUN 0 d\n}}\n}}\n"
    )
}

fn login(daemon: &Daemon) -> Initiator {
    let mut session = Initiator::login(daemon.address, TARGET, &Options::default()).unwrap();
    session.good(0, &[0; 6], 0, &[]).unwrap();
    session
}

fn write(session: &mut Initiator, lba: u64, fua: bool) -> Answer {
    session.command(0, &rw16(WRITE, lba, 1, fua), 0, &[0x5a; 512]).unwrap()
}

fn flush(session: &mut Initiator) -> Answer {
    session.command(0, &rw16(SYNCHRONIZE_CACHE, 0, 0, false), 0, &[]).unwrap()
}

fn read(session: &mut Initiator, lba: u64) -> Answer {
    session.command(0, &rw16(READ, lba, 1, false), 512, &[]).unwrap()
}

/// Sense key, ASC and ASCQ, or nothing after GOOD.
fn sense(answer: &Answer) -> Option<(u8, u8, u8)> {
    (answer.status != 0).then(|| {
        assert_eq!(answer.status, 2, "{answer:02x?}");
        (answer.sense[2] & 0x0f, answer.sense[12], answer.sense[13])
    })
}

const SPACE: Option<(u8, u8, u8)> = Some((0x07, 0x27, 0x07));
const FAULT: Option<(u8, u8, u8)> = Some((0x03, 0x03, 0x03));
const FAILED: Option<(u8, u8, u8)> = Some((0x04, 0x44, 0x00));

fn start(name: &str, attributes: &str) -> Option<Faulty> {
    let faulty = Faulty::start(name, |folder| one_disk(folder, attributes));
    if faulty.is_none() {
        skip(name, "no C compiler (cc) for the library of faults");
    }
    faulty
}

/// It fails for good: the fault is gone, and the unit still does not say that all is well.
fn is_failed(faulty: &Faulty, session: &mut Initiator) {
    assert_eq!(sense(&flush(session)), FAILED);
    assert_eq!(sense(&write(session, 1, false)), FAILED);
    assert_eq!(sense(&read(session, 1)), FAILED);
    let folder = Folder::new("opened-again");
    let disk = faulty.folder.file("disk").display().to_string();
    let again = Daemon::start_in(&folder.0, &of_file(&disk, ""));
    let mut session = login(&again);
    assert_eq!(sense(&write(&mut session, 1, true)), None, "opened again, it works");
}

#[test]
fn sbc_a_failed_flush_is_told_until_the_store_is_opened_again() {
    let Some(faulty) = start("failed-flush", "") else { return };
    let mut session = login(&faulty.daemon);
    assert_eq!(sense(&write(&mut session, 0, false)), None);
    faulty.fail("disk", Operation::Sync, EIO);
    assert_eq!(sense(&flush(&mut session)), FAULT);
    faulty.heal("disk", Operation::Sync);
    is_failed(&faulty, &mut session);
}

#[test]
fn sbc_a_failed_durable_write_is_told_until_the_store_is_opened_again() {
    let Some(faulty) = start("failed-fua", "") else { return };
    let mut session = login(&faulty.daemon);
    faulty.fail("disk", Operation::Durable, EIO);
    assert_eq!(sense(&write(&mut session, 0, false)), None, "what is not durable goes to the cache");
    assert_eq!(sense(&write(&mut session, 0, true)), FAULT);
    faulty.heal("disk", Operation::Durable);
    is_failed(&faulty, &mut session);
}

#[test]
fn sbc_space_that_is_missing_when_the_cache_is_written_is_a_failed_flush() {
    let Some(faulty) = start("late-space", "") else { return };
    let mut session = login(&faulty.daemon);
    faulty.fail("disk", Operation::Durable, ENOSPC);
    assert_eq!(sense(&write(&mut session, 0, true)), SPACE);
    faulty.heal("disk", Operation::Durable);
    is_failed(&faulty, &mut session);
}

#[test]
fn sbc_no_space_is_space_allocation_failed_and_passes() {
    let Some(faulty) = start("no-space", "") else { return };
    let mut session = login(&faulty.daemon);
    faulty.fail("disk", Operation::Write, ENOSPC);
    for fua in [false, true] {
        assert_eq!(sense(&write(&mut session, 0, fua)), SPACE);
    }
    faulty.heal("disk", Operation::Write);
    for fua in [false, true] {
        assert_eq!(sense(&write(&mut session, 0, fua)), None);
    }
    assert_eq!(sense(&flush(&mut session)), None);
}

#[test]
fn sbc_a_write_or_read_that_fails_is_told_with_its_block() {
    let Some(faulty) = start("io-error", "") else { return };
    let mut session = login(&faulty.daemon);
    faulty.fail("disk", Operation::Write, EIO);
    assert_eq!(sense(&write(&mut session, 7, false)), FAULT);
    faulty.heal("disk", Operation::Write);
    faulty.fail("disk", Operation::Read, EIO);
    let answer = read(&mut session, 7);
    assert_eq!(sense(&answer), Some((0x03, 0x11, 0x00)));
    assert_eq!((answer.sense[0], &answer.sense[3..7]), (0xf0, &[0, 0, 0, 7][..]), "VALID and INFORMATION");
    faulty.heal("disk", Operation::Read);
    assert_eq!(sense(&read(&mut session, 7)), None);
}

#[test]
fn write_through_makes_every_change_of_the_medium_durable() {
    for unmap in [0, 0x08] {
        let Some(faulty) = start("write-through", "write_through 1\nthin_provisioned 1") else { return };
        let mut session = login(&faulty.daemon);
        let mut write_same = rw16(0x93, 0, 8, false);
        write_same[1] = unmap;
        session.good(0, &write_same, 0, &[0; 512]).unwrap();
        faulty.fail("disk", Operation::Sync, ENOSPC);
        assert_eq!(sense(&session.command(0, &write_same, 0, &[0; 512]).unwrap()), SPACE, "{unmap:#x}");
    }
}

#[test]
fn sbc_4_15_a_read_with_fua_writes_the_cache_back_first() {
    let Some(faulty) = start("read-fua", "") else { return };
    let mut session = login(&faulty.daemon);
    assert_eq!(sense(&write(&mut session, 0, false)), None);
    faulty.fail("disk", Operation::Sync, EIO);
    assert_eq!(sense(&read(&mut session, 0)), None);
    assert_eq!(sense(&session.command(0, &rw16(READ, 0, 1, true), 512, &[]).unwrap()), FAULT);
}

#[test]
fn a_full_device_is_no_space() {
    let folder = Folder::new("full");
    let daemon = Daemon::start_in(&folder.0, &of_file("/dev/full", "size 1048576"));
    let mut session = login(&daemon);
    assert_eq!(sense(&write(&mut session, 0, false)), SPACE);
    assert_eq!(sense(&write(&mut session, 0, true)), SPACE);
}

/// A file system that is unmounted when this is dropped.
struct Mount(std::path::PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_file_system_is_no_space_and_keeps_what_it_has() {
    let folder = Folder::new("small");
    let place = folder.file("tmpfs");
    std::fs::create_dir(&place).unwrap();
    let limit = std::time::Duration::from_secs(30);
    let mut mount = std::process::Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=1m", "none"]).arg(&place);
    if !common::is_installed("mount") || !run(&mut mount, limit).is_good() {
        return skip("a full file system", "a tmpfs cannot be mounted here");
    }
    let _mount = Mount(place.clone());
    let file = place.join("disk");
    std::fs::File::create(&file).unwrap().set_len(8 << 20).unwrap();
    let mut daemon = Daemon::start_in(&folder.0, &of_file(&file.display().to_string(), ""));
    let mut session = login(&daemon);
    let mut good = Vec::new();
    for number in 0..64 {
        let cdb = rw16(WRITE, number * 128, 128, number % 2 == 0);
        let answer = session.command(0, &cdb, 0, &[number as u8 + 1; 65536]).unwrap();
        match sense(&answer) {
            None => good.push(number),
            other => assert_eq!(other, SPACE),
        }
    }
    assert!(!good.is_empty() && good.len() < 64, "{} of 64 writes fitted into 1 MiB", good.len());
    for number in good {
        let data = session.good(0, &rw16(READ, number * 128, 128, false), 65536, &[]).unwrap();
        assert!(data.iter().all(|byte| *byte == number as u8 + 1), "write {number} was acknowledged");
    }
    daemon.kill();
}

/// A file system with ext4 on a disk of 4096-byte sectors, and what has to go with it.
struct Sectors(std::path::PathBuf, String);

impl Drop for Sectors {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
        let _ = std::process::Command::new("losetup").arg("-d").arg(&self.1).status();
    }
}

fn large_sectors(folder: &Folder) -> Result<Sectors, String> {
    let (image, place) = (folder.file("image"), folder.file("ext4"));
    std::fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
    std::fs::create_dir(&place).unwrap();
    let tool = |program: &str, words: &[&str]| {
        let out = std::process::Command::new(program).args(words).output();
        let out = out.map_err(|error| format!("{program}: {error}"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if out.status.success() { Ok(text(&out.stdout)) } else { Err(text(&out.stderr)) }
    };
    let device = tool("losetup", &["-b", "4096", "-f", "--show", image.to_str().unwrap()])?;
    let sectors = Sectors(place.clone(), device.clone());
    tool("mkfs.ext4", &["-q", &device])?;
    tool("mount", &[&device, place.to_str().unwrap()])?;
    Ok(sectors)
}

#[test]
fn small_writes_past_the_page_cache_reach_a_file_on_large_sectors() {
    let folder = Folder::new("sectors");
    let _sectors = match large_sectors(&folder) {
        Ok(sectors) => sectors,
        Err(why) => return skip("a file system with sectors of 4096 bytes", &why),
    };
    let file = folder.file("ext4/disk");
    std::fs::write(&file, vec![7u8; 1 << 20]).unwrap();
    let path = file.display().to_string();
    let conf = of_file(&path, "").replace("vdisk_fileio", "vdisk_blockio");
    assert!(conf.contains("vdisk_blockio"), "{conf}");
    let mut daemon = Daemon::start_in(&folder.0, &conf);
    let mut session = login(&daemon);
    for lba in [1, 9, 2047] {
        session.good(0, &rw16(WRITE, lba, 1, true), 0, &[lba as u8; 512]).unwrap();
    }
    session.good(0, &rw16(WRITE, 15, 18, false), 0, &[5; 18 * 512]).unwrap();
    let mut expected = vec![7u8; 1 << 20];
    for (at, blocks, byte) in [(1, 1, 1u8), (9, 1, 9), (2047, 1, 255), (15, 18, 5)] {
        expected[at * 512..(at + blocks) * 512].fill(byte);
    }
    for lba in [0, 1, 9, 15, 2047] {
        let data = session.good(0, &rw16(READ, lba, 1, false), 512, &[]).unwrap();
        assert_eq!(data[..], expected[lba as usize * 512..][..512], "LBA {lba}");
    }
    drop(session);
    assert!(daemon.stop().success());
    assert!(std::fs::read(&file).unwrap() == expected, "and nothing else has changed");
    // What is only part of a sector cannot be written.
    std::fs::write(&file, vec![7u8; 4096 + 512]).unwrap();
    let mut check = std::process::Command::new(env!("CARGO_BIN_EXE_scstud"));
    check.arg("-c").arg(folder.file("scst.conf")).arg("--state-dir").arg(folder.file("other"));
    let outcome = run(check.args(["--portal", "127.0.0.1:0"]), std::time::Duration::from_secs(30));
    assert!(!outcome.is_good() && outcome.text.contains("multiples of 4096 bytes"), "{}", outcome.text);
}
