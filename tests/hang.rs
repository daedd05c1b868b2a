//! A backstore that hangs: what was sent to it can still land, and the target never says otherwise.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // A test panics to fail.

mod initiator;
mod support;

use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use initiator::{Initiator, Options, READ, WRITE, rw16};
use scstu::backstore::{Backstore, BlockError, Capabilities, Geometry};
use scstu::server::pool::{LOOK_EVERY, STUCK_AFTER};
use scstu::server::serving::FUNCTION_TIMEOUT;
use scstu::server::{Server, ServerOptions};
use support::{TARGET, serve};

const BLOCK: usize = 512;
const BLOCKS: usize = 4096;
/// How long a test waits for what must come.
const LIMIT: Duration = Duration::from_secs(30);

/// RFC 7143 11.5.1, 11.6.1.
const ABORT_TASK: u8 = 1;
const ABORT_TASK_SET: u8 = 2;
const LOGICAL_UNIT_RESET: u8 = 5;
const COMPLETE: u8 = 0;
const REJECTED: u8 = 255;

#[derive(Default)]
struct State {
    blocks: Vec<u8>,
    is_hanging: bool,
    waiting: usize,
    /// First block and first byte of each write, as they landed.
    landed: Vec<(usize, u8)>,
}

/// A store whose writes hang when the test says so. Reads never do.
#[derive(Default)]
struct Hanging {
    state: Mutex<State>,
    changed: Condvar,
}

impl Hanging {
    fn new(is_hanging: bool) -> Arc<Self> {
        let store = Hanging::default();
        *store.state.lock().unwrap() =
            State { blocks: vec![0; BLOCKS * BLOCK], is_hanging, ..State::default() };
        Arc::new(store)
    }

    /// Lets everything go on.
    fn release(&self) {
        self.state.lock().unwrap().is_hanging = false;
        self.changed.notify_all();
    }

    /// Waits until `count` writes are out.
    fn await_waiting(&self, count: usize) {
        let state = self.state.lock().unwrap();
        let waited = self.changed.wait_timeout_while(state, LIMIT, |state| state.waiting < count).unwrap();
        assert!(!waited.1.timed_out(), "{} writes are out, not {count}", waited.0.waiting);
    }

    fn waiting(&self) -> usize {
        self.state.lock().unwrap().waiting
    }

    fn landed(&self) -> Vec<(usize, u8)> {
        self.state.lock().unwrap().landed.clone()
    }
}

impl Backstore for Hanging {
    fn geometry(&self) -> Geometry {
        Geometry {
            block_size: BLOCK as u32,
            blocks: BLOCKS as u64,
            physical_block_exponent: 0,
            optimal_transfer_bytes: 0,
            unmap_granularity_bytes: 0,
            unmap_alignment_bytes: 0,
        }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::TRY_READ
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        into.copy_from_slice(&self.state.lock().unwrap().blocks[offset as usize..][..into.len()]);
        Ok(())
    }

    fn try_read(&self, offset: u64, into: &mut [u8]) -> Result<bool, BlockError> {
        self.read(offset, into).map(|()| true)
    }

    fn write(&self, offset: u64, from: &[u8], _durable: bool) -> Result<(), BlockError> {
        let mut state = self.state.lock().unwrap();
        state.waiting += 1;
        self.changed.notify_all();
        while state.is_hanging {
            state = self.changed.wait(state).unwrap();
        }
        state.waiting -= 1;
        state.blocks[offset as usize..][..from.len()].copy_from_slice(from);
        state.landed.push((offset as usize / BLOCK, from[0]));
        self.changed.notify_all();
        Ok(())
    }

    fn flush(&self) -> Result<(), BlockError> {
        Ok(())
    }
}

/// A server whose stores are let go when a test ends, however it ends.
struct Bench {
    stores: Vec<Arc<Hanging>>,
    server: Server,
    address: SocketAddr,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stores.iter().for_each(|store| store.release());
        if !thread::panicking() {
            assert_eq!(self.server.stop(LIMIT), 0, "no worker is left behind");
        }
    }
}

fn bench(hanging: &[bool], options: ServerOptions) -> Bench {
    let stores: Vec<_> = hanging.iter().map(|is_hanging| Hanging::new(*is_hanging)).collect();
    let units = stores.iter().map(|store| store.clone() as Arc<dyn Backstore>).collect();
    let (server, address) = serve(units, options);
    Bench { stores, server, address }
}

impl Bench {
    /// A session of an initiator port of its own that has seen its unit attentions.
    fn login(&self, isid: u32) -> Initiator {
        let options = Options { isid, initial_r2t: false, ..Options::default() };
        let mut session = Initiator::login(self.address, TARGET, &options).unwrap();
        for lun in 0..self.stores.len() {
            session.good(lun as u8, &[0; 6], 0, &[]).unwrap();
        }
        session
    }
}

fn start_write(session: &mut Initiator, lun: u8, lba: u64, byte: u8) -> u32 {
    session.start(lun, &rw16(WRITE, lba, 1, false), 0, &[byte; BLOCK]).unwrap()
}

fn first_byte(session: &mut Initiator, lba: u64) -> u8 {
    session.good(0, &rw16(READ, lba, 1, false), BLOCK, &[]).unwrap()[0]
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn rfc7143_11_5_an_abort_is_not_complete_while_the_write_can_land() {
    let bench = bench(&[true], ServerOptions::default());
    let store = &bench.stores[0];
    let (mut one, mut two) = (bench.login(1), bench.login(2));
    let aborted = start_write(&mut one, 0, 7, 1);
    store.await_waiting(1);
    let function = one.begin_function(ABORT_TASK, 0, aborted).unwrap();
    let later = start_write(&mut two, 0, 7, 2);
    let elsewhere = first_byte(&mut two, 8);
    one.nop().unwrap();
    two.nop().unwrap();
    assert_eq!(elsewhere, 0, "other blocks of the unit can be read");
    assert_eq!(one.function_result(function), None, "the write is still out");
    assert!(two.answer(later).is_none() && store.waiting() == 1, "the later write is fenced off");
    store.release();
    assert_eq!(one.wait_function(function).unwrap(), COMPLETE);
    assert!(one.answer(aborted).is_none(), "an aborted command has no answer");
    assert_eq!(two.wait(later).unwrap().status, 0);
    assert_eq!(store.landed(), [(7, 1), (7, 2)]);
    assert_eq!(first_byte(&mut two, 7), 2);
    one.nop().unwrap();
    assert!(one.answer(aborted).is_none());
}

#[test]
fn sam_7_every_reset_waits_for_the_writes_of_every_session() {
    let bench = bench(&[true], ServerOptions::default());
    let store = &bench.stores[0];
    let (mut one, mut two) = (bench.login(1), bench.login(2));
    let writes = [start_write(&mut one, 0, 1, 1), start_write(&mut two, 0, 2, 2)];
    store.await_waiting(2);
    let resets = [
        one.begin_function(LOGICAL_UNIT_RESET, 0, u32::MAX).unwrap(),
        two.begin_function(LOGICAL_UNIT_RESET, 0, u32::MAX).unwrap(),
    ];
    one.nop().unwrap();
    two.nop().unwrap();
    assert_eq!((one.function_result(resets[0]), two.function_result(resets[1])), (None, None));
    store.release();
    assert_eq!(one.wait_function(resets[0]).unwrap(), COMPLETE);
    assert_eq!(store.landed().len(), 2, "what can land has landed");
    assert_eq!(two.wait_function(resets[1]).unwrap(), COMPLETE);
    for (session, write) in [(&mut one, writes[0]), (&mut two, writes[1])] {
        session.nop().unwrap();
        assert!(session.answer(write).is_none());
        let answer = session.command(0, &[0; 6], 0, &[]).unwrap();
        assert_eq!((answer.sense[2] & 0xf, answer.sense[12]), (6, 0x29), "the reset is told");
    }
}

#[test]
fn a_function_that_waits_too_long_is_rejected_and_the_fence_stays() {
    let bench = bench(&[true], ServerOptions::default());
    let store = &bench.stores[0];
    let (mut one, mut two) = (bench.login(1), bench.login(2));
    let aborted = start_write(&mut one, 0, 7, 1);
    store.await_waiting(1);
    let started = Instant::now();
    let function = one.begin_function(LOGICAL_UNIT_RESET, 0, u32::MAX).unwrap();
    assert_eq!(one.wait_function(function).unwrap(), REJECTED, "it is not complete");
    assert!(started.elapsed() >= FUNCTION_TIMEOUT);
    two.command(0, &[0; 6], 0, &[]).unwrap();
    let later = start_write(&mut two, 0, 7, 2);
    two.nop().unwrap();
    assert!(two.answer(later).is_none() && store.waiting() == 1);
    store.release();
    assert_eq!(two.wait(later).unwrap().status, 0);
    assert_eq!(store.landed(), [(7, 1), (7, 2)]);
    one.nop().unwrap();
    assert!(one.answer(aborted).is_none());
}

#[test]
fn rfc7143_6_3_5_a_session_that_comes_back_finds_its_old_writes_fenced() {
    let bench = bench(&[true], ServerOptions::default());
    let store = &bench.stores[0];
    let mut lost = bench.login(1);
    start_write(&mut lost, 0, 7, 1);
    start_write(&mut lost, 0, 9, 1);
    store.await_waiting(2);
    // The same initiator port again: the old session is reinstated. And once more, after it was dropped.
    let mut back = bench.login(1);
    drop(lost);
    let later = start_write(&mut back, 0, 7, 2);
    back.nop().unwrap();
    assert!(back.answer(later).is_none() && store.waiting() == 2);
    drop(back);
    let mut again = bench.login(1);
    let latest = start_write(&mut again, 0, 7, 3);
    again.nop().unwrap();
    assert!(again.answer(latest).is_none());
    store.release();
    assert_eq!(again.wait(latest).unwrap().status, 0);
    let of_block: Vec<u8> =
        store.landed().iter().filter(|(block, _)| *block == 7).map(|(_, byte)| *byte).collect();
    assert!(of_block == [1, 3], "{of_block:?}: the second was aborted before anything of it was done");
    assert_eq!(first_byte(&mut again, 7), 3);
}

#[test]
fn a_write_that_waits_for_a_worker_is_aborted_at_once() {
    let bench = bench(&[true], ServerOptions { workers: 2, ..ServerOptions::default() });
    let store = &bench.stores[0];
    let mut session = bench.login(1);
    let window = session.window();
    let out = start_write(&mut session, 0, 0, 1);
    store.await_waiting(1);
    let queued: Vec<u32> = (1..16).map(|number| start_write(&mut session, 0, number * 8, 2)).collect();
    session.nop().unwrap();
    assert_eq!((session.window(), store.waiting()), (window - 16, 1), "one unit has one of two workers");
    let one = session.begin_function(ABORT_TASK, 0, queued[0]).unwrap();
    assert_eq!(session.wait_function(one).unwrap(), COMPLETE, "nothing of it was done");
    let all = session.begin_function(ABORT_TASK_SET, 0, u32::MAX).unwrap();
    session.nop().unwrap();
    assert_eq!(session.function_result(all), None, "one of them is out");
    assert_eq!(session.window(), window - 1, "the places of the others are free");
    store.release();
    assert_eq!(session.wait_function(all).unwrap(), COMPLETE);
    session.nop().unwrap();
    assert!(queued.iter().chain([&out]).all(|itt| session.answer(*itt).is_none()));
    assert_eq!(store.landed(), [(0, 1)]);
    let after = start_write(&mut session, 0, 8, 3);
    assert_eq!(session.wait(after).unwrap().status, 0);
}

#[test]
fn one_unit_leaves_workers_to_the_others_and_stuck_ones_are_replaced() {
    let bench = bench(&[true, true, false], ServerOptions { workers: 2, ..ServerOptions::default() });
    let mut session = bench.login(1);
    for number in 0..8 {
        start_write(&mut session, 0, number, 1);
    }
    bench.stores[0].await_waiting(1);
    let good = start_write(&mut session, 2, 0, 1);
    assert_eq!(session.wait(good).unwrap().status, 0, "the other worker is free");
    // A second unit that hangs takes it; what is stuck is replaced.
    start_write(&mut session, 1, 0, 1);
    bench.stores[1].await_waiting(1);
    let started = Instant::now();
    let good = start_write(&mut session, 2, 1, 2);
    assert_eq!(session.wait(good).unwrap().status, 0);
    let state = bench.server.pool().state();
    assert!(started.elapsed() <= STUCK_AFTER + LOOK_EVERY + LIMIT / 2, "{:?}", started.elapsed());
    assert!(state.stuck >= 1 && state.workers <= 2 + state.stuck, "{state:?}");
    wait_until("both are counted as stuck", || bench.server.pool().state().stuck == 2);
    bench.stores.iter().for_each(|store| store.release());
    wait_until("the pool shrinks again", || {
        let state = bench.server.pool().state();
        state.stuck == 0 && state.workers <= 2
    });
    assert_eq!(bench.stores[0].landed().len(), 8);
}

#[test]
fn one_unit_leaves_memory_to_the_others() {
    let options = ServerOptions { workers: 4, buffer_budget: 1 << 20, ..ServerOptions::default() };
    let bench = bench(&[true, false], options);
    let mut sessions: Vec<Initiator> = (1..=4).map(|isid| bench.login(isid)).collect();
    let mut full = 0;
    for (number, session) in sessions.iter_mut().enumerate() {
        for part in 0..4 {
            let lba = (number * 4 + part) as u64 * 128;
            let write = session.start(0, &rw16(WRITE, lba, 128, false), 0, &[1; 128 * BLOCK]).unwrap();
            session.nop().unwrap();
            full += usize::from(session.answer(write).is_some_and(|answer| answer.status == 0x28));
        }
    }
    assert!(full >= 4, "a quarter of the memory is not for this unit: {full} times TASK SET FULL");
    for session in &mut sessions {
        let answer = session.command(1, &rw16(WRITE, 0, 128, false), 0, &[2; 128 * BLOCK]).unwrap();
        assert_eq!(answer.status, 0, "the other unit has memory left");
    }
}
