//! Short writes that carry their data, which are taken out of the receive buffer in one step: however their
//! bytes are cut and whatever becomes of the command, the data is what was sent, and the next PDU is where it
//! begins.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // A test panics to fail.

mod common;
mod initiator;
mod raw;
mod support;
mod world;

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use raw::units::{BLOCK, BLOCKS, READ, UNITS, WRITE, cdb, filled, good, holds, serve, whole};
use raw::{Keys, Raw, WHOLE};
use scstu::backstore::io::Io;
use scstu::backstore::{Backstore, BlockError, Capabilities, Geometry};
use scstu::server::ServerOptions;
use support::Memory;
use support::gated::Gated;
use world::TARGET;

/// Longer than a part is left in the receive buffer, and shorter.
const LONG: Duration = Duration::from_millis(150);
const SHORT: Duration = Duration::from_millis(20);
const DIGESTS: [(bool, bool); 2] = [(false, false), (true, true)];

/// Writes that are cut, each between two that are not.
fn cut_writes(raw: &mut Raw, lun: u8, blocks: u64, number: &mut u64) {
    for gap in [Duration::ZERO, SHORT, LONG] {
        let length = raw.whole(lun, &cdb(WRITE, &(0..blocks)), &filled(0..blocks, 0)).1.len();
        // That was not sent.
        raw.forget_last();
        for cut in [1, 47, 48, 49, 52, 53, 100, length / 2, length - 5, length - 1] {
            *number += 1;
            let number = *number;
            let (before, middle, after) = (0..8, 8..8 + blocks, 8 + blocks..16 + blocks);
            let told = format!("LUN {lun}, {blocks} blocks, cut at {cut} for {gap:?}");
            let mut tags = Vec::new();
            let mut first = Vec::new();
            if number % 2 == 0 {
                let (tag, bytes) = whole(raw, lun, &before, number);
                tags.push(tag);
                first = bytes;
            }
            let (tag, bytes) = whole(raw, lun, &middle, number);
            tags.push(tag);
            first.extend_from_slice(&bytes[..cut]);
            raw.send(&first);
            thread::sleep(gap);
            let (tag, next) = whole(raw, lun, &after, number);
            tags.push(tag);
            raw.send(&[&bytes[cut..], &next].concat());
            tags.into_iter().for_each(|tag| good(raw, tag, &told));
            holds(raw, lun, 8..16 + blocks, number, &told);
            holds(raw, lun, before, number - number % 2, &told);
        }
    }
}

#[test]
fn what_is_cut_anywhere_for_any_time_is_what_is_read_back() {
    let (world, _folders) = serve("cut", &[]);
    thread::scope(|scope| {
        for (lun, _) in UNITS.iter().enumerate() {
            for (at, digests) in DIGESTS.into_iter().enumerate() {
                // A unit each.
                let (address, lun) = (world.address, (lun + 3 * at) as u8);
                scope.spawn(move || {
                    let mut raw = Raw::login(address, TARGET, Keys { digests, isid: 1 + lun, ..WHOLE });
                    raw.ready(lun);
                    let mut number = 0;
                    for blocks in [1, 8, 128] {
                        cut_writes(&mut raw, lun, blocks, &mut number);
                    }
                });
            }
        }
    });
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

#[test]
fn many_writes_back_to_back_keep_their_data_apart() {
    const COUNT: usize = 100;
    let (world, _folders) = serve("many", &[]);
    for lun in 0..3 {
        for (at, digests) in DIGESTS.into_iter().enumerate() {
            let mut raw = Raw::login(world.address, TARGET, Keys { digests, isid: 1 + at as u8, ..WHOLE });
            raw.ready(lun);
            let mut random = Random(u64::from(lun) + 7);
            for round in 0..12 {
                let (mut lba, mut stream, mut writes) = (0, Vec::new(), Vec::new());
                for number in 1..=COUNT as u64 {
                    let most = [1, 8, 8, 9, 32, 128][(round + number as usize / 30) % 6];
                    let blocks = lba..lba + 1 + random.below(most);
                    let (tag, bytes) = whole(&mut raw, lun, &blocks, number << 8 | round as u64);
                    stream.extend_from_slice(&bytes);
                    // Now and then the same blocks again.
                    lba = if random.below(10) == 0 { blocks.start } else { blocks.end };
                    writes.push((tag, blocks, number << 8 | round as u64));
                }
                let mut rest = &stream[..];
                while !rest.is_empty() {
                    let count = rest.len().min(1 + random.below(30_000) as usize);
                    raw.send(&rest[..count]);
                    rest = &rest[count..];
                }
                let mut content = vec![0; lba as usize * BLOCK + 128 * BLOCK];
                for (tag, blocks, number) in &writes {
                    good(&mut raw, *tag, &format!("LUN {lun}, round {round}, {blocks:?}"));
                    let at = blocks.start as usize * BLOCK;
                    let data = filled(blocks.clone(), *number);
                    content[at..at + data.len()].copy_from_slice(&data);
                }
                for (_, blocks, _) in &writes {
                    let (at, length) = (blocks.start as usize * BLOCK, (blocks.end - blocks.start) as usize);
                    let found = raw.read(lun, &cdb(READ, blocks), length * BLOCK);
                    assert!(
                        found == content[at..at + length * BLOCK],
                        "LUN {lun}, round {round}, {blocks:?}"
                    );
                }
            }
        }
    }
}

/// Writes elsewhere that come through the same receive buffer.
fn others(raw: &mut Raw, lun: u8, number: u64) {
    let mut stream = Vec::new();
    let mut tags = Vec::new();
    for at in 0..40 {
        let blocks = 4096 + 128 * at..4096 + 128 * at + [8, 128][(at % 2) as usize];
        let (tag, bytes) = whole(raw, lun, &blocks, number);
        stream.extend(bytes);
        tags.push(tag);
    }
    raw.send(&stream);
    tags.into_iter().for_each(|tag| good(raw, tag, "another write"));
}

#[test]
fn a_write_that_waits_for_an_older_one_keeps_its_data() {
    let (world, _folders) = serve("older", &[]);
    let mut raw = Raw::login(world.address, TARGET, WHOLE);
    for lun in 0..3 {
        raw.ready(lun);
        for (number, blocks) in [(1, 8), (3, 128), (5, 8)] {
            let told = format!("LUN {lun}, {blocks} blocks");
            let older = raw.start_without_data(lun, &cdb(WRITE, &(0..16)), &filled(0..16, number));
            let (younger, bytes) = whole(&mut raw, lun, &(8..8 + blocks), number + 1);
            // In two parts, of which the first one waits.
            raw.send(&bytes[..100]);
            thread::sleep(if number == 5 { LONG } else { SHORT });
            raw.send(&bytes[100..]);
            others(&mut raw, lun, number);
            assert!(!raw.has_ended(younger), "{told}");
            raw.give_data();
            good(&mut raw, older, &told);
            good(&mut raw, younger, &told);
            holds(&mut raw, lun, 0..8, number, &told);
            holds(&mut raw, lun, 8..8 + blocks, number + 1, &told);
        }
    }
}

/// Memory whose requests are carried out when the test says so.
struct Later {
    memory: Memory,
    held: Mutex<(bool, Vec<Io>)>,
}

impl Later {
    fn new(is_held: bool) -> Arc<Self> {
        let memory = Memory::new(BLOCKS as usize * BLOCK, BLOCK as u32, false);
        Arc::new(Later { memory, held: Mutex::new((is_held, Vec::new())) })
    }

    fn release(&self) {
        let held = std::mem::take(&mut *self.held.lock().unwrap()).1;
        held.into_iter().rev().for_each(|io| self.memory.carry_out(io));
    }
}

impl Backstore for Later {
    fn geometry(&self) -> Geometry {
        self.memory.geometry()
    }

    fn capabilities(&self) -> Capabilities {
        self.memory.capabilities().with(Capabilities::ASYNCHRONOUS)
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        self.memory.read(offset, into)
    }

    fn write(&self, offset: u64, from: &[u8], durable: bool) -> Result<(), BlockError> {
        self.memory.write(offset, from, durable)
    }

    fn unmap(&self, offset: u64, length: u64) -> Result<(), BlockError> {
        self.memory.unmap(offset, length)
    }

    fn flush(&self) -> Result<(), BlockError> {
        Ok(())
    }

    fn submit(&self, io: Io) -> Option<u64> {
        let mut held = self.held.lock().unwrap();
        if held.0 {
            held.1.push(io);
        } else {
            drop(held);
            self.memory.carry_out(io);
        }
        Some(0)
    }
}

#[test]
fn a_store_that_answers_later_has_the_data_until_then() {
    let (later, fast) =
        (Later::new(true), Arc::new(Memory::new(BLOCKS as usize * BLOCK, BLOCK as u32, true)));
    let (server, address) = support::serve(vec![later.clone(), fast], ServerOptions::default());
    let mut raw = Raw::login(address, support::TARGET, WHOLE);
    (0..2).for_each(|lun| raw.ready(lun));
    let ranges: Vec<Range<u64>> =
        (0..50).map(|at| 128 * at..128 * at + [1, 8, 128][at as usize % 3]).collect();
    let mut writes = Vec::new();
    for (number, blocks) in (1..).zip(&ranges) {
        let (tag, bytes) = whole(&mut raw, 0, blocks, number);
        raw.send(&bytes);
        writes.push((tag, blocks, number));
    }
    others(&mut raw, 1, 99);
    assert!(writes.iter().all(|(tag, ..)| !raw.has_ended(*tag)));
    later.release();
    for (tag, blocks, number) in writes {
        good(&mut raw, tag, "a write that was held");
        holds(&mut raw, 0, blocks.clone(), number, "a write that was held");
    }
    drop(raw);
    assert_eq!(server.stop(world::LIMIT), 0);
}

#[test]
fn without_memory_a_write_is_busy_unless_it_needs_none() {
    let (one, two) = (Gated::new(), Gated::new());
    let fast = Arc::new(Memory::new(BLOCKS as usize * BLOCK, BLOCK as u32, true));
    let options = ServerOptions { workers: 4, buffer_budget: 1 << 20, ..ServerOptions::default() };
    let (server, address) = support::serve(vec![one.clone(), two.clone(), fast], options);
    let mut raw = Raw::login(address, support::TARGET, WHOLE);
    (0..3).for_each(|lun| raw.ready(lun));
    let ranges: Vec<Range<u64>> = (0..16).map(|at| 128 * at..128 * (at + 1)).collect();
    let mut writes = Vec::new();
    for (lun, number) in [(0, 1), (1, 2)] {
        for blocks in &ranges {
            let (tag, bytes) = whole(&mut raw, lun, blocks, number);
            raw.send(&bytes);
            writes.push((tag, lun, blocks, number));
        }
    }
    for blocks in &ranges {
        let (tag, bytes) = whole(&mut raw, 2, blocks, 3);
        raw.send(&bytes);
        good(&mut raw, tag, "one that ends at once");
    }
    let refused: Vec<u32> = writes.iter().map(|(tag, ..)| *tag).filter(|tag| raw.has_ended(*tag)).collect();
    one.allow(u64::MAX / 2);
    two.allow(u64::MAX / 2);
    let mut statuses = Vec::new();
    for (tag, lun, blocks, number) in &writes {
        let ended = raw.wait(*tag);
        assert_eq!(ended.is_good(), !refused.contains(tag), "{ended:x?}");
        let expected = if ended.is_good() { *number } else { 0 };
        holds(&mut raw, *lun, (*blocks).clone(), expected, "all or nothing");
        statuses.push(ended.status);
    }
    for status in [0x00, 0x08, 0x28] {
        assert!(statuses.contains(&status), "{statuses:02x?}");
    }
    for (_, lun, blocks, number) in writes {
        let (tag, bytes) = whole(&mut raw, lun, blocks, number);
        raw.send(&bytes);
        good(&mut raw, tag, "again");
        holds(&mut raw, lun, blocks.clone(), number, "again");
    }
    for blocks in ranges {
        holds(&mut raw, 2, blocks, 3, "one that ended at once");
    }
    drop(raw);
    assert_eq!(server.stop(world::LIMIT), 0);
}

#[test]
fn writes_are_counted_with_their_bytes() {
    let (world, _folders) = serve("counted", &[]);
    let mut raw = Raw::login(world.address, TARGET, WHOLE);
    let counts = || {
        let files = ["write_cmd_count", "write_io_count_kb", "write_unaligned_cmd_count"];
        files.map(|file| world.read(&format!("@/{file}")).trim().parse::<u64>().unwrap())
    };
    for lun in 0..3 {
        raw.ready(lun);
        let before = counts();
        for (blocks, number) in [(0..8, 1), (8..136, 2), (1..9, 3), (6..8, 4)] {
            let (tag, bytes) = whole(&mut raw, lun, &blocks, number);
            raw.send(&bytes);
            good(&mut raw, tag, "a write");
        }
        // Of eight blocks two are sent; and of two, one is wanted.
        for count in [8, 1] {
            let cdb = raw::rw16(WRITE, 16, count);
            assert!(raw.run(lun, &cdb, 2 * BLOCK, &filled(16..18, 5)).is_good());
        }
        let expected = [before[0] + 6, before[1] + 4 + 64 + 4 + 1 + 1, before[2] + 3];
        let after = counts();
        assert!(after[1] == expected[1] || after[1] == expected[1] + 1, "{after:?} and not {expected:?}");
        assert_eq!((after[0], after[2]), (expected[0], expected[2]), "{after:?} and not {expected:?}");
    }
}

/// Such a file may be written at once, and is not asked whether the memory is aligned.
#[test]
fn a_file_in_memory_that_is_opened_for_direct_io_takes_data_from_where_it_was_received() {
    let (world, [_, memory]) = serve("direct", &[]);
    let file = memory.file("direct");
    std::fs::File::create(&file).unwrap().set_len(BLOCKS * BLOCK as u64).unwrap();
    let add = format!("add_device direct filename={}; o_direct=1", file.display());
    if let Err(error) = world.tree.write("handlers/vdisk_fileio/mgmt", &add) {
        return eprintln!("no direct I/O in memory: {error}");
    }
    world.write("@/luns/mgmt", "add direct 9");
    let mut raw = Raw::login(world.address, TARGET, WHOLE);
    raw.ready(9);
    let mut number = 1;
    for blocks in [1, 8] {
        cut_writes(&mut raw, 9, blocks, &mut number);
    }
}

/// Large reads of files are answered with their pages, which are kept from writers until the initiator says
/// that it has them: with the write itself, which then need not wait.
#[test]
fn a_write_acknowledges_what_was_read_before_it() {
    let (world, _folders) = serve("acknowledged", &[]);
    let mut raw = Raw::login(world.address, TARGET, WHOLE);
    let lun = 1;
    raw.ready(lun);
    for number in 1..=20 {
        holds(&mut raw, lun, 8..512, number - 1, "before");
        let blocks = 8..512;
        let mut tags = Vec::new();
        for part in blocks.clone().step_by(8) {
            // The first one of them alone.
            let (tag, bytes) = whole(&mut raw, lun, &(part..part + 8), number);
            raw.send(&bytes);
            if tags.is_empty() {
                let (nothing, tur) = raw.reading(lun, &[0; 6], 0);
                raw.send(&tur);
                good(&mut raw, nothing, "a command behind it");
                assert!(raw.has_ended(tag), "write {number} has waited");
            }
            tags.push(tag);
        }
        tags.into_iter().for_each(|tag| good(&mut raw, tag, "a write"));
    }
}
