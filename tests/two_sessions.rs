//! Two sessions at once over real sockets: COMPARE AND WRITE against plain writes, storms of task management
//! functions, task attributes, reservations on a second path.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // Tests panic to fail.

mod initiator;
mod support;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use initiator::{Initiator, Options, READ, WRITE, rw16};
use scstu::backstore::{Backstore, BlockError, Capabilities, Geometry};
use scstu::server::{Server, ServerOptions};
use support::gated::Gated;
use support::{Memory, TARGET};

const BLOCK: usize = 512;

/// Memory that lets other threads in between the parts of a transfer, and writes down what overlaps it.
struct Yielding {
    memory: Memory,
    clock: AtomicU64,
    /// Begin and end of each access, by its first block.
    log: Mutex<Vec<(u64, u64, u64)>>,
}

impl Yielding {
    fn new(blocks: usize) -> Arc<Self> {
        let memory = Memory::new(blocks * BLOCK, BLOCK as u32, false);
        Arc::new(Yielding { memory, clock: AtomicU64::new(0), log: Mutex::default() })
    }

    fn access(&self, offset: u64, work: impl FnOnce() -> Result<(), BlockError>) -> Result<(), BlockError> {
        let begin = self.clock.fetch_add(1, Ordering::SeqCst);
        (0..3).for_each(|_| thread::yield_now());
        let done = work();
        (0..3).for_each(|_| thread::yield_now());
        let end = self.clock.fetch_add(1, Ordering::SeqCst);
        self.log.lock().unwrap().push((offset / BLOCK as u64, begin, end));
        done
    }
}

impl Backstore for Yielding {
    fn geometry(&self) -> Geometry {
        self.memory.geometry()
    }

    fn capabilities(&self) -> Capabilities {
        self.memory.capabilities()
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        self.access(offset, || self.memory.read(offset, into))
    }

    fn write(&self, offset: u64, from: &[u8], durable: bool) -> Result<(), BlockError> {
        self.access(offset, || self.memory.write(offset, from, durable))
    }

    fn flush(&self) -> Result<(), BlockError> {
        Ok(())
    }
}

fn serve(blocks: usize) -> (Server, SocketAddr, Arc<Yielding>) {
    let store = Yielding::new(blocks);
    let options = ServerOptions { workers: 8, ..ServerOptions::default() };
    let (server, address) = support::serve(vec![store.clone()], options);
    (server, address, store)
}

/// A session of its own nexus, its unit attention told.
fn session(address: SocketAddr, isid: u32) -> Initiator {
    let mut session = Initiator::login(address, TARGET, &Options { isid, ..Options::default() }).unwrap();
    session.good(0, &[0x00, 0, 0, 0, 0, 0], 0, &[]).unwrap();
    session
}

fn stop(server: &Server) {
    server.stop(Duration::from_secs(10));
}

fn compare_and_write(lba: u64, blocks: u8) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = 0x89;
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[13] = blocks;
    cdb
}

fn is_miscompare(answer: &initiator::Answer) -> bool {
    answer.status == 2 && answer.sense[2] & 0x0f == 0x0e && answer.sense[12] == 0x1d
}

#[test]
fn sbc_compare_and_write_counts_every_success_of_every_session() {
    const SESSIONS: u32 = 4;
    const EACH: u64 = 60;
    let (server, address, _) = serve(64);
    let count = |isid: u32| {
        let mut session = session(address, isid);
        let (mut done, mut known) = (0, vec![0; BLOCK]);
        while done < EACH {
            let mut new = known.clone();
            let value = u64::from_be_bytes(known[..8].try_into().unwrap()) + 1;
            new[..8].copy_from_slice(&value.to_be_bytes());
            let both = [known.clone(), new.clone()].concat();
            let answer = session.command(0, &compare_and_write(5, 1), 0, &both).unwrap();
            if answer.status == 0 {
                (done, known) = (done + 1, new);
            } else {
                assert!(is_miscompare(&answer), "{answer:02x?}");
                known = session.good(0, &rw16(READ, 5, 1, false), BLOCK, &[]).unwrap();
            }
        }
    };
    thread::scope(|scope| (1..=SESSIONS).for_each(|isid| drop(scope.spawn(move || count(isid)))));
    let end = session(address, 99).good(0, &rw16(READ, 5, 1, false), 8, &[]).unwrap();
    assert_eq!(u64::from_be_bytes(end.try_into().unwrap()), u64::from(SESSIONS) * EACH);
    stop(&server);
}

/// A plain write that overlaps a COMPARE AND WRITE comes before it, and makes it miscompare, or behind it:
/// in both cases its blocks are there at the end.
#[test]
fn sbc_compare_and_write_is_atomic_with_plain_writes_that_overlap() {
    const ROUNDS: u8 = 250;
    const BLOCKS: usize = 8;
    let (server, address, _) = serve(64);
    let (mut compares, mut writes) = (session(address, 1), session(address, 2));
    let turn = Barrier::new(2);
    let swapped = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=ROUNDS {
                let old = compares.good(0, &rw16(READ, 8, 8, false), BLOCKS * BLOCK, &[]).unwrap();
                let both = [old, vec![0xff; BLOCKS * BLOCK]].concat();
                turn.wait();
                let answer = compares.command(0, &compare_and_write(8, 8), 0, &both).unwrap();
                turn.wait();
                match answer.status {
                    0 => drop(swapped.fetch_add(1, Ordering::Relaxed)),
                    _ => assert!(is_miscompare(&answer), "round {round}: {answer:02x?}"),
                }
                let back = compares.good(0, &rw16(READ, 12, 8, false), BLOCKS * BLOCK, &[]).unwrap();
                assert!(back.iter().all(|byte| *byte == round), "round {round}: a write was lost");
                turn.wait();
            }
        });
        scope.spawn(|| {
            for round in 1..=ROUNDS {
                turn.wait();
                writes.good(0, &rw16(WRITE, 12, 8, false), 0, &[round; BLOCKS * BLOCK]).unwrap();
                turn.wait();
                turn.wait();
            }
        });
    });
    assert!(swapped.load(Ordering::Relaxed) > 0, "some came first");
    stop(&server);
}

const ABORT_TASK: u8 = 1;
const ABORT_TASK_SET: u8 = 2;
const CLEAR_TASK_SET: u8 = 4;
const LOGICAL_UNIT_RESET: u8 = 5;

/// A small generator (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// Begins reads and writes at random in the eight blocks from `home` on.
fn batch(session: &mut Initiator, home: u64, random: &mut Random) -> Vec<u32> {
    let mut sent = Vec::new();
    for _ in 0..1 + random.below(16) {
        let lba = home + random.below(8) as u64;
        let itt = match random.below(2) {
            0 => session.start(0, &rw16(READ, lba, 1, false), BLOCK, &[]).unwrap(),
            _ => session.start(0, &rw16(WRITE, lba, 1, false), 0, &[0xee; BLOCK]).unwrap(),
        };
        sent.push(itt);
    }
    sent
}

/// Writes all eight blocks and reads them back: nothing that was aborted may land, or be answered, from here
/// on.
fn last_word(session: &mut Initiator, home: u64, mark: u8, sent: &[u32]) {
    let answered = |session: &Initiator| -> Vec<bool> {
        sent.iter().map(|itt| session.answer(*itt).is_some()).collect()
    };
    let before = answered(session);
    let mark = [mark; 8 * BLOCK];
    session.good(0, &rw16(WRITE, home, 8, false), 0, &mark).unwrap();
    session.nop().unwrap();
    let back = session.good(0, &rw16(READ, home, 8, false), 8 * BLOCK, &[]).unwrap();
    assert!(back == mark, "an aborted write has landed late");
    assert_eq!(answered(session), before, "an aborted command was answered");
}

#[test]
fn sam_7_storms_of_functions_from_two_sessions() {
    let (server, address, _) = serve(64);
    let storm = &|isid: u32, home: u64| {
        let mut session = session(address, isid);
        let mut random = Random(0x5eed_u64 + u64::from(isid));
        for round in 0..150 {
            let sent = batch(&mut session, home, &mut random);
            let function = [ABORT_TASK, ABORT_TASK_SET, CLEAR_TASK_SET][random.below(3)];
            let itt = session.begin_function(function, 0, sent[random.below(sent.len())]).unwrap();
            let response = session.wait_function(itt).unwrap();
            let may_be_done = function == ABORT_TASK && response == 1;
            assert!(response == 0 || may_be_done, "function {function}: response {response}");
            match function {
                ABORT_TASK => session.nop().unwrap(),
                _ => last_word(&mut session, home, round, &sent),
            }
        }
    };
    thread::scope(|scope| {
        let both = [(1, 0), (2, 32)].map(|(isid, home)| scope.spawn(move || storm(isid, home)));
        both.into_iter().for_each(|thread| thread.join().unwrap());
    });
    stop(&server);
}

/// A reset ends the commands of both sessions, without an answer: neither may be told that it is complete
/// while a write of either is still out.
#[test]
fn sam_7_resets_from_two_sessions_at_once() {
    let (server, address, _) = serve(64);
    let turn = Barrier::new(2);
    let storm = &|isid: u32, home: u64| {
        let mut session = session(address, isid);
        // A reset of the other would end what this one logs in with, without an answer.
        turn.wait();
        let mut random = Random(0x0e5e_u64 + u64::from(isid));
        for round in 0..60 {
            let sent = batch(&mut session, home, &mut random);
            let reset = session.begin_function(LOGICAL_UNIT_RESET, 0, 0).unwrap();
            assert_eq!(session.wait_function(reset).unwrap(), 0);
            // Both are reset: what follows is hit by neither.
            turn.wait();
            last_word(&mut session, home, round, &sent);
            turn.wait();
        }
    };
    thread::scope(|scope| {
        let both = [(1, 0), (2, 32)].map(|(isid, home)| scope.spawn(move || storm(isid, home)));
        both.into_iter().for_each(|thread| thread.join().unwrap());
    });
    stop(&server);
}

const SIMPLE: u8 = 1;
const ORDERED: u8 = 2;
const HEAD_OF_QUEUE: u8 = 3;

/// Whether a younger command must wait for an older one (SAM-5, 8).
fn waits(older: u8, younger: u8) -> bool {
    match (older, younger) {
        (_, HEAD_OF_QUEUE) => false,
        (_, ORDERED) | (ORDERED | HEAD_OF_QUEUE, _) => true,
        _ => false,
    }
}

#[test]
fn sam_8_task_attributes_order_what_the_medium_sees() {
    const COMMANDS: u64 = 400;
    /// Below the unit's limit for one nexus.
    const DEPTH: usize = 48;
    let (server, address, store) = serve(COMMANDS as usize + 8);
    thread::scope(|scope| {
        // Another nexus has a task set of its own (TST 001b) and only makes it busy.
        scope.spawn(|| {
            let mut other = session(address, 2);
            for _ in 0..COMMANDS / 4 {
                other.good(0, &rw16(READ, COMMANDS, 1, false), BLOCK, &[]).unwrap();
            }
        });
        let mut session = session(address, 1);
        let mut random = Random(0x0dde);
        let mut attributes = Vec::new();
        let mut sent = VecDeque::new();
        for lba in 0..COMMANDS {
            let attribute = [SIMPLE, SIMPLE, SIMPLE, ORDERED, HEAD_OF_QUEUE][random.below(5)];
            attributes.push(attribute);
            let cdb = rw16(READ, lba, 1, false);
            sent.push_back(session.start_as(attribute, 0, &cdb, BLOCK, &[]).unwrap());
            if sent.len() >= DEPTH {
                let oldest = sent.pop_front().unwrap();
                assert_eq!(session.wait(oldest).unwrap().status, 0);
            }
        }
        for itt in sent.drain(..) {
            assert_eq!(session.wait(itt).unwrap().status, 0);
        }
        let mut seen = vec![None; COMMANDS as usize];
        for (lba, begin, end) in store.log.lock().unwrap().iter().filter(|(lba, ..)| *lba < COMMANDS) {
            seen[*lba as usize] = Some((*begin, *end));
        }
        let mut overlapped = 0;
        for younger in 0..COMMANDS as usize {
            for older in younger.saturating_sub(64)..younger {
                let ((_, older_end), (begin, _)) = (seen[older].unwrap(), seen[younger].unwrap());
                if waits(attributes[older], attributes[younger]) {
                    assert!(older_end < begin, "{younger} has not waited for {older}");
                } else {
                    overlapped += u32::from(older_end > begin);
                }
            }
        }
        assert!(overlapped > 0, "nothing ever ran beside anything: the test shows nothing");
    });
    stop(&server);
}

#[test]
fn a_reservation_on_one_path_holds_on_the_other() {
    let (server, address, _) = serve(64);
    let (mut one, mut two) = (session(address, 1), session(address, 2));
    let register = |key: u8| {
        let mut list = [0; 24];
        list[15] = key;
        list
    };
    let out = |action, kind| [0x5f, action, kind, 0, 0, 0, 0, 0, 24, 0];
    one.good(0, &out(0, 0), 0, &register(1)).unwrap();
    two.good(0, &out(0, 0), 0, &register(2)).unwrap();
    let with = |key: u8, victim: u8| {
        let mut list = register(victim);
        list[7] = key;
        list
    };
    one.good(0, &out(1, 1), 0, &with(1, 0)).unwrap();
    let write = rw16(WRITE, 0, 1, false);
    assert_eq!(two.command(0, &write, 0, &[1; BLOCK]).unwrap().status, 0x18);
    assert_eq!(two.good(0, &rw16(READ, 0, 1, false), BLOCK, &[]).unwrap(), [0; BLOCK]);
    // Writes of the first go on while the second fences it: none may land after PREEMPT AND ABORT is done.
    let pending: Vec<u32> = (0..16).map(|_| one.start(0, &write, 0, &[1; BLOCK]).unwrap()).collect();
    two.good(0, &out(5, 1), 0, &with(2, 1)).unwrap();
    two.good(0, &write, 0, &[2; BLOCK]).unwrap();
    one.nop().unwrap();
    let answers = pending.iter().filter_map(|itt| one.answer(*itt));
    assert!(answers.clone().all(|a| matches!(a.status, 0 | 0x18 | 2)), "{:?}", answers.collect::<Vec<_>>());
    assert_eq!(two.good(0, &rw16(READ, 0, 1, false), BLOCK, &[]).unwrap(), [2; BLOCK]);
    assert_eq!(one.command(0, &write, 0, &[1; BLOCK]).unwrap().status, 0x18);
    // A reset on one path clears neither the registration nor the reservation of the other.
    let reset = one.begin_function(LOGICAL_UNIT_RESET, 0, 0).unwrap();
    assert_eq!(one.wait_function(reset).unwrap(), 0);
    two.good(0, &write, 0, &[3; BLOCK]).unwrap();
    loop {
        let answer = one.command(0, &write, 0, &[1; BLOCK]).unwrap();
        if answer.status != 2 {
            assert_eq!(answer.status, 0x18);
            break;
        }
    }
    stop(&server);
}

/// An initiator that was asked for the data of a write and does not send it, as one whose path has failed:
/// others, to which the same write has come again, do not wait for it.
#[test]
fn a_write_whose_data_does_not_come_holds_up_no_other_session() {
    let (server, address, _) = serve(64);
    let options = Options { immediate_data: false, ..Options::default() };
    let mut silent = Initiator::login(address, TARGET, &options).unwrap();
    silent.good(0, &[0; 6], 0, &[]).unwrap();
    let mut other = session(address, 2);
    let write = rw16(WRITE, 8, 2, false);
    let late = silent.start_without_data(0, &write, &[1; 2 * BLOCK]).unwrap();
    silent.nop().unwrap();
    other.good(0, &write, 0, &[2; 2 * BLOCK]).unwrap();
    let read = |session: &mut Initiator| session.good(0, &rw16(READ, 8, 2, false), 2 * BLOCK, &[]).unwrap();
    assert_eq!(read(&mut other), [2; 2 * BLOCK]);
    silent.give_data().unwrap();
    assert_eq!(silent.wait(late).unwrap().status, 0);
    assert_eq!(read(&mut other), [1; 2 * BLOCK], "it was carried out when it was complete");
    drop((silent, other));
    stop(&server);
}

/// A unit without a write cache has none for a write either that another nexus had begun before.
#[test]
fn spc_6_11_mode_select_waits_for_the_writes_of_other_nexuses() {
    let store = Gated::new();
    let (server, address) = support::serve(vec![store.clone()], ServerOptions::default());
    let (mut own, mut other) = (session(address, 1), session(address, 2));
    let page = own.good(0, &[0x1a, 0x08, 0x0a, 0, 16, 0], 16, &[]).unwrap();
    let list = [&[0; 4][..], &[page[4] & 0x7f], &page[5..]].concat();
    let select = [0x15, 0x10, 0, 0, u8::try_from(list.len()).unwrap(), 0];
    let write = other.start(0, &rw16(WRITE, 0, 1, false), 0, &[1; BLOCK]).unwrap();
    store.wait_for_writes(1);
    let change = own.start(0, &select, 0, &list).unwrap();
    own.nop().unwrap();
    own.nop().unwrap();
    assert!(own.answer(change).is_none(), "the write is still out");
    store.allow(BLOCK as u64);
    assert_eq!(own.wait(change).unwrap().status, 0);
    assert_eq!(other.wait(write).unwrap().status, 0);
    drop((own, other));
    stop(&server);
}

/// Memory with a cache that is flushed when the test says so.
struct SlowFlush {
    memory: Memory,
    /// Flushes that have come, and those that may end.
    counts: Mutex<(u32, u32)>,
    changed: Condvar,
}

impl SlowFlush {
    fn wait_for_flush(&self) {
        drop(self.changed.wait_while(self.counts.lock().unwrap(), |counts| counts.0 == 0).unwrap());
    }

    fn allow(&self) {
        self.counts.lock().unwrap().1 += 1;
        self.changed.notify_all();
    }
}

impl Backstore for SlowFlush {
    fn geometry(&self) -> Geometry {
        self.memory.geometry()
    }

    fn capabilities(&self) -> Capabilities {
        self.memory.capabilities().with(Capabilities::VOLATILE_CACHE)
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        self.memory.read(offset, into)
    }

    fn write(&self, offset: u64, from: &[u8], durable: bool) -> Result<(), BlockError> {
        self.memory.write(offset, from, durable)
    }

    fn flush(&self) -> Result<(), BlockError> {
        let mut counts = self.counts.lock().unwrap();
        counts.0 += 1;
        self.changed.notify_all();
        let mut counts = self.changed.wait_while(counts, |counts| counts.1 == 0).unwrap();
        counts.1 -= 1;
        Ok(())
    }
}

/// What changes the unit cannot be called back, no more than a write.
#[test]
fn sam_7_an_abort_waits_for_a_mode_select_that_is_carried_out() {
    let memory = Memory::new(64 * BLOCK, BLOCK as u32, false);
    let store = Arc::new(SlowFlush { memory, counts: Mutex::default(), changed: Condvar::new() });
    let (server, address) = support::serve(vec![store.clone()], ServerOptions::default());
    let (mut own, mut other) = (session(address, 1), session(address, 2));
    let page = own.good(0, &[0x1a, 0x08, 0x08, 0, 24, 0], 24, &[]).unwrap();
    assert_eq!(page[6] & 4, 4, "WCE");
    let list = [&[0; 4][..], &[page[4] & 0x7f, page[5], page[6] & !4], &page[7..]].concat();
    let change = own.start(0, &[0x15, 0x10, 0, 0, 24, 0], 0, &list).unwrap();
    store.wait_for_flush();
    let told = other.command(0, &[0; 6], 0, &[]).unwrap();
    assert_eq!((told.sense[12], told.sense[13]), (0x2a, 0x01), "MODE PARAMETERS CHANGED");
    let read = other.start(0, &rw16(READ, 0, 1, false), BLOCK, &[]).unwrap();
    let abort = own.begin_function(ABORT_TASK, 0, change).unwrap();
    for session in [&mut own, &mut other] {
        session.nop().unwrap();
        session.nop().unwrap();
    }
    assert_eq!(own.function_result(abort), None, "it still changes the unit");
    assert!(other.answer(read).is_none(), "the unit changes");
    store.allow();
    assert_eq!(own.wait_function(abort).unwrap(), 0);
    assert_eq!(other.wait(read).unwrap().status, 0);
    drop((own, other));
    stop(&server);
}
