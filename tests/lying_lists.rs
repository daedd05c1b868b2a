//! Parameter lists that lie about their length, and CDBs that ask for what is not there: each gets its exact
//! refusal, nothing is changed by it, and no byte is sent that was not written for the answer.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // Tests panic to fail.

mod one_unit;
mod support;

use std::sync::Arc;

use one_unit::{Answer, Bench, Path};
use scstu::backstore::gate::Gate;
use scstu::backstore::registry::{OpenRequest, find};
use scstu::backstore::{Backstore, BlockError, Capabilities, Geometry};
use scstu::scsi::device::{DeviceType, NewDevice, Settings};

const BLOCKS: u64 = 4096;
/// A byte that is in no answer.
const POISON: u8 = 0xe7;

fn bench_over(store: Arc<dyn Backstore>) -> Bench {
    Bench::made(NewDevice {
        name: "disk".to_owned(),
        device_type: DeviceType::Disk,
        settings: Settings { thin_provisioned: true, allow_sanitize: true, ..Settings::default() },
        gate: Some(Arc::new(Gate::new(store))),
        block_size: 512,
        task_set_type: 1,
    })
}

/// A thin disk of [`BLOCKS`] blocks in memory.
fn bench() -> Bench {
    let request = OpenRequest { size: Some(BLOCKS * 512), ..OpenRequest::default() };
    bench_over(find("vdisk_ram").unwrap().open(&request).unwrap().unwrap())
}

fn cdb(opcode: u8, fields: &[(usize, &[u8])]) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = opcode;
    for (at, bytes) in fields {
        cdb[*at..at + bytes.len()].copy_from_slice(bytes);
    }
    cdb
}

/// Fills the unit, and the memory that answers are made of.
fn fill(path: &Path<'_>) {
    let write = cdb(0x8a, &[(10, &(BLOCKS as u32).to_be_bytes())]);
    assert!(path.run(&write, &vec![POISON; BLOCKS as usize * 512]).is_good());
}

/// Whether every block still has what [`fill`] wrote.
fn is_untouched(path: &Path<'_>) -> bool {
    let read = |lba: u64| path.run(&cdb(0x88, &[(2, &lba.to_be_bytes()), (12, &[4, 0])]), &[]).data;
    (0..BLOCKS).step_by(1024).all(|lba| read(lba).iter().all(|byte| *byte == POISON))
}

/// Runs what must be refused with one of these codes, and changes nothing.
fn refused(path: &Path<'_>, what: &str, cdb: &[u8], data: &[u8], codes: &[(u8, u16)]) -> Answer {
    let answer = path.run(cdb, data);
    assert!(codes.iter().any(|(key, code)| answer.has(*key, *code)), "{what}: {answer:?}");
    assert!(is_untouched(path), "{what} has changed something");
    answer
}

const LENGTH: (u8, u16) = (5, 0x1a00);
const IN_CDB: (u8, u16) = (5, 0x2400);
const IN_LIST: (u8, u16) = (5, 0x2600);
const RANGE: (u8, u16) = (5, 0x2100);
const UNIT: (u8, u16) = (5, 0x0e03);

fn unmap_list(claimed: u16, ranges: &[(u64, u32)]) -> Vec<u8> {
    let mut list = (claimed + 6).to_be_bytes().to_vec();
    list.extend(claimed.to_be_bytes());
    list.extend([0; 4]);
    for (lba, blocks) in ranges {
        list.extend(lba.to_be_bytes());
        list.extend(blocks.to_be_bytes());
        list.extend([0; 4]);
    }
    list
}

fn unmap_cdb(length: usize) -> [u8; 10] {
    let [high, low] = (length as u16).to_be_bytes();
    [0x42, 0, 0, 0, 0, 0, 0, high, low, 0]
}

#[test]
fn m70_unmap() {
    let bench = bench();
    let path = bench.path("a", 1);
    fill(&path);
    let good = unmap_list(16, &[(0, 8)]);
    for length in 1..8 {
        refused(&path, "a short header", &unmap_cdb(length), &good[..length], &[LENGTH]);
    }
    for length in 8..24 {
        refused(&path, "a cut descriptor", &unmap_cdb(length), &good[..length], &[LENGTH]);
    }
    refused(&path, "fewer bytes than the CDB says", &unmap_cdb(24), &good[..16], &[LENGTH]);
    refused(&path, "a longer list claimed", &unmap_cdb(24), &unmap_list(32, &[(0, 8)]), &[LENGTH]);
    refused(&path, "FFF0h bytes claimed", &unmap_cdb(24), &unmap_list(0xfff0, &[(0, 8)]), &[LENGTH]);
    for odd in [1, 15, 17] {
        refused(&path, "half a descriptor", &unmap_cdb(40), &unmap_list(odd, &[(0, 8); 2]), &[IN_LIST]);
    }
    for range in [(BLOCKS, 1), (BLOCKS - 1, 2), (u64::MAX, 1), (u64::MAX, u32::MAX), (0, u32::MAX)] {
        let list = unmap_list(32, &[(0, 8), range]);
        refused(&path, "one of two ranges is outside", &unmap_cdb(40), &list, &[RANGE]);
    }
    let many = unmap_list(16 * 4095, &[(3, 0); 4095]);
    assert!(path.run(&unmap_cdb(many.len()), &many).is_good(), "as many as may be, of no blocks");
    assert!(is_untouched(&path));
    let overlapping = unmap_list(48, &[(8, 8), (8, 8), (4, 8)]);
    assert!(path.run(&unmap_cdb(56), &overlapping).is_good());
    let read = path.run(&cdb(0x88, &[(13, &[24])]), &[]).data;
    let zeros =
        |range: std::ops::Range<usize>| read[range.start * 512..range.end * 512].iter().all(|b| *b == 0);
    assert!(zeros(4..16) && !zeros(0..1) && !zeros(16..17));
    let anchor = path.run(&[0x42, 1, 0, 0, 0, 0, 0, 0, 24, 0], &good);
    assert!(anchor.has(5, 0x2400) && anchor.pointer == Some((1, Some(0))));
}

#[test]
fn m71_extended_copy() {
    let bench = bench();
    let path = bench.path("a", 1);
    fill(&path);
    let copy = |length: usize| cdb(0x83, &[(10, &(length as u32).to_be_bytes())]);
    let mut list = vec![0; 16 + 32 + 28];
    list[3] = 32;
    list[11] = 28;
    list[16] = 0xe4;
    list[48..52].copy_from_slice(&[2, 0, 0, 0x18]);
    list[54..56].fill(0xff);
    list[59] = 1;
    list[64 + 11] = 0;
    let run = |list: &[u8]| {
        let tag = path.send(&copy(list.len()), list, scstu::scsi::TaskAttribute::Simple);
        bench.run_all();
        bench.run_jobs();
        path.answer(tag).unwrap()
    };
    assert!(run(&list).has(5, 0x2600), "a designator of no bytes");
    list[20..24].copy_from_slice(&[2, 1, 0, 8]);
    list[24..32].copy_from_slice(b"SCST_FIO");
    assert!(run(&list).is_good(), "a block onto itself");
    for length in 1..list.len() {
        assert!(run(&list[..length]).has(5, 0x1a00), "{length} bytes");
    }
    let tag = path.send(&copy(list.len()), &list[..40], scstu::scsi::TaskAttribute::Simple);
    bench.run_all();
    bench.run_jobs();
    assert!(path.answer(tag).unwrap().has(5, 0x1a00), "fewer bytes than the CDB says");
    for (at, bytes, code) in [
        (2, [0xff, 0xff], (5, 0x1a00)),
        (8, [0xff, 0xff], (5, 0x1a00)),
        (52, [0, 9], (10, 0x0804)),
        (54, [0x7f, 0xff], (10, 0x0804)),
        (60, [0x80, 0], (10, 0)),
        (68, [0xff, 0xff], (10, 0)),
        (46, [4, 0], (5, 0x2600)),
    ] {
        let mut broken = list.clone();
        broken[at..at + 2].copy_from_slice(&bytes);
        let answer = run(&broken);
        assert!(answer.has(code.0, code.1), "{bytes:02x?} at {at}: {answer:?}");
    }
    assert!(is_untouched(&path));
}

#[test]
fn m75_m76_write_same() {
    let bench = bench();
    let path = bench.path("a", 1);
    fill(&path);
    let block = [0x55; 512];
    let same = |flags: u8, lba: u64, blocks: u32| {
        cdb(0x93, &[(1, &[flags]), (2, &lba.to_be_bytes()), (10, &blocks.to_be_bytes())])
    };
    for (what, flags, data) in [
        ("ANCHOR without UNMAP", 0x10, &block[..]),
        ("ANCHOR", 0x18, &block[..]),
        ("ANCHOR and NDOB", 0x11, &[][..]),
        ("all three", 0x19, &[][..]),
    ] {
        let answer = refused(&path, what, &same(flags, 0, 8), data, &[IN_CDB]);
        assert_eq!(answer.pointer, Some((1, Some(4))), "{what}");
    }
    for protect in 1..8 {
        refused(&path, "WRPROTECT", &same(protect << 5, 0, 8), &block, &[IN_CDB]);
    }
    for length in [0, 1, 511] {
        refused(&path, "less than a block", &same(0, 0, 8), &block[..length], &[UNIT]);
        refused(&path, "less than a block to unmap", &same(0x08, 0, 8), &block[..length], &[UNIT]);
    }
    refused(&path, "more than a block", &same(0, 0, 8), &[0x55; 1024], &[UNIT]);
    refused(&path, "outside", &same(0, BLOCKS, 1), &block, &[RANGE]);
    refused(&path, "none, outside", &same(0, BLOCKS + 1, 0), &block, &[RANGE]);
    refused(&path, "too many", &same(0, 0, BLOCKS as u32), &block, &[IN_CDB]);
    refused(&path, "to the end, too many", &same(0, 0, 0), &block, &[IN_CDB]);
    for (flags, data, byte) in
        [(0x00, &block[..], 0x55), (0x01, &[][..], 0), (0x00, &block[..], 0x55), (0x09, &[][..], 0)]
    {
        assert!(path.run(&same(flags, 9, 3), data).is_good(), "flags {flags:02x}");
        let read = path.run(&cdb(0x88, &[(9, &[8]), (13, &[5])]), &[]).data;
        assert!(read[..512].iter().chain(&read[4 * 512..]).all(|b| *b == POISON));
        assert!(read[512..4 * 512].iter().all(|b| *b == byte), "flags {flags:02x}");
    }
    assert!(path.run(&same(0x01, 9, 3), &block).is_good(), "data that NDOB makes superfluous is not taken");
    let last = path.run(&same(0, BLOCKS - 2, 0), &block);
    assert!(last.is_good(), "to the end: {last:?}");
}

/// 2^63 blocks that nobody stores.
struct Huge;

impl Backstore for Huge {
    fn geometry(&self) -> Geometry {
        Geometry {
            block_size: 512,
            blocks: 1 << 55,
            physical_block_exponent: 0,
            optimal_transfer_bytes: 0,
            unmap_granularity_bytes: 0,
            unmap_alignment_bytes: 0,
        }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
    }

    fn read(&self, _offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        into.fill(0);
        Ok(())
    }

    fn write(&self, _offset: u64, _from: &[u8], _durable: bool) -> Result<(), BlockError> {
        panic!("nothing here is ever written")
    }

    fn flush(&self) -> Result<(), BlockError> {
        Ok(())
    }
}

#[test]
fn m75_m80_addresses_at_the_end_of_numbers() {
    let bench = bench_over(Arc::new(Huge));
    let path = bench.path("a", 1);
    let block = [0; 512];
    let whole = path.run(&cdb(0x93, &[]), &block);
    assert!(whole.has(5, 0x2400), "0 blocks of 2^55 are too many: {whole:?}");
    for opcode in [0x88, 0x8a, 0x8b, 0x8e, 0x8f, 0x90, 0x91, 0x93, 0x9c] {
        for lba in [u64::MAX, 1 << 63, (1 << 55) + 1, u64::MAX - 1] {
            for blocks in [1, 2, u32::MAX] {
                let field = if opcode == 0x9c { 12 } else { 10 };
                let count = &blocks.to_be_bytes()[if opcode == 0x9c { 2 } else { 0 }..];
                let answer = path.run(&cdb(opcode, &[(2, &lba.to_be_bytes()), (field, count)]), &block);
                assert!(answer.has(5, 0x2100), "{opcode:02x} {lba:x} {blocks:x}: {answer:?}");
            }
        }
    }
    for opcode in [0x88, 0x8a] {
        let answer = path.run(&cdb(opcode, &[(10, &[0xff; 4])]), &block);
        assert!(answer.has(5, 0x2400), "more than MAXIMUM TRANSFER LENGTH: {answer:?}");
    }
    let answer = path.run(&cdb(0x89, &[(2, &[0xff; 8]), (13, &[1])]), &[0; 1024]);
    assert!(answer.has(5, 0x2100), "{answer:?}");
    for opcode in [0x28, 0x2a, 0x2f] {
        let answer = path.run(&cdb(opcode, &[(2, &[0xff; 4]), (7, &[0xff, 0xff])]), &block);
        assert!(!answer.has(5, 0x2100), "2^32 - 1 is an address like any other here: {answer:?}");
    }
}

#[test]
fn m77_compare_and_write() {
    let bench = bench();
    let path = bench.path("a", 1);
    fill(&path);
    let caw = |lba: u64, blocks: u8| cdb(0x89, &[(2, &lba.to_be_bytes()), (13, &[blocks])]);
    assert!(path.run(&caw(0, 0), &[]).is_good(), "no blocks");
    assert!(path.run(&caw(BLOCKS, 0), &[]).is_good());
    for length in [0, 512, 1023, 1025, 1536] {
        refused(&path, "not twice the blocks", &caw(0, 1), &vec![POISON; length], &[IN_CDB]);
    }
    refused(&path, "across the end", &caw(BLOCKS - 1, 2), &[POISON; 2048], &[RANGE]);
    refused(&path, "outside", &caw(u64::MAX, 1), &[POISON; 1024], &[RANGE]);
    refused(&path, "another content", &caw(7, 1), &[0x55; 1024], &[(14, 0x1d00)]);
}

fn select(length: u8, sp: u8) -> [u8; 6] {
    [0x15, 0x10 | sp, 0, 0, length, 0]
}

#[test]
fn m78_mode_select() {
    let bench = bench();
    let path = bench.path("a", 1);
    fill(&path);
    let control = |byte: u8| vec![0, 0, 0, 0, 0x0a, 10, 0x20, byte, 0, 0, 0, 0, 0, 0, 0, 0];
    let good = control(0x10);
    assert!(path.run(&select(16, 0), &good).is_good());
    for length in 1..4 {
        refused(&path, "a cut header", &select(length, 0), &good[..length as usize], &[LENGTH]);
    }
    for length in [5, 6, 10, 15] {
        refused(&path, "a cut page", &select(length, 0), &good[..length as usize], &[LENGTH]);
    }
    assert!(path.run(&select(4, 0), &good[..4]).is_good(), "a header alone");
    refused(&path, "fewer bytes than the CDB says", &select(16, 0), &good[..12], &[LENGTH]);
    for (what, at, byte) in [
        ("a page longer than it is", 5, 11),
        ("a page of no length", 5, 0),
        ("a page of 255 bytes", 5, 255),
        ("a page that is not there", 4, 0x3e),
        ("all pages", 4, 0x3f),
        ("PS", 4, 0x8a),
        ("a subpage that is not there", 4, 0x4a),
        ("a descriptor of 7 bytes", 3, 7),
        ("a descriptor of 255 bytes", 3, 255),
        ("TST, which may not be changed", 6, 0),
        ("QUEUE ALGORITHM MODIFIER 2", 7, 0x20),
        ("a reserved byte", 15, 1),
    ] {
        let mut list = good.clone();
        list[at] = byte;
        refused(&path, what, &select(16, 0), &list, &[IN_LIST, LENGTH]);
    }
    let two = [&good[..], &[0x0a, 10, 0x20, 0x20, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
    refused(&path, "a second page that is wrong", &select(28, 0), &two, &[IN_LIST]);
    refused(&path, "SP where nothing is kept", &select(16, 1), &good, &[IN_CDB]);
    refused(&path, "PF 0", &[0x15, 0, 0, 0, 16, 0], &good, &[IN_CDB]);
    let long = [0x55, 0x10, 0, 0, 0, 0, 0, 0xff, 0xff, 0];
    refused(&path, "64 KiB announced and a header sent", &long, &[0; 7], &[LENGTH]);
    let mut with_descriptor = vec![0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 4, 0];
    refused(&path, "another block length", &select(12, 0), &with_descriptor, &[IN_LIST]);
    with_descriptor[10] = 2;
    assert!(path.run(&select(12, 0), &with_descriptor).is_good());
    let now = path.run(&[0x1a, 0x08, 0x0a, 0, 255, 0], &[]).data;
    assert_eq!(now[4..8], [0x0a, 10, 0x20, 0x10], "nothing of all that has stuck");
}

#[test]
fn m79_format_sanitize_diagnostics_and_logs() {
    let bench = bench();
    let path = bench.path("a", 1);
    fill(&path);
    let overwrite = |length: u16| {
        let [high, low] = length.to_be_bytes();
        [0x48, 0x01, 0, 0, 0, 0, 0, high, low, 0]
    };
    let list = [&[1, 0, 0, 4][..], &[0x55; 4]].concat();
    for length in 0..5 {
        refused(&path, "no pattern", &overwrite(length), &list[..length as usize], &[IN_CDB]);
    }
    refused(&path, "above a block", &overwrite(517), &[1; 517], &[IN_CDB]);
    refused(&path, "FFFFh", &overwrite(0xffff), &list, &[IN_CDB]);
    refused(&path, "fewer bytes than the CDB says", &overwrite(8), &list[..6], &[IN_CDB]);
    for (what, at, byte) in [
        ("OVERWRITE COUNT 0", 0, 0),
        ("INITIALIZATION PATTERN LENGTH 0", 3, 0),
        ("a longer pattern claimed", 3, 5),
        ("a pattern of FF04h bytes", 2, 0xff),
    ] {
        let mut broken = list.clone();
        broken[at] = byte;
        refused(&path, what, &overwrite(8), &broken, &[IN_LIST]);
    }
    refused(&path, "an action that is not there", &[0x48, 0x04, 0, 0, 0, 0, 0, 0, 0, 0], &[], &[IN_CDB]);
    refused(&path, "BLOCK ERASE with a list", &[0x48, 0x02, 0, 0, 0, 0, 0, 0, 8, 0], &list, &[IN_CDB]);
    for length in 0..4 {
        let cut = vec![0; length];
        refused(&path, "a cut short list", &[0x04, 0x10, 0, 0, 0, 0], &cut, &[LENGTH]);
    }
    for length in 0..8 {
        let cut = vec![0; length];
        refused(&path, "a cut long list", &[0x04, 0x30, 0, 0, 0, 0], &cut, &[LENGTH]);
    }
    for (what, list) in [
        ("PROTECTION FIELD USAGE", [1, 0, 0, 0]),
        ("an initialization pattern", [0, 0x08, 0, 0]),
        ("defects", [0, 0, 0, 4]),
    ] {
        refused(&path, what, &[0x04, 0x10, 0, 0, 0, 0], &list, &[IN_LIST]);
    }
    for protection in [0x40, 0x80, 0xc0] {
        refused(&path, "FMTPINFO", &[0x04, protection, 0, 0, 0, 0], &[], &[IN_CDB]);
    }
    refused(&path, "a log parameter", &cdb(0x4c, &[(8, &[4])])[..10], &[0; 4], &[IN_LIST]);
    refused(&path, "PCR with a list", &cdb(0x4c, &[(1, &[2]), (8, &[4])])[..10], &[0; 4], &[IN_CDB]);
    refused(&path, "a diagnostic page", &[0x1d, 0x10, 0, 0, 4, 0], &[0; 4], &[IN_LIST]);
    refused(&path, "SELFTEST with a list", &[0x1d, 0x04, 0, 0, 4, 0], &[0; 4], &[IN_CDB]);
}

#[test]
fn m81_inquiry() {
    let bench = bench();
    let path = bench.path("a", 1);
    fill(&path);
    let supported = path.run(&[0x12, 1, 0, 0, 255, 0], &[]).data[4..].to_vec();
    assert!(supported.is_sorted() && supported.len() >= 7, "{supported:02x?}");
    for page in 0..=255 {
        let answer = path.run(&[0x12, 1, page, 1, 0, 0], &[]);
        assert_eq!(answer.is_good(), supported.contains(&page), "page {page:02x}");
        let plain = path.run(&[0x12, 0, page, 0, 96, 0], &[]);
        assert_eq!(plain.is_good(), page == 0, "EVPD 0, page {page:02x}");
        if answer.is_good() {
            let length = usize::from(u16::from_be_bytes([answer.data[2], answer.data[3]]));
            assert_eq!((answer.data[1], length), (page, answer.data.len() - 4));
        }
    }
    assert!(path.run(&[0x12, 2, 0, 0, 96, 0], &[]).has(5, 0x2400), "CMDDT");
}

/// Commands that answer with data, and where their allocation length is.
const READERS: [(&[u8], usize, usize); 24] = [
    (&[0x03, 0, 0, 0, 0, 0], 4, 1),
    (&[0x03, 1, 0, 0, 0, 0], 4, 1),
    (&[0x12, 0, 0, 0, 0, 0], 3, 2),
    (&[0x12, 1, 0x00, 0, 0, 0], 3, 2),
    (&[0x12, 1, 0x80, 0, 0, 0], 3, 2),
    (&[0x12, 1, 0x83, 0, 0, 0], 3, 2),
    (&[0x12, 1, 0x8f, 0, 0, 0], 3, 2),
    (&[0x12, 1, 0xb0, 0, 0, 0], 3, 2),
    (&[0x1a, 0, 0x3f, 0, 0, 0], 4, 1),
    (&[0x1a, 0, 0x3f, 0xff, 0, 0], 4, 1),
    (&[0x5a, 0x10, 0x3f, 0, 0, 0, 0, 0, 0, 0], 7, 2),
    (&[0x1c, 0, 0, 0, 0, 0], 3, 2),
    (&[0x37, 0, 0x0d, 0, 0, 0, 0, 0, 0, 0], 7, 2),
    (&[0xb7, 0x0d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 6, 4),
    (&[0x3c, 3, 0, 0, 0, 0, 0, 0, 0, 0], 6, 3),
    (&[0x4d, 0, 0x40, 0, 0, 0, 0, 0, 0, 0], 7, 2),
    (&[0x5e, 0, 0, 0, 0, 0, 0, 0, 0, 0], 7, 2),
    (&[0x5e, 2, 0, 0, 0, 0, 0, 0, 0, 0], 7, 2),
    (&[0x5e, 3, 0, 0, 0, 0, 0, 0, 0, 0], 7, 2),
    (&[0x84, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 10, 4),
    (&[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 10, 4),
    (&[0x9e, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 10, 4),
    (&[0xa3, 0x0c, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0], 6, 4),
    (&[0xa3, 0x0c, 1, 0x12, 0, 0, 0, 0, 0, 0, 0, 0], 6, 4),
];

#[test]
fn m69_m84_answers_are_cut_to_any_length_and_never_hold_old_memory() {
    let bench = bench();
    let path = bench.path("a", 1);
    fill(&path);
    for (cdb, at, width) in READERS {
        let run = |length: u32| {
            let mut cdb = cdb.to_vec();
            cdb[at..at + width].copy_from_slice(&length.to_be_bytes()[4 - width..]);
            path.run(&cdb, &[])
        };
        let whole = run(if width == 1 { 255 } else { 4096 });
        assert!(whole.is_good(), "{cdb:02x?}: {whole:?}");
        assert!(!whole.data.contains(&POISON), "{cdb:02x?} shows old memory: {whole:02x?}");
        for length in (0..=64).chain([255]) {
            let answer = run(length);
            assert!(answer.is_good(), "{cdb:02x?} with {length}: {answer:?}");
            let cut = whole.data.len().min(length as usize);
            // How many descriptors GET LBA STATUS gives depends on the room.
            assert_eq!(answer.data.len(), cut, "{cdb:02x?} with {length}");
            assert_eq!(answer.data, whole.data[..cut], "{cdb:02x?} with {length}");
        }
    }
}

#[test]
fn m82_supported_operation_codes() {
    let bench = bench();
    let path = bench.path("a", 1);
    let all = path.run(&cdb(0xa3, &[(1, &[0x0c]), (8, &[0x80])])[..12], &[]).data;
    let known: Vec<(u8, u16, bool, u16)> = all[4..]
        .chunks(8)
        .map(|e| {
            let number = |at| u16::from_be_bytes([e[at], e[at + 1]]);
            (e[0], number(2), e[5] & 1 != 0, number(6))
        })
        .collect();
    assert!(known.len() > 60);
    let mut found = 0;
    for opcode in 0..=255u8 {
        let has_actions = known.iter().any(|row| row.0 == opcode && row.2);
        let is_known = known.iter().any(|row| row.0 == opcode);
        for action in (0..64).chain([0x7fff, 0xffff]) {
            for option in 0..8u8 {
                let [high, low] = u16::to_be_bytes(action);
                let ask = [0xa3, 0x0c, option, opcode, high, low, 0, 0, 0, 0xff, 0, 0];
                let answer = path.run(&ask, &[]);
                let what = || format!("{opcode:02x} {action:04x} option {option}: {answer:?}");
                match option {
                    0 => assert!(answer.is_good(), "{}", what()),
                    1 if has_actions => assert!(answer.has(5, 0x2400), "{}", what()),
                    2 if is_known && !has_actions => assert!(answer.has(5, 0x2400), "{}", what()),
                    1..=3 => {
                        let row = known.iter().find(|row| row.0 == opcode && (!row.2 || row.1 == action));
                        assert_eq!(answer.data[1] & 7, if row.is_some() { 3 } else { 1 }, "{}", what());
                        if let Some(row) = row {
                            found += 1;
                            assert_eq!(answer.data[2..4], row.3.to_be_bytes(), "{}", what());
                            assert_eq!(answer.data.len(), 4 + usize::from(row.3), "{}", what());
                        }
                    }
                    _ => assert!(answer.has(5, 0x2400), "{}", what()),
                }
            }
        }
    }
    assert!(found > known.len());
}

#[test]
fn m83_buffers() {
    let bench = bench();
    let path = bench.path("a", 1);
    fill(&path);
    for mode in 0..=255u8 {
        let read = path.run(&[0x3c, mode, 0, 0, 0, 0, 0, 1, 0, 0], &[]);
        assert!(read.data.iter().all(|byte| *byte == 0), "mode {mode:02x}: {read:?}");
        assert!(read.is_good() || read.has(5, 0x2400), "mode {mode:02x}: {read:?}");
        let beyond = path.run(&[0x3c, mode, 7, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0], &[]);
        assert!(beyond.data.iter().all(|byte| *byte == 0), "mode {mode:02x}: {beyond:?}");
        refused(&path, "WRITE BUFFER", &[0x3b, mode, 0, 0, 0, 0, 0, 0, 16, 0], &[0x55; 16], &[(5, 0x2000)]);
    }
}
