//! Every command of a unit whose backstore answers later: it does what it does on one that makes its caller
//! wait, and no worker waits for it.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // A test panics to fail.

mod initiator;
mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use initiator::{Answer, Initiator, Options, READ, SYNCHRONIZE_CACHE, WRITE, rw16, unmap_list};
use scstu::backstore::io::Io;
use scstu::backstore::{Backstore, BlockError, Capabilities, Geometry};
use scstu::server::ServerOptions;
use support::{Memory, TARGET, serve};

const BLOCK: usize = 512;
const BYTES: usize = 8 << 20;
const MIB: usize = 1 << 20;
/// For what must happen anyway.
const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Waiting {
    out: Vec<Io>,
    is_held: bool,
    is_over: bool,
}

/// Memory that answers later; or, to compare with, at once.
struct Store {
    memory: Memory,
    answers_later: bool,
    waiting: Mutex<Waiting>,
    changed: Condvar,
    /// Calls that a thread waited for, and commands that were submitted.
    waits: AtomicU64,
    submitted: AtomicU64,
}

impl Store {
    fn new(answers_later: bool) -> Arc<Self> {
        let store = Arc::new(Store {
            memory: Memory::new(BYTES, BLOCK as u32, false),
            answers_later,
            waiting: Mutex::default(),
            changed: Condvar::new(),
            waits: AtomicU64::new(0),
            submitted: AtomicU64::new(0),
        });
        let own = Arc::clone(&store);
        thread::spawn(move || own.run());
        store
    }

    /// The store's own thread.
    fn run(&self) {
        loop {
            let waiting = self.waiting.lock().unwrap();
            let idle =
                |waiting: &mut Waiting| (waiting.is_held || waiting.out.is_empty()) && !waiting.is_over;
            let mut waiting = self.changed.wait_while(waiting, idle).unwrap();
            if waiting.is_over {
                return;
            }
            let io = waiting.out.swap_remove(0);
            drop(waiting);
            self.memory.carry_out(io);
        }
    }

    fn hold(&self, is_held: bool) {
        self.waiting.lock().unwrap().is_held = is_held;
        self.changed.notify_all();
    }

    fn end(&self) {
        self.waiting.lock().unwrap().is_over = true;
        self.changed.notify_all();
    }

    /// Waits until so many commands are out at once.
    fn wait_for(&self, count: usize) {
        let waiting = self.waiting.lock().unwrap();
        let few = |waiting: &mut Waiting| waiting.out.len() < count;
        let waited = self.changed.wait_timeout_while(waiting, DEADLINE, few).unwrap();
        assert!(!waited.1.timed_out(), "{} of {count} commands are out: workers wait", waited.0.out.len());
    }

    fn waited(&self) {
        self.waits.fetch_add(1, Ordering::Relaxed);
    }
}

impl Backstore for Store {
    fn geometry(&self) -> Geometry {
        self.memory.geometry()
    }

    fn capabilities(&self) -> Capabilities {
        let same = self.memory.capabilities().with(Capabilities::VOLATILE_CACHE);
        if self.answers_later { same.with(Capabilities::ASYNCHRONOUS) } else { same }
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        self.waited();
        self.memory.read(offset, into)
    }

    fn write(&self, offset: u64, from: &[u8], durable: bool) -> Result<(), BlockError> {
        self.waited();
        self.memory.write(offset, from, durable)
    }

    fn flush(&self) -> Result<(), BlockError> {
        self.waited();
        Ok(())
    }

    fn unmap(&self, offset: u64, length: u64) -> Result<(), BlockError> {
        self.waited();
        self.memory.unmap(offset, length)
    }

    fn submit(&self, io: Io) -> Option<u64> {
        let number = self.submitted.fetch_add(1, Ordering::Relaxed);
        self.waiting.lock().unwrap().out.push(io);
        self.changed.notify_all();
        Some(number)
    }
}

fn session(store: &Arc<Store>, other: &Arc<Store>) -> (scstu::server::Server, Initiator) {
    let options = ServerOptions { workers: 2, ..ServerOptions::default() };
    let (server, address) = serve(vec![store.clone(), other.clone()], options);
    let mut initiator = Initiator::login(address, TARGET, &Options::default()).unwrap();
    for lun in 0..2 {
        let _ = initiator.command(lun, &[0; 6], 0, &[]);
    }
    (server, initiator)
}

fn pattern(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|at| ((at / 7) ^ (at >> 9) ^ seed) as u8).collect()
}

fn with_bits(mut cdb: [u8; 16], bits: u8) -> [u8; 16] {
    cdb[1] |= bits;
    cdb
}

fn blocks(length: usize) -> u32 {
    (length / BLOCK) as u32
}

fn compare_and_write(lba: u64, blocks: u8) -> [u8; 16] {
    let mut cdb = rw16(0x89, lba, 0, false);
    cdb[13] = blocks;
    cdb
}

fn unmap(ranges: &[(u64, u32)]) -> (Vec<u8>, Vec<u8>) {
    let list = unmap_list(ranges);
    let mut cdb = vec![0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    cdb[7..9].copy_from_slice(&(list.len() as u16).to_be_bytes());
    (cdb, list)
}

/// Commands one after the other: CDB, Data-Out, room for Data-In.
fn commands() -> Vec<(Vec<u8>, Vec<u8>, usize)> {
    let (large, small) = (pattern(3 * MIB - 1024, 1), pattern(4096, 2));
    let mut wrong = large.clone();
    wrong[2 * MIB + 77] ^= 1;
    let both = |old: &[u8], new: &[u8]| [old, new].concat();
    let mut out: Vec<(Vec<u8>, Vec<u8>, usize)> = Vec::new();
    let mut add = |cdb: &[u8], data: &[u8], room: usize| out.push((cdb.to_vec(), data.to_vec(), room));
    add(&rw16(WRITE, 0, blocks(large.len()), false), &large, 0);
    add(&rw16(READ, 0, blocks(large.len()), true), &[], large.len());
    add(&rw16(READ, 5, 0, false), &[], 0);
    // Fewer bytes than the CDB says: whole blocks and a part of one, and a part alone.
    add(&rw16(WRITE, 9, 4, false), &small[..1500], 0);
    add(&rw16(WRITE, 20, 1, true), &small[..100], 0);
    add(&rw16(READ, 0, 32, false), &[], 32 * BLOCK);
    add(&rw16(WRITE, 0, blocks(large.len()), true), &large, 0);
    for (bytes, data) in [(0x00, &[][..]), (0x02, &large[..]), (0x02, &wrong[..])] {
        add(&with_bits(rw16(0x8f, 0, blocks(large.len()), false), bytes), data, 0);
    }
    add(&with_bits(rw16(0x8f, 0, 3, false), 0x04), &small[..BLOCK], 0);
    // One block, all over the place; looked at with BYTCHK 11b, also after one of them has changed.
    add(&rw16(0x93, 100, blocks(5 * MIB / 2), false), &small[..BLOCK], 0);
    add(&with_bits(rw16(0x8f, 100, blocks(5 * MIB / 2), false), 0x06), &small[..BLOCK], 0);
    add(&rw16(WRITE, 4000, 1, false), &small[BLOCK..2 * BLOCK], 0);
    add(&with_bits(rw16(0x8f, 100, blocks(5 * MIB / 2), false), 0x06), &small[..BLOCK], 0);
    add(&with_bits(rw16(0x93, 200, 3000, false), 0x01), &[], 0);
    add(&with_bits(rw16(0x93, 3300, 3000, false), 0x08), &small[..BLOCK], 0);
    add(&with_bits(rw16(0x93, 200, 3, false), 0x10), &small[..BLOCK], 0);
    add(&rw16(WRITE, 8192, 8, false), &small, 0);
    add(&compare_and_write(8192, 8), &both(&small, &large[..4096]), 0);
    add(&compare_and_write(8192, 8), &both(&small, &large[..4096]), 0);
    add(&compare_and_write(8192, 0), &[], 0);
    add(&compare_and_write(8192, 2), &small[..BLOCK], 0);
    add(&rw16(0x8b, 8196, 8, true), &small, 0);
    add(&rw16(0x8e, 8300, blocks(large.len()), false), &large, 0);
    add(&with_bits(rw16(0x8e, 8300, 8, false), 0x02), &small, 0);
    add(&with_bits(rw16(0x8e, 8300, 8, false), 0x04), &small, 0);
    let mut atomic = rw16(0x9c, 9000, 0, false);
    atomic[13] = 8;
    add(&atomic, &small, 0);
    atomic[9] ^= 1;
    add(&atomic, &small, 0);
    for ranges in [&[(8192, 4), (8200, 0), (8210, 9)][..], &[(0, 0)], &[(8200, 4), (1 << 40, 1)], &[]] {
        let (cdb, list) = unmap(ranges);
        add(&cdb, &list, 0);
    }
    add(&rw16(SYNCHRONIZE_CACHE, 0, 0, false), &[], 0);
    add(&[0x1b, 0, 0, 0, 0, 0], &[], 0);
    out
}

#[test]
fn every_command_does_what_it_does_where_somebody_waits() {
    let (later, waits) = (Store::new(true), Store::new(false));
    let (server, mut initiator) = session(&later, &waits);
    let mut good = 0;
    for (at, (cdb, data, room)) in commands().iter().enumerate() {
        let answers: Vec<Answer> =
            (0..2).map(|lun| initiator.command(lun, cdb, *room, data).unwrap()).collect();
        assert_eq!(answers[0], answers[1], "command {at}: {cdb:02x?}");
        good += usize::from(answers[0].status == 0);
    }
    assert!(good > 20 && good < commands().len(), "{good} of the commands are good");
    let mut contents = [vec![0; BYTES], vec![0; BYTES]];
    later.memory.read(0, &mut contents[0]).unwrap();
    waits.memory.read(0, &mut contents[1]).unwrap();
    assert!(contents[0] == contents[1], "the media differ");
    assert_eq!(later.waits.load(Ordering::Relaxed), 0, "a thread has waited");
    assert!(later.submitted.load(Ordering::Relaxed) > 40 && waits.submitted.load(Ordering::Relaxed) == 0);
    drop(initiator);
    assert_eq!(server.stop(Duration::from_secs(5)), 0);
    later.end();
    waits.end();
}

#[test]
fn no_worker_waits_for_what_is_out() {
    const COUNT: usize = 24;
    let (later, waits) = (Store::new(true), Store::new(false));
    let (server, mut initiator) = session(&later, &waits);
    later.hold(true);
    let block = vec![0; BLOCK];
    let mut tags = Vec::new();
    for at in 0..COUNT as u64 {
        let (cdb, data) = match at % 4 {
            0 => (compare_and_write(at, 1).to_vec(), vec![0; 2 * BLOCK]),
            1 => (rw16(0x93, at, 1, false).to_vec(), block.clone()),
            2 => (rw16(0x8f, at, 1, false).to_vec(), Vec::new()),
            _ => (rw16(0x8b, at, 1, false).to_vec(), block.clone()),
        };
        tags.push(initiator.start(0, &cdb, 0, &data).unwrap());
    }
    // Answers come by: the initiator has to look for what the target asks for.
    initiator.nop().unwrap();
    later.wait_for(COUNT);
    // Both workers are free for the other unit.
    initiator.good(1, &rw16(WRITE, 0, 1, false), 0, &block).unwrap();
    later.hold(false);
    for tag in tags {
        assert_eq!(initiator.wait(tag).unwrap().status, 0);
    }
    assert_eq!(later.waits.load(Ordering::Relaxed), 0, "a thread has waited");
    drop(initiator);
    assert_eq!(server.stop(Duration::from_secs(5)), 0);
    later.end();
    waits.end();
}
