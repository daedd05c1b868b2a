//! Thin provisioning as hosts see it: what the backing can do is offered by itself, and told truthfully.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // Tests panic to fail.

mod common;
mod initiator;

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::{Daemon, Folder, skip};
use initiator::{Initiator, Options, READ, WRITE, rw16};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const TARGET: &str = "iqn.2026-01.test:thin";

fn start(folder: &Folder, handler: &str, device: &str) -> Daemon {
    let conf = format!(
        "HANDLER {handler} {{\nDEVICE disk {{\n{device}\n}}\n}}\nTARGET_DRIVER iscsi {{\nenabled 1\n\
         TARGET {TARGET} {{\nenabled 1\nLUN 0 disk\n}}\n}}\n"
    );
    Daemon::start_in(&folder.0, &conf)
}

fn login(daemon: &Daemon, isid: u32) -> Initiator {
    let options = Options { isid, ..Options::default() };
    let mut session = Initiator::login(daemon.address, TARGET, &options).unwrap();
    session.good(0, &[0; 6], 0, &[]).unwrap();
    session
}

fn page(session: &mut Initiator, code: u8) -> Vec<u8> {
    session.good(0, &[0x12, 1, code, 0, 255, 0], 255, &[]).unwrap()
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The descriptors of GET LBA STATUS from `lba` on: first block, blocks, and whether they are deallocated.
fn status(session: &mut Initiator, lba: u64, room: usize) -> Vec<(u64, u64, bool)> {
    let mut cdb = [0; 16];
    cdb[..2].copy_from_slice(&[0x9e, 0x12]);
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&(room as u32).to_be_bytes());
    let data = session.good(0, &cdb, room, &[]).unwrap();
    let length = (number(&data[..4]) as usize - 4).min(room.saturating_sub(8));
    let descriptor = |d: &[u8]| (number(&d[..8]), number(&d[8..12]), d[12] & 0x0f == 1);
    data[8..8 + length].chunks_exact(16).map(descriptor).collect()
}

fn unmap(session: &mut Initiator, lba: u64, blocks: u32) {
    let mut list = vec![0, 22, 0, 16, 0, 0, 0, 0];
    list.extend(lba.to_be_bytes());
    list.extend(blocks.to_be_bytes());
    list.extend([0; 4]);
    session.good(0, &[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], 0, &list).unwrap();
}

fn used(file: &Path) -> u64 {
    std::fs::metadata(file).unwrap().blocks() * 512
}

/// Punches a hole, as fallocate(1) does; false where the file system cannot.
fn can_punch(file: &Path) -> bool {
    let out = Command::new("fallocate").args(["-p", "-o", "0", "-l", "4096"]).arg(file).output();
    out.is_ok_and(|out| out.status.success())
}

#[test]
fn a_file_is_thin_by_itself_and_its_holes_are_told() {
    let folder = Folder::new("thin");
    let file = folder.file("disk");
    std::fs::File::create(&file).unwrap().set_len(64 * MIB).unwrap();
    if !can_punch(&file) {
        return skip("thin files", "no fallocate(1), or no holes on this file system");
    }
    let daemon = start(&folder, "vdisk_fileio", &format!("filename {}", file.display()));
    let mut session = login(&daemon, 1);
    let capacity =
        session.good(0, &[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0], 32, &[]).unwrap();
    assert_eq!(capacity[14], 0xc0, "LBPME and LBPRZ");
    let (limits, provisioning) = (page(&mut session, 0xb0), page(&mut session, 0xb2));
    let unit = std::fs::metadata(&file).unwrap().blksize();
    assert_eq!(number(&limits[28..32]), unit / 512, "OPTIMAL UNMAP GRANULARITY");
    assert_eq!(
        provisioning[4..7],
        [11, 0xe4, 0x02],
        "threshold sets of 1 MiB; LBPU, LBPWS, LBPWS10, LBPRZ; thin"
    );

    assert_eq!(status(&mut session, 0, 4096), [(0, 131_072, true)]);
    let step = 256 * KIB / 512;
    for number in 0..40 {
        let data = vec![number as u8 + 1; 64 * KIB as usize];
        session.good(0, &rw16(WRITE, number * step, 128, false), 0, &data).unwrap();
    }
    let all = status(&mut session, 0, 4096);
    assert_eq!(all.len(), 80, "40 runs of data and the holes between and behind them");
    for (index, run) in all.iter().enumerate() {
        let start = index as u64 / 2 * step;
        let (hole_at, hole) = (start + 128, if index == 79 { 131_072 - 39 * step - 128 } else { step - 128 });
        let expected = if index % 2 == 0 { (start, 128, false) } else { (hole_at, hole, true) };
        assert_eq!(*run, expected, "run {index}");
    }
    assert_eq!(
        status(&mut session, 5 * step + 3, 40),
        [(5 * step + 3, 125, false), (5 * step + 128, step - 128, true)]
    );
    assert_eq!(status(&mut session, 5 * step + 200, 24), [(5 * step + 200, step - 200, true)]);
    assert_eq!(status(&mut session, 131_071, 4096), [(131_071, 1, true)]);

    let before = used(&file);
    unmap(&mut session, 0, 20 * step as u32);
    assert!(used(&file) <= before - 20 * 64 * KIB, "the file has given space back");
    let gone = session.good(0, &rw16(READ, 3 * step, 128, false), 64 * KIB as usize, &[]).unwrap();
    assert!(gone.iter().all(|byte| *byte == 0), "LBPRZ");
    let kept = session.good(0, &rw16(READ, 20 * step, 128, false), 64 * KIB as usize, &[]).unwrap();
    assert!(kept.iter().all(|byte| *byte == 21));
    assert_eq!(status(&mut session, 0, 24), [(0, 20 * step, true)]);
    unmap(&mut session, 20 * step + 1, 1);
    let cut = session.good(0, &rw16(READ, 20 * step, 3, false), 1536, &[]).unwrap();
    assert!(cut[512..1024].iter().all(|byte| *byte == 0), "LBPRZ below the granularity too");
    assert!(cut[..512].iter().chain(&cut[1024..]).all(|byte| *byte == 21));
}

#[test]
fn thin_provisioning_can_be_refused() {
    let folder = Folder::new("thick");
    let file = folder.file("disk");
    std::fs::File::create(&file).unwrap().set_len(MIB).unwrap();
    let device = format!("filename {}\nthin_provisioned 0", file.display());
    let daemon = start(&folder, "vdisk_fileio", &device);
    let mut session = login(&daemon, 1);
    let capacity =
        session.good(0, &[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0], 32, &[]).unwrap();
    assert_eq!(capacity[14], 0);
    assert_eq!(page(&mut session, 0xb2)[4..8], [0; 4]);
    assert_eq!(page(&mut session, 0xb0)[20..36], [0; 16]);
    let refused = session.command(0, &[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], 0, &[0; 24]).unwrap();
    assert_eq!((refused.status, refused.sense[2], refused.sense[12]), (2, 5, 0x20));
}

#[test]
fn the_soft_threshold_is_told_to_every_initiator() {
    let folder = Folder::new("threshold");
    let file = folder.file("disk");
    std::fs::File::create(&file).unwrap().set_len(64 * MIB).unwrap();
    if !can_punch(&file) {
        return skip("soft threshold", "no fallocate(1), or no holes on this file system");
    }
    // More than any file system has left.
    let device = format!("filename {}\nsoft_threshold_mb 2000000000", file.display());
    let daemon = start(&folder, "vdisk_fileio", &device);
    let (mut writer, mut other) = (login(&daemon, 1), login(&daemon, 2));
    writer.good(0, &rw16(WRITE, 0, 8, false), 0, &[1; 4096]).unwrap();
    for session in [&mut writer, &mut other] {
        let told = session.command(0, &[0; 6], 0, &[]).unwrap();
        assert_eq!((told.status, told.sense[2], &told.sense[12..14]), (2, 6, &[0x38, 0x07][..]), "{told:?}");
        assert_eq!(session.command(0, &[0; 6], 0, &[]).unwrap().status, 0, "once");
    }
    for at in 0..40 {
        writer.good(0, &rw16(WRITE, at * 2048, 2048, false), 0, &vec![2; MIB as usize]).unwrap();
    }
    assert_eq!(other.command(0, &[0; 6], 0, &[]).unwrap().status, 0, "it has not risen above it since");

    let list = writer.good(0, &[0x4d, 0, 0x40, 0, 0, 0, 0, 0, 255, 0], 255, &[]).unwrap();
    assert_eq!(list[4..7], [0x00, 0x0c, 0x2f]);
    let log = writer.good(0, &[0x4d, 0, 0x4c, 0, 0, 0, 0, 0, 255, 0], 255, &[]).unwrap();
    assert_eq!(log[..8], [0x0c, 0, 0, 24, 0, 1, 3, 8]);
    assert!(number(&log[8..12]) > 0, "sets left");
    assert_eq!((log[12], log[17], log[24]), (2, 2, 1), "shared by others; its own");
    let sets = number(&log[20..24]);
    assert!((40..=64).contains(&sets), "{sets} sets of 1 MiB are used");
    let mode = writer.good(0, &[0x1a, 0x08, 0x1c, 0x02, 255, 0], 255, &[]).unwrap();
    assert_eq!(mode[4..8], [0x40 | 0x80 | 0x1c, 0x02, 0, 20]);
    assert_eq!(mode[20..22], [0x80, 0x01], "enabled, for what is available");
    assert_eq!(number(&mode[24..28]), 2_000_000_000);
}

/// A loop device over a file, let go when dropped.
struct Loop(String);

impl Loop {
    fn new(file: &Path) -> Result<Loop, String> {
        let out = Command::new("losetup").args(["-f", "--show"]).arg(file).output();
        let out = out.map_err(|error| format!("losetup: {error}"))?;
        if !out.status.success() {
            return Err(String::from_utf8_lossy(&out.stderr).trim().to_owned());
        }
        Ok(Loop(String::from_utf8_lossy(&out.stdout).trim().to_owned()))
    }

    fn queue(&self, name: &str) -> u64 {
        let device = self.0.trim_start_matches("/dev/");
        let text = std::fs::read_to_string(format!("/sys/block/{device}/queue/{name}")).unwrap();
        text.trim().parse().unwrap()
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.0).status();
    }
}

#[test]
fn a_block_device_is_thin_when_it_discards() {
    let folder = Folder::new("thin-block");
    let file = folder.file("backing");
    std::fs::File::create(&file).unwrap().set_len(64 * MIB).unwrap();
    let device = match Loop::new(&file) {
        Ok(device) => device,
        Err(why) => return skip("thin block devices", &format!("no loop device: {why}")),
    };
    let daemon = start(&folder, "vdisk_blockio", &format!("filename {}", device.0));
    let mut session = login(&daemon, 1);
    let capacity =
        session.good(0, &[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0], 32, &[]).unwrap();
    let discards = device.queue("discard_max_bytes") > 0;
    assert_eq!(capacity[14], if discards { 0x80 } else { 0 }, "LBPME; no LBPRZ, which nothing promises");
    if discards {
        let limits = page(&mut session, 0xb0);
        assert_eq!(number(&limits[28..32]), device.queue("discard_granularity") / 512);
        assert_eq!(page(&mut session, 0xb2)[5], 0xe0, "no LBPRZ");
        session.good(0, &rw16(WRITE, 0, 2048, false), 0, &vec![7; MIB as usize]).unwrap();
        session.good(0, &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0, &[]).unwrap();
        let before = used(&file);
        unmap(&mut session, 0, 1024);
        assert!(used(&file) <= before - 512 * KIB, "the discard has gone through");
        let mut same = [0; 16];
        same[..2].copy_from_slice(&[0x93, 0x08]);
        same[8..14].copy_from_slice(&[4, 0, 0, 0, 4, 0]);
        session.good(0, &same, 0, &[0; 512]).unwrap();
        let zeros = session.good(0, &rw16(READ, 1024, 1024, false), 512 * KIB as usize, &[]).unwrap();
        assert!(zeros.iter().all(|byte| *byte == 0), "WRITE SAME of zeros reads as zeros on any device");
    }
    drop(session);
    let mut daemon = daemon;
    assert!(daemon.stop().success(), "before its device goes");
}

#[test]
fn protection_information_is_refused_in_words() {
    let folder = Folder::new("protection");
    let conf = folder.file("scst.conf");
    std::fs::write(&conf, "HANDLER vdisk_ram {\nDEVICE disk {\nsize 1M\ndif_mode tgt\n}\n}\n").unwrap();
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_scstud"));
    daemon
        .arg("-c")
        .arg(&conf)
        .arg("--state-dir")
        .arg(folder.file("state"))
        .args(["--portal", "127.0.0.1:0"]);
    let outcome = common::run(&mut daemon, Duration::from_secs(30));
    assert!(outcome.status.is_some_and(|status| !status.success()), "{}", outcome.text);
    let words = "dif_mode: T10 protection information is not supported; leave it out";
    assert!(outcome.text.contains(words), "{}", outcome.text);
}
