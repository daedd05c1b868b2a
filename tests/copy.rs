//! Third-party copy over real sessions: what is copied, who may have what copied, how a copy is watched and
//! ended (SPC-4, 5.17).
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // Tests panic to fail.

mod common;
mod initiator;
mod support;

use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Daemon, Folder};
use initiator::{Answer, Initiator, Options, READ, WRITE, rw16};
use scstu::scsi::background::LongWork;
use scstu::server::ServerOptions;
use support::gated::Gated;
use support::{Memory, TARGET, serve};

const MIB: u64 = 1 << 20;
const DEADLINE: Duration = Duration::from_secs(30);

/// A CSCD descriptor.
type Cscd = [u8; 32];

/// The identification descriptor of the unit at `lun`: its first designator of this type.
fn cscd(session: &mut Initiator, lun: u8, kind: u8, block: u32) -> Cscd {
    let page = session.good(lun, &[0x12, 1, 0x83, 1, 0, 0], 256, &[]).unwrap();
    let mut rest = &page[4..];
    loop {
        let length = usize::from(rest[3]);
        if rest[1] & 0x3f == kind {
            let mut cscd = [0; 32];
            cscd[0] = 0xe4;
            cscd[4..8 + length].copy_from_slice(&rest[..4 + length]);
            cscd[28..32].copy_from_slice(&block.to_be_bytes());
            return cscd;
        }
        rest = &rest[4 + length..];
    }
}

/// A block to block segment from descriptor 0 to the last one.
fn segment(ids: (u16, u16), blocks: u16, from: u64, to: u64) -> Vec<u8> {
    let mut segment = vec![0x02, 0, 0, 0x18];
    segment.extend(ids.0.to_be_bytes());
    segment.extend(ids.1.to_be_bytes());
    segment.extend([0, 0]);
    segment.extend(blocks.to_be_bytes());
    segment.extend(from.to_be_bytes());
    segment.extend(to.to_be_bytes());
    segment
}

/// A block to block segment with offsets in bytes.
fn offset_segment(ids: (u16, u16), bytes: u32, from: (u64, u16), to: (u64, u16)) -> Vec<u8> {
    let mut segment = vec![0x0a, 0, 0, 0x1c];
    segment.extend(ids.0.to_be_bytes());
    segment.extend(ids.1.to_be_bytes());
    segment.extend(bytes.to_be_bytes());
    segment.extend(from.0.to_be_bytes());
    segment.extend(to.0.to_be_bytes());
    segment.extend(from.1.to_be_bytes());
    segment.extend(to.1.to_be_bytes());
    segment
}

/// EXTENDED COPY (LID1) of these descriptors.
fn copy(session: &mut Initiator, lun: u8, id: u8, cscds: &[Cscd], segments: &[Vec<u8>]) -> Answer {
    let list = list_1(id, cscds, segments);
    session.command(lun, &copy_cdb(0x00, list.len()), 0, &list).unwrap()
}

fn copy_cdb(action: u8, length: usize) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[..2].copy_from_slice(&[0x83, action]);
    cdb[10..14].copy_from_slice(&(length as u32).to_be_bytes());
    cdb
}

fn list_1(id: u8, cscds: &[Cscd], segments: &[Vec<u8>]) -> Vec<u8> {
    let mut list = vec![id, 0];
    list.extend((cscds.len() as u16 * 32).to_be_bytes());
    list.extend([0; 4]);
    list.extend((segments.concat().len() as u32).to_be_bytes());
    list.extend([0; 4]);
    list.extend(cscds.concat());
    list.extend(segments.concat());
    list
}

/// A list of EXTENDED COPY (LID4), answered at once.
fn list_4(id: u32, cscds: &[Cscd], segments: &[Vec<u8>]) -> Vec<u8> {
    let mut list = vec![0; 48];
    list[0] = 1;
    list[3] = 0x20;
    list[15] = 0x01;
    list[16] = 0xff;
    list[20..24].copy_from_slice(&id.to_be_bytes());
    list[42..44].copy_from_slice(&(cscds.len() as u16 * 32).to_be_bytes());
    list[44..46].copy_from_slice(&(segments.concat().len() as u16).to_be_bytes());
    list.extend(cscds.concat());
    list.extend(segments.concat());
    list
}

/// A service action of RECEIVE COPY RESULTS, with a list identifier of `bytes` bytes.
fn receive(session: &mut Initiator, lun: u8, action: u8, id: u32, bytes: usize) -> Answer {
    let mut cdb = [0; 16];
    cdb[..2].copy_from_slice(&[0x84, action]);
    cdb[2..2 + bytes].copy_from_slice(&id.to_be_bytes()[4 - bytes..]);
    cdb[12] = 1;
    session.command(lun, &cdb, 256, &[]).unwrap()
}

fn has(answer: &Answer, key: u8, code: u16) -> bool {
    answer.status == 2 && answer.sense[2] & 0x0f == key && answer.sense[12..14] == code.to_be_bytes()
}

fn write(session: &mut Initiator, lun: u8, lba: u64, block: usize, data: &[u8]) {
    session.good(lun, &rw16(WRITE, lba, (data.len() / block) as u32, false), 0, data).unwrap();
}

fn read(session: &mut Initiator, lun: u8, lba: u64, block: usize, length: usize) -> Vec<u8> {
    session.good(lun, &rw16(READ, lba, (length / block) as u32, false), length, &[]).unwrap()
}

fn pattern(seed: u8, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at as u8).wrapping_mul(31).wrapping_add((at >> 9) as u8) ^ seed).collect()
}

fn login(daemon: &Daemon, target: &str, isid: u32) -> Initiator {
    login_at(daemon.address, target, isid)
}

fn login_at(address: std::net::SocketAddr, target: &str, isid: u32) -> Initiator {
    let target = format!("iqn.2026-01.test:{target}");
    let mut session = Initiator::login(address, &target, &Options { isid, ..Options::default() }).unwrap();
    for lun in 0..5 {
        let _ = session.good(lun, &[0; 6], 0, &[]);
    }
    session
}

/// Targets `a` and `b`. `a`: a disk in memory, two in files, one in memory with blocks of 4096 bytes, and the
/// first again, read-only; `b`: a disk of its own, and the first of `a`'s.
fn daemon(folder: &Folder) -> Daemon {
    let mut conf = String::from("HANDLER vdisk_ram {\n");
    for (name, block) in [("ram", 512), ("wide", 4096), ("secret", 512)] {
        conf += &format!("DEVICE {name} {{\nsize 64M\nblocksize {block}\n}}\n");
    }
    conf += "}\nHANDLER vdisk_fileio {\n";
    for name in ["one", "two"] {
        let file = folder.file(name);
        std::fs::File::create(&file).unwrap().set_len(64 * MIB).unwrap();
        conf += &format!("DEVICE {name} {{\nfilename {}\n}}\n", file.display());
    }
    conf += "}\nTARGET_DRIVER iscsi {\nenabled 1\nTARGET iqn.2026-01.test:a {\nenabled 1\n";
    conf += "LUN 0 ram\nLUN 1 one\nLUN 2 two\nLUN 3 wide\nLUN 4 secret_view\n}\n";
    conf += "TARGET iqn.2026-01.test:b {\nenabled 1\nLUN 0 secret\nLUN 1 ram\n}\n}\n";
    let conf = conf.replace("LUN 4 secret_view", "LUN 4 two {\nread_only 1\n}");
    Daemon::start_in(&folder.0, &conf)
}

#[test]
fn spc_6_4_blocks_arrive_between_units_of_every_kind_and_within_one() {
    let folder = Folder::new("copy");
    let daemon = daemon(&folder);
    let mut session = login(&daemon, "a", 1);
    let data = pattern(1, 9 * MIB as usize);
    for (at, part) in data.chunks(MIB as usize).enumerate() {
        write(&mut session, 0, 100 + at as u64 * 2048, 512, part);
    }
    let ends: Vec<Cscd> = (0..3).map(|lun| cscd(&mut session, lun, 3, 512)).collect();
    let blocks = (data.len() / 512) as u16;
    let path = [segment((0, 1), blocks, 100, 7), segment((1, 2), blocks, 7, 40_000)];
    let back = [path[0].clone(), path[1].clone(), segment((2, 0xffff), blocks, 40_000, 60_001)];
    let answer = copy(&mut session, 0, 5, &ends, &back);
    assert_eq!(answer.status, 0, "{:02x?}", answer.sense);
    for (at, part) in data.chunks(MIB as usize).enumerate() {
        let at = at as u64 * 2048;
        for (lun, lba) in [(1, 7), (2, 40_000), (0, 60_001)] {
            assert!(read(&mut session, lun, lba + at, 512, part.len()) == part, "LUN {lun}, block {at}");
        }
    }
    let status = receive(&mut session, 0, 0x00, 5, 1).data;
    assert_eq!(status[..8], [0, 0, 0, 8, 0x01, 0, 3, 0], "done, three segments, in bytes");
    assert_eq!(status[8..12], (27 * MIB as u32).to_be_bytes());
    assert_eq!(receive(&mut session, 0, 0x04, 5, 1).data[..4], [0; 4], "nothing failed");
    let status = receive(&mut session, 0, 0x05, 5, 4).data;
    assert_eq!((status[4], status[5], status[12]), (1, 0x01, 0));
    assert!(has(&receive(&mut session, 1, 0x00, 5, 1), 5, 0x2400), "of another unit's copy manager");
    let mut other = login(&daemon, "a", 2);
    assert!(has(&receive(&mut other, 0, 0x00, 5, 1), 5, 0x2400), "of another nexus");
}

#[test]
fn a_hole_stays_a_hole() {
    let folder = Folder::new("copy-hole");
    let daemon = daemon(&folder);
    let mut session = login(&daemon, "a", 1);
    write(&mut session, 2, 0, 512, &pattern(9, 4 * MIB as usize));
    write(&mut session, 1, 2048, 512, &pattern(3, MIB as usize));
    let ends = [cscd(&mut session, 1, 3, 512), cscd(&mut session, 2, 3, 512)];
    assert_eq!(copy(&mut session, 0, 1, &ends, &[segment((0, 1), 65535, 0, 0)]).status, 0);
    session.good(2, &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0, &[]).unwrap();
    let file = std::fs::File::open(folder.file("two")).unwrap();
    let mut bytes = vec![0; 4 * MIB as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes[..MIB as usize].iter().all(|byte| *byte == 0));
    assert!(bytes[MIB as usize..2 * MIB as usize] == pattern(3, MIB as usize));
    let used = file.metadata().unwrap().blocks() * 512;
    assert!(used <= 2 * MIB, "{used} bytes are allocated for one MiB of data");
}

#[test]
fn m72_what_the_nexus_does_not_see_is_not_copied() {
    let folder = Folder::new("copy-access");
    let daemon = daemon(&folder);
    let (mut a, mut b) = (login(&daemon, "a", 1), login(&daemon, "b", 1));
    write(&mut b, 0, 0, 512, &pattern(7, 4096));
    let kinds = [1, 3];
    for kind in kinds {
        let Some(secret) = fits(&mut b, 0, kind) else { continue };
        let own = cscd(&mut a, 0, 3, 512);
        let steal = copy(&mut a, 0, 1, &[secret, own], &[segment((0, 1), 8, 0, 0)]);
        assert!(has(&steal, 10, 0x0d02), "{steal:?}");
        assert_eq!(steal.sense[15..18], [0xa0, 0, 4], "the source's descriptor ID");
        let harm = copy(&mut a, 0, 1, &[own, secret], &[segment((0, 0), 1, 0, 9), segment((0, 1), 8, 0, 0)]);
        assert!(has(&harm, 10, 0x0d02), "{harm:?}");
        assert_eq!(harm.sense[8..12], [0, 0, 0, 1], "the second segment");
    }
    assert!(read(&mut b, 0, 0, 512, 4096) == pattern(7, 4096));
    assert!(read(&mut a, 0, 0, 512, 8192).iter().all(|byte| *byte == 0), "nothing at all was copied");
}

/// The descriptor, if the designator is short enough for one.
fn fits(session: &mut Initiator, lun: u8, kind: u8) -> Option<Cscd> {
    let page = session.good(lun, &[0x12, 1, 0x83, 1, 0, 0], 256, &[]).unwrap();
    let mut rest = &page[4..];
    while rest[1] & 0x3f != kind {
        rest = &rest[4 + usize::from(rest[3])..];
    }
    (rest[3] <= 20).then(|| cscd(session, lun, kind, 512))
}

#[test]
fn what_may_not_be_written_is_not_copied_to() {
    let folder = Folder::new("copy-protected");
    let daemon = daemon(&folder);
    let (mut a, mut other) = (login(&daemon, "a", 1), login(&daemon, "b", 2));
    write(&mut a, 0, 0, 512, &pattern(1, 4096));
    let ends = [cscd(&mut a, 1, 3, 512), cscd(&mut a, 0, 3, 512)];
    let from_ram = [segment((1, 0), 8, 0, 0)];

    // PERSISTENT RESERVE OUT: REGISTER a key, then RESERVE, Write Exclusive, from the other target.
    let mut list = [0; 24];
    list[15] = 7;
    other.good(1, &[0x5f, 0, 0, 0, 0, 0, 0, 0, 24, 0], 0, &list).unwrap();
    list.rotate_left(8);
    other.good(1, &[0x5f, 1, 1, 0, 0, 0, 0, 0, 24, 0], 0, &list).unwrap();
    assert_eq!(copy(&mut a, 1, 1, &ends, &from_ram).status, 0, "it may be read");
    let refused = copy(&mut a, 1, 2, &ends, &[segment((0, 1), 8, 0, 100)]);
    assert!(has(&refused, 10, 0x0d01), "{refused:?}");
    let details = receive(&mut a, 1, 0x04, 2, 1).data;
    assert_eq!((details[3], details[56], details[59]), (74, 2, 18));
    assert_eq!(details[60..78], refused.sense[..18]);
    assert_eq!(receive(&mut a, 1, 0x00, 2, 1).data[4], 0x02, "completed with errors");
    assert!(read(&mut a, 0, 100, 512, 4096).iter().all(|byte| *byte == 0));
    assert!(has(&copy(&mut a, 1, 2, &ends, &[segment((0, 1), 8, 0, 1 << 40)]), 10, 0x0000));

    // SWP of the destination.
    let swp = [0, 0, 0, 0, 0x0a, 10, 0x20, 0x10, 0x08, 0, 0, 0, 0, 0, 0, 0];
    a.good(1, &[0x15, 0x10, 0, 0, 16, 0], 0, &swp).unwrap();
    assert!(has(&copy(&mut a, 2, 3, &ends, &from_ram), 10, 0x2700));
}

#[test]
fn overlapping_copies_within_a_unit_lose_nothing() {
    let folder = Folder::new("copy-overlap");
    let daemon = daemon(&folder);
    let mut session = login(&daemon, "a", 1);
    for lun in [0, 1] {
        let own = [cscd(&mut session, lun, 3, 512)];
        for (from, to) in [(1000, 1003), (1003, 1000), (1000, 1000 + 2047), (3000, 3000)] {
            let data = pattern(to as u8, 3 * MIB as usize);
            for (at, part) in data.chunks(MIB as usize).enumerate() {
                write(&mut session, lun, from + at as u64 * 2048, 512, part);
            }
            assert_eq!(copy(&mut session, lun, 1, &own, &[segment((0, 0), 6144, from, to)]).status, 0);
            for (at, part) in data.chunks(MIB as usize).enumerate() {
                assert!(
                    read(&mut session, lun, to + at as u64 * 2048, 512, part.len()) == part,
                    "{from} to {to}"
                );
            }
        }
    }
}

#[test]
fn spc_6_4_6_12_offsets_in_bytes_and_other_block_lengths() {
    let folder = Folder::new("copy-bytes");
    let daemon = daemon(&folder);
    let mut session = login(&daemon, "a", 1);
    let data = pattern(5, 2 * MIB as usize);
    for (at, part) in data.chunks(MIB as usize).enumerate() {
        write(&mut session, 0, at as u64 * 2048, 512, part);
    }
    let before = pattern(77, MIB as usize);
    for lba in [0, 256, 512] {
        write(&mut session, 3, lba, 4096, &before);
    }
    let ends = [cscd(&mut session, 0, 3, 512), cscd(&mut session, 3, 3, 4096)];
    let bytes = MIB as u32 + 777;
    let answer = copy(&mut session, 0, 1, &ends, &[offset_segment((0, 1), bytes, (3, 13), (2, 4001))]);
    assert_eq!(answer.status, 0, "{:02x?}", answer.sense);
    let start = 2 * 4096 + 4001;
    let mut expected = before.repeat(3);
    expected[start..start + bytes as usize].copy_from_slice(&data[3 * 512 + 13..][..bytes as usize]);
    for (at, part) in expected.chunks(MIB as usize).enumerate() {
        assert!(read(&mut session, 3, at as u64 * 256, 4096, part.len()) == part);
    }
    assert_eq!(copy(&mut session, 0, 1, &ends, &[segment((0, 1), 16, 1, 700)]).status, 0);
    assert!(read(&mut session, 3, 700, 4096, 8192) == data[512..512 + 8192]);
    let mut of_destination = segment((0, 1), 2, 1, 720);
    of_destination[1] = 0x02;
    assert_eq!(copy(&mut session, 0, 1, &ends, &[of_destination]).status, 0);
    assert!(read(&mut session, 3, 720, 4096, 8192) == data[512..512 + 8192]);

    let inexact = copy(&mut session, 0, 1, &ends, &[segment((0, 1), 9, 0, 0)]);
    assert!(has(&inexact, 10, 0x260a), "{inexact:?}");
    let wrong_length = [ends[0], cscd(&mut session, 3, 3, 512)];
    assert!(has(&copy(&mut session, 0, 1, &wrong_length, &[segment((0, 1), 8, 0, 0)]), 5, 0x2600));
    let tape = {
        let mut tape = ends;
        tape[0][1] = 0x01;
        tape
    };
    assert!(has(&copy(&mut session, 0, 1, &tape, &[segment((0, 1), 8, 0, 0)]), 10, 0x0d03));
    let beyond = offset_segment((0, 1), 4096, (0, 512), (0, 0));
    assert!(has(&copy(&mut session, 0, 1, &ends, &[beyond]), 5, 0x2600));
    let huge = offset_segment((0, 1), u32::MAX, (0, 0), (0, 0));
    assert!(has(&copy(&mut session, 0, 1, &ends, &[huge]), 5, 0x2600), "above MAXIMUM SEGMENT LENGTH");
    let nothing = offset_segment((0, 1), 0, (5, 0), (5, 0));
    assert_eq!(copy(&mut session, 0, 1, &ends, &[nothing]).status, 0);
}

/// Waits until `condition` holds.
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} does not come");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A plain unit at LUN 0 and a gated one at LUN 1; a session; the descriptors of both.
fn gated() -> (scstu::server::Server, std::net::SocketAddr, Arc<Gated>) {
    let store = Gated::new();
    let plain = Arc::new(Memory::new(32 * MIB as usize, 512, true));
    let (server, address) = serve(vec![plain, store.clone()], ServerOptions::default());
    (server, address, store)
}

fn session(address: std::net::SocketAddr, isid: u32) -> Initiator {
    let mut session = Initiator::login(address, TARGET, &Options { isid, ..Options::default() }).unwrap();
    for lun in [0, 1] {
        session.good(lun, &[0; 6], 0, &[]).unwrap();
    }
    session
}

/// The units of [`gated`] have no identity but their T10 designator.
fn from_0_to_1() -> [Vec<u8>; 1] {
    [segment((0xffff, 0), 60_000, 0, 0)]
}

/// LUN 1, which has no designator but its vendor's.
fn gated_unit(session: &mut Initiator) -> [Cscd; 1] {
    [cscd(session, 1, 1, 512)]
}

#[test]
fn spc_5_17_a_copy_in_the_background_is_watched_and_ended() {
    let (server, address, store) = gated();
    let mut session = session(address, 1);
    write(&mut session, 0, 0, 512, &pattern(1, MIB as usize));
    let unit = gated_unit(&mut session);
    let list = list_4(0xabcd_0001, &unit, &from_0_to_1());
    let cdb = copy_cdb(0x01, list.len());
    assert_eq!(session.command(0, &cdb, 0, &list).unwrap().status, 0, "answered before it is done");
    let again = session.command(0, &cdb, 0, &list).unwrap();
    assert!(has(&again, 5, 0x0016), "the identifier is in use: {again:?}");
    store.allow(8 * MIB);
    let mut status = Vec::new();
    until("the first piece", || {
        status = receive(&mut session, 0, 0x05, 0xabcd_0001, 4).data;
        status[16..24] == (8 * MIB).to_be_bytes()
    });
    assert_eq!((status[5], &status[24..26]), (0x12, &[0, 0][..]), "in progress in the background");
    let work = || {
        let sessions = server.sessions();
        let nexus = sessions[0].nexus.as_ref().unwrap();
        let itl = nexus.itls().into_iter().find(|itl| itl.lun == 0).unwrap();
        itl.device.long_work()
    };
    // 8 MiB of 60,000 blocks.
    assert_eq!(work(), [LongWork { what: "copy", percent: 27 }]);
    let ended = session.command(0, &[0x83, 0x1c, 0xab, 0xcd, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0, &[]);
    assert_eq!(ended.unwrap().status, 0);
    store.allow(8 * MIB);
    until("the end", || {
        status = receive(&mut session, 0, 0x05, 0xabcd_0001, 4).data;
        status[5] == 0x60
    });
    assert_eq!((status[12], status[14], status[34], status[32 + 12]), (2, 18, 10, 0x2f));
    store.allow(32 * MIB);
    assert_eq!(store.written(), 16 * MIB, "the piece that was out, and no more");
    let unknown = session.command(0, &[0x83, 0x1c, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0, &[]);
    assert!(has(&unknown.unwrap(), 5, 0x2400));
    drop(session);
    assert_eq!(server.stop(Duration::from_secs(5)), 0);
}

#[test]
fn the_end_of_its_nexus_ends_a_copy() {
    let (server, address, store) = gated();
    let mut first = session(address, 1);
    let unit = gated_unit(&mut first);
    write(&mut first, 0, 0, 512, &pattern(1, MIB as usize));
    let list = list_1(1, &unit, &from_0_to_1());
    first.start(0, &copy_cdb(0x00, list.len()), 0, &list).unwrap();
    store.allow(MIB);
    until("the first bytes", || store.written() == MIB);
    drop(first);
    let mut second = session(address, 2);
    let read = second.start(1, &rw16(READ, 0, 8, false), 4096, &[]).unwrap();
    store.allow(32 * MIB);
    assert_eq!(second.wait(read).unwrap().data, pattern(1, 4096), "behind the piece that was out");
    until("the end of the piece", || store.written() >= 8 * MIB);
    write(&mut second, 1, 60_000, 512, &[1; 512]);
    assert!(store.written() <= 16 * MIB + 512, "a piece after the loss at most");
    drop(second);
    assert_eq!(server.stop(Duration::from_secs(5)), 0);
}

#[test]
fn a_reset_of_the_destination_waits_for_the_piece_and_ends_the_copy() {
    let (server, address, store) = gated();
    let mut copier = session(address, 1);
    let unit = gated_unit(&mut copier);
    let list = list_1(1, &unit, &from_0_to_1());
    let itt = copier.start(0, &copy_cdb(0x00, list.len()), 0, &list).unwrap();
    store.allow(MIB);
    until("the first bytes", || store.written() == MIB);
    let mut other = session(address, 2);
    let reset = other.begin_function(5, 1, u32::MAX).unwrap();
    let early = other.command(0, &[0; 6], 0, &[]).unwrap();
    assert_eq!(early.status, 0);
    assert!(other.function_result(reset).is_none(), "the piece can still land");
    store.allow(32 * MIB);
    assert_eq!(other.wait_function(reset).unwrap(), 0);
    assert_eq!(store.written(), 8 * MIB);
    let answer = copier.wait(itt).unwrap();
    assert!(has(&answer, 10, 0x2f02), "{answer:?}");
    drop((copier, other));
    assert_eq!(server.stop(Duration::from_secs(5)), 0);
}

#[test]
fn abort_task_waits_for_the_piece() {
    let (server, address, store) = gated();
    let mut copier = session(address, 1);
    let unit = gated_unit(&mut copier);
    let list = list_1(1, &unit, &from_0_to_1());
    let itt = copier.start(0, &copy_cdb(0x00, list.len()), 0, &list).unwrap();
    store.allow(MIB);
    until("the first bytes", || store.written() == MIB);
    let abort = copier.begin_function(1, 0, itt).unwrap();
    let busy = copier.command(0, &[0; 6], 0, &[]).unwrap();
    assert_eq!(busy.status, 0);
    assert!(copier.function_result(abort).is_none());
    store.allow(32 * MIB);
    assert_eq!(copier.wait_function(abort).unwrap(), 0);
    assert_eq!(store.written(), 8 * MIB);
    assert_eq!(receive(&mut copier, 0, 0x00, 1, 1).data[4], 0x02);
    drop(copier);
    assert_eq!(server.stop(Duration::from_secs(5)), 0);
}

#[test]
fn copies_across_each_other_do_not_wait_for_ever() {
    let folder = Folder::new("copy-cross");
    let daemon = daemon(&folder);
    std::thread::scope(|scope| {
        for number in 0..6u32 {
            let address = daemon.address;
            scope.spawn(move || {
                let mut session = login_at(address, "a", 10 + number);
                let ends: Vec<Cscd> = (0..3).map(|lun| cscd(&mut session, lun, 3, 512)).collect();
                let (a, b) = [(0, 1), (1, 0), (1, 2), (2, 1), (0, 0), (2, 0)][number as usize];
                for _ in 0..20 {
                    let segments = [segment((a, b), 8192, 0, 4096), segment((b, a), 8192, 4096, 0)];
                    assert_eq!(copy(&mut session, 0, 1, &ends, &segments).status, 0);
                }
            });
        }
    });
}
